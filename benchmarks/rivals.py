"""What the adaptive search is compared with, on the same replay: a proposal, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.replay import Replay
from hcopt.ranking import rank
from hcopt.schema import LoadPoint, Measurement, ModelConfigVariant, SweepPlan
from hcopt.search.search import search
from hcopt.search.values import SearchSettings

# Model Analyzer's perf_analyzer: three windows of a second, each slept through 1.2 times.
WINDOW_S = 3.0
# Drift changes while a long sweep goes on: the windows of so many seconds share a recorded block.
DRIFT_S = 30.0
# Model Analyzer's seconds beside its windows, as `hcopt profile --dry-run` reckons with them (hcopt.sweep).
POINT_S, SWITCH_S, START_S = 1.3, 1.0, 18.0


@dataclass(frozen=True)
class Outcome:
    """What a search proposes, and what it cost."""

    variant: ModelConfigVariant | None
    load: LoadPoint | None
    load_s: float
    wall_s: float
    windows: int


def adaptive(plan: SweepPlan, replay: Replay, *, limit_ms: float | None, seed: int) -> Outcome:
    found = search(
        plan,
        measure=replay.measure,
        clock=replay.clock,
        settings=SearchSettings(latency_p99_limit_ms=limit_ms, seed=seed),
    )
    first = next((candidate for candidate in found.candidates if candidate.feasible), None)
    return Outcome(
        None if first is None else first.variant,
        None if first is None else first.load,
        replay.load_s,
        replay.wall_s,
        len(found.measurements),
    )


def analyzer_window(replay: Replay, variant: ModelConfigVariant, load: LoadPoint) -> Measurement:
    """One point as Model Analyzer measures it."""
    return replay.measure(variant, load, WINDOW_S, int(replay.load_s // DRIFT_S))


def brute(plan: SweepPlan, replay: Replay, *, limit_ms: float | None, passes: int) -> Outcome:
    measured = [
        analyzer_window(replay, variant, load)
        for _ in range(passes)
        for variant in plan.all_variants
        for load in plan.loads
        if load.client_batch_size <= max(1, variant.max_batch_size)
    ]
    ranked = rank(plan, measured, latency_p99_limit_ms=limit_ms).feasible
    wall_s = passes * START_S + replay.load_s + _beside_s(len(measured), plan, passes)
    first = ranked[0] if ranked else None
    return Outcome(first and first.variant, first and first.load, replay.load_s, wall_s, len(measured))


def _beside_s(points: int, plan: SweepPlan, passes: int) -> float:
    return points * POINT_S + passes * len(plan.all_variants) * SWITCH_S
