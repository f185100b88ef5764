"""A Triton, a Model Analyzer and a perf_analyzer of which nothing runs: figures by a formula, time on a virtual clock.

They do to hcopt what the real ones do: lines of output, reports, configurations and exports as files, deaths. What goes
wrong is drawn from a seed. The pipeline, and all that it writes, is hcopt's own.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks.support.virtual_clock import VirtualClock
from hcopt.errors import RuntimeStartError
from hcopt.job import stages
from hcopt.records.measurement import Backend, Environment
from hcopt.store.measurements import NO_ANSWER
from hcopt.system.process import Finished
from hcopt.triton.base import Endpoint, Tool
from hcopt.triton.choose import Choice
from hcopt.triton.control import ModelStatistics

Fault = Literal["none", "failed", "hung", "cut", "slow", "died", "refused", "clock"]
# How often a window meets each; what is left meets none.
FAULTS: Mapping[Fault, float] = {
    "failed": 0.03,
    "hung": 0.01,
    "cut": 0.02,
    "slow": 0.05,
    "died": 0.01,
    "refused": 0.05,
    "clock": 0.02,
}
SLOW_FACTOR = 8.0
# perf_analyzer sleeps through 1.2 times each of three windows, and starts in 0.1 s.
_WINDOWS, _OVERRUN, _START_S = 3, 1.2, 0.1
_LOAD_S = 0.2
_HIGHEST_RATE = 400.0
_DIED = "tritonserver has ended by itself with -9"
_ENDPOINT = Endpoint(grpc="simulated:1", http="simulated:2", metrics_url="http://simulated:3/metrics")
_ENVIRONMENT = Environment(
    runtime="simulated",
    backend=Backend(name="simulated", implementation="native"),
    triton_version="2.51.0",
    onnxruntime_version=None,
    perf_analyzer_version="2.51.0",
    cpu_model="simulated",
    cpu_count=2,
    cpuset="0-1",
    memory_mb=8192,
    governor=None,
    hcopt_version="0.1.0",
)
# What a clock says today.
_EPOCH_NS = 1_795_000_000_000_000_000
_CSV = (
    "Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,"
    "Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency,Avg latency"
)


class Interruption(KeyboardInterrupt):
    """Somebody ends hcopt."""


@dataclass
class SimulatedMachine:
    """What there is to measure, and what goes wrong.

    Attributes:
        clock: Moves with every window.
        seed: Of the faults and the noise.
        faults: Probability of each fault in a window; none at all by default.
        interrupted_after: hcopt is ended after so many windows, each time.
        met: Windows by the fault that they met.
        windows: Windows that were asked for, further tries included.
    """

    clock: VirtualClock
    seed: int = 0
    faults: Mapping[Fault, float] = field(default_factory=dict)
    interrupted_after: Sequence[int] = ()
    met: Counter[str] = field(default_factory=Counter)
    windows: int = 0
    dead: bool = False
    loaded: str | None = None
    suspected: str | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._interruptions = list(self.interrupted_after)

    def rate(self, config: str, concurrency: int) -> float:
        """True throughput in infer/s: more with every instance and every request under way, up to an end."""
        instances = int(_value(config, "count", "1"))
        batch = int(_value(config, "max_batch_size", "1"))
        ceiling = _HIGHEST_RATE * (1 - math.exp(-instances / 2)) * (1 - math.exp(-batch / 8))
        return ceiling * concurrency / (concurrency + 2)

    def window(self, lasts_s: float) -> Fault:
        """A window goes by; returns what it met."""
        if self._interruptions and self.windows >= self._interruptions[0]:
            self._interruptions.pop(0)
            raise Interruption("ended by a simulated SIGTERM")
        self.windows += 1
        fault = self._drawn()
        self.met[fault] += 1
        self.clock.sleep(_START_S + lasts_s)
        if fault == "clock":
            self.clock.set_by_s += self._random.choice((-3600.0, -2.0, -0.3, 0.3, 2.0, 3600.0))
        self.dead = self.dead or fault == "died"
        return fault

    def noisy(self, rate: float) -> float:
        return rate * math.exp(self._random.gauss(0, 0.03))

    def refuses(self) -> bool:
        """Whether a load of a model fails; drawn apart from the windows."""
        return self._random.random() < self.faults.get("refused", 0.0)

    def _drawn(self) -> Fault:
        left = self._random.random()
        for fault, probability in self.faults.items():
            left -= probability if fault != "refused" else 0.0
            if left < 0:
                return fault
        return "none"


def _value(config: str, key: str, otherwise: str) -> str:
    """A number of a config.pbtxt, or of the same as JSON."""
    _, found, rest = config.partition(f"{key}:")
    if not found:
        _, found, rest = config.partition(f'"{key}":')
    digits = rest.strip().strip('"')
    length = next((i for i, letter in enumerate(digits) if not letter.isdigit()), len(digits))
    return digits[:length] or otherwise


class SimulatedControl:
    """Model control and statistics."""

    def __init__(self, machine: SimulatedMachine) -> None:
        self._machine = machine
        self._requests = 0

    def __enter__(self) -> SimulatedControl:
        return self

    def __exit__(self, *_: object) -> None:
        """There is no connection."""

    def load(self, name: str, config_json: str | None = None) -> None:
        self._machine.clock.sleep(_LOAD_S)
        if self._machine.refuses():
            self._machine.met["refused"] += 1
            raise RuntimeStartError(f"Triton cannot load the model {name}: refused")
        self._machine.loaded, self._requests = config_json or "", 0

    def unload(self, _name: str) -> None:
        self._machine.loaded = None

    def wait_for_unloads(self, names: Sequence[str]) -> None:
        """Nothing takes its time to go."""

    def statistics(self, name: str) -> ModelStatistics:
        if self._machine.loaded is None:
            raise RuntimeStartError(f"Triton has no statistics of the model {name}")
        self._requests += 1000
        shares = {"queue_ns": 4, "compute_input_ns": 1, "compute_infer_ns": 3, "compute_output_ns": 2}
        return ModelStatistics(
            success_count=self._requests,
            fail_count=0,
            inference_count=self._requests,
            execution_count=self._requests,
            success_ns=10_000 * self._requests,
            **{name: 1000 * share * self._requests for name, share in shares.items()},
        )


@dataclass
class SimulatedTools:
    """perf_analyzer and Model Analyzer."""

    machine: SimulatedMachine
    endpoint: Endpoint = _ENDPOINT

    def path(self, host_path: Path) -> str:
        return str(host_path.absolute())

    @property
    def cpu_count(self) -> int:
        return 2

    @property
    def exports_tensors(self) -> bool:
        return False

    def program(self, tool: Tool) -> str:
        return tool

    def run(
        self,
        tool: Tool,
        arguments: Sequence[str],
        *,
        folder: Path,
        log: Path,  # noqa: ARG002
        timeout_s: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        began_s = self.machine.clock.now_s
        if tool == "perf_analyzer":
            code = self._window(arguments, timeout_s)
        else:
            assert on_line is not None
            analyzer = _Analyzer(self.machine, yaml.safe_load(_text(arguments[-1])), folder, on_line)
            code = analyzer.profile()
        return Finished(returncode=code, elapsed_s=self.machine.clock.now_s - began_s, cpu_s=0.1)

    def _window(self, arguments: Sequence[str], timeout_s: float) -> int | None:
        def value(option: str) -> str:
            return arguments[arguments.index(option) + 1]

        lasts_s = _WINDOWS * _OVERRUN * float(value("--measurement-interval")) / 1000
        clock_before_s = self.machine.clock.set_by_s
        fault = self.machine.window(lasts_s)
        if fault == "hung":
            self.machine.clock.sleep(timeout_s)
            return None
        if fault in ("failed", "died"):
            return 99
        if "--request-intervals" in arguments:
            pairs = _open_loop(value("--request-intervals"), slow=fault == "slow")
        else:
            rate = self.machine.noisy(self.machine.rate(self.machine.loaded or "", int(value("--concurrency-range"))))
            pairs = _closed_loop(rate, int(value("--concurrency-range")), lasts_s, slow=fault == "slow")
        if fault == "clock":
            # From the middle of the window on.
            middle = int(np.median(pairs))
            pairs[pairs > middle] += int((self.machine.clock.set_by_s - clock_before_s) * 1e9)
        text = _export(pairs)
        export = Path(value("--profile-export-file"))
        export.write_text(text[: len(text) // 2] if fault == "cut" else text, encoding="utf-8")
        return 0


def _text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _closed_loop(rate: float, concurrency: int, lasts_s: float, *, slow: bool) -> NDArray[np.int64]:
    """As many at once as there may be, then one for each answer, of which there are `rate` a second."""
    rate = rate / SLOW_FACTOR if slow else rate
    answered = np.arange(1, max(2, int(rate * lasts_s)) + 1) / rate
    sent = np.concatenate([np.zeros(concurrency), answered])[: len(answered)]
    pairs: NDArray[np.int64] = (np.stack([sent, answered], axis=1) * 1e9).astype(np.int64)
    return pairs + _EPOCH_NS


def _open_loop(intervals: str, *, slow: bool) -> NDArray[np.int64]:
    sent = np.cumsum(np.loadtxt(intervals, dtype=np.int64)) * 1000
    pairs: NDArray[np.int64] = np.stack([sent, sent + (80_000_000 if slow else 5_000_000)], axis=1)
    return pairs + _EPOCH_NS


def _export(pairs: NDArray[np.int64]) -> str:
    requests = [
        {"timestamp": sent, "response_timestamps": [] if received == NO_ANSWER else [received]}
        for sent, received in pairs.tolist()
    ]
    return json.dumps({"experiments": [{"requests": requests}]})


class _Analyzer:
    """One start of Model Analyzer in brute mode: every point that it has not measured yet, by its checkpoint."""

    def __init__(
        self, machine: SimulatedMachine, config: Mapping[str, Any], folder: Path, on_line: Callable[[str], None]
    ) -> None:
        self._machine = machine
        self._on_line = on_line
        (self._model,) = config["profile_models"]
        section = config["profile_models"][self._model]
        self._loads = section["parameters"]["concurrency"]
        self._window_s = _WINDOWS * _OVERRUN * section["perf_analyzer_flags"]["measurement-interval"] / 1000
        self._limit_s = config["perf_analyzer_timeout"]
        self._output = Path(config["output_model_repository_path"])
        # hcopt has written the same configurations beside its own results, under the same names.
        self._configs = folder.parent / "output_models"
        self._captures = folder / "captures"
        self._answer = folder / "answers" / "answer.csv"
        self._checkpoint = folder / "checkpoint"

    def profile(self) -> int:
        done = int(self._checkpoint.read_text()) if self._checkpoint.exists() else 0
        for number, (name, concurrency) in enumerate(self._points()):
            if number >= done:
                code = self._point(name, concurrency, number)
                if code is not None:
                    return code
        return 0

    def _points(self) -> Iterator[tuple[str, int]]:
        names = [path.name for path in self._configs.iterdir()]
        grid = sorted((name for name in names if not name.endswith("_default")), key=lambda n: int(n.split("_")[-1]))
        for name in (f"{self._model}_config_default", *grid):
            for concurrency in self._loads:
                yield name, concurrency

    def _point(self, name: str, concurrency: int, number: int) -> int | None:
        config = _text(str(self._configs / name / "config.pbtxt"))
        (self._output / name).mkdir(parents=True, exist_ok=True)
        (self._output / name / "config.pbtxt").write_text(config, encoding="utf-8")
        self._say(f"Profiling {name}: concurrency={concurrency}")
        if not self._is_known():
            fault = self._machine.window(self._window_s)
            if fault == "died" and number % 2:
                # With the server goes Model Analyzer: no more lines, and its checkpoint has the points before.
                self._checkpoint.write_text(str(number))
                return 1
            if fault in ("died", "failed", "hung"):
                self._machine.clock.sleep(self._limit_s if fault == "hung" else 0)
                self._say("Running perf_analyzer failed with exit status 99")
            else:
                self._report(config, concurrency, number, fault)
        return None

    def _is_known(self) -> bool:
        """As the perf_analyzer that hcopt puts before the real one: whether there is a recorded answer."""
        if not self._answer.exists():
            return False
        known = self._answer.read_text(encoding="utf-8") != "measure"
        self._answer.unlink()
        return known

    def _report(self, config: str, concurrency: int, number: int, fault: Fault) -> None:
        rate = self._machine.noisy(self._machine.rate(config, concurrency)) / (SLOW_FACTOR if fault == "slow" else 1)
        mean_us = 1e6 * concurrency / rate
        percentiles = [mean_us * factor for factor in (0.96, 1.3, 1.5, 2.0, 1.0)]
        row = [concurrency, rate, 0, 0, mean_us / 2, 20, mean_us / 3, 15, 0, *percentiles]
        text = f"{_CSV}\n{','.join(map(str, row))}\n"
        (self._captures / f"{number:019d}.csv").write_text(text[:400] if fault == "cut" else text, encoding="utf-8")

    def _say(self, line: str) -> None:
        self._on_line(f"[Model Analyzer] {line}")


@dataclass
class SimulatedServer:
    """A `Server` that comes back whenever it has died."""

    machine: SimulatedMachine
    tools: SimulatedTools
    endpoint: Endpoint = _ENDPOINT
    max_instances: Callable[[int], int] | None = None

    @property
    def environment(self) -> Environment:
        return _ENVIRONMENT

    def mark_unhealthy(self, reason: str) -> None:
        self.machine.suspected = reason

    def memory_mb(self) -> None:
        """A made-up one holds nothing."""

    def restart(self) -> None:
        self.machine.loaded = None

    def restart_if_dead(self) -> str | None:
        if self.machine.suspected is not None:
            self.machine.dead = True
        if not self.machine.dead:
            return None
        said, self.machine.suspected = self.machine.suspected or _DIED, None
        self.machine.dead, self.machine.loaded = False, None
        self.machine.clock.sleep(3.0)
        return said


@dataclass
class SimulatedRuntime:
    """A `Runtime`."""

    machine: SimulatedMachine

    @contextmanager
    def serve(self, repository: Path, run_folder: Path) -> Iterator[SimulatedServer]:
        assert repository.is_dir()
        assert run_folder.is_dir()
        yield SimulatedServer(self.machine, SimulatedTools(self.machine))


@contextmanager
def simulated(machine: SimulatedMachine) -> Iterator[None]:
    """hcopt measures on this machine as long as the context lasts."""
    ends = {
        "choose_runtime": lambda *_, **__: Choice(runtime=SimulatedRuntime(machine)),
        "ModelControl": lambda *_, **__: SimulatedControl(machine),
    }
    before = {name: getattr(stages, name) for name in ends}
    try:
        for name, end in ends.items():
            setattr(stages, name, end)
        yield
    finally:
        for name, end in before.items():
            setattr(stages, name, end)
