"""The HorizontalPodAutoscaler's decisions, one sync period after another, as Kubernetes documents them. Pure.

Source: Kubernetes' documentation, Horizontal Pod Autoscaling, "Algorithm details" and "Configurable scaling behavior";
pkg/controller/podautoscaler (replica_calculator.go, horizontal.go) where that leaves something open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from hcopt.deploy.capacity import MIN_SCALE_DOWN_WINDOW_S, TOLERANCE_RATIO

# Ratios come from divisions: one that ought to be exactly at the tolerance, or a whole number of pods, may be off by so
# much. The controller counts in thousandths of the metric, which hides the same.
_ROUNDING = 1e-9
# Scaling up has Kubernetes' own policies: twice as many pods or four more within the period, whichever are more.
_UP_FACTOR, _UP_PODS, _UP_PERIOD_S = 2, 4, 15
# Scaling down has the policy of the manifests (templates/_behavior.j2).
_DOWN_RATIO, _DOWN_PERIOD_S = 0.1, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """An HPA's specification, with the manifests' `behavior`.

    Attributes:
        targets: The average value a pod of each metric that it aims at; the largest answer counts.
        scale_down_window_s: `stabilizationWindowSeconds` of scaling down; the default is Kubernetes'.
    """

    targets: tuple[float, ...]
    min_replicas: int
    max_replicas: int
    scale_down_window_s: float = MIN_SCALE_DOWN_WINDOW_S

    def __post_init__(self) -> None:
        if not 1 <= self.min_replicas <= self.max_replicas or not self.targets or min(self.targets) <= 0:
            raise ValueError(f"not an autoscaler: {self}")


def desired_replicas(current: int, values: Sequence[float], target: float, *, without_value: int = 0) -> int:
    """ceil(current · metric / target), unless the metric is within the tolerance of its target.

    Pods without a value count as 0 where the others ask for more pods, and as at their target where they ask for fewer:
    what has just been started dampens both.

    Args:
        current: Replicas now.
        values: The metric of each pod that has one.
        target: Its target.
        without_value: Pods that are not ready, or have no value yet.
    """
    if not values:
        return current
    total = math.fsum(values)
    ratio = total / len(values) / target
    if not without_value:
        return current if _is_within_tolerance(ratio) else _whole(ratio * len(values))
    counted = len(values) + without_value
    dampened = (total if ratio > 1 else total + without_value * target) / counted / target
    reversed_ = (ratio < 1 < dampened) or (dampened < 1 < ratio)
    return current if reversed_ or _is_within_tolerance(dampened) else _whole(dampened * counted)


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
            desired_replicas(current, values, target, without_value=max(0, current - len(values)))
            for values, target in zip(metrics, self.spec.targets, strict=True)
        )
        replicas = self._limited(now_s, current, self._stabilized(now_s, current, recommended))
        if replicas != current:
            self.changes.append((now_s, replicas - current))
        return replicas

    def _stabilized(self, now_s: float, current: int, recommended: int) -> int:
        """Up at once; down no further than the highest recommendation of the window."""
        window = [wish for at, wish in self.wanted if at > now_s - self.spec.scale_down_window_s]
        self.wanted.append((now_s, recommended))
        return min(max(current, recommended), max([recommended, *window]))

    def _limited(self, now_s: float, current: int, stabilized: int) -> int:
        """Within the policies, the minimum and the maximum."""
        spec = self.spec
        if not spec.min_replicas <= current <= spec.max_replicas:
            return min(max(current, spec.min_replicas), spec.max_replicas)
        if stabilized > current:
            start = self._replicas_before(now_s, current, _UP_PERIOD_S)
            highest = max(current, start + _UP_PODS, _UP_FACTOR * start)
            return min(stabilized, highest, spec.max_replicas)
        start = self._replicas_before(now_s, current, _DOWN_PERIOD_S)
        lowest = min(current, math.floor((1 - _DOWN_RATIO) * start + _ROUNDING))
        return max(stabilized, lowest, spec.min_replicas)

    def _replicas_before(self, now_s: float, current: int, period_s: float) -> int:
        """Replicas at the beginning of a policy's period."""
        return current - sum(change for at, change in self.changes if at > now_s - period_s)


def _is_within_tolerance(ratio: float) -> bool:
    return abs(1 - ratio) <= TOLERANCE_RATIO + _ROUNDING


def _whole(replicas: float) -> int:
    return math.ceil(replicas - _ROUNDING)
