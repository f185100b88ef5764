"""The HorizontalPodAutoscaler's decisions, one sync period after another, as Kubernetes documents them. Pure.

Source: Kubernetes' documentation, Horizontal Pod Autoscaling, "Algorithm details" and "Configurable scaling behavior";
pkg/controller/podautoscaler (replica_calculator.go, horizontal.go) where that leaves something open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from hcopt.deploy.capacity import SYNC_PERIOD_S, TOLERANCE_RATIO

# Ratios come from divisions: one that ought to be exactly at the tolerance, or a whole number of pods, may be off by so
# much. The controller counts in thousandths of the metric, which hides the same.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How far one direction may go within `period_s`: so many pods, or so many percent of those at its beginning."""

    kind: Literal["Pods", "Percent"]
    value: float
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """One direction of `behavior`; of several policies the one that allows most counts (selectPolicy: Max)."""

    stabilization_s: float
    policies: tuple[Policy, ...]


DEFAULT_UP = ScalingRules(
    stabilization_s=0,
    policies=(Policy(kind="Percent", value=100, period_s=15), Policy(kind="Pods", value=4, period_s=15)),
)
DEFAULT_DOWN = ScalingRules(stabilization_s=300, policies=(Policy(kind="Percent", value=100, period_s=15),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """An HPA's specification.

    Attributes:
        targets: The average value a pod of each metric that it aims at; the largest answer counts.
    """

    targets: tuple[float, ...]
    min_replicas: int
    max_replicas: int
    up: ScalingRules = DEFAULT_UP
    down: ScalingRules = DEFAULT_DOWN
    tolerance_ratio: float = TOLERANCE_RATIO
    sync_period_s: float = SYNC_PERIOD_S

    def __post_init__(self) -> None:
        if not 1 <= self.min_replicas <= self.max_replicas or not self.targets or min(self.targets) <= 0:
            raise ValueError(f"not an autoscaler: {self}")


def desired_replicas(
    current: int, values: Sequence[float], target: float, *, without_value: int = 0, tolerance_ratio: float
) -> int:
    """ceil(current · metric / target), unless the metric is within the tolerance of its target.

    Pods without a value count as 0 where the others ask for more pods, and as at their target where they ask for fewer:
    what has just been started dampens both.

    Args:
        current: Replicas now.
        values: The metric of each pod that has one.
        target: Its target.
        without_value: Pods that are not ready, or have no value yet.
        tolerance_ratio: Of the HPA.
    """
    if not values:
        return current
    total = math.fsum(values)
    ratio = total / len(values) / target
    if not without_value:
        return current if _within(ratio, tolerance_ratio) else _whole(ratio * len(values))
    counted = len(values) + without_value
    dampened = (total if ratio > 1 else total + without_value * target) / counted / target
    reversed_ = (ratio < 1 < dampened) or (dampened < 1 < ratio)
    return current if reversed_ or _within(dampened, tolerance_ratio) else _whole(dampened * counted)


@dataclass(slots=True, kw_only=True)
class Controller:
    """The controller of one HPA: it remembers what it has wanted and done.

    Attributes:
        spec: The HPA.
        wanted: Time and number of every recommendation.
        changes: Time and size of every change, negative where pods went.
    """

    spec: Autoscaler
    wanted: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now_s: float, current: int, metrics: Sequence[Sequence[float]]) -> int:
        """The replicas from now on.

        Args:
            now_s: The time.
            current: Replicas now, ready or not.
            metrics: For each target the values of the pods that have one.
        """
        recommended = max(
            desired_replicas(
                current,
                values,
                target,
                without_value=max(0, current - len(values)),
                tolerance_ratio=self.spec.tolerance_ratio,
            )
            for values, target in zip(metrics, self.spec.targets, strict=True)
        )
        stabilized = self._stabilized(now_s, current, recommended)
        replicas = self._limited(now_s, current, stabilized)
        if replicas != current:
            self.changes.append((now_s, replicas - current))
        return replicas

    def _stabilized(self, now_s: float, current: int, recommended: int) -> int:
        """Up: no more than the lowest recommendation of its window; down: no less than the highest of its window."""
        spec = self.spec
        for_up = [wish for at, wish in self.wanted if at > now_s - spec.up.stabilization_s]
        for_down = [wish for at, wish in self.wanted if at > now_s - spec.down.stabilization_s]
        self.wanted.append((now_s, recommended))
        return min(max(current, min([recommended, *for_up])), max([recommended, *for_down]))

    def _limited(self, now_s: float, current: int, stabilized: int) -> int:
        """Within the policies, the minimum and the maximum."""
        spec = self.spec
        if not spec.min_replicas <= current <= spec.max_replicas:
            return min(max(current, spec.min_replicas), spec.max_replicas)
        if stabilized > current:
            return min(stabilized, self._limit_up(now_s, current), spec.max_replicas)
        return max(stabilized, self._limit_down(now_s, current), spec.min_replicas)

    def _limit_up(self, now_s: float, current: int) -> int:
        limits = [
            start + policy.value if policy.kind == "Pods" else _whole(start * (1 + policy.value / 100))
            for policy in self.spec.up.policies
            for start in [self._at_start(now_s, current, policy)]
        ]
        return max(current, int(max(limits)))

    def _limit_down(self, now_s: float, current: int) -> int:
        limits = [
            start - policy.value if policy.kind == "Pods" else math.floor(start * (1 - policy.value / 100) + _ROUNDING)
            for policy in self.spec.down.policies
            for start in [self._at_start(now_s, current, policy)]
        ]
        return min(current, int(min(limits)))

    def _at_start(self, now_s: float, current: int, policy: Policy) -> int:
        """Replicas at the beginning of a policy's period."""
        return current - sum(change for at, change in self.changes if at > now_s - policy.period_s)


def _within(ratio: float, tolerance_ratio: float) -> bool:
    return abs(1 - ratio) <= tolerance_ratio + _ROUNDING


def _whole(replicas: float) -> int:
    return math.ceil(replicas - _ROUNDING)
