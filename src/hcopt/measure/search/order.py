"""Measured windows become an order of variants, each at its best load: the same from a search as from its file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from hcopt.analysis.p99_limit import failed_ratio, fails_too_often
from hcopt.measure.search.belief import SURE, Belief, Taken, believe
from hcopt.measure.search.grid import Grid, grid_of
from hcopt.measure.search.surface import Integers
from hcopt.measure.search.values import Candidate
from hcopt.records.measurement import Measurement, SweepPlan
from hcopt.records.verdict import RankedVariant, Ranking


def rank_windows(
    plan: SweepPlan, measurements: Iterable[Measurement], *, latency_p99_limit_ms: float | None
) -> Ranking:
    """The order of the variants that were measured, from windows of unequal number that share the drift of blocks.

    Args:
        plan: What was searched.
        measurements: Of the search, with their blocks; failed ones are counted, and those on a variant's own account
            count against its point.
        latency_p99_limit_ms: The exact limit, or None.
    """
    grid = grid_of(plan)
    taken, failed, counts, every = [], 0, Counter[int](), tuple(measurements)
    for measured in every:
        point = grid.places[measured.variant.settings, measured.load]
        if measured.error is not None:
            failed += 1
            continue
        taken.append(window_of(grid, point, measured, measured.block or 0))
        counts[point] += 1
    found: tuple[Candidate, ...] = ()
    if taken:
        with threadpool_limits(1):
            belief = believe_afresh(grid, taken, limit_ms=latency_p99_limit_ms, failing=failing_points(grid, every))
            found = candidates_of(belief, counts)
    return Ranking(
        ranked=tuple(_ranked(candidate, every) for candidate in found),
        latency_p99_limit_ms=latency_p99_limit_ms,
        failed_count=failed,
    )


def failing_points(grid: Grid, measurements: Iterable[Measurement]) -> frozenset[int]:
    """Points at which more than 1 % of the requests failed on the variant's own account."""
    windows: dict[int, list[Measurement]] = {}
    for one in measurements:
        windows.setdefault(grid.places[one.variant.settings, one.load], []).append(one)
    return frozenset(point for point, own in windows.items() if fails_too_often(failed_ratio(own)))


def _ranked(candidate: Candidate, measurements: Sequence[Measurement]) -> RankedVariant:
    place = (candidate.variant.settings, candidate.load)
    return RankedVariant(
        variant=candidate.variant,
        load=candidate.load,
        throughput_infer_per_s=candidate.throughput_infer_per_s,
        latency_p99_ms=candidate.latency_p99_ms,
        feasible=candidate.feasible,
        failed_ratio=failed_ratio(one for one in measurements if (one.variant.settings, one.load) == place),
        equal_names=candidate.equal_names,
    )


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


def candidates_of(belief: Belief, windows: Mapping[int, int]) -> tuple[Candidate, ...]:
    """Every measured variant at its best measured load; those that keep the limit first, by throughput."""
    grid, measured = belief.grid, np.array(sorted(windows), dtype=np.int64)
    sure = SURE if belief.best(measured, sure=SURE) is not None else 0.5
    found = []
    for owner in sorted(set(grid.owner[measured].tolist())):
        own = measured[grid.owner[measured] == owner]
        point = belief.best(own, sure=sure)
        found.append(int(own[np.argmin(belief.log_latency[0][own])]) if point is None else point)

    def key(point: int) -> tuple[bool, float]:
        kept = bool(belief.feasible[point] >= sure)
        return (not kept, float(-belief.log_throughput[0][point] if kept else belief.log_latency[0][point]))

    return tuple(_candidate(belief, point, sure, windows[point]) for point in sorted(found, key=key))


def _candidate(belief: Belief, point: int, sure: float, window_count: int) -> Candidate:
    grid = belief.grid
    return Candidate(
        variant=grid.variant(point),
        load=grid.loads[point],
        throughput_infer_per_s=math.exp(belief.log_throughput[0][point]),
        latency_p99_ms=math.exp(belief.log_latency[0][point]),
        feasible=bool(belief.feasible[point] >= sure),
        window_count=window_count,
        equal_names=grid.equal_names[grid.owner[point]],
    )
