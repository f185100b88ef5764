"""perf_analyzer and Model Analyzer inside an SDK container, started there one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from hcopt.errors import RuntimeStartError
from hcopt.system.cgroup import cgroup_cpu_s
from hcopt.system.clock import wait_for
from hcopt.system.process import Finished, hand_over
from hcopt.triton.base import Endpoint, Tool
from hcopt.triton.docker.engine import docker_errors, how_it_ended_within
from hcopt.triton.docker.streams import program_output

if TYPE_CHECKING:
    from docker import DockerClient

RUN_FOLDER = PurePosixPath("/hcopt/run")
# No home of its own for the user's uid in there, and Model Analyzer's libraries want one to write to.
_ENVIRONMENT = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1"}
# The limit holds in the container too, where hcopt may be gone before it. Whatever a tool leaves behind (Model Analyzer
# gives each perf_analyzer a session of its own) ends with it: a kill of -1 spares only the shell itself and process 1.
# One pipe, since the engine does not keep the order of two.
_SUPERVISED = 'exec 2>&1; limit=$1; shift; timeout -k 5 "$limit" "$@"; code=$?; kill -KILL -1 2>/dev/null; exit $code'
_END_ALL = "kill -KILL -1"
_KILLED = 137
_LIMIT_CODES = (124, _KILLED)  # timeout's own: ended by SIGTERM, by SIGKILL
_KILL_GRACE_S = 15.0
_SHORT_S = 60.0
_EXIT_CODE_LIMIT_S = 5.0
_POLL_S = 0.02
_FIND = 'for tool in "$@"; do command -v "$tool" || echo; done'


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerTools:
    """The measuring programs of one SDK container.

    Attributes:
        client: The engine.
        container: The container's name; it stays when a new one takes its place.
        run_folder: The run's folder on this machine, the only one that the container sees.
        endpoint: The server as the container reaches it.
        programs: Where each program is in there.
        cpu_count: See `Tools.cpu_count`.
    """

    client: DockerClient
    container: str
    run_folder: Path
    endpoint: Endpoint
    programs: Mapping[Tool, str]
    cpu_count: int

    @property
    def exports_tensors(self) -> bool:
        """See `Tools.exports_tensors`: that of NVIDIA's images does."""
        return True

    def path(self, host_path: Path) -> str:
        """A file or folder of the run as the container sees it.

        Raises:
            ValueError: It is outside of the run's folder.
        """
        return str(RUN_FOLDER / host_path.absolute().relative_to(self.run_folder).as_posix())

    def program(self, tool: Tool) -> str:
        """Where the tool is in the container."""
        return self.programs[tool]

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
        """Runs a tool in `folder` to its end or its time limit; see `hcopt.system.process.run`.

        Raises:
            RuntimeStartError: The container or the engine is gone.
        """
        argv = ["sh", "-c", _SUPERVISED, "sh", f"{timeout_s:.3f}", self.program(tool), *arguments]
        cpu_before_s, started = self._cpu_s(), time.monotonic()
        with docker_errors(f"cannot start {tool} in the container {self.container}"):
            execution = self.client.api.exec_create(
                self.container, argv, environment=_ENVIRONMENT, workdir=self.path(folder)
            )["Id"]
        with log.open("ab") as output:
            ended = self._copy(execution, output, on_line, deadline=started + timeout_s + _KILL_GRACE_S)
        returncode = self._exit_code(execution) if ended else None
        elapsed_s = time.monotonic() - started
        if returncode is None or (returncode in _LIMIT_CODES and elapsed_s >= timeout_s):
            return Finished(returncode=None, elapsed_s=elapsed_s)
        if returncode == _KILLED:
            how_it_ended_within(self.client, self.container)
        cpu_after_s = self._cpu_s()
        cpu_s = None if cpu_before_s is None or cpu_after_s is None else cpu_after_s - cpu_before_s
        return Finished(returncode=returncode, elapsed_s=elapsed_s, cpu_s=cpu_s)

    def _copy(
        self, execution: str, output: BinaryIO, on_line: Callable[[str], None] | None, *, deadline: float
    ) -> bool:
        """Copies the output to its end (True) or the deadline (False), where all programs are ended from here."""
        ended, pending = False, b""
        try:
            for piece in self._pieces(execution, deadline):
                output.write(piece)
                pending = hand_over(pending + piece, on_line)
            ended = time.monotonic() < deadline
        finally:
            if not ended:
                self._end_all()
        if pending:
            hand_over(pending + b"\n", on_line)
        return ended

    def _pieces(self, execution: str, deadline: float) -> Iterator[bytes]:
        """What a program says until its end, the deadline, or that of the engine.

        Raises:
            RuntimeStartError: The container has ended since the program was made, or the engine does not answer.
        """
        from urllib3.exceptions import HTTPError

        with ExitStack() as stack:
            with docker_errors(f"cannot start a program in the container {self.container}"):
                output = program_output(self.client, execution, silence_s=deadline - time.monotonic())
                pieces = stack.enter_context(output)
            # Too long a silence, or no engine any more, as will be seen when it is asked.
            stack.enter_context(suppress(HTTPError))
            for piece in pieces:
                yield piece
                if time.monotonic() > deadline:
                    return

    def _exit_code(self, execution: str) -> int:
        failure = f"the Docker Engine does not say how a program in {self.container} ended"
        with docker_errors(failure):
            # The output may end a moment before the engine knows why.
            code = wait_for(
                lambda: self.client.api.exec_inspect(execution)["ExitCode"],
                timeout_s=_EXIT_CODE_LIMIT_S,
                poll_s=_POLL_S,
            )
        if code is None:
            raise RuntimeStartError(failure)
        return int(code)

    def _end_all(self) -> None:
        """Ends all programs in the container; where it is gone, they are too."""
        with suppress(RuntimeStartError):
            execute(self.client, self.container, ["sh", "-c", _END_ALL])

    def _cpu_s(self) -> float | None:
        """CPU time that the container has used so far; None where it is gone, or runs in a virtual machine."""
        try:
            with docker_errors(f"the Docker Engine does not describe the container {self.container}"):
                pid = self.client.api.inspect_container(self.container)["State"]["Pid"]
            return cgroup_cpu_s(pid)
        except (RuntimeStartError, OSError):
            return None


def find_programs(client: DockerClient, container: str, names: Sequence[Tool]) -> dict[Tool, str]:
    """Where programs are in a container; those that it does not have are left out.

    Raises:
        RuntimeStartError: The container or the engine is gone.
    """
    _, text = execute(client, container, ["sh", "-c", _FIND, "sh", *names])
    return {name: path for name, path in zip(names, text.splitlines(), strict=True) if path}


def execute(client: DockerClient, container: str, argv: Sequence[str]) -> tuple[int, str]:
    """Runs a program in a container to its end, which has to be near; its exit status and what it said.

    Raises:
        RuntimeStartError: The container or the engine is gone.
    """
    with docker_errors(f"cannot run {argv[0]} in the container {container}"):
        execution = client.api.exec_create(container, list(argv), environment=_ENVIRONMENT)["Id"]
        with program_output(client, execution, silence_s=_SHORT_S) as pieces:
            said = b"".join(pieces)
        code = client.api.exec_inspect(execution)["ExitCode"]
    return int(code or 0), said.decode(errors="replace")
