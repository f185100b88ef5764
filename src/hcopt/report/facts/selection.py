"""What of a run the report shows: the two configurations set side by side, and the sweep's points."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from hcopt.analysis.stats import positive_interval
from hcopt.records.measurement import LoadPoint
from hcopt.records.model import ModelConfigVariant
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Comparison, ConfirmedVariant, Estimate, Feasibility, RankedVariant
from hcopt.words import Text

Role = Literal["default", "best", "candidate", "runner_up", "closest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One configuration with the figures that the report may name.

    Attributes:
        role: What it is in this run; only the verdict `better` makes a `best`.
        feasibility: What is known of the p99 limit; the sweep only has its p99 to judge by.
        confirmed: Whether the figures come from the confirmation; those of the sweep have no interval.
        miss_ratio: Share of the requests over the limit; None without a limit or without a confirmation.
    """

    role: Role
    variant: ModelConfigVariant
    load: LoadPoint
    throughput_infer_per_s: Estimate
    latency_p99_ms: Estimate
    feasibility: Feasibility
    confirmed: bool
    miss_ratio: Estimate | None = None

    @property
    def feasible(self) -> bool:
        """Whether the limit holds, by whatever is known."""
        return self.feasibility == "feasible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """`right` against `left`; the comparison's ratios are right / left, and None where nothing compared them."""

    left: Side | None
    right: Side | None
    comparison: Comparison | None

    @property
    def sides(self) -> tuple[Side, ...]:
        """Those that are there, left first."""
        return tuple(side for side in (self.left, self.right) if side is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """One configuration at one load of the sweep, under whatever names: the mean of its measurements."""

    variant: ModelConfigVariant
    load: LoadPoint
    throughput_infer_per_s: float
    latency_p99_ms: float


def short_name(config_name: str, run: RunRecord) -> str:
    """`config_6` of `<model>_config_6`: the model's name stands in the title."""
    return config_name.removeprefix(f"{run.plan.model_name}_")


def side_name(side: Side, run: RunRecord, text: Text) -> str:
    """How a sentence calls a configuration: the default by its role, others by their name."""
    return text["group_default"] if side.role == "default" else short_name(side.variant.config_name, run)


def batches(variant: ModelConfigVariant) -> bool:
    """Whether the server puts requests together, so that a queue delay means something."""
    return variant.max_batch_size > 0 and variant.dynamic_batching


def default_wins(run: RunRecord) -> bool:
    """Whether the best configuration is the user's own."""
    best = run.confirmation.best
    return best is not None and best.variant.settings == run.plan.default.settings


def pairing(run: RunRecord) -> Pairing:
    """Default against best; where that is impossible, the two that tell the user most."""
    found = run.confirmation
    if found.best is None:
        return _swept_pairing(run)
    if default_wins(run):
        left = None if found.runner_up is None else _confirmed(found.runner_up, "runner_up")
        return Pairing(left=left, right=_confirmed(found.best, "default"), comparison=found.runner_up_relation)
    return Pairing(
        left=None if found.default is None else _confirmed(found.default, "default"),
        right=_confirmed(found.best, "best" if found.verdict == "better" else "candidate"),
        comparison=found.improvement,
    )


def sweep_points(run: RunRecord) -> tuple[SweepPoint, ...]:
    """What the sweep measured; equal settings are one configuration."""
    points: dict[tuple[Hashable, LoadPoint], list[SweepPoint]] = defaultdict(list)
    for m in run.measurements:
        if m.phase == "sweep" and m.throughput_infer_per_s is not None and m.latency is not None:
            point = SweepPoint(
                variant=m.variant,
                load=m.load,
                throughput_infer_per_s=m.throughput_infer_per_s,
                latency_p99_ms=m.latency.p99_ms,
            )
            points[m.variant.settings, m.load].append(point)
    return tuple(
        replace(
            same[0],
            throughput_infer_per_s=fmean(point.throughput_infer_per_s for point in same),
            latency_p99_ms=fmean(point.latency_p99_ms for point in same),
        )
        for same in points.values()
    )


def _swept_pairing(run: RunRecord) -> Pairing:
    """Default against the sweep's first, or against the one closest to a limit that nothing meets."""
    blocks = _blocks(run)
    sides = [_measured(entry, blocks[entry.variant.settings]) for entry in run.ranking.ranked]
    if not sides:
        return Pairing(left=None, right=None, comparison=None)
    nothing_feasible = run.confirmation.verdict == "no_feasible_config"
    failing = {one.config_name for one in run.confirmation.failures if one.variant_count}
    answering = [side for side in sides if side.variant.config_name not in failing] or sides
    right = _closest(answering) if nothing_feasible else sides[0]
    if right.variant.settings == run.plan.default.settings:
        return Pairing(left=None, right=replace(right, role="default"), comparison=None)
    default = next((side for side in sides if side.variant.settings == run.plan.default.settings), None)
    return Pairing(
        left=None if default is None else replace(default, role="default"),
        right=replace(right, role="closest" if nothing_feasible else "candidate"),
        comparison=None,
    )


def _closest(sides: Sequence[Side]) -> Side:
    """The lowest p99 of those that missed the limit, be it in the sweep or when measured again."""
    missed = [side for side in sides if side.confirmed or not side.feasible]
    return min(missed or sides, key=lambda side: side.latency_p99_ms.estimate)


def _confirmed(entry: ConfirmedVariant, role: Role) -> Side:
    return Side(
        role=role,
        variant=entry.variant,
        load=entry.load,
        throughput_infer_per_s=entry.throughput_infer_per_s,
        latency_p99_ms=entry.latency_p99_ms,
        feasibility=entry.feasibility,
        confirmed=True,
        miss_ratio=entry.miss_ratio,
    )


def _blocks(run: RunRecord) -> defaultdict[Hashable, list[tuple[float, float]]]:
    """Throughput and p99 of each window of the confirmation, by the settings of what was served."""
    found: defaultdict[Hashable, list[tuple[float, float]]] = defaultdict(list)
    for m in run.measurements:
        if m.phase == "confirmation" and m.throughput_infer_per_s is not None and m.latency is not None:
            found[m.variant.settings].append((m.throughput_infer_per_s, m.latency.p99_ms))
    return found


def _measured(entry: RankedVariant, blocks: Sequence[tuple[float, float]]) -> Side:
    """A ranked variant; where the confirmation measured it, with what that found in place of the sweep's figures."""
    throughputs, p99s = zip(*blocks, strict=True) if blocks else ((), ())
    return Side(
        role="candidate",
        variant=entry.variant,
        load=entry.load,
        throughput_infer_per_s=positive_interval(throughputs)
        if blocks
        else Estimate(estimate=entry.throughput_infer_per_s),
        latency_p99_ms=positive_interval(p99s) if blocks else Estimate(estimate=entry.latency_p99_ms),
        feasibility="feasible" if entry.feasible else "infeasible",
        confirmed=bool(blocks),
    )
