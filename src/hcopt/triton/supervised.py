"""A Triton that hcopt starts itself, and starts again when it has died, hangs, or leaves requests unanswered.

What differs between a process and a container is left to the subclasses: how a server is started, and how one ended.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hcopt.errors import RuntimeStartError
from hcopt.records.measurement import Environment
from hcopt.system import process
from hcopt.triton.base import Endpoint
from hcopt.triton.ports import Ports
from hcopt.triton.ready import health

# A server that is merely busy answers within milliseconds: its HTTP threads do not compute.
MAX_SILENCE_S = 15.0
# Of the memory, for models that are loaded beside the one that is measured. The rest is for what a run with one model
# loaded would need, and for whoever else works here.
SHARE_BESIDE = 0.25
_POLL_S = 0.05
_MAX_PORT_TRIES = 5
_MAX_RESTARTS = 3
_METRICS_INTERVAL_MS = 1000
# There is nothing of a GPU to serve; where the machine has one, it is left alone.
_WITHOUT_GPUS = ("--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0")


def server_options(repository: str, ports: Ports, *, gpus: bool = False) -> list[str]:
    """What every tritonserver of hcopt's is started with.

    Models need a complete config.pbtxt: Triton's auto-completion is off, since it would cost the Python-based backend
    over a second with each load.

    Args:
        repository: The model repository as the server sees it.
        ports: Where it listens.
        gpus: Whether it has any.
    """
    return [
        f"--model-repository={repository}",
        "--model-control-mode=explicit",
        # A variant that failed to load says nothing about the server, and Model Analyzer waits until it is ready.
        "--strict-readiness=false",
        "--disable-auto-complete-config",
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
        f"--metrics-interval-ms={_METRICS_INTERVAL_MS}",
        *([] if gpus else _WITHOUT_GPUS),
    ]


class PortTakenError(RuntimeStartError):
    """Another program has taken one of the server's ports."""


@dataclass(slots=True, kw_only=True)
class SupervisedServer(ABC):
    """A Triton that is started again, at the same addresses, when it has died.

    Attributes:
        name: What messages call it.
        log: What it says.
        note_restart: Takes what had ended, and how, after each restart.
        choose_ports: Gives ports that are likely to be free; asked again when one is taken in between.
        start_timeout_s: How long it may take to answer.
        silence_s: How long it may leave the question whether it lives unanswered, until it counts as hung.
        ports: Where it listens, from `start` on.
        environment: The conditions that go with every figure; set by whoever has started it.
        restarts: How many there were in a row.
        suspicion: Why it counts as dead though it may answer: an instance that hangs keeps its CPU until the end.
    """

    name: str
    log: Path
    note_restart: Callable[[str], None]
    choose_ports: Callable[[], Ports]
    start_timeout_s: float
    silence_s: float = MAX_SILENCE_S
    ports: Ports = field(init=False)
    environment: Environment = field(init=False)
    restarts: int = 0
    suspicion: str | None = None

    @abstractmethod
    def launch(self) -> None:
        """Starts a server on `ports`, in the place of the one before.

        Raises:
            PortTakenError: One of the ports is taken, where that is known at once.
            RuntimeStartError: It cannot be started.
        """

    @abstractmethod
    def how_it_ended(self) -> str | None:
        """What became of the server; None while it runs."""

    def listens(self) -> bool:
        """Whether it is this server that listens on `ports`, and not another program's."""
        return True

    def lost_port(self) -> bool:
        """Whether it has ended because another program has one of its ports."""
        return False

    def overload(self) -> str | None:
        """Why a server that answers is ended all the same."""
        return None

    def how_tools_ended(self) -> str | None:
        """What became of the place of the measuring programs; None while it is there."""
        return None

    def restart_tools(self) -> None:  # noqa: B027 - not every server has such a place
        """Brings the place of the measuring programs back."""

    def kill(self) -> None:  # noqa: B027 - `launch` may do that
        """Ends a server that counts as dead; one that hangs takes no notice of a request to end."""

    def last_words(self) -> str:
        """The end of the log."""
        return process.last_lines(self.log)

    @property
    def endpoint(self) -> Endpoint:
        """See `Server.endpoint`: on the loopback interface."""
        return self.ports.endpoint()

    @property
    def max_instances(self) -> Callable[[int], int] | None:
        """See `Server.max_instances`."""
        return None

    def mark_unhealthy(self, what: str) -> None:
        """See `Server.mark_unhealthy`."""
        self.suspicion = what

    def start(self) -> str:
        """Starts the server, on other ports when somebody took one in the meantime.

        Returns:
            Triton's version.

        Raises:
            RuntimeStartError: It does not get ready in time; carries the end of its log.
        """
        for _ in range(_MAX_PORT_TRIES):
            self.ports = self.choose_ports()
            with suppress(PortTakenError):
                return self._start_on_ports()
        raise self.failure(f"tritonserver found no free ports in {_MAX_PORT_TRIES} tries")

    def memory_mb(self) -> float | None:
        """See `Server.memory_mb`."""
        return None

    def restart(self) -> None:
        """See `Server.restart`."""
        self.suspicion = None
        self._start_on_ports()

    def restart_if_dead(self) -> str | None:
        """See `Server.restart_if_dead`; called after each measurement, so that it can count."""
        server, tools = self._how_server_ended(), self.how_tools_ended()
        ended = "; ".join(filter(None, (server, tools)))
        if not ended:
            self.restarts = 0
            return None
        if self.restarts == _MAX_RESTARTS:
            raise self.failure(f"{ended}, after {_MAX_RESTARTS} restarts in a row")
        self.restarts += 1
        if tools is not None:
            self.restart_tools()
        if server is not None:
            self.suspicion = None
            self.kill()
            self._start_on_ports()
        self.note_restart(ended)
        return ended

    def failure(self, message: str, kind: type[RuntimeStartError] = RuntimeStartError) -> RuntimeStartError:
        """An error with the end of the log."""
        return kind(f"{message}. Its last words:\n{self.last_words()}", log=self.log)

    def _start_on_ports(self) -> str:
        """Triton's version as soon as it is ready."""
        self.launch()
        deadline = time.monotonic() + self.start_timeout_s
        while time.monotonic() < deadline:
            found = health(self.endpoint.http) if self.listens() else None
            if found is not None and found.ready:
                return found.version
            ended = self.how_it_ended()
            if ended is not None:
                raise self._failed_start(ended)
            time.sleep(_POLL_S)
        raise self.failure(f"{self.name} was not ready after {self.start_timeout_s:g} s")

    def _failed_start(self, ended: str) -> RuntimeStartError:
        if self.lost_port():
            said = "tritonserver cannot be started again: another program has taken one of its ports"
            return self.failure(said, PortTakenError)
        return self.failure(f"{ended} instead of getting ready")

    def _how_server_ended(self) -> str | None:
        """None while it answers, and nothing else speaks against it."""
        deadline = time.monotonic() + self.silence_s
        while True:
            # First: of what has ended it is known why.
            ended = self.how_it_ended()
            if ended is not None:
                return ended
            if self.suspicion is not None:
                return f"{self.name} was ended: {self.suspicion} (logs/{self.log.name})"
            if health(self.endpoint.http) is not None:
                return self.overload()
            if time.monotonic() > deadline:
                return f"{self.name} has not answered for {self.silence_s:g} s (logs/{self.log.name})"
            time.sleep(_POLL_S)
