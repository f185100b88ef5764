"""The runs that are killed: real ones, as short as they can be, each with a part of the stages; and killing them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import killed_hcopt
from tests.support import onnx_models as models
from tests.support.command import LIMIT_S, REPOSITORY, Workplace, workplace
from tests.support.triton import input_and_output

# Answers wait for 5 ms, so that a load costs next to no CPU and many runs fit on a small machine at a time.
_CONFIG = (
    f'name: "small"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 4\n{input_and_output()}'
    "instance_group { count: 1 kind: KIND_CPU }\ndynamic_batching { max_queue_delay_microseconds: 5000 }\n"
)
_SHORTEST = (
    "--runtime=embedded",
    "--set=sweep.max_batch_size=[4]",
    "--set=sweep.instance_count=[1]",
    "--set=sweep.intra_op_thread_count=[]",
    "--set=sweep.max_queue_delay_us=[4000]",
    "--set=sweep.concurrency=[1,2]",
    "--set=profiler.measurement_interval_ms=200",
    "--set=confirmation.max_minutes=0.05",
    # Where the machine is too busy for its turns it is a note, and two runs of one kind would differ.
    "--set=confirmation.onnxruntime_alone=false",
)
_NO_NOISE = ("--set=noise.gate=off",)
# Far above what a busy machine can take; with a capacity check the limit decides how long that takes.
_NO_CAPACITY = ("--set=capacity.max_minutes=0", "--set=constraints.latency_p99_ms=100000")
_SMALL = ("--model=./small",)
_ADAPTIVE = ("--profiler=adaptive", "--max-minutes=0.05")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A run, and the stages in which it is killed."""

    name: str
    arguments: tuple[str, ...]
    stages: tuple[str, ...]


EVERY_STAGE = Scene(
    name="noise, search and capacity",
    arguments=(
        *_SMALL,
        *_SHORTEST,
        *_ADAPTIVE,
        "--set=capacity.max_minutes=0.2",
        "--set=constraints.latency_p99_ms=500",
    ),
    stages=("start", "fetch", "serve", "noise", "sweep", "confirmation", "open_loop", "report", "log"),
)
MODEL_ANALYZER = Scene(
    name="Model Analyzer",
    arguments=(*_SMALL, *_SHORTEST, *_NO_NOISE, *_NO_CAPACITY),
    stages=("serve", "sweep", "sweep", "sweep", "confirmation", "report", "log"),
)
FRESH_REGISTRY = Scene(
    name="sample model, new MLflow",
    arguments=(*_SHORTEST, *_ADAPTIVE, *_NO_NOISE, *_NO_CAPACITY),
    stages=("start", "seed", "seed", "fetch", "log"),
)
SHORTEST = Scene(
    name="shortest",
    arguments=(*_SMALL, *_SHORTEST, *_ADAPTIVE, *_NO_NOISE, *_NO_CAPACITY),
    stages=("fetch", "sweep", "confirmation", "report"),
)


@dataclass(frozen=True, kw_only=True)
class Aim:
    """Where a run is killed: in a stage, some time after its beginning, or at one of its file operations.

    Attributes:
        stage: As hcopt's progress names it; `start` is before the first.
        after_s: Seconds after its beginning; None where an operation is aimed at.
        operation: The audit event.
        name: The file's name under the results, without what is random.
        nth: Which of these.
        calls: How many calls later; 0 is before the operation.
    """

    stage: str
    after_s: float | None = None
    operation: str = ""
    name: str = ""
    nth: int = 1
    calls: int = 0

    def __str__(self) -> str:
        if self.after_s is not None:
            return f"{self.stage}, {self.after_s:.2f} s"
        when = "before" if self.calls == 0 else f"{self.calls} calls after"
        return f"{self.stage}, {when} {self.operation} {self.name} ({self.nth})"


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One process: how it ended, what it said, and each stage and file operation with the time at which it came."""

    returncode: int
    stderr: str
    told: tuple[tuple[float, dict[str, str]], ...]

    @property
    def was_killed(self) -> bool:
        return self.returncode == -signal.SIGKILL

    @property
    def stages(self) -> list[tuple[str, float]]:
        """Each stage in turn, and how long it took; one that came back counts once more."""
        begun = [("start", 0.0), *((line["stage"], at) for at, line in self.told if "operation" not in line)]
        ends = [*(at for _, at in begun[1:]), self.told[-1][0] if self.told else 0.0]
        return [(stage, end - at) for (stage, at), end in zip(begun, ends, strict=True)]


def place_for(scene: Scene, root: Path) -> Workplace:
    """A folder of its own for one run, with the model that it measures."""
    place = workplace(root, PYTHONPATH=str(REPOSITORY))
    if "--model=./small" in scene.arguments:
        models.save(models.identity_model(), place.folder / "small" / "1")
        (place.folder / "small" / "config.pbtxt").write_text(_CONFIG)
    return place


def execute(place: Workplace, arguments: Sequence[str], aim: Aim | None = None) -> Execution:
    """Runs hcopt until it ends or is killed as aimed."""
    reading, writing = os.pipe()
    log = place.folder.parent / f"stderr_{time.monotonic_ns()}.txt"
    environment = {**place.environment, killed_hcopt.FD: str(writing)}
    if aim is not None and aim.after_s is None:
        environment[killed_hcopt.AIM] = json.dumps(
            {"stage": aim.stage, "operation": aim.operation, "name": aim.name, "nth": aim.nth, "calls": aim.calls}
        )
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, killed_hcopt.__file__, "profile", *arguments],
            cwd=place.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=(writing,),
        )
    os.close(writing)
    with process, _killing(process, aim) as kill_soon:
        told = tuple(_told(reading, kill_soon))
    return Execution(returncode=process.returncode, stderr=log.read_text(encoding="utf-8"), told=told)


class _killing:  # noqa: N801 - a context
    """Kills at the aimed time; and in any case after a time in which every run has long ended."""

    def __init__(self, process: subprocess.Popen[bytes], aim: Aim | None) -> None:
        self._process, self._aim = process, aim
        self._timers = [threading.Timer(LIMIT_S, process.kill)]

    def __enter__(self) -> _killing:
        self._timers[0].start()
        self.begun("start")
        return self

    def __exit__(self, *_: object) -> None:
        for timer in self._timers:
            timer.cancel()

    def begun(self, stage: str) -> None:
        aim = self._aim
        if aim is not None and aim.after_s is not None and aim.stage == stage and len(self._timers) == 1:
            self._timers.append(threading.Timer(aim.after_s, self._process.kill))
            self._timers[-1].start()


def _told(reading: int, killing: _killing) -> Iterator[tuple[float, dict[str, str]]]:
    began = time.monotonic()
    with os.fdopen(reading, encoding="utf-8") as lines:
        for text in lines:
            line = json.loads(text)
            if "operation" not in line:
                killing.begun(line["stage"])
            yield time.monotonic() - began, line


def forget(place: Workplace) -> None:
    """Removes a place in which all was well; models and reports of a hundred of them take room."""
    shutil.rmtree(place.folder.parent, ignore_errors=True)
