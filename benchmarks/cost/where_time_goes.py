"""Where the time of one run goes: reads a finished run's files and prints a Markdown table.

./run_analyzer.sh && .venv/bin/python benchmarks/cost/where_time_goes.py results
"""

from __future__ import annotations

import re
import sys
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from hcopt.records.measurement import Measurement
from hcopt.records.run import RunRecord
from hcopt.store.run_folder import find_run, read_record

WINDOWS_A_MEASUREMENT = 3


def main() -> None:
    folder = find_run(sys.argv[1] if len(sys.argv) > 1 else "results", results=Path("results"))
    record = read_record(folder)
    interval_s = float(re.search(r"measurement-interval: (\d+)", (folder.path / "analyzer.yaml").read_text())[1]) / 1000  # type: ignore[index]
    total_s = sum(record.elapsed_s.values())
    print("| part | s | share |\n| --- | ---: | ---: |")
    for name, seconds in rows(record, interval_s):
        print(f"| {name} | {seconds:.1f} | {seconds / total_s:.0%} |")
    print(f"| **all** | **{total_s:.1f}** | 100% |")
    print(f"\nlongest gap between two windows of the confirmation (switch included): {longest_gap_s(record):.2f} s")


def rows(record: RunRecord, interval_s: float) -> list[tuple[str, float]]:
    sweep = [m for m in record.measurements if m.phase == "sweep" and m.error is None]
    confirmation = [m for m in record.measurements if m.phase == "confirmation" and m.error is None]
    windows_s = len(sweep) * WINDOWS_A_MEASUREMENT * interval_s
    load_s = sum(m.duration_s or 0.0 for m in confirmation)
    elapsed = record.elapsed_s
    return [
        ("fetching the model, planning", elapsed.get("fetch", 0.0)),
        ("starting Triton", elapsed.get("serve", 0.0)),
        ("sweep: windows", windows_s),
        ("sweep: Model Analyzer's start, waits, switches, report", elapsed["sweep"] - windows_s),
        ("confirmation: load", load_s),
        ("confirmation: perf_analyzer's start and end, switches", elapsed["confirmation"] - load_s),
        ("report", elapsed.get("report", 0.0)),
        ("logging to MLflow", elapsed.get("log", 0.0)),
    ]


def longest_gap_s(record: RunRecord) -> float:
    """Start to start, less the load of the window between: what is not load."""
    taken = [m for m in record.measurements if m.phase == "confirmation"]
    return max((_gap_s(one, following) for one, following in pairwise(taken)), default=0.0)


def _gap_s(one: Measurement, following: Measurement) -> float:
    passed = datetime.fromisoformat(following.started_at) - datetime.fromisoformat(one.started_at)
    return passed.total_seconds() - (one.duration_s or 0.0)


if __name__ == "__main__":
    main()
