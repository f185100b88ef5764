"""What every runtime offers: a Triton in explicit model-control mode, and the measuring programs beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from hcopt.records.measurement import Environment
from hcopt.system.process import Finished

Tool = Literal["perf_analyzer", "model-analyzer", "python3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The addresses of one server: host:port for gRPC and HTTP, a whole URL for the metrics."""

    grpc: str
    http: str
    metrics_url: str


class Tools(Protocol):
    """perf_analyzer, Model Analyzer and a Python, wherever they are: on this machine or inside the SDK container."""

    @property
    def endpoint(self) -> Endpoint:
        """The server as the tools reach it."""

    @property
    def cpu_count(self) -> int:
        """How many CPUs they may use."""

    @property
    def exports_tensors(self) -> bool:
        """Whether perf_analyzer's export has every row and answer, and not times alone."""

    def path(self, host_path: Path) -> str:
        """A file or folder of the run as the tools see it."""

    def program(self, tool: Tool) -> str:
        """The program's own path as the tools see it, for those that start one another."""

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
        """Runs a tool in `folder` to its end or its time limit; see `hcopt.system.process.run`."""


class Server(Protocol):
    """A running Triton."""

    @property
    def endpoint(self) -> Endpoint:
        """The server as this process reaches it."""

    @property
    def tools(self) -> Tools:
        """The measuring programs beside it."""

    @property
    def environment(self) -> Environment:
        """The conditions that go with every figure."""

    def mark_unhealthy(self, what: str) -> None:
        """What is served leaves requests unanswered: `restart_if_dead` then counts a server of hcopt's own as dead.

        Args:
            what: What was seen, for the reason.
        """

    @property
    def max_instances(self) -> Callable[[int], int] | None:
        """How many instances may be loaded at once, given how many are now; None where only one model is to be loaded.

        Variants that stay loaded are there at once when their turn comes again.
        """

    def memory_mb(self) -> float | None:
        """The memory that the server and its children hold now; safe to call from another thread.

        None where it cannot be read: on another machine, or in a container that shows it to nobody here.
        """

    def restart(self) -> None:
        """Ends a server of hcopt's own that is well, and starts it anew at the same addresses; nothing is loaded then.

        What models have left in its memory is gone. Nothing for a server of somebody else.

        Raises:
            RuntimeStartError: It does not get ready again; carries the end of its log.
        """

    def restart_if_dead(self) -> str | None:
        """Does nothing while the server and the measuring programs' place live; brings back what has died of them.

        To be called after each measurement. What was loaded on a server that had died is to be loaded again.

        Returns:
            What had died, and how; None where all lives.

        Raises:
            RuntimeStartError: It cannot be brought back, or not once more; carries the end of its log.
        """


class Runtime(Protocol):
    """A way to have a Triton."""

    def serve(self, repository: Path, run_folder: Path) -> AbstractContextManager[Server]:
        """Starts Triton on a model repository and ends it with the context, whatever ended that.

        Args:
            repository: A Triton model repository; nothing of it is loaded yet.
            run_folder: The run's folder; the server's log goes to `logs/` in it.

        Raises:
            RuntimeStartError: It does not get ready in time; carries the end of its log.
        """
