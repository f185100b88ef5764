"""Triton out of the `nvidia-pytriton` wheel as a child process, with hcopt's own Python-based onnxruntime backend.

Everything that Triton needs beside the wheel lies in a private folder that lives as long as the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from hcopt.errors import RuntimeStartError
from hcopt.records.measurement import Backend, Environment
from hcopt.records.note import Note
from hcopt.system import process
from hcopt.system.machine import read_environment
from hcopt.system.process import Program
from hcopt.triton.base import Endpoint
from hcopt.triton.embedded.launch import install_backends, server_command, server_environment, version_when_ready
from hcopt.triton.embedded.server_memory import ServerMemory
from hcopt.triton.local_tools import LocalTools, bound_to, check_cpuset, install_tools, private_folder
from hcopt.triton.ports import HOST, Ports, free_ports
from hcopt.triton.programs import TritonFiles, find_triton, installed_version
from hcopt.triton.ready import health

BACKEND = Backend(name="onnxruntime", implementation="python")
_SHARED_MEMORY = Path("/dev/shm")
_STOP_GRACE_S = 10.0
_PORT_TRIES = 5
_PORT_TAKEN = "already in use"
# A server that is merely busy answers within milliseconds: its HTTP threads do not compute.
_SILENCE_S = 15.0
_BETWEEN_QUESTIONS_S = 0.1
_RESTARTS = 3
_MEMORY_RATIO = 0.9
_BYTES_PER_MB = 1024 * 1024


@dataclass(slots=True, kw_only=True)
class EmbeddedServer:
    """A running Triton; one that has died is started again at the same addresses.

    Attributes:
        endpoint: Its addresses, on the loopback interface.
        tools: The measuring programs of this environment.
        environment: The conditions that go with every figure.
        process: tritonserver itself; the stubs are its children.
        log: What it says.
        start_again: Ends what is left of it, and starts another one in its place.
        note: Told of each restart.
        silence_s: How long it may leave the question whether it lives unanswered.
        memory: What it and its instances hold, and may hold.
        restarts: How many there were in a row.
        suspicion: Why it counts as dead though it may answer: an instance that hangs keeps its CPU until the end.
    """

    endpoint: Endpoint
    tools: LocalTools
    environment: Environment
    process: Program
    log: Path
    start_again: Callable[[], Program]
    note: Callable[[Note], None]
    silence_s: float
    memory: ServerMemory
    restarts: int = 0
    suspicion: str | None = None

    def mark_unhealthy(self, what: str) -> None:
        """See `Server.mark_unhealthy`."""
        self.suspicion = what

    @property
    def max_instances(self) -> Callable[[int], int]:
        """See `Server.max_instances`: here an instance is a Python process, which takes its time to start."""
        return lambda loaded: self.memory.max_instances(self.process.pid, loaded)

    def restart_if_dead(self) -> str | None:
        """See `Server.restart_if_dead`; called after each measurement, so that it can count."""
        ended = self._how_it_ended()
        if ended is None:
            self.restarts = 0
            return None
        if self.restarts == _RESTARTS:
            raise _failure(f"{ended}, after {_RESTARTS} restarts in a row", self.log)
        self.restarts += 1
        # One that hangs takes no notice of a request to end.
        self.process.kill()
        self.process = self.start_again()
        self.suspicion = None
        self.note(_restarted(ended))
        return ended

    def _how_it_ended(self) -> str | None:
        """None while it answers, and nothing else speaks against it."""
        deadline, log = time.monotonic() + self.silence_s, f"logs/{self.log.name}"
        while True:
            returncode = self.process.poll()
            if returncode is not None:
                return f"tritonserver has ended by itself with {returncode} ({log})"
            if self.suspicion is not None:
                return f"tritonserver was ended: {self.suspicion} ({log})"
            if health(self.endpoint.http) is not None:
                return self._how_it_grew()
            if time.monotonic() > deadline:
                return f"tritonserver has not answered for {self.silence_s:g} s ({log})"
            time.sleep(_BETWEEN_QUESTIONS_S)

    def _how_it_grew(self) -> str | None:
        held_mb = self.memory.held_mb(self.process.pid)
        if held_mb <= self.memory.most_mb:
            return None
        return f"tritonserver was ended: it held {held_mb} MB of memory, and {self.memory.most_mb} MB is the most"


def _untold(_: Note) -> None:
    """For those who have nobody to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedRuntime:
    """Starts the Triton that pip installed.

    Attributes:
        cpuset_server: The CPUs of Triton and its stubs, as Linux writes them; None leaves that to the kernel.
        cpuset_client: The CPUs of the measuring programs.
        start_timeout_s: How long Triton may take to answer.
        choose_ports: Gives ports that are likely to be free; asked again when one is taken in between.
        note: Takes what the user has to know about a server that ended.
        silence_s: How long Triton may leave the question whether it lives unanswered, until it counts as hung.
        memory_mb: What Triton and its instances may hold before the kernel begins to choose victims; None: nearly all.
    """

    cpuset_server: str | None = None
    cpuset_client: str | None = None
    start_timeout_s: float = 60.0
    choose_ports: Callable[[], Ports] = free_ports
    note: Callable[[Note], None] = field(default=_untold, compare=False)
    silence_s: float = _SILENCE_S
    memory_mb: int | None = None

    @contextmanager
    def serve(self, repository: Path, run_folder: Path) -> Iterator[EmbeddedServer]:
        """Starts Triton on a model repository and ends it, with all its children, when the context ends.

        Models need a complete config.pbtxt: Triton's auto-completion is off, since it would cost the Python-based
        backend over a second with each load.

        Args:
            repository: A Triton model repository; nothing of it is loaded yet.
            run_folder: The run's folder; the server's log is `logs/tritonserver.log` in it.

        Raises:
            RuntimeStartError: A program or library is missing, or Triton does not get ready in time.
        """
        check_cpuset("runtime.cpuset.server", self.cpuset_server)
        check_cpuset("runtime.cpuset.client", self.cpuset_client)
        log = run_folder / "logs" / "tritonserver.log"
        with ExitStack() as stack:
            folder = stack.enter_context(private_folder())
            # The folder's name is unique, and so are the names that begin with it.
            stack.enter_context(process.removed_at_death(_SHARED_MEMORY / f"{folder.name}_*"))
            memory = ServerMemory(
                shared_prefix=folder.name,
                most_mb=self.memory_mb or int(_MEMORY_RATIO * psutil.virtual_memory().total / _BYTES_PER_MB),
            )
            stack.callback(memory.remove_regions)
            triton = find_triton()
            programs = install_tools(folder, triton)
            try:
                log.parent.mkdir(parents=True, exist_ok=True)
                install_backends(folder, triton)
                (folder / "repository").symlink_to(repository.resolve())
            except OSError as error:
                raise RuntimeStartError(f"cannot prepare Triton in {folder}: {error}") from error
            # The Triton of the moment; whatever ends the context ends that one.
            running = stack.enter_context(ExitStack())
            server, ports, version = self._started(running, folder, triton, log)

            def start_again() -> Program:
                running.close()
                memory.remove_regions()
                return self._restarted(running, folder, triton, log, ports)

            yield EmbeddedServer(
                endpoint=_endpoint(ports),
                tools=LocalTools(
                    endpoint=_endpoint(ports), programs=programs, private_folder=folder, cpuset=self.cpuset_client
                ),
                environment=_environment(version, self.cpuset_server),
                process=server,
                log=log,
                start_again=start_again,
                note=self.note,
                silence_s=self.silence_s,
                memory=memory,
            )

    def _started(self, stack: ExitStack, folder: Path, triton: TritonFiles, log: Path) -> tuple[Program, Ports, str]:
        """Starts Triton, again on other ports when somebody took one in the meantime; `stack` ends it."""
        for _ in range(_PORT_TRIES):
            ports = self.choose_ports()
            started = self._try(stack, folder, triton, log, ports)
            if started is not None:
                return started[0], ports, started[1]
        raise _failure(f"tritonserver found no free ports in {_PORT_TRIES} tries", log)

    def _restarted(self, stack: ExitStack, folder: Path, triton: TritonFiles, log: Path, ports: Ports) -> Program:
        """Starts Triton on the ports of one that has died; everybody else knows them."""
        started = self._try(stack, folder, triton, log, ports)
        if started is None:
            raise _failure("tritonserver cannot be started again: another program has taken one of its ports", log)
        return started[0]

    def _try(
        self, stack: ExitStack, folder: Path, triton: TritonFiles, log: Path, ports: Ports
    ) -> tuple[Program, str] | None:
        """Triton on these ports and its version, or None where one of them is taken; `stack` ends it."""
        argv = [*bound_to(self.cpuset_server), *server_command(folder, triton, ports)]
        with ExitStack() as attempt:
            try:
                server = attempt.enter_context(_running(argv, folder, triton, log))
            except OSError as error:
                raise RuntimeStartError(f"cannot start {triton.tritonserver}: {error}") from error
            version = version_when_ready(server, ports, time.monotonic() + self.start_timeout_s)
            returncode = server.poll()
            if version is not None:
                stack.push(attempt.pop_all())
                return server, version
        if returncode is None:
            raise _failure(f"tritonserver was not ready after {self.start_timeout_s:g} s", log)
        if _PORT_TAKEN not in process.last_lines(log):
            raise _failure(f"tritonserver ended with {returncode} instead of getting ready", log)
        return None


def _running(argv: list[str], folder: Path, triton: TritonFiles, log: Path) -> AbstractContextManager[Program]:
    return process.service(argv, log=log, env=server_environment(folder, triton), cwd=folder, grace_s=_STOP_GRACE_S)


def _endpoint(ports: Ports) -> Endpoint:
    return Endpoint(
        grpc=f"{HOST}:{ports.grpc}",
        http=f"{HOST}:{ports.http}",
        metrics_url=f"http://{HOST}:{ports.metrics}/metrics",
    )


def _environment(triton_version: str, cpuset: str | None) -> Environment:
    return read_environment(
        runtime="embedded",
        backend=BACKEND,
        triton_version=triton_version,
        onnxruntime_version=installed_version("onnxruntime"),
        perf_analyzer_version=installed_version("tritonclient"),
        server_cpuset=cpuset,
    )


def _restarted(ended: str) -> Note:
    return Note.of("tritonserver_restarted", ended=ended)


def _failure(message: str, log: Path) -> RuntimeStartError:
    return RuntimeStartError(f"{message}. Its last words:\n{process.last_lines(log)}", log=log)
