r"""What a search and the confirmation recommend together, on replays: its share of the best within the limit.

The search proposes, with a bold finalist and without one; then the confirmation's own code looks at
windows that are drawn from the recording, with the default budget, and replaces what it refutes.

OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.search.recommended benchmarks/recordings/*.npz --replays 50 --jobs 2
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.recordings.recording import read
from benchmarks.recordings.replay import Replay, Truth
from hcopt.config.sections import Config
from hcopt.measure.confirmation import confirm_finalists
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.search.order import rank_windows
from hcopt.measure.search.search import search
from hcopt.measure.search.values import SearchSettings
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import Measurement
from hcopt.store.replay import Replay as Known


@dataclass(frozen=True)
class Result:
    """Of one replay; a recommendation that breaks the limit is worth nothing."""

    share: float
    breaks: bool
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


def play(source: Path, seed: int, *, noise_ratio: float | None, cautious: bool) -> Result:
    truth = _truth(source)
    recording, replay = truth.recording, Replay(truth, seed=seed, noise_ratio=noise_ratio)
    settings = SearchSettings(latency_p99_limit_ms=recording.limit_ms, seed=seed)
    measured = search(recording.plan, measure=replay.measure, clock=replay.clock, settings=settings)
    ranking = rank_windows(recording.plan, measured, latency_p99_limit_ms=recording.limit_ms)
    if cautious:
        ranking = replace(ranking, bold=None)
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
    return Result(share, best is not None and not kept, replay.wall_s - began, 1 + len(refuted))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--replays", type=int, default=50)
    parser.add_argument("--noise", nargs="*", default=["own", "0.03"])
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    heads = "share: median", "5th percentile", "breaks the limit", "confirmation, s", "rounds"
    print(f"| recording | noise | finalists | {' | '.join(heads)} |\n| --- | --- | --- |{' ---: |' * len(heads)}")
    with ProcessPoolExecutor(options.jobs) as pool:
        for source in options.recordings:
            for noise in options.noise:
                for cautious in (True, False):
                    played: Callable[[int], Result] = partial(
                        play, source, noise_ratio=None if noise == "own" else float(noise), cautious=cautious
                    )
                    _print(
                        source, noise, list(pool.map(played, range(options.replays), chunksize=2)), cautious=cautious
                    )


def _print(source: Path, noise: str, results: list[Result], *, cautious: bool) -> None:
    shares = [one.share for one in results]
    print(
        f"| {source.stem} | {noise} | {'safe' if cautious else 'bold and safe'} | {median(shares):.1%} "
        f"| {np.quantile(shares, 0.05):.1%} | {sum(one.breaks for one in results) / len(results):.1%} "
        f"| {median(one.confirmation_s for one in results):.0f} | {np.mean([one.rounds for one in results]):.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
