"""What a short window costs beside its load: perf_analyzer's own share, and the gap between windows of two variants.

.venv/bin/python -m benchmarks.cost.window_cost --set model.uri=model_repository/HomeCreditDefaultModel
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.support.live import Live, live
from benchmarks.support.tools import PassedOn
from hcopt.config.load import load_config
from hcopt.measure.load.perf_analyzer import Window
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.store.measurements import read_samples
from hcopt.system.process import Finished
from hcopt.triton.base import Tool

WINDOWS_S = (0.2, 0.3, 0.4, 0.5, 0.6, 1.0, 2.0, 3.0)
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


@dataclass(frozen=True)
class TimedTools(PassedOn):
    """A runtime's tools that remember how long each process lived."""

    elapsed_s: list[float] = field(default_factory=list)

    def run(
        self,
        tool: Tool,
        arguments: Sequence[str],
        *,
        folder: Path,
        log: Path,
        timeout_s: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        finished = self.tools.run(tool, arguments, folder=folder, log=log, timeout_s=timeout_s, on_line=on_line)
        self.elapsed_s.append(finished.elapsed_s)
        return finished


def _process(server: Live, window_s: float) -> tuple[float, float]:
    """Medians of the seconds under load and of perf_analyzer's life, for windows of one variant that is loaded."""
    variant, load = server.prepared.plan.default, server.prepared.plan.loads[-1]
    server.runner.served.reload(variant)
    tools = TimedTools(server.server.tools)
    perf_analyzer = replace(server.runner.perf_analyzer, tools=tools)
    loads = [_load_s(server, perf_analyzer.measure, _window(variant, load, window_s)) for _ in range(ROUNDS)]
    return median(loads), median(tools.elapsed_s)


def _gaps(server: Live) -> list[float]:
    """From one measurement's beginning to the next one's, less the load: what lies between two variants' requests."""
    plan, gaps = server.prepared.plan, []
    for variant in islice(cycle(plan.variants), SWITCHES):
        started = time.monotonic()
        load_s = _load_s(server, server.runner.measure, _window(variant, plan.loads[-1], 0.5))
        gaps.append(time.monotonic() - started - load_s)
    return gaps[1:]


def _window(variant: ModelConfigVariant, load: LoadPoint, window_s: float) -> Window:
    return Window(variant=variant, load=load, expected_infer_per_s=3000, window_s=window_s, phase="sweep")


def _load_s(server: Live, measure: Callable[[Window], Measurement], window: Window) -> float:
    """Seconds from the first request to the last one."""
    measured = measure(window)
    if measured.samples_file is None:
        raise SystemExit(measured.error)
    return read_samples(server.folder / measured.samples_file).end_ns / 1e9


if __name__ == "__main__":
    main()
