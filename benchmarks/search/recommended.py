r"""What a search and the confirmation recommend together, on replays: its share of the best within the limit.

A search proposes: the adaptive one, with a bold finalist and without, Model Analyzer's brute and quick mode, or as
many windows at random points as the adaptive search takes at most. Then the confirmation's own code looks at windows
that are drawn from the recording, with the default budget, and replaces what it refutes.

OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.search.recommended benchmarks/recordings/*.npz --replays 50 --jobs 2
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.analyzer.config import Mode
from benchmarks.analyzer.in_process import profile
from benchmarks.recordings.recording import read
from benchmarks.recordings.replay import Replay, Truth
from benchmarks.search.rivals import analyzer_wall_s
from hcopt.analysis.ranking import rank
from hcopt.config.sections import Config
from hcopt.measure.confirmation import confirm_finalists
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.search.grid import grid_of
from hcopt.measure.search.order import rank_windows
from hcopt.measure.search.search import most_windows, search
from hcopt.measure.search.values import SearchSettings
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import Measurement
from hcopt.records.verdict import Ranking
from hcopt.store.replay import Replay as Known

HEAD = (
    "| recording | noise | proposed by | share of the best: median | 5th percentile | breaks the limit | search, s "
    "| confirmation, s | rounds |\n| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)

# What a search says, and its wall time in s.
Proposed = tuple[Ranking, float]


@dataclass(frozen=True)
class Result:
    """Of one replay; a recommendation that breaks the limit is worth nothing."""

    share: float
    breaks: bool
    search_s: float
    confirmation_s: float
    rounds: int


@dataclass(frozen=True)
class _Windows:
    replay: Replay

    def reload(self, _: object) -> None:
        pass

    def forget_all(self) -> None:
        pass

    def measure(self, window: Window) -> Measurement:
        found = self.replay.measure(window.variant, window.load, window.window_s, 10_000 + (window.block or 0))
        return replace(found, phase=window.phase, block=window.block)


@cache
def _truth(source: Path) -> Truth:
    return Truth(read(source))


def _adaptive(truth: Truth, replay: Replay, seed: int, *, bold: bool) -> Proposed:
    recording = truth.recording
    settings = SearchSettings(latency_p99_limit_ms=recording.limit_ms, seed=seed)
    measured = search(recording.plan, measure=replay.measure, clock=replay.clock, settings=settings)
    ranking = rank_windows(recording.plan, measured, latency_p99_limit_ms=recording.limit_ms)
    return ranking if bold else replace(ranking, bold=None), replay.wall_s


def _model_analyzer(truth: Truth, replay: Replay, seed: int, *, mode: Mode) -> Proposed:
    recording = truth.recording
    run = profile(recording.plan, replay, mode, limit_ms=recording.limit_ms, seed=seed)
    return rank(recording.plan, run.measurements, latency_p99_limit_ms=recording.limit_ms), analyzer_wall_s([run])


def _at_random(truth: Truth, replay: Replay, seed: int) -> Proposed:
    """The default at each load, as it is what the confirmation compares with, and random points."""
    recording, random = truth.recording, np.random.default_rng(seed)
    grid, window_s = grid_of(recording.plan), SearchSettings(latency_p99_limit_ms=None).window_s
    default, others = np.flatnonzero(grid.owner == 0), np.flatnonzero(grid.owner != 0)
    count = min(len(others), most_windows(len(grid)) - len(default))
    points = [*default.tolist(), *random.choice(others, count, replace=False).tolist()]
    measured = [
        replay.measure(grid.variant(point), grid.loads[point], window_s, block) for block, point in enumerate(points)
    ]
    return rank(recording.plan, measured, latency_p99_limit_ms=recording.limit_ms), replay.wall_s


SEARCHES: dict[str, Callable[[Truth, Replay, int], Proposed]] = {
    "adaptive, safe": partial(_adaptive, bold=False),
    "adaptive": partial(_adaptive, bold=True),
    "brute": partial(_model_analyzer, mode="brute"),
    "quick": partial(_model_analyzer, mode="quick"),
    "random": _at_random,
}


def play(source: Path, seed: int, *, noise_ratio: float | None, proposed_by: str) -> Result:
    truth = _truth(source)
    recording, replay = truth.recording, Replay(truth, seed=seed, noise_ratio=noise_ratio)
    ranking, search_s = SEARCHES[proposed_by](truth, replay, seed)
    began, windows, refuted = replay.wall_s, _Windows(replay), list[object]()
    runner = WindowRunner(
        served=windows,  # type: ignore[arg-type]
        perf_analyzer=windows,  # type: ignore[arg-type]
        restart_server_if_dead=lambda: None,
        context=RunContext(note=refuted.append, replay=Known(monotonic=replay.clock)),
    )
    config = Config.model_validate({"constraints": {"latency_p99_ms": recording.limit_ms}})
    found = confirm_finalists(runner, recording.plan, ranking, config, window_s=0.4)
    best = found.best
    kept = best is not None and truth.keeps_limit(best.variant, best.load)
    share = truth.share(best.variant, best.load) if best is not None and kept else 0.0
    return Result(share, best is not None and not kept, search_s, replay.wall_s - began, 1 + len(refuted))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--replays", type=int, default=50)
    parser.add_argument("--noise", nargs="*", default=["own", "0.03"])
    parser.add_argument("--searches", nargs="*", default=list(SEARCHES), choices=SEARCHES)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    print(HEAD)
    with ProcessPoolExecutor(options.jobs) as pool:
        for source in options.recordings:
            for noise in options.noise:
                for name in options.searches:
                    played: Callable[[int], Result] = partial(
                        play, source, noise_ratio=None if noise == "own" else float(noise), proposed_by=name
                    )
                    results = list(pool.map(played, range(options.replays), chunksize=2))
                    print(f"| {source.stem} | {noise} | {name} | {_line(results)} |", flush=True)


def _line(results: Sequence[Result]) -> str:
    shares = [one.share for one in results]
    ratios = median(shares), float(np.quantile(shares, 0.05)), _mean(one.breaks for one in results)
    times = median(one.search_s for one in results), median(one.confirmation_s for one in results)
    cells = [f"{ratio:.1%}" for ratio in ratios] + [f"{seconds:.0f}" for seconds in times]
    return " | ".join([*cells, f"{_mean(one.rounds for one in results):.2f}"])


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


if __name__ == "__main__":
    main()
