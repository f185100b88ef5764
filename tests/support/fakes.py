"""Stand-ins for what hcopt drives: tools that play what they are told, a server, a Triton that counts loads."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hcopt.errors import ModelLoadError, RuntimeStartError
from hcopt.records.measurement import Environment, Measurement
from hcopt.records.note import Note
from hcopt.system.process import Finished
from hcopt.system.progress import Progress
from hcopt.triton.base import Endpoint, Tool
from hcopt.triton.control import ModelStatistics
from tests.support.records import run_record

ENDPOINT = Endpoint(grpc="server:1", http="server:2", metrics_url="http://server:3/metrics")
WELL = Finished(returncode=0, elapsed_s=1.0, cpu_s=0.5)
HUNG = Finished(returncode=None, elapsed_s=1.0, cpu_s=0.0)
# As in a container: the tools see each file under another path than this machine does.
_INSIDE = "/inside"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One start of a tool."""

    tool: Tool
    arguments: tuple[str, ...]
    folder: Path
    log: Path
    timeout_s: float
    on_line: Callable[[str], None] | None

    def value(self, option: str) -> str:
        """What stands behind an option."""
        return self.arguments[self.arguments.index(option) + 1]

    def file(self, option: str) -> Path:
        """The file behind an option, as this machine sees it."""
        return host_path(self.value(option))

    def say(self, line: str) -> None:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(line + "\n")
        if self.on_line is not None:
            self.on_line(line)


Play = Callable[[Call], Finished]


def host_path(inside: str) -> Path:
    """A path of the tools as this machine sees it; that it is one of theirs is part of every test."""
    assert inside.startswith(_INSIDE), f"{inside} is no path that the tools see"
    return Path(inside.removeprefix(_INSIDE))


@dataclass
class FakeTools:
    """`Tools` that play one play after another; a start too many is a failure."""

    plays: list[Play]
    endpoint: Endpoint = ENDPOINT
    calls: list[Call] = field(default_factory=list)

    def path(self, host: Path) -> str:
        return f"{_INSIDE}{host.absolute()}"

    @property
    def cpu_count(self) -> int:
        return 2

    @property
    def exports_tensors(self) -> bool:
        return False

    def program(self, tool: Tool) -> str:
        return f"{_INSIDE}/bin/{tool}"

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
        call = Call(tool=tool, arguments=tuple(arguments), folder=folder, log=log, timeout_s=timeout_s, on_line=on_line)
        self.calls.append(call)
        return self.plays.pop(0)(call)


def export_text(requests: Sequence[tuple[int, int]], unanswered: Sequence[int] = ()) -> str:
    """A perf_analyzer export of requests, each as (sent, answered) in ns; those of some indices have no answer."""
    entries = [
        {"timestamp": sent, "response_timestamps": [] if index in unanswered else [answered]}
        for index, (sent, answered) in enumerate(requests)
    ]
    return json.dumps({"experiments": [{"requests": entries}]})


def steady(count: int, *, every_ns: int = 1_000_000, latency_ns: int = 2_000_000) -> list[tuple[int, int]]:
    """Requests at a constant rate."""
    start = 1_795_398_229_452_679_727
    return [(start + i * every_ns, start + i * every_ns + latency_ns) for i in range(count)]


def exports(
    requests: Sequence[tuple[int, int]],
    *,
    cut: bool = False,
    unanswered: Sequence[int] = (),
    finished: Finished = WELL,
) -> Play:
    """A perf_analyzer that writes its export."""

    def play(call: Call) -> Finished:
        text = export_text(requests, unanswered)
        call.file("--profile-export-file").write_text(text[: len(text) // 2] if cut else text)
        return finished

    return play


def ends(finished: Finished, *lines: str) -> Play:
    """A tool that says something and ends."""

    def play(call: Call) -> Finished:
        for line in lines:
            call.say(line)
        return finished

    return play


def breaks(error: Exception) -> Play:
    """A tool that cannot even be started."""

    def play(call: Call) -> Finished:
        raise error

    return play


@dataclass
class FakeServer:
    """A `Server`; one that has `died` cannot be brought back."""

    tools: FakeTools
    endpoint: Endpoint = ENDPOINT
    died: bool = False
    suspicions: list[str] = field(default_factory=list)
    max_instances: Callable[[int], int] | None = None
    held_mb: float | None = None
    restarts: int = 0

    @property
    def environment(self) -> Environment:
        return replace(run_record().environment, runtime="fake")

    def mark_unhealthy(self, what: str) -> None:
        self.suspicions.append(what)

    def memory_mb(self) -> float | None:
        return self.held_mb

    def restart(self) -> None:
        self.restarts += 1

    def restart_if_dead(self) -> None:
        if self.died:
            raise RuntimeStartError("tritonserver has ended by itself with -9")


@dataclass
class FakeControl:
    """A Triton's model control that notes what was loaded; configurations in `refused` cannot be."""

    refused: set[str] = field(default_factory=set)
    loaded: list[str] = field(default_factory=list)
    requests: int = 0
    waited: tuple[str, ...] = ()

    def load(self, name: str, config_json: str | None = None) -> None:
        if config_json in self.refused:
            raise ModelLoadError(f"Triton cannot load the model {name}: refused")
        self.loaded.append(config_json or name)
        self.requests = 0

    def unload(self, name: str) -> None:
        self.loaded.append(f"{name} unloaded")

    def wait_for_unloads(self, names: Collection[str]) -> None:
        self.waited = tuple(names)

    def statistics(self, name: str) -> ModelStatistics:
        if not self.loaded:
            raise RuntimeStartError(f"Triton has no statistics of the model {name}")
        self.requests += 1000
        return ModelStatistics(
            success_count=self.requests,
            fail_count=0,
            inference_count=self.requests,
            execution_count=self.requests,
            success_ns=10_000 * self.requests,
            queue_ns=4_000 * self.requests,
            compute_input_ns=1_000 * self.requests,
            compute_infer_ns=3_000 * self.requests,
            compute_output_ns=2_000 * self.requests,
        )


@dataclass
class RecordedProgress(Progress):
    """A `Progress` that keeps what it was told, in order."""

    phases: list[tuple[str, int | None]] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    known_count: int = 0
    lines: list[tuple[str, int, int]] = field(default_factory=list)
    extensions: list[int] = field(default_factory=list)

    def phase(self, title: str, *, steps: int | None = None) -> None:
        self.phases.append((title, steps))

    def extended(self, steps: int) -> None:
        self.extensions.append(steps)

    def started(self, what: str) -> None:
        self.steps.append(what)

    def measured(self, measurement: Measurement) -> None:
        self.measurements.append(measurement)

    def known(self) -> None:
        self.known_count += 1

    def told(self, line: str, *, steps: int = 0, more: int = 0) -> None:
        self.lines.append((line, steps, more))

    def note(self, note: Note) -> None:
        self.notes.append(note)
