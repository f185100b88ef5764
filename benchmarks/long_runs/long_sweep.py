"""Memory and work of a sweep of thousands of measurements: hcopt's own pipeline on a simulated machine.

Usage: .venv/bin/python -m benchmarks.long_runs.long_sweep [--measurements 5000] [--no-report] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.support.virtual_clock import VirtualClock

CLOCK = VirtualClock()
CLOCK.install()

from benchmarks.long_runs.process_figures import Work, peak_mb, read_work  # noqa: E402
from benchmarks.support.simulated_machine import SimulatedMachine  # noqa: E402
from benchmarks.support.simulated_run import CountingProgress, memory_folder, run, simulated_config  # noqa: E402
from hcopt.records.measurement import Measurement  # noqa: E402
from hcopt.store.measurements import FILE_NAME  # noqa: E402

CONCURRENCY = (8, 32)
_SLICE = 1000


@dataclass(frozen=True)
class Mark:
    """Where the process stood after so many measurements of the sweep."""

    count: int
    wall_s: float
    cpu_s: float
    work: Work


class Marks:
    """Takes a mark at the start, and after each thousandth measurement of the sweep."""

    def __init__(self) -> None:
        self.taken: list[Mark] = []
        self.sweep_peak_mb = 0.0
        self._swept = 0

    def tell(self, measurement: Measurement) -> None:
        if measurement.phase != "sweep":
            return
        self._swept += 1
        # The first point also pays for imports.
        if self._swept % _SLICE == 1:
            self.taken.append(Mark(self._swept, time.perf_counter(), time.process_time(), read_work()))
        self.sweep_peak_mb = peak_mb()

    def slice(self, number: int) -> Mark:
        """What one thousand took: 0 is the first, -1 the last whole one."""
        before, after = self.taken[number - 1 if number < 0 else number], self.taken[number if number < 0 else 1]
        return Mark(
            after.count - before.count,
            after.wall_s - before.wall_s,
            after.cpu_s - before.cpu_s,
            after.work.since(before.work),
        )


@dataclass(frozen=True)
class Figures:
    """What came out; memory in MB (10⁶ bytes).

    Attributes:
        import_mb: Highest memory before the job.
        sweep_mb: Highest memory up to the end of the sweep.
        all_mb: Highest memory of all, the report included where one was made.
        children_mb: Highest memory of a process that draws or lays out the report, or of this one when it started that.
        seconds_ratio: Seconds of the last thousand measurements by those of the first.
        cpu_ratio: The same of CPU time.
        written_ratio: The same of bytes written, and so on.
        bytes_written: For each measurement, by hcopt and the stand-ins.
    """

    measurements: int
    import_mb: float
    sweep_mb: float
    all_mb: float
    children_mb: float
    seconds_ratio: float
    cpu_ratio: float
    written_ratio: float
    writes_ratio: float
    read_ratio: float
    reads_ratio: float
    bytes_written: float
    line_bytes: float


def figures(measurements: int, *, report: bool) -> Figures:
    import_mb = peak_mb()
    marks, machine = Marks(), SimulatedMachine(CLOCK)
    config = simulated_config(variants=measurements // len(CONCURRENCY), concurrency=CONCURRENCY)
    with tempfile.TemporaryDirectory(dir=memory_folder()) as results:
        progress = CountingProgress(marks.tell)
        finished = run(machine, config, results=Path(results), progress=progress, report=report)
        line_bytes = (finished.folder.path / FILE_NAME).stat().st_size / len(finished.record.measurements)
        planned = finished.record.plan.measurement_count
    first, last = marks.slice(0), marks.slice(-1)
    return Figures(
        measurements=planned,
        import_mb=import_mb,
        sweep_mb=marks.sweep_peak_mb,
        all_mb=peak_mb(),
        children_mb=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6,
        seconds_ratio=last.wall_s / first.wall_s,
        cpu_ratio=last.cpu_s / first.cpu_s,
        written_ratio=last.work.written_bytes / first.work.written_bytes,
        writes_ratio=last.work.writes / first.work.writes,
        read_ratio=last.work.read_bytes / first.work.read_bytes,
        reads_ratio=last.work.reads / first.work.reads,
        bytes_written=last.work.written_bytes / last.count,
        line_bytes=line_bytes,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measurements", type=int, default=5000)
    parser.add_argument("--no-report", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    began_s = time.perf_counter()
    found = figures(given.measurements, report=not given.no_report)
    if given.json:
        print(json.dumps(asdict(found)))
        return
    for name, value in asdict(found).items():
        print(f"{name:16} {value:10,.2f}")
    print(f"{'seconds':16} {time.perf_counter() - began_s:10,.2f}")


if __name__ == "__main__":
    main()
