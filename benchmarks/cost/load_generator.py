"""What the load generator takes: the perf_analyzer that hcopt brings, beside that of the installed tritonclient.

.venv/bin/python -m benchmarks.cost.load_generator --set model.uri=model_repository/HomeCreditDefaultModel
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks.support.live import Live, live
from benchmarks.support.tools import PassedOn, installed_perf_analyzer
from hcopt.config.load import load_config
from hcopt.measure.load.perf_analyzer import Window
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.system.process import Finished
from hcopt.triton.base import Tool

CONCURRENCIES = (1, 8, 32)


@dataclass(frozen=True)
class Watched(PassedOn):
    """A runtime's tools with a perf_analyzer of our choice, which tell the CPU time and the export of each window."""

    perf_analyzer: Path
    cpu_s: list[float] = field(default_factory=list)
    export_bytes: list[int] = field(default_factory=list)

    def program(self, tool: Tool) -> str:
        return str(self.perf_analyzer) if tool == "perf_analyzer" else self.tools.program(tool)

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
        # The Python of the tools runs a file, and so a shell script by one of its own.
        script = folder / "run.py"
        script.write_text("import os, sys\nos.execv(sys.argv[1], sys.argv[1:])\n", encoding="utf-8")
        words = [str(script), self.program(tool), *arguments]
        finished = self.tools.run("python3", words, folder=folder, log=log, timeout_s=timeout_s, on_line=on_line)
        self.cpu_s.append(finished.cpu_s or 0.0)
        export = Path(arguments[arguments.index("--profile-export-file") + 1])
        self.export_bytes.append(export.stat().st_size if export.exists() else 0)
        return finished


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--window", type=float, default=1.0, metavar="SECONDS")
    options = parser.parse_args()
    with live(load_config(Path("config.yaml"), overrides=options.set, environment={})) as server:
        tools = server.server.tools
        programs = Path(tools.program("perf_analyzer")), installed_perf_analyzer(tools)
        print(
            "| concurrency | throughput, own / installed | CPU a request, µs | export, bytes | start, end, reading, s |"
        )
        print("| ---: | ---: | ---: | ---: | ---: |")
        for concurrency in CONCURRENCIES:
            load = LoadPoint(concurrency=concurrency, client_batch_size=1)
            rounds = [[_measured(server, one, load, options) for one in programs] for _ in range(options.rounds)]
            print(_row(concurrency, rounds))


def _row(concurrency: int, rounds: Sequence[Sequence[Taken]]) -> str:
    ratios = sorted(own.rate / other.rate for own, other in rounds)
    low, high = ratios[len(ratios) // 4], ratios[-len(ratios) // 4]
    cells = [str(concurrency), f"{median(ratios):.2f} ({low:.2f}–{high:.2f})"]
    for name, digits in (("cpu_us", 0), ("export_bytes", 0), ("beside_s", 2)):
        sides = [median(getattr(one, name) for one in side) for side in zip(*rounds, strict=True)]
        cells.append(" and ".join(f"{value:,.{digits}f}" for value in sides))
    return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class Taken:
    """A window: infer/s, and of each request the client's CPU time and the size of its part of the export."""

    rate: float
    cpu_us: float
    export_bytes: float
    beside_s: float


def _measured(server: Live, program: Path, load: LoadPoint, options: argparse.Namespace) -> Taken:
    tools = Watched(server.server.tools, program)
    variant = server.prepared.plan.default
    server.runner.served.reload(variant)
    analyzer = replace(server.runner.perf_analyzer, tools=tools)
    window = Window(
        variant=variant,
        load=load,
        expected_infer_per_s=1000,
        window_s=options.window,
        phase="sweep",
        rate_is_known=False,
    )
    began = time.monotonic()
    measured: Measurement = analyzer.measure(window)
    if measured.throughput_infer_per_s is None:
        raise SystemExit(measured.error)
    requests = measured.throughput_infer_per_s * options.window
    return Taken(
        rate=measured.throughput_infer_per_s,
        cpu_us=1e6 * tools.cpu_s[-1] / requests,
        export_bytes=tools.export_bytes[-1] / requests,
        beside_s=time.monotonic() - began - options.window,
    )


if __name__ == "__main__":
    main()
