"""What a short window costs beside its load: perf_analyzer's own share, and the gap between windows of two variants.

.venv/bin/python -m benchmarks.window_cost --set model.uri=model_repository/HomeCreditDefaultModel
"""

from __future__ import annotations

import argparse
import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.live import Live, live
from hcopt.config import load_config
from hcopt.measurements import read_samples
from hcopt.profiler.perf_analyzer import Window
from hcopt.schema import LoadPoint, ModelConfigVariant

WINDOWS_S = (0.2, 0.3, 0.5, 1.0, 2.0, 3.0)
ROUNDS = 8
SWITCHES = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    with live(load_config(Path("config.yaml"), overrides=options.set, environment={})) as server:
        print("| asked for, s | load, s | process, s | load / process |\n| ---: | ---: | ---: | ---: |")
        for window_s in WINDOWS_S:
            load_s, process_s = _process(server, window_s)
            print(f"| {window_s:g} | {load_s:.2f} | {process_s:.2f} | {load_s / process_s:.0%} |")
        gaps = _gaps(server)
        print(
            f"\nlast request to first of the next variant, {len(gaps)} switches: median {median(gaps):.2f} s, "
            f"95th percentile {np.quantile(gaps, 0.95):.2f} s, longest {max(gaps):.2f} s"
        )


def _process(server: Live, window_s: float) -> tuple[float, float]:
    """Medians of the seconds under load and of the whole process, for windows of one variant that is loaded."""
    variant, load = server.prepared.plan.default, server.prepared.plan.loads[-1]
    server.bench.served.switch_to(variant)
    found = []
    for _ in range(ROUNDS):
        started = time.monotonic()
        load_s = _load_s(server, variant, load, window_s, fresh=False)
        found.append((load_s, time.monotonic() - started))
    loads, walls = zip(*found, strict=True)
    return median(loads), median(walls)


def _gaps(server: Live) -> list[float]:
    """From one measurement's beginning to the next one's, less the load: what lies between two variants' requests."""
    plan, gaps = server.prepared.plan, []
    for variant in islice(cycle(plan.variants), SWITCHES):
        started = time.monotonic()
        load_s = _load_s(server, variant, plan.loads[-1], 0.5, fresh=True)
        gaps.append(time.monotonic() - started - load_s)
    return gaps[1:]


def _load_s(server: Live, variant: ModelConfigVariant, load: LoadPoint, window_s: float, *, fresh: bool) -> float:
    """Seconds from the first request to the last one."""
    window = Window(variant=variant, load=load, expected_infer_per_s=3000, window_s=window_s, phase="sweep")
    measured = (server.bench if fresh else server.bench.perf_analyzer).measure(window)
    if measured.samples_file is None:
        raise SystemExit(measured.error)
    return read_samples(server.folder / measured.samples_file).end_ns / 1e9


if __name__ == "__main__":
    main()
