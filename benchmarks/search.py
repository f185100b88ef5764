"""The head-to-head: searches on replays of recordings, as a Markdown table.

OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.search benchmarks/recordings/*.npz --replays 100
OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.search --synthetic 60 250 1000 4000 --methods adaptive --replays 20

A winner that breaks the limit is worth nothing: its share counts as 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from benchmarks import alternatives, rivals
from benchmarks.analyzer_optuna import optuna_search
from benchmarks.recording import read
from benchmarks.replay import Replay, Truth
from benchmarks.rivals import Outcome
from benchmarks.synthetic import synthetic

SYNTHETIC_TRUTHS = 10


def _brute(plan: object, replay: Replay, *, limit_ms: float | None, seed: int, passes: int) -> Outcome:
    del seed
    return rivals.brute(plan, replay, limit_ms=limit_ms, passes=passes)  # type: ignore[arg-type]


METHODS: dict[str, Callable[..., Outcome]] = {
    "brute": partial(_brute, passes=1),
    "brute×3": partial(_brute, passes=3),
    "optuna": optuna_search,
    "adaptive": rivals.adaptive,
    "halving": alternatives.halving,
    "tpe": alternatives.tpe,
}


@dataclass(frozen=True)
class Case:
    """One replay; `source` is a file, or a number of variants of a synthetic recording."""

    source: str
    noise_ratio: float | None
    method: str
    seed: int


@dataclass(frozen=True)
class Result:
    share: float
    breaks: bool
    load_s: float
    wall_s: float
    windows: int


def main() -> None:
    options = _options()
    sources = [*map(str, options.recordings), *map(str, options.synthetic)]
    print(
        "| recording | points | noise | search | share of the best: median | 5th percentile | breaks the limit | "
        "measuring, s | wall, s | windows |"
    )
    print("| --- | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with ProcessPoolExecutor(options.jobs) as pool:
        for source, noise, method in _rows(sources, options):
            cases = [Case(source, noise, method, seed) for seed in range(options.replays)]
            print(_row(cases[0], list(pool.map(play, cases, chunksize=5))), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--synthetic", nargs="*", type=int, default=[], metavar="VARIANTS")
    parser.add_argument("--replays", type=int, default=100)
    parser.add_argument("--noise", nargs="*", default=["own", "0.03"])
    parser.add_argument("--methods", nargs="*", default=["brute", "brute×3", "optuna", "adaptive"], choices=METHODS)
    parser.add_argument("--jobs", type=int, default=1)
    return parser.parse_args()


def _rows(sources: list[str], options: argparse.Namespace) -> Iterator[tuple[str, float | None, str]]:
    for source in sources:
        for noise in options.noise:
            for method in options.methods:
                yield source, None if noise == "own" else float(noise), method


@cache
def _truth(source: str, number: int) -> Truth:
    return Truth(synthetic(int(source), seed=number) if source.isdecimal() else read(Path(source)))


def play(case: Case) -> Result:
    truth = _truth(case.source, case.seed % SYNTHETIC_TRUTHS if case.source.isdecimal() else 0)
    replay = Replay(truth, seed=case.seed, noise_ratio=case.noise_ratio)
    recording = truth.recording
    found = METHODS[case.method](recording.plan, replay, limit_ms=recording.limit_ms, seed=case.seed)
    kept = found.variant is not None and found.load is not None and truth.keeps_limit(found.variant, found.load)
    return Result(
        share=truth.share(found.variant, found.load) if kept and found.variant and found.load else 0.0,
        breaks=found.variant is not None and not kept,
        load_s=found.load_s,
        wall_s=found.wall_s,
        windows=found.windows,
    )


def _row(case: Case, results: list[Result]) -> str:
    truth = _truth(case.source, 0)
    shares = [result.share for result in results]
    noise = f"{truth.noise:.0%} (own)" if case.noise_ratio is None else f"{case.noise_ratio:.0%}"
    points = truth.log_throughput.size
    cells = (
        Path(case.source).stem if not case.source.isdecimal() else f"synthetic {case.source}",
        str(points),
        noise,
        case.method,
        f"{np.median(shares):.1%}",
        f"{np.quantile(shares, 0.05):.1%}",
        f"{np.mean([result.breaks for result in results]):.1%}",
        f"{np.mean([result.load_s for result in results]):.0f}",
        f"{np.mean([result.wall_s for result in results]):.0f}",
        f"{np.mean([result.windows for result in results]):.0f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
