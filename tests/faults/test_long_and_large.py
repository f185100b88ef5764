"""Thousands of measurements, a large export and a night of faults: the short versions of what reliability.md lists.

Each runs as a program of its own, since memory is a matter of the process, and the virtual clock is too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from benchmarks.support.simulated_machine import FAULTS
from tests.support.command import REPOSITORY

# Of an export's size; a smaller one takes a larger share, since its requests are sorted the quick way.
EXPORT_SHARE = 0.2


def figures(module: str, *arguments: str) -> Any:
    program = [sys.executable, "-m", f"benchmarks.long_runs.{module}", *arguments, "--json"]
    ended = subprocess.run(program, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_sweep_of_five_thousand_measurements_stays_small_and_its_work_is_linear() -> None:
    found = figures("long_sweep", "--measurements", "5002", "--no-report")
    assert found["measurements"] >= 5000
    assert found["all_mb"] < 300
    # Of the last thousand by the first: exact counts, whatever the machine does.
    for what in ("written", "writes", "read", "reads"):
        assert found[f"{what}_ratio"] < 1.05, what
    assert found["bytes_written"] < 4 * found["line_bytes"]


def test_large_export_is_read_as_a_stream() -> None:
    found = figures("large_export", "--megabytes", "60")
    assert found["file_mb"] >= 60
    assert found["before_mb"] < 65
    assert found["peak_mb"] - found["before_mb"] < EXPORT_SHARE * found["file_mb"]


def test_night_of_faults_ends_with_every_measurement_accounted_for() -> None:
    (night,) = figures("faulty_night", "--no-report")
    assert night["unaccounted"] == []
    assert night["hours"] >= 8
    assert night["planned"] == night["done"] + night["failed"]
    assert night["failed"] > 0
    assert set(FAULTS) <= set(night["met"])
    assert night["interruptions"] == 2
