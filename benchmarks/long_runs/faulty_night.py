"""Eight simulated hours in which things go wrong at random: in the morning every measurement is accounted for.

Windows fail, hang, are cut or slow; servers die and refuse to load; somebody sets the clock; hcopt itself is ended and
resumed. The pipeline is hcopt's own, the machine is simulated (`simulated_machine`).

Usage: .venv/bin/python -m benchmarks.long_runs.faulty_night [--seed 0 …] [--hours 8] [--no-report] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.support.virtual_clock import VirtualClock

CLOCK = VirtualClock()
CLOCK.install()

from benchmarks.support.simulated_machine import FAULTS, SLOW_FACTOR, SimulatedMachine  # noqa: E402
from benchmarks.support.simulated_run import CountingProgress, memory_folder, run, simulated_config  # noqa: E402
from hcopt.config.sections import Config  # noqa: E402
from hcopt.errors import InterruptedRunError  # noqa: E402
from hcopt.job.run import FinishedRun  # noqa: E402
from hcopt.records.measurement import Measurement  # noqa: E402
from hcopt.store.measurements import is_usable, read_measurements  # noqa: E402
from hcopt.store.unfinished import Unfinished, latest_unfinished  # noqa: E402

CONCURRENCY = (1, 2, 4, 8, 16, 32, 64, 128)
# With windows of eight seconds a point takes this long, faults included.
_POINT_S = 30.0
_INTERVAL_MS = 8000
# What noise there is around the simulated truth, generously.
_NOISE_FACTOR = 1.5


@dataclass(frozen=True)
class Night:
    """How a night went.

    Attributes:
        hours: On the virtual clock.
        windows: That were begun, further tries included.
        planned: What summary.json says, as the next two.
        met: Windows by the fault that they met.
        interruptions: Times that hcopt was ended and resumed.
        unaccounted: Whatever is lost, double, without a reason, or a figure that is not of this machine.
    """

    seed: int
    hours: float
    windows: int
    planned: int
    done: int
    failed: int
    met: dict[str, int]
    interruptions: int
    verdict: str
    unaccounted: tuple[str, ...]


def night(seed: int, *, hours: float = 8.0, report: bool = True) -> Night:
    drawn = random.Random(seed)
    began_s = CLOCK.now_s
    points = int(3600 * hours / _POINT_S)
    config = simulated_config(
        variants=points // len(CONCURRENCY),
        concurrency=CONCURRENCY,
        seed=seed,
        minutes=10,
        profiler={"seed": seed, "measurement_interval_ms": _INTERVAL_MS},
    )
    # Once in the sweep, and once close to its end or after it.
    ends = (drawn.randrange(20, points // 3), drawn.randrange(points - points // 50, points + 60))
    machine = SimulatedMachine(CLOCK, seed=seed, faults=FAULTS, interrupted_after=ends)
    progress = CountingProgress()
    with tempfile.TemporaryDirectory(dir=memory_folder()) as results:
        finished, interruptions = _to_the_end(machine, config, Path(results), progress, report=report)
        summary = json.loads(finished.folder.summary.read_text(encoding="utf-8"))["measurements"]
        unaccounted = tuple(_unaccounted(finished, machine, progress.count, summary))
    return Night(
        seed=seed,
        hours=(CLOCK.now_s - began_s) / 3600,
        windows=machine.windows,
        **summary,
        met=dict(machine.met),
        interruptions=interruptions,
        verdict=finished.record.confirmation.verdict,
        unaccounted=unaccounted,
    )


def _to_the_end(
    machine: SimulatedMachine, config: Config, results: Path, progress: CountingProgress, *, report: bool
) -> tuple[FinishedRun, int]:
    """Runs, and goes on after each interruption."""

    def attempt(unfinished: Unfinished | None) -> FinishedRun | None:
        try:
            return run(machine, config, results=results, progress=progress, unfinished=unfinished, report=report)
        except InterruptedRunError:
            return None

    interruptions, finished = 0, attempt(None)
    while finished is None:
        interruptions += 1
        unfinished, _ = latest_unfinished(config, results=results)
        assert unfinished is not None
        finished = attempt(unfinished)
    return finished, interruptions


def _unaccounted(finished: FinishedRun, machine: SimulatedMachine, told: int, summary: dict[str, int]) -> Iterator[str]:
    taken = read_measurements(finished.folder.path)
    if taken != finished.record.measurements:
        yield "measurements.jsonl is not what the run goes by"
    if told != len(taken):
        yield f"{told} measurements were told of, and {len(taken)} are recorded"
    if not summary["planned"] == summary["done"] + summary["failed"] == len(taken):
        yield f"{summary} of {len(taken)} recorded"
    plan = finished.record.plan
    swept = Counter((m.variant.config_name, m.load) for m in taken if m.phase == "sweep")
    planned = Counter((variant.config_name, load) for variant in plan.all_variants for load in plan.loads)
    if swept != planned:
        yield f"the sweep has {(planned - swept).total()} points too few and {(swept - planned).total()} too many"
    blocks = Counter((m.variant.config_name, m.load, m.block) for m in taken if m.phase == "confirmation")
    if any(count > 1 for count in blocks.values()):
        yield "a window of the confirmation was measured twice"
    for m in taken:
        if not _is_sound(m, machine, finished.folder.output_models):
            yield f"{m.phase}, {m.variant.config_name}, {m.load}: {m.error or m.throughput_infer_per_s}"


def _is_sound(m: Measurement, machine: SimulatedMachine, configs: Path) -> bool:
    """A failure has its reason; figures are those of this machine, or of a slow window of it."""
    if m.error is not None or m.throughput_infer_per_s is None or m.latency is None:
        return bool(m.error and m.error.strip())
    if not is_usable(m.throughput_infer_per_s, m.latency.avg_ms, m.latency.p99_ms):
        return False
    if not m.load.concurrency:
        return True
    config = (configs / m.variant.config_name / "config.pbtxt").read_text(encoding="utf-8")
    ratio = m.throughput_infer_per_s / machine.rate(config, m.load.concurrency)
    return 1 / SLOW_FACTOR / _NOISE_FACTOR < ratio < _NOISE_FACTOR


def _table(nights: Sequence[Night]) -> Iterator[str]:
    faults = sorted({name for one in nights for name in one.met} - {"none"})
    head = ["seed", "hours", "windows", "planned", "measured", "failed", "resumed", *faults, "unaccounted"]
    yield f"| {' | '.join(head)} |"
    yield f"|{' ---: |' * len(head)}"
    for one in nights:
        figures = [one.seed, f"{one.hours:.1f}", one.windows, one.planned, one.done, one.failed, one.interruptions]
        figures += [one.met.get(name, 0) for name in faults]
        yield f"| {' | '.join(map(str, figures))} | {len(one.unaccounted)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--no-report", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    began_s = time.perf_counter()
    nights = [night(seed, hours=given.hours, report=not given.no_report) for seed in given.seed]
    if given.json:
        print(json.dumps([asdict(one) for one in nights]))
        return
    print("\n".join(_table(nights)))
    for one in nights:
        for line in one.unaccounted[:20]:
            print(f"seed {one.seed}: {line}")
    print(f"{time.perf_counter() - began_s:.0f} s")


if __name__ == "__main__":
    main()
