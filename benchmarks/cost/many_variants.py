"""Makes a finished run of 210 variants, on a simulated machine: what `report_time` draws.

A program of its own, since its clock is virtual for the whole process.

Usage: .venv/bin/python -m benchmarks.cost.many_variants RESULTS
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.support.virtual_clock import VirtualClock

CLOCK = VirtualClock()
CLOCK.install()

from benchmarks.support.simulated_machine import SimulatedMachine  # noqa: E402
from benchmarks.support.simulated_run import CountingProgress, run, simulated_config  # noqa: E402


def main(results: Path) -> None:
    # So that the report has failures to tell of.
    machine = SimulatedMachine(CLOCK, faults={"failed": 0.1})
    config = simulated_config(variants=200, concurrency=(8,))
    finished = run(machine, config, results=results, progress=CountingProgress(), report=False)
    print(finished.folder.path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
