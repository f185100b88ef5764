"""The adaptive search and Model Analyzer on the same replay: what each proposes, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.analyzer import AnalyzerRun, profile
from benchmarks.analyzer_config import Mode
from benchmarks.replay import Replay
from hcopt.ranking import rank
from hcopt.schema import LoadPoint, ModelConfigVariant, SweepPlan
from hcopt.search.search import search
from hcopt.search.values import SearchSettings

# What Model Analyzer's virtual clock cannot know: imports and reports, and CPU time for each point, as in the quietest
# runs of benchmarks.analyzer_validation; the server's own time for a load (benchmarks/README.md, first section).
START_S, POINT_S, SWITCH_S = 8.0, 0.15, 0.2


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


def model_analyzer(plan: SweepPlan, replay: Replay, *, limit_ms: float | None, seed: int, mode: Mode) -> Outcome:
    """One run: its own best measurement within the limit."""
    run = profile(plan, replay, mode, limit_ms=limit_ms, seed=seed)
    winner = run.winner
    return _outcome(winner and winner.variant, winner and winner.load, replay, [run])


def repeated_brute(plan: SweepPlan, replay: Replay, *, limit_ms: float | None, seed: int, passes: int) -> Outcome:
    """Several runs of brute mode. Model Analyzer does not join runs: hcopt ranks the means of all."""
    runs = [profile(plan, replay, "brute", limit_ms=limit_ms, seed=seed) for _ in range(passes)]
    measured = [measurement for run in runs for measurement in run.measurements]
    ranked = rank(plan, measured, latency_p99_limit_ms=limit_ms).feasible
    first = ranked[0] if ranked else None
    return _outcome(first and first.variant, first and first.load, replay, runs)


def _outcome(
    variant: ModelConfigVariant | None, load: LoadPoint | None, replay: Replay, runs: Iterable[AnalyzerRun]
) -> Outcome:
    runs = tuple(runs)
    wall_s = sum(START_S + run.clock_s + POINT_S * len(run.measurements) + SWITCH_S * run.loads for run in runs)
    return Outcome(variant, load, replay.load_s, wall_s, sum(len(run.measurements) for run in runs))
