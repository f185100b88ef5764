"""What the backends of the embedded Triton cost: the native one beside the Python-based one and an identity model.

Two servers run at once, one with each backend; the identity model, which returns zeros of the right shape, is the most
that a Python-based backend can reach. All three are measured in turn, one perf_analyzer process a window, throughput
from the timestamps, the server's CPU time beside it. Only windows of one round are compared: a ratio a round, and the
median of the ratios. Each window waits for some time until nobody else uses the machine (`--patience`): what others do
costs the models unequally.

Then what a switch from variant to variant costs (a load that replaces the one before, and the first answer after it),
and what variants cost that stay loaded.

    .venv/bin/python -m benchmarks.cost.backend_overhead --rounds 21
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import psutil
from tritonclient.grpc import InferenceServerClient, InferInput

from hcopt.model.repository import add_name
from hcopt.store import measurements
from hcopt.system import process
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.backends import NativeBackendError
from hcopt.triton.embedded.runtime import EmbeddedRuntime, EmbeddedServer

SAMPLE = Path(__file__).parents[2] / "model_repository" / "HomeCreditDefaultModel"
SERVED, IDENTITY = "served", "identity"
WARM_UP_RATIO = 0.1
TIMEOUT_S = 20.0
IDLE_CPU_PERCENT = 15.0
# Three time windows, stable whatever they show: with --request-count perf_analyzer waits for ever where it drops the
# answers that come before it has set its counters up. Its default input is random bits, and one NaN empties the export.
FLAGS = "-i grpc --async --input-data zero --measurement-mode time_windows --stability-percentage 1e6"
TRIALS, OVERRUN_RATIO = 3, 1.2
LOADS = "1x1 4x1 16x1 32x1 16x8"
SWITCHES, KEPT = 15, 100
_US = 1e6
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
class Load:
    concurrency: int
    rows: int

    @classmethod
    def parse(cls, text: str) -> Load:
        concurrency, rows = text.split("x")
        return cls(int(concurrency), int(rows))


@dataclass(frozen=True)
class Target:
    """A model on a server."""

    server: EmbeddedServer
    model: str


@dataclass(frozen=True)
class Window:
    infer_per_s: float
    cpu_us: float


def build_repository(folder: Path, sample: Path) -> None:
    config = (sample / "config.pbtxt").read_text()
    shutil.copytree(sample / "1", folder / SERVED / "1")
    (folder / SERVED / "config.pbtxt").write_text(config.replace(sample.name, SERVED))
    (folder / IDENTITY / "1").mkdir(parents=True)
    (folder / IDENTITY / "1" / "model.py").write_text(IDENTITY_CODE)
    as_python = config.replace(sample.name, IDENTITY).replace('platform: "onnxruntime_onnx"', 'backend: "python"')
    (folder / IDENTITY / "config.pbtxt").write_text(as_python)


def no_native_backend() -> NoReturn:
    raise NativeBackendError("measured beside it")


@contextmanager
def servers(folder: Path, sample: Path) -> Iterator[tuple[EmbeddedServer, EmbeddedServer]]:
    """One with the native backend, one with the Python-based one."""
    with ExitStack() as stack:
        found = []
        for name, runtime in (
            ("native", EmbeddedRuntime()),
            ("python", EmbeddedRuntime(find_native_backend=no_native_backend)),
        ):
            build_repository(folder / name / "repository", sample)
            found.append(stack.enter_context(runtime.serve(folder / name / "repository", folder / name)))
        yield found[0], found[1]


def measure(target: Target, load: Load, *, folder: Path, window_s: float, patience_s: float) -> Window:
    wait_until_idle(patience_s)
    export, log = folder / "export.json", folder / "perf_analyzer.log"
    interval_ms = round(window_s * 1000 / TRIALS / OVERRUN_RATIO)
    arguments = ["-m", target.model, "-u", target.server.endpoint.grpc, *FLAGS.split()]
    arguments += ["--measurement-interval", str(interval_ms), "--profile-export-file", str(export)]
    arguments += ["-b", str(load.rows), "--concurrency-range", str(load.concurrency)]
    with ModelControl(target.server.endpoint) as control:
        before, cpu_before = control.statistics(target.model).inference_count, cpu_s(target.server)
        finished = target.server.tools.run("perf_analyzer", arguments, folder=folder, log=log, timeout_s=TIMEOUT_S)
        after, cpu_after = control.statistics(target.model).inference_count, cpu_s(target.server)
    if finished.returncode != 0:
        raise SystemExit(f"perf_analyzer ended with {finished.returncode}: {process.last_lines(log)}")
    samples = measurements.read_export(export, warm_up_ratio=WARM_UP_RATIO)
    export.unlink()
    return Window(
        measurements.figures(samples, client_batch_size=load.rows).throughput_infer_per_s,
        _US * (cpu_after - cpu_before) / max(1, after - before),
    )


def cpu_s(server: EmbeddedServer) -> float:
    """CPU time of a server and of its backend's processes."""
    leader = psutil.Process(server.process.pid)
    times = [one.cpu_times() for one in (leader, *leader.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def wait_until_idle(patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while psutil.cpu_percent(interval=0.25) > IDLE_CPU_PERCENT and time.monotonic() < deadline:
        pass


def throughput_table(
    targets: Mapping[str, Target], loads: Sequence[Load], rounds: int, measured: Callable[[Target, Load], Window]
) -> str:
    first, *others = targets
    lines = [
        "| concurrency × rows | "
        + " | ".join(f"{name}, infer/s (server CPU µs)" for name in targets)
        + " | "
        + " | ".join(f"{first} / {other}: median (quartiles)" for other in others)
        + " |",
        "| --- |" + " ---: |" * (2 * len(targets) - 1),
    ]
    for load in loads:
        found: dict[str, list[Window]] = {name: [] for name in targets}
        for number in range(rounds):
            for name in list(targets) if number % 2 else reversed(list(targets)):
                found[name].append(measured(targets[name], load))
        cells = [
            f"{statistics.median(one.infer_per_s for one in windows):,.0f} "
            f"({statistics.median(one.cpu_us for one in windows):.0f})"
            for windows in found.values()
        ]
        for other in others:
            pairs = zip(found[first], found[other], strict=True)
            low, middle, high = statistics.quantiles((a.infer_per_s / b.infer_per_s for a, b in pairs), n=4)
            cells.append(f"{middle:.2f} ({low:.2f}–{high:.2f})")
        lines.append(f"| {load.concurrency} × {load.rows} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def switch_table(found: Mapping[str, EmbeddedServer]) -> str:
    lines = ["| ms, median | " + " | ".join(found) + " |", "| --- |" + " ---: |" * len(found)]
    times = {name: switch_ms(server) for name, server in found.items()}
    for index, what in enumerate(("a switch (a load in the place of another)", "first answer after it")):
        cells = [f"{statistics.median(pair[index] for pair in pairs):.1f}" for pairs in times.values()]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def switch_ms(server: EmbeddedServer) -> list[tuple[float, float]]:
    found = []
    with ModelControl(server.endpoint) as control, InferenceServerClient(server.endpoint.grpc) as client:
        configs = [with_batch(control, size) for size in (8, 16)]
        inputs = zeros(client)
        for number in range(SWITCHES):
            began = time.perf_counter()
            control.load(SERVED, configs[number % 2])
            loaded = time.perf_counter()
            client.infer(SERVED, inputs)
            found.append((1000 * (loaded - began), 1000 * (time.perf_counter() - loaded)))
    return found


def with_batch(control: ModelControl, max_batch_size: int, name: str = SERVED) -> str:
    # What the Python-based backend is called by, which its own load does not take.
    config = {key: value for key, value in json.loads(control.active_config(SERVED)).items() if key != "runtime"}
    return json.dumps({**config, "name": name, "max_batch_size": max_batch_size, "dynamic_batching": {}})


def zeros(client: InferenceServerClient) -> list[InferInput]:
    inputs = []
    for tensor in client.get_model_metadata(SERVED).inputs:
        one = InferInput(tensor.name, [1, *(abs(size) for size in tensor.shape[1:])], tensor.datatype)
        one.set_data_from_numpy(np.zeros(one.shape(), np.float32))
        inputs.append(one)
    return inputs


def kept_mb(server: EmbeddedServer, repository: Path, count: int) -> tuple[float, float]:
    """Memory (PSS) that one loaded variant and `count` loaded variants take over a server with none."""
    with ModelControl(server.endpoint) as control:
        config = with_batch(control, 8)
        for model in (SERVED, IDENTITY):
            control.unload(model)
        control.wait_for_unloads([SERVED, IDENTITY])
        empty = pss_mb(server)
        found = []
        for number in range(count):
            name = f"variant_{number}"
            add_name(repository, SERVED, name)
            control.load(name, json.dumps({**json.loads(config), "name": name}))
            if number in (0, count - 1):
                found.append(pss_mb(server) - empty)
    return found[0], found[-1]


def pss_mb(server: EmbeddedServer) -> float:
    leader = psutil.Process(server.process.pid)
    return sum(one.memory_full_info().pss for one in (leader, *leader.children(recursive=True))) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11, help="of a window of each model, for each load")
    parser.add_argument("--window", type=float, default=0.8, help="length of a window in s")
    parser.add_argument("--patience", type=float, default=60.0, help="longest wait of a window for quiet, in s")
    parser.add_argument("--loads", default=LOADS, help="concurrency x rows a request, e.g. '16x8'")
    parser.add_argument("--kept", type=int, default=KEPT, help="variants that stay loaded")
    parser.add_argument("--model", type=Path, default=SAMPLE, help="folder with 1/model.onnx and config.pbtxt")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with servers(folder, options.model) as (native, python):
            targets = {
                "native": Target(native, SERVED),
                "Python-based": Target(python, SERVED),
                "identity": Target(python, IDENTITY),
            }
            for target in targets.values():
                with ModelControl(target.server.endpoint) as control:
                    control.load(target.model)
            print(f"{native.environment}\n")
            loads = [Load.parse(text) for text in options.loads.split()]
            measured = partial(measure, folder=folder, window_s=options.window, patience_s=options.patience)
            print(throughput_table(targets, loads, options.rounds, measured), end="\n\n", flush=True)
            print(switch_table({"native": native, "Python-based": python}), end="\n\n", flush=True)
            one, many = kept_mb(native, folder / "native" / "repository", options.kept)
            print(f"Kept loaded, native: one variant {one:.1f} MB, {options.kept} variants {many:.1f} MB (PSS).")


if __name__ == "__main__":
    main()
