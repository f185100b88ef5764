"""What the embedded onnxruntime backend costs: its throughput beside an identity model on the same Python backend.

The identity model returns zeros of the right shape, so it is the most that a Python-based backend can reach. Both are
loaded into one server and measured in turn, one perf_analyzer process a window, throughput from the timestamps. Only
neighbouring windows are compared: a ratio a pair of windows, and the median of the ratios. Each window waits, for a
minute at most, until nobody else uses the machine: what others do costs the two models unequally.

    PYTHONPATH=src python benchmarks/cost/backend_overhead.py --blocks 21
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from hcopt.store import measurements
from hcopt.system import process
from hcopt.triton.base import Server
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.runtime import EmbeddedRuntime

SAMPLE = Path(__file__).parents[2] / "model_repository" / "HomeCreditDefaultModel"
SERVED, IDENTITY = "served", "identity"
WARM_UP_RATIO = 0.1
TIMEOUT_S = 20.0
IDLE_CPU_PERCENT, IDLE_WAIT_S = 15.0, 60.0
# Three time windows, stable whatever they show: with --request-count perf_analyzer waits for ever where it drops the
# answers that come before it has set its counters up. Its default input is random bits, and one NaN empties the export.
FLAGS = "-i grpc --async --input-data zero --measurement-mode time_windows --stability-percentage 1e6"
TRIALS, OVERRUN_RATIO = 3, 1.2
IDENTITY_CODE = """
import numpy as np
import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            rows = pb.get_input_tensor_by_name(request, "input").as_numpy().shape[0]
            responses.append(pb.InferenceResponse([pb.Tensor("output", np.zeros((rows, 1), np.float32))]))
        return responses
"""


@dataclass(frozen=True)
class Point:
    concurrency: int
    batch: int


@dataclass(frozen=True)
class Row:
    point: Point
    served: list[float]
    identity: list[float]

    @property
    def ratios(self) -> list[float]:
        return [one / other for one, other in zip(self.served, self.identity, strict=True)]


def build_repository(folder: Path, sample: Path) -> None:
    config = (sample / "config.pbtxt").read_text()
    shutil.copytree(sample / "1", folder / SERVED / "1")
    (folder / SERVED / "config.pbtxt").write_text(config.replace(sample.name, SERVED))
    (folder / IDENTITY / "1").mkdir(parents=True)
    (folder / IDENTITY / "1" / "model.py").write_text(IDENTITY_CODE)
    as_python = config.replace(sample.name, IDENTITY).replace('platform: "onnxruntime_onnx"', 'backend: "python"')
    (folder / IDENTITY / "config.pbtxt").write_text(as_python)


class Bench:
    def __init__(self, server: Server, folder: Path, window_s: float) -> None:
        self.server = server
        self.folder = folder
        self.window_s = window_s
        self.count = 0

    def throughput(self, model: str, point: Point) -> float:
        """Inferences per second of one window."""
        wait_until_idle()
        self.count += 1
        export, log = self.folder / f"{self.count}.json", self.folder / "perf_analyzer.log"
        interval_ms = round(self.window_s * 1000 / TRIALS / OVERRUN_RATIO)
        arguments = ["-m", model, "-u", self.server.endpoint.grpc, *FLAGS.split()]
        arguments += ["--measurement-interval", str(interval_ms), "--profile-export-file", str(export)]
        arguments += ["-b", str(point.batch), "--concurrency-range", str(point.concurrency)]
        finished = self.server.tools.run("perf_analyzer", arguments, folder=self.folder, log=log, timeout_s=TIMEOUT_S)
        if finished.returncode != 0:
            raise SystemExit(f"perf_analyzer ended with {finished.returncode}: {process.last_lines(log)}")
        samples = measurements.read_export(export, warm_up_ratio=WARM_UP_RATIO)
        export.unlink()
        return measurements.figures(samples, client_batch_size=point.batch).throughput_infer_per_s

    def row(self, point: Point, blocks: int) -> Row:
        found: dict[str, list[float]] = {SERVED: [], IDENTITY: []}
        for block in range(blocks):
            for model in (SERVED, IDENTITY) if block % 2 else (IDENTITY, SERVED):
                found[model].append(self.throughput(model, point))
        return Row(point, found[SERVED], found[IDENTITY])


def wait_until_idle() -> None:
    deadline = time.monotonic() + IDLE_WAIT_S
    while psutil.cpu_percent(interval=0.25) > IDLE_CPU_PERCENT and time.monotonic() < deadline:
        pass


def table(rows: Sequence[Row]) -> str:
    lines = [
        "| concurrency | client batch | embedded infer/s | identity infer/s | ratio: median (quartiles) | windows |",
        "| ---: | ---: | ---: | ---: | :---: | ---: |",
    ]
    for row in rows:
        low, middle, high = statistics.quantiles(row.ratios, n=4)
        served, identity = statistics.median(row.served), statistics.median(row.identity)
        lines.append(
            f"| {row.point.concurrency} | {row.point.batch} | {served:,.0f} | {identity:,.0f} "
            f"| {middle:.3f} ({low:.3f}–{high:.3f}) | {len(row.served)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=11, help="pairs of windows a point")
    parser.add_argument("--window", type=float, default=0.8, help="length of a window in s")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--model", type=Path, default=SAMPLE, help="folder with 1/model.onnx and config.pbtxt")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_repository(folder / "repository", options.model)
        with EmbeddedRuntime().serve(folder / "repository", folder) as server, ModelControl(server.endpoint) as control:
            for model in (SERVED, IDENTITY):
                control.load(model)
            bench = Bench(server, folder, options.window)
            points = [Point(concurrency, batch) for batch in options.batch for concurrency in options.concurrency]
            rows = [bench.row(point, options.blocks) for point in points]
            print(f"{server.environment}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
