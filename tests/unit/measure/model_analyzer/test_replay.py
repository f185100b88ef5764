"""Model Analyzer's own code on a replay: what it visits lies in the recording, and what it proposes was measured."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.analyzer.config import MODES, Mode
from benchmarks.analyzer.in_process import AnalyzerRun, profile
from benchmarks.analyzer.stand_in import Grid
from benchmarks.analyzer.stand_in_perf_analyzer import asked
from benchmarks.recordings.replay import Replay, Truth
from benchmarks.recordings.synthetic import synthetic
from benchmarks.search.rivals import model_analyzer, repeated_brute
from hcopt.records.measurement import LoadPoint

KNOWN = Truth(synthetic(8))
PLAN = KNOWN.recording.plan
LIMIT_MS = KNOWN.recording.limit_ms


def replay(seed: int = 0) -> Replay:
    return Replay(KNOWN, seed=seed, noise_ratio=0.03)


def run(mode: Mode, *, seed: int = 0, limit_ms: float = LIMIT_MS, process_s: float = 3.7) -> AnalyzerRun:
    return profile(PLAN, replay(), mode, limit_ms=limit_ms, seed=seed, process_s=process_s)


@pytest.mark.parametrize("mode", MODES)
def test_winner_is_the_fastest_visit_within_the_limit(mode: Mode) -> None:
    found = run(mode)
    assert all(visit.variant.settings in KNOWN.rows and visit.load in KNOWN.columns for visit in found.visits)
    kept = [
        (measured.throughput_infer_per_s or 0.0, visit.variant.settings, visit.load.concurrency)
        for visit, measured in zip(found.visits, found.measurements, strict=True)
        if measured.latency is not None and measured.latency.p99_ms <= LIMIT_MS
    ]
    assert found.winner is not None
    assert max(kept)[1:] == (found.winner.variant.settings, found.winner.load.concurrency)


def test_brute_measures_the_whole_plan_in_its_order() -> None:
    visited = [(visit.variant.settings, visit.load) for visit in run("brute").visits]
    planned = [(variant.settings, load) for variant in PLAN.all_variants for load in PLAN.loads]
    assert visited == planned


def test_quick_stays_at_the_defaults_queue_delay() -> None:
    assert {visit.variant.max_queue_delay_us for visit in run("quick").visits} == {PLAN.default.max_queue_delay_us}


def test_no_winner_where_nothing_keeps_the_limit() -> None:
    assert run("brute", limit_ms=0.001).winner is None


def test_clock_counts_whole_polls_of_perf_analyzer_and_the_waits() -> None:
    """Two seconds before the first load, one for each load, and polls of a second until 3.7 s or 0.7 s are over."""
    loads, points = len(PLAN.all_variants), len(PLAN.all_variants) * len(PLAN.loads)
    assert run("brute").clock_s == 2 + loads + 4 * points
    assert run("brute", process_s=0.7).clock_s == 2 + loads + points


def test_seed_decides_what_optuna_visits() -> None:
    known = Truth(synthetic(60))

    def visits(seed: int) -> Sequence[object]:
        answers = Replay(known, seed=0, noise_ratio=0.03)
        return profile(known.recording.plan, answers, "optuna", limit_ms=known.recording.limit_ms, seed=seed).visits

    assert visits(3) == visits(3)
    assert visits(3) != visits(4)


def test_run_leaves_working_directory_and_interrupt_as_they_were() -> None:
    before = Path.cwd(), signal.getsignal(signal.SIGINT), dict(os.environ)
    run("quick")
    assert (Path.cwd(), signal.getsignal(signal.SIGINT), dict(os.environ)) == before


def test_quick_that_walks_past_its_bounds_ends_with_what_it_measured() -> None:
    """Nothing changes beyond the largest values allowed, which stay the best: the real one walks on."""
    known = Truth(synthetic(60, seed=1))
    answers = Replay(known, seed=1, noise_ratio=None)
    found = profile(known.recording.plan, answers, "quick", limit_ms=known.recording.limit_ms, seed=1)
    assert found.died
    assert found.winner is not None


def test_three_passes_cost_three_times_one() -> None:
    one = model_analyzer(PLAN, replay(), limit_ms=LIMIT_MS, seed=0, mode="brute")
    three = repeated_brute(PLAN, replay(), limit_ms=LIMIT_MS, seed=0, passes=3)
    assert three.windows == 3 * one.windows
    assert three.wall_s == pytest.approx(3 * one.wall_s)
    assert three.variant is not None


@pytest.mark.parametrize(("concurrency", "nearest"), [(1, 8), (15, 8), (17, 32), (999, 32)])
def test_load_beside_the_grid_is_answered_by_the_nearest(concurrency: int, nearest: int) -> None:
    assert Grid(PLAN).load(1, concurrency) == LoadPoint(concurrency=nearest)


def test_perf_analyzers_command_line_is_read() -> None:
    wanted = asked(["perf_analyzer", "-m", "M", "-b", "2", "-f", "M-results.csv", "--concurrency-range", "8:8"])
    assert (wanted.client_batch_size, wanted.concurrency, wanted.report) == (2, 8, Path("M-results.csv"))
