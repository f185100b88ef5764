"""Where the time of one run goes: reads a finished run's files and prints a Markdown table.

./run_analyzer.sh && .venv/bin/python benchmarks/cost/where_time_goes.py results
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

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


def rows(record: RunRecord, interval_s: float) -> list[tuple[str, float]]:
    sweep = [m for m in record.measurements if m.phase == "sweep" and m.error is None]
    confirmation = [m for m in record.measurements if m.phase == "confirmation" and m.error is None]
    windows_s = len(sweep) * WINDOWS_A_MEASUREMENT * interval_s
    load_s = sum(m.duration_s or 0.0 for m in confirmation)
    elapsed = record.elapsed_s
    return [
        ("fetching the model, planning", elapsed.get("fetch", 0.0)),
        ("starting Triton", elapsed.get("serve", 0.0)),
        ("noise: the default against itself", elapsed.get("noise", 0.0)),
        ("sweep: windows", windows_s),
        ("sweep: Model Analyzer's start, waits, switches, report", elapsed["sweep"] - windows_s),
        ("confirmation: load", load_s),
        (
            "confirmation: memory of the finalists, warm-up of turns, switches, perf_analyzer's start and end",
            elapsed["confirmation"] - load_s,
        ),
        ("capacity: requests at random times", elapsed.get("open_loop", 0.0)),
        ("report", elapsed.get("report", 0.0)),
        ("logging to MLflow", elapsed.get("log", 0.0)),
    ]


if __name__ == "__main__":
    main()
