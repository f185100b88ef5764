r"""The head-to-head: searches on replays of recordings, as a Markdown table and a chart.

OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.search.head_to_head benchmarks/recordings/*.npz --replays 100 \
    --out rows.json
OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.search.head_to_head --synthetic 60 250 1000 4000 --replays 20 \
    --methods adaptive
OMP_NUM_THREADS=1 .venv/bin/python -m benchmarks.search.head_to_head benchmarks/recordings/sample.npz --grid config.yaml
.venv/bin/python -m benchmarks.search.head_to_head --rows rows.json more.json --chart search.svg

`--grid` plays only that part of a recording which a configuration's sweep has. `--rows` takes what earlier invocations
stored with `--out`; table and chart hold those rows and the new ones. A winner that breaks the limit is worth nothing:
its share counts as 0. So does no winner.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from benchmarks.recordings.recording import part_of, read
from benchmarks.recordings.replay import Replay, Truth
from benchmarks.recordings.synthetic import synthetic
from benchmarks.search import alternatives, rivals
from benchmarks.search.rivals import Outcome
from benchmarks.search.rows import HEAD, Row, line
from hcopt.config.load import load_config

SYNTHETIC_TRUTHS = 10

METHODS: dict[str, Callable[..., Outcome]] = {
    "brute": partial(rivals.model_analyzer, mode="brute"),
    "brute×3": partial(rivals.repeated_brute, passes=3),
    "quick": partial(rivals.model_analyzer, mode="quick"),
    "optuna": partial(rivals.model_analyzer, mode="optuna"),
    "adaptive": rivals.adaptive,
    "halving": alternatives.halving,
    "tpe": alternatives.tpe,
}


@dataclass(frozen=True)
class Case:
    """One replay; `source` is a file, or a number of variants of a synthetic recording, `grid` a configuration."""

    source: str
    noise_ratio: float | None
    method: str
    seed: int
    grid: Path | None = None


@dataclass(frozen=True)
class Result:
    share: float
    breaks: bool
    load_s: float
    wall_s: float
    windows: int


def main() -> None:
    options = _options()
    rows = [row for file in options.rows for row in TypeAdapter(list[Row]).validate_json(file.read_bytes())]
    print(HEAD)
    for row in rows:
        print(line(row))
    for row in _played(options):
        print(line(row), flush=True)
        rows.append(row)
    if options.out:
        options.out.write_text(json.dumps([asdict(row) for row in rows], indent=1, ensure_ascii=False) + "\n")
    if options.chart:
        # Not for the table alone: Altair takes a while.
        from benchmarks.search.chart import write_chart

        write_chart(rows, options.chart)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--synthetic", nargs="*", type=int, default=[], metavar="VARIANTS")
    parser.add_argument("--grid", type=Path, metavar="CONFIG")
    parser.add_argument("--replays", type=int, default=100)
    parser.add_argument("--noise", nargs="*", default=["own", "0.03"])
    parser.add_argument(
        "--methods", nargs="*", default=["brute", "brute×3", "quick", "optuna", "adaptive"], choices=METHODS
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rows", nargs="*", type=Path, default=[], metavar="FILE")
    parser.add_argument("--out", type=Path, metavar="FILE")
    parser.add_argument("--chart", type=Path, metavar="FILE")
    return parser.parse_args()


def _played(options: argparse.Namespace) -> Iterator[Row]:
    sources = [*map(str, options.recordings), *map(str, options.synthetic)]
    with ProcessPoolExecutor(options.jobs) as pool:
        for source in sources:
            for noise in options.noise:
                for method in options.methods:
                    ratio = None if noise == "own" else float(noise)
                    cases = [Case(source, ratio, method, seed, options.grid) for seed in range(options.replays)]
                    yield _row(cases[0], list(pool.map(play, cases, chunksize=5)))


@cache
def _truth(source: str, grid: Path | None, number: int) -> Truth:
    recording = synthetic(int(source), seed=number) if source.isdecimal() else read(Path(source))
    return Truth(recording if grid is None else part_of(recording, load_config(grid, environment={}).sweep))


def play(case: Case) -> Result:
    truth = _truth(case.source, case.grid, case.seed % SYNTHETIC_TRUTHS if case.source.isdecimal() else 0)
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


def _row(case: Case, results: list[Result]) -> Row:
    truth = _truth(case.source, case.grid, 0)
    shares = [result.share for result in results]
    part = "" if case.grid is None else f", grid of {case.grid.name}"
    return Row(
        recording=f"synthetic {case.source}" if case.source.isdecimal() else Path(case.source).stem + part,
        points=int(truth.log_throughput.size),
        noise_ratio=truth.noise if case.noise_ratio is None else case.noise_ratio,
        own_noise=case.noise_ratio is None,
        method=case.method,
        replays=len(results),
        share_median=float(np.median(shares)),
        share_p5=float(np.quantile(shares, 0.05)),
        breaks_ratio=float(np.mean([result.breaks for result in results])),
        load_s=float(np.mean([result.load_s for result in results])),
        wall_s=float(np.mean([result.wall_s for result in results])),
        windows=float(np.mean([result.windows for result in results])),
    )


if __name__ == "__main__":
    main()
