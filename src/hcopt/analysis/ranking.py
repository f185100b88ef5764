"""Ranks the variants by the measurements of the sweep. Pure; it proposes candidates, the confirmation decides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean

from hcopt.analysis.p99_limit import failed_ratio, keeps_in_sweep
from hcopt.records.measurement import LatencySummary, LoadPoint, Measurement, SweepPlan
from hcopt.records.model import ModelConfigVariant, Settings
from hcopt.records.note import Note
from hcopt.records.verdict import RankedVariant, Ranking

# A note names at most so many.
_MAX_NAMES = 5


def rank(plan: SweepPlan, measurements: Iterable[Measurement], *, latency_p99_limit_ms: float | None) -> Ranking:
    """Orders the variants: feasible ones by throughput, then the others by how little they miss the limit.

    Variants with equal settings are one variant: their measurements at one load are averaged. Each variant stands at
    its best feasible load, or at its lowest p99 where no load is feasible.

    Args:
        plan: What was to be measured; the order of its variants breaks ties.
        measurements: Of the sweep; failed ones are counted, and a load at which more than 1 % of the requests failed
            on the variant's own account is not feasible.
        latency_p99_limit_ms: The exact limit, or None.
    """
    points: dict[Settings, dict[LoadPoint, list[Measurement]]] = defaultdict(lambda: defaultdict(list))
    failed = 0
    for measurement in measurements:
        points[measurement.variant.settings][measurement.load].append(measurement)
        failed += measurement.error is not None
    measured = {settings: loads for settings, loads in points.items() if any(map(_with_figures, loads.values()))}
    entries = [
        _at_best_load(group, measured[settings], latency_p99_limit_ms)
        for settings, group in pooled(plan).items()
        if settings in measured
    ]
    return Ranking(
        ranked=tuple(sorted(entries, key=_order)), latency_p99_limit_ms=latency_p99_limit_ms, failed_count=failed
    )


def pooled(plan: SweepPlan) -> dict[Settings, tuple[ModelConfigVariant, ...]]:
    """The plan's variants by settings: those in one group are the same configuration under several names.

    The default comes first in its group: where it wins, that is what the user has to read.
    """
    groups: dict[Settings, tuple[ModelConfigVariant, ...]] = {}
    for variant in plan.all_variants:
        groups[variant.settings] = (*groups.get(variant.settings, ()), variant)
    return groups


def find_default(plan: SweepPlan, ranking: Ranking) -> RankedVariant | None:
    """The default's entry, under whichever name; None where none of its measurements succeeded."""
    return next((entry for entry in ranking.ranked if entry.variant.settings == plan.default.settings), None)


def unmeasured(plan: SweepPlan, ranking: Ranking) -> Note | None:
    """What the user has to know where configurations have no figures at all; None where each has some."""
    ranked = {entry.variant.settings for entry in ranking.ranked}
    groups = pooled(plan)
    names = [group[0].config_name for settings, group in groups.items() if settings not in ranked]
    if not names:
        return None
    named = ", ".join(names[:_MAX_NAMES]) + (" …" if len(names) > _MAX_NAMES else "")
    return Note.of("unmeasured", count=len(names), configurations=len(groups), names=named)


def why_nothing_was_measured(plan: SweepPlan, measurements: Iterable[Measurement]) -> str:
    """Of a sweep whose measurements all failed, with the default's reason before all others."""
    reasons = [(one.variant.settings != plan.default.settings, one.error) for one in measurements if one.error]
    _, reason = min(reasons, key=lambda found: found[0], default=(True, "no reason is known"))
    return nothing_was_measured(str(reason))


def nothing_was_measured(why: str) -> str:
    """How a run ends that has no figures, the default's lack of them first."""
    return f"the default could not be measured, nor any other configuration: {why}"


def _at_best_load(
    group: Sequence[ModelConfigVariant], loads: dict[LoadPoint, list[Measurement]], limit_ms: float | None
) -> RankedVariant:
    candidates = [_at_load(group, load, windows, limit_ms) for load, windows in loads.items() if _with_figures(windows)]
    return min(candidates, key=_order)


def _at_load(
    group: Sequence[ModelConfigVariant], load: LoadPoint, windows: Sequence[Measurement], limit_ms: float | None
) -> RankedVariant:
    measured, failed = _with_figures(windows), failed_ratio(windows)
    latency_p99_ms = fmean(_latency(m).p99_ms for m in measured)
    return RankedVariant(
        variant=group[0],
        load=load,
        throughput_infer_per_s=fmean(m.throughput_infer_per_s or 0.0 for m in measured),
        latency_p99_ms=latency_p99_ms,
        feasible=keeps_in_sweep(failed, latency_p99_ms, limit_ms),
        failed_ratio=failed,
        equal_names=tuple(variant.config_name for variant in group[1:]),
    )


def _with_figures(windows: Iterable[Measurement]) -> list[Measurement]:
    return [one for one in windows if one.error is None]


def _latency(measurement: Measurement) -> LatencySummary:
    assert measurement.latency is not None  # by Measurement's own check: it has no error
    return measurement.latency


def _order(entry: RankedVariant) -> tuple[bool, float]:
    return (not entry.feasible, -entry.throughput_infer_per_s if entry.feasible else entry.latency_p99_ms)
