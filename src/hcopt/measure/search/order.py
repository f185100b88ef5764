"""The order of the variants that a search has measured, each at its best load, from the measurements alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from hcopt.analysis.p99_limit import failed_ratio, fails_too_often
from hcopt.measure.search.belief import SURE, Belief, Taken, believe
from hcopt.measure.search.grid import Grid, grid_of
from hcopt.measure.search.surface import Integers
from hcopt.records.measurement import Measurement, SweepPlan
from hcopt.records.verdict import RankedVariant, Ranking

# A bold proposal keeps the limit with this probability at least, and gains this much on average: half of what matters.
_LEAST_HOPE, _WORTH_A_TRY = 0.2, 0.01


def rank_windows(
    plan: SweepPlan, measurements: Iterable[Measurement], *, latency_p99_limit_ms: float | None
) -> Ranking:
    """The order of the variants that were measured, from windows of unequal number that share the drift of blocks.

    Each stands at its best measured load; those that keep the limit come first, by throughput.

    Args:
        plan: What was searched.
        measurements: Of the search, with their blocks; failed ones are counted, and those on a variant's own account
            count against its point.
        latency_p99_limit_ms: The exact limit, or None.
    """
    grid, every = grid_of(plan), tuple(measurements)
    with_figures = [(_point(grid, one), one) for one in every if one.error is None]
    taken = [window_of(grid, point, one, one.block or 0) for point, one in with_figures]
    ranked: tuple[RankedVariant, ...] = ()
    bold = None
    if taken:
        with threadpool_limits(1):
            belief = believe_afresh(grid, taken, limit_ms=latency_p99_limit_ms, failing=failing_points(grid, every))
            points = np.array(sorted({point for point, _ in with_figures}), dtype=np.int64)
            ranked = _ranked(belief, points, every)
            bold = _bold(belief, points, every)
    return Ranking(
        ranked=ranked,
        latency_p99_limit_ms=latency_p99_limit_ms,
        failed_count=len(every) - len(with_figures),
        bold=bold,
    )


def _point(grid: Grid, measured: Measurement) -> int:
    return grid.point_of[measured.variant.settings, measured.load]


def failing_points(grid: Grid, measurements: Iterable[Measurement]) -> frozenset[int]:
    """Points at which more than 1 % of the requests failed on the variant's own account."""
    windows: dict[int, list[Measurement]] = {}
    for one in measurements:
        windows.setdefault(_point(grid, one), []).append(one)
    return frozenset(point for point, own in windows.items() if fails_too_often(failed_ratio(own)))


def window_of(grid: Grid, point: int, measured: Measurement, block: int) -> Taken:
    """A measurement with figures as the surfaces take it."""
    assert measured.throughput_infer_per_s is not None  # the caller has left out failed ones
    assert measured.latency is not None
    log_throughput = math.log(measured.throughput_infer_per_s)
    mean_log_ms = float(grid.log_rows[point]) + math.log(1000) - log_throughput
    misses, requests = measured.miss_count, measured.asked_count
    return Taken(
        point=point,
        block=block,
        log_throughput=log_throughput,
        log_tail=math.log(measured.latency.p99_ms) - mean_log_ms,
        miss_ratio=None if misses is None or not requests else (misses + measured.error_count) / requests,
    )


def believe_afresh(
    grid: Grid, taken: Sequence[Taken], *, limit_ms: float | None, failing: frozenset[int] = frozenset()
) -> Belief:
    """The belief from all windows at once; fitted twice, since the first fit shows which windows were disturbed."""
    first = believe(grid, taken, limit_ms=limit_ms)
    return believe(grid, taken, limit_ms=limit_ms, before=first, failing=failing)


def best_point(belief: Belief, measured: Integers) -> int:
    """The best point that was measured, by what is known of the limit; the closest to it where none keeps it."""
    for sure in (SURE, 0.5):
        best = belief.best(measured, sure=sure)
        if best is not None:
            return best
    return int(measured[np.argmin(belief.log_latency[0][measured])])


def _bold(belief: Belief, points: Integers, every: Sequence[Measurement]) -> RankedVariant | None:
    """The point with the most to gain over the safe one, by the probability that the confirmation lets it pass."""
    safe = belief.best(points, sure=SURE)
    if safe is None:
        return None  # then the order itself is bold
    gain = np.expm1(np.maximum(0.0, belief.log_throughput[0][points] - belief.log_throughput[0][safe]))
    hope = belief.feasible[points]
    worth = np.where(hope >= _LEAST_HOPE, hope * gain, 0.0)
    # The default is what others are compared with, at a load that it keeps for sure.
    worth[belief.grid.owner[points] == 0] = 0.0
    best = int(np.argmax(worth))
    return _entry(belief, int(points[best]), every, feasible=True) if worth[best] > _WORTH_A_TRY else None


def _ranked(belief: Belief, points: Integers, every: Sequence[Measurement]) -> tuple[RankedVariant, ...]:
    grid = belief.grid
    sure = SURE if belief.best(points, sure=SURE) is not None else 0.5
    found = []
    for owner in sorted(set(grid.owner[points].tolist())):
        own = points[grid.owner[points] == owner]
        point = belief.best(own, sure=sure)
        found.append(int(own[np.argmin(belief.log_latency[0][own])]) if point is None else point)

    def key(point: int) -> tuple[bool, float]:
        kept = bool(belief.feasible[point] >= sure)
        return (not kept, float(-belief.log_throughput[0][point] if kept else belief.log_latency[0][point]))

    return tuple(
        _entry(belief, point, every, feasible=bool(belief.feasible[point] >= sure)) for point in sorted(found, key=key)
    )


def _entry(belief: Belief, point: int, every: Sequence[Measurement], *, feasible: bool) -> RankedVariant:
    grid = belief.grid
    return RankedVariant(
        variant=grid.variant(point),
        load=grid.loads[point],
        throughput_infer_per_s=math.exp(belief.log_throughput[0][point]),
        latency_p99_ms=math.exp(belief.log_latency[0][point]),
        feasible=feasible,
        failed_ratio=failed_ratio(one for one in every if _point(grid, one) == point),
        equal_names=grid.equal_names[grid.owner[point]],
    )
