r"""The search phase of both profilers on a real server, one run after the other, as a Markdown table.

Both are `hcopt profile` as a user starts it, with everything after the ranking cut short; what counts is `elapsed_s`
of the sweep in `run.json`: after the A/A gate, up to the ranking.

.venv/bin/python -m benchmarks.search.live_search --rounds 3 --set model.uri=model_repository/HomeCreditDefaultModel \
    --set sweep.intra_op_thread_count=[]
.venv/bin/python -m benchmarks.search.live_search --set model.uri=model_repository/HomeCreditDefaultModel \
    --set sweep.max_batch_size=[4,8,16,32] --set sweep.instance_count=[1,2,3,4] --set sweep.intra_op_thread_count=[] \
    --set sweep.max_queue_delay_us=[0,100,500,1000,2000] --set sweep.concurrency=[4,8,16,32]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hcopt.records.run import RunRecord
from hcopt.store.run_folder import find_run, read_record

PROFILERS = ("adaptive", "model-analyzer")
CUT_SHORT = ("confirmation.max_minutes=1", "capacity.max_minutes=0")
HCOPT = Path(sys.executable).with_name("hcopt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    print("| round | profiler | search, s | windows | winner | verdict | throughput ratio to the default |")
    print("| ---: | --- | ---: | ---: | --- | --- | ---: |", flush=True)
    for number in range(1, options.rounds + 1):
        taken = {}
        for profiler in PROFILERS if number % 2 else PROFILERS[::-1]:
            record = _run(profiler, options.set)
            taken[profiler] = record.elapsed_s["sweep"]
            print(f"| {number} | {profiler} | {' | '.join(_cells(record))} |", flush=True)
        print(f"| {number} | ratio | {taken['adaptive'] / taken['model-analyzer']:.3f} | | | | |", flush=True)


def _run(profiler: str, settings: list[str]) -> RunRecord:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        given = [argument for setting in (*CUT_SHORT, *settings) for argument in ("--set", setting)]
        argv = [str(HCOPT), "profile", "--profiler", profiler, "--output", temporary, *given]
        ended = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        try:
            return read_record(find_run(temporary, results=folder))
        except Exception:
            print(ended.stdout[-2000:], file=sys.stderr)
            raise


def _cells(record: RunRecord) -> Iterator[str]:
    windows = sum(m.phase == "sweep" for m in record.measurements)
    first = record.ranking.ranked[0].variant
    change = record.confirmation.improvement
    yield f"{record.elapsed_s['sweep']:.1f}"
    yield str(windows)
    yield f"{first.max_batch_size}, {first.instance_count}, {first.max_queue_delay_us} µs"
    yield record.confirmation.verdict
    yield "" if change is None else f"{change.throughput_ratio.estimate:.3f}"


if __name__ == "__main__":
    main()
