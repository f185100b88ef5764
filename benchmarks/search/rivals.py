"""The adaptive search and Model Analyzer on the same replay: what each proposes, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.analyzer.config import Mode
from benchmarks.analyzer.in_process import AnalyzerRun, profile
from benchmarks.recordings.replay import Replay
from hcopt.analysis.ranking import rank
from hcopt.measure.search.order import rank_windows
from hcopt.measure.search.search import search
from hcopt.measure.search.values import SearchSettings
from hcopt.records.measurement import LoadPoint, SweepPlan
from hcopt.records.model import ModelConfigVariant

# What Model Analyzer's virtual clock cannot know: imports and reports, and CPU time for each point, as in the quietest
# runs of benchmarks.analyzer.validation; the server's own time for a load (benchmarks/README.md, first section).
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
    measured = search(
        plan,
        measure=replay.measure,
        clock=replay.clock,
        settings=SearchSettings(latency_p99_limit_ms=limit_ms, seed=seed),
    )
    ranked = rank_windows(plan, measured, latency_p99_limit_ms=limit_ms).feasible
    variant, load = (ranked[0].variant, ranked[0].load) if ranked else (None, None)
    return Outcome(variant, load, replay.load_s, replay.wall_s, len(measured))


def model_analyzer(plan: SweepPlan, replay: Replay, *, limit_ms: float | None, seed: int, mode: Mode) -> Outcome:
    """One run: its own best measurement within the limit."""
    run = profile(plan, replay, mode, limit_ms=limit_ms, seed=seed)
    place = None if run.winner is None else (run.winner.variant, run.winner.load)
    return _outcome(place, replay, [run])


def repeated_brute(plan: SweepPlan, replay: Replay, *, limit_ms: float | None, seed: int, passes: int) -> Outcome:
    """Several runs of brute mode. Model Analyzer does not join runs: hcopt ranks the means of all."""
    runs = [profile(plan, replay, "brute", limit_ms=limit_ms, seed=seed) for _ in range(passes)]
    measured = [measurement for run in runs for measurement in run.measurements]
    ranked = rank(plan, measured, latency_p99_limit_ms=limit_ms).feasible
    place = (ranked[0].variant, ranked[0].load) if ranked else None
    return _outcome(place, replay, runs)


def _outcome(
    place: tuple[ModelConfigVariant, LoadPoint] | None, replay: Replay, runs: Sequence[AnalyzerRun]
) -> Outcome:
    variant, load = place or (None, None)
    windows = sum(len(run.measurements) for run in runs)
    return Outcome(variant, load, replay.load_s, analyzer_wall_s(runs), windows)


def analyzer_wall_s(runs: Sequence[AnalyzerRun]) -> float:
    """What runs of Model Analyzer would have taken, with what its virtual clock cannot know."""
    return sum(START_S + POINT_S * len(run.measurements) + SWITCH_S * run.loads + run.clock_s for run in runs)
