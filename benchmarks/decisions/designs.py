"""Which way to measure decides soonest: windows of fresh processes, or turns of several lengths.

The default against itself, and against a neighbour, on this machine as it is, beside a steady load and beside one that
comes and goes. The designs take turns themselves, a session of blocks each, so that all meet the same machine. Of each:
seconds a block, all included, the spread of a block's log ratio, and the seconds to an interval of ±2 % by the
classical and by the robust statistic.

.venv/bin/python -m benchmarks.decisions.designs --minutes 5 --set model.uri=model_repository/HomeCreditDefaultModel
"""

from __future__ import annotations

import argparse
import math
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median

from benchmarks.support.live import Live, live
from hcopt.analysis.blocks import Candidate, MeasureBlocks, in_windows
from hcopt.analysis.stats import robust_mean_and_deviation, standard_deviation
from hcopt.config.load import load_config
from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.turns.pace import Pace
from hcopt.measure.turns.taker import TurnTaker
from hcopt.model.repository import add_name
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant

GOAL = 0.02
TURNS = ((0.05, 8), (0.1, 4), (0.2, 2), (0.4, 1))
SESSION_BLOCKS = 6
BUSY = "while True: pass"
# Of a load that comes and goes: how long each of its times lasts.
DWELL_S = (5.0, 30.0)


@dataclass
class Found:
    """What one design measured of one pair: wall time, and the log ratios of throughput and p99 a block."""

    elapsed_s: float = 0.0
    ratios: list[float] = field(default_factory=list)
    p99_ratios: list[float] = field(default_factory=list)
    p99s_ms: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="of each load")
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    with live(load_config(Path("config.yaml"), overrides=options.set, environment={})) as server:
        pairs = _pairs(server)
        designs: dict[str, MeasureBlocks] = {"windows of 1 s": partial(_windows, server)}
        for turn_s, passes in TURNS:
            designs[f"{passes} × turns of {turn_s:g} s"] = partial(
                _turns, server, Pace(turn_s=turn_s, passes=passes, lead_s=0.01)
            )
        for name in options.loads:
            with LOADS[name]():
                _print(name, _measured(designs, pairs, 60 * options.minutes))


def _pairs(server: Live) -> dict[str, tuple[Candidate, Candidate]]:
    plan, load = server.prepared.plan, max(server.prepared.plan.loads, key=lambda one: one.concurrency)
    same = replace(plan.default, config_name="default_again")
    add_name(server.repository, server.prepared.artifact.name, same.config_name)
    other = max(plan.variants, key=lambda one: (one.instance_count, one.max_batch_size))
    default = Candidate(variant=plan.default, load=load)
    return {
        "itself": (default, Candidate(variant=same, load=load)),
        "neighbour": (default, Candidate(variant=other, load=load)),
    }


def _windows(server: Live, candidates: Sequence[Candidate], blocks: Sequence[int]) -> list[Measurement]:
    def measure(variant: ModelConfigVariant, load: LoadPoint, block: int) -> Measurement:
        window = Window(
            variant=variant, load=load, expected_infer_per_s=3000, window_s=1.0, phase="confirmation", block=block
        )
        return server.runner.measure(window)

    return in_windows(measure)(candidates, blocks)


def _turns(
    server: Live, pace: Pace, candidates: Sequence[Candidate], blocks: Sequence[int], *, reload: bool | None = None
) -> list[Measurement]:
    taker = TurnTaker(served=server.runner.served, perf_analyzer=server.runner.perf_analyzer, row_bytes=0)
    return taker.measure(candidates, blocks, pace=pace, reload=reload, phase="confirmation")


def _measured(
    designs: Mapping[str, MeasureBlocks], pairs: dict[str, tuple[Candidate, Candidate]], seconds: float
) -> dict[tuple[str, str], Found]:
    found: dict[tuple[str, str], Found] = defaultdict(Found)
    ends, first = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        for design, measure in random.sample(list(designs.items()), len(designs)):
            for pair, candidates in pairs.items():
                started = time.monotonic()
                taken = measure(candidates, range(first, first + SESSION_BLOCKS))
                of = found[design, pair]
                of.elapsed_s += time.monotonic() - started
                _add(of, candidates, taken)
        first += SESSION_BLOCKS
    return found


def _add(found: Found, candidates: Sequence[Candidate], taken: Sequence[Measurement]) -> None:
    by_block: dict[int, dict[str, Measurement]] = defaultdict(dict)
    for one in taken:
        if one.block is None or one.latency is None:
            raise SystemExit(f"a window failed: {one.error}")
        by_block[one.block][one.variant.config_name] = one
    for block in by_block.values():
        one, other = (block[candidate.variant.config_name] for candidate in candidates)
        assert one.throughput_infer_per_s and other.throughput_infer_per_s and one.latency and other.latency
        found.ratios.append(math.log(other.throughput_infer_per_s / one.throughput_infer_per_s))
        found.p99_ratios.append(math.log(other.latency.p99_ms / one.latency.p99_ms))
        found.p99s_ms.append(one.latency.p99_ms)


def _print(load: str, found: dict[tuple[str, str], Found]) -> None:
    print(f"\n{load}\n")
    print(
        "| pair | design | blocks | s a block | mean | SD | robust SD | to ±2 %, s | robust, s | SD of p99 | p99, ms |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for (design, pair), one in sorted(found.items(), key=lambda item: item[0][1]):
        block_s = one.elapsed_s / len(one.ratios)
        spreads = standard_deviation(one.ratios), robust_mean_and_deviation(one.ratios)[1]
        seconds = [block_s * (1.96 * spread / GOAL) ** 2 for spread in spreads]
        print(
            f"| {pair} | {design} | {len(one.ratios)} | {block_s:.2f} | {fmean(one.ratios):+.3f} | {spreads[0]:.3f} "
            f"| {spreads[1]:.3f} | {seconds[0]:.0f} | {seconds[1]:.0f} | {standard_deviation(one.p99_ratios):.3f} "
            f"| {median(one.p99s_ms):.1f} |",
            flush=True,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    yield


@contextmanager
def _beside(program: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield
    finally:
        process.kill()
        process.wait()


COMES_AND_GOES = f"""
import random, time
while True:
    busy_until = time.monotonic() + random.uniform{DWELL_S}
    while time.monotonic() < busy_until:
        pass
    time.sleep(random.uniform{DWELL_S})
"""
LOADS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "as it is": _quiet,
    "beside one busy process": partial(_beside, BUSY),
    "beside one that comes and goes": partial(_beside, COMES_AND_GOES),
}


if __name__ == "__main__":
    main()
