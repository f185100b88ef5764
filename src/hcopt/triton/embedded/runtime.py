"""Triton out of the `nvidia-pytriton` wheel as a child process, with hcopt's own Python-based onnxruntime backend.

Everything that Triton needs beside the wheel lies in a private folder that lives as long as the server.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import psutil

from hcopt.errors import RuntimeStartError
from hcopt.records.measurement import Environment
from hcopt.records.note import Note
from hcopt.system import process
from hcopt.system.machine import read_environment
from hcopt.system.redaction import without_secrets
from hcopt.triton.base import Endpoint
from hcopt.triton.embedded.server_memory import ServerMemory
from hcopt.triton.local_tools import LocalTools, bound_to, check_cpuset, first_on_path, install_tools, private_folder
from hcopt.triton.programs import TritonFiles, find_libpython, find_triton, installed_version
from hcopt.triton.ready import health

BACKEND = "onnxruntime (Python-based)"
_HOST = "127.0.0.1"
_SHARED_MEMORY = Path("/dev/shm")
_METRICS_INTERVAL_MS = 1000
_POLL_S = 0.02
# Triton's farewell takes 2.3 s with a model loaded. A kill would be quicker, but leaves /tmp/python_env_… behind, whose
# name nobody can know. While a client holds a connection, Triton waits for it as long as its own limit allows.
_EXIT_TIMEOUT_S = 5
_STOP_GRACE_S = 10.0
_PORT_TRIES = 5
_PORT_TAKEN = "already in use"
# A server that is merely busy answers within milliseconds: its HTTP threads do not compute.
_SILENCE_S = 15.0
_BETWEEN_QUESTIONS_S = 0.1
_RESTARTS = 3
_MEMORY_RATIO = 0.9
_BYTES_PER_MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The three ports of one Triton."""

    http: int
    grpc: int
    metrics: int


def free_ports() -> Ports:
    """Three ports that are free on the loopback interface now.

    Raises:
        OSError: There are none.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind((_HOST, 0))
        http_port, grpc_port, metrics_port = (one.getsockname()[1] for one in sockets)
    return Ports(http=http_port, grpc=grpc_port, metrics=metrics_port)


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
    process: subprocess.Popen[bytes]
    log: Path
    start_again: Callable[[], subprocess.Popen[bytes]]
    note: Callable[[Note], None]
    silence_s: float
    memory: ServerMemory
    restarts: int = 0
    suspicion: str | None = None

    def suspect(self, what: str) -> None:
        """See `Server.suspect`."""
        self.suspicion = what

    @property
    def most_instances(self) -> Callable[[int], int]:
        """See `Server.most_instances`: here an instance is a Python process, which takes its time to start."""
        return lambda loaded: self.memory.most_instances(self.process.pid, loaded)

    def revive(self) -> str | None:
        """See `Server.revive`; called after each measurement, so that it can count."""
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
                _install_backends(folder, triton)
                (folder / "repository").symlink_to(repository.resolve())
            except OSError as error:
                raise RuntimeStartError(f"cannot prepare Triton in {folder}: {error}") from error
            # The Triton of the moment; whatever ends the context ends that one.
            running = stack.enter_context(ExitStack())
            server, ports, version = self._started(running, folder, triton, log)

            def start_again() -> subprocess.Popen[bytes]:
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

    def _started(
        self, stack: ExitStack, folder: Path, triton: TritonFiles, log: Path
    ) -> tuple[subprocess.Popen[bytes], Ports, str]:
        """Starts Triton, again on other ports when somebody took one in the meantime; `stack` ends it."""
        for _ in range(_PORT_TRIES):
            ports = self.choose_ports()
            started = self._try(stack, folder, triton, log, ports)
            if started is not None:
                return started[0], ports, started[1]
        raise _failure(f"tritonserver found no free ports in {_PORT_TRIES} tries", log)

    def _restarted(
        self, stack: ExitStack, folder: Path, triton: TritonFiles, log: Path, ports: Ports
    ) -> subprocess.Popen[bytes]:
        """Starts Triton on the ports of one that has died; everybody else knows them."""
        started = self._try(stack, folder, triton, log, ports)
        if started is None:
            raise _failure("tritonserver cannot be started again: another program has taken one of its ports", log)
        return started[0]

    def _try(
        self, stack: ExitStack, folder: Path, triton: TritonFiles, log: Path, ports: Ports
    ) -> tuple[subprocess.Popen[bytes], str] | None:
        """Triton on these ports and its version, or None where one of them is taken; `stack` ends it."""
        argv = [*bound_to(self.cpuset_server), *_command(folder, triton, ports)]
        with ExitStack() as attempt:
            try:
                server = attempt.enter_context(_running(argv, folder, triton, log))
            except OSError as error:
                raise RuntimeStartError(f"cannot start {triton.tritonserver}: {error}") from error
            version = _version_when_ready(server, ports, time.monotonic() + self.start_timeout_s)
            returncode = server.poll()
            if version is not None:
                stack.push(attempt.pop_all())
                return server, version
        if returncode is None:
            raise _failure(f"tritonserver was not ready after {self.start_timeout_s:g} s", log)
        if _PORT_TAKEN not in process.last_lines(log):
            raise _failure(f"tritonserver ended with {returncode} instead of getting ready", log)
        return None


def _running(
    argv: list[str], folder: Path, triton: TritonFiles, log: Path
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return process.service(argv, log=log, env=_server_environment(folder, triton), cwd=folder, grace_s=_STOP_GRACE_S)


def _install_backends(folder: Path, triton: TritonFiles) -> None:
    """The backend directory: the Python backend with the stub of this Python, and ours. Triton refuses links here."""
    python, onnxruntime, libraries = (folder / name for name in ("backends/python", "backends/onnxruntime", "lib"))
    onnxruntime.mkdir(parents=True)
    libraries.mkdir()
    shutil.copytree(triton.backend_folder, python)
    stub = python / triton.stub.name
    shutil.copyfile(triton.stub, stub)
    stub.chmod(0o700)
    ours = resources.files("hcopt.triton").joinpath("onnxruntime_backend/model.py")
    (onnxruntime / "model.py").write_bytes(ours.read_bytes())
    libpython = find_libpython()
    (libraries / libpython.name).symlink_to(libpython)


def _command(folder: Path, triton: TritonFiles, ports: Ports) -> list[str]:
    return [
        str(triton.tritonserver),
        f"--model-repository={folder / 'repository'}",
        "--model-control-mode=explicit",
        # A variant that failed to load says nothing about the server, and Model Analyzer waits until it is ready.
        "--strict-readiness=false",
        f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
        "--disable-auto-complete-config",
        f"--backend-directory={folder / 'backends'}",
        f"--backend-config=python,shm-region-prefix-name={folder.name}_",
        *(f"--{service}-address={_HOST}" for service in ("http", "grpc", "metrics")),
        f"--http-port={ports.http}",
        f"--grpc-port={ports.grpc}",
        f"--metrics-port={ports.metrics}",
        f"--metrics-interval-ms={_METRICS_INTERVAL_MS}",
        # There is nothing of a GPU to serve here; where the machine has one, it is left alone.
        "--allow-gpu-metrics=false",
        "--pinned-memory-pool-byte-size=0",
    ]


def _server_environment(folder: Path, triton: TritonFiles) -> dict[str, str]:
    libraries = (str(triton.libraries), str(folder / "lib"), os.environ.get("LD_LIBRARY_PATH"))
    modules = (str(folder / "backends" / "onnxruntime"), os.environ.get("PYTHONPATH"))
    environment = {
        **without_secrets(os.environ),
        # The stub takes its packages from the `python3` that is first on the path.
        "PATH": first_on_path(os.environ),
        "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
        # In front, or any other module called `model` would be taken for the backend.
        "PYTHONPATH": ":".join(filter(None, modules)),
        # Each load is a new Python: where it finds no compiled modules, it takes 0.5 s instead of 0.1 s.
        "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def _version_when_ready(server: subprocess.Popen[bytes], ports: Ports, deadline: float) -> str | None:
    """Triton's version as soon as it is ready; None when it has ended, or the deadline has passed."""
    while server.poll() is None and time.monotonic() < deadline:
        # Another server may have got a port first, and would answer in its place.
        version = _version_if_ready(ports.http) if _listens(server.pid, ports) else None
        if version is not None:
            return version
        time.sleep(_POLL_S)
    return None


def _listens(pid: int, ports: Ports) -> bool:
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return False
    listening = {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}
    return {ports.http, ports.grpc, ports.metrics} <= listening


def _version_if_ready(port: int) -> str | None:
    connection = http.client.HTTPConnection(_HOST, port, timeout=2)
    try:
        connection.request("GET", "/v2/health/ready")
        answer = connection.getresponse()
        answer.read()
        connection.request("GET", "/v2")
        about = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return str(about["version"]) if answer.status == http.client.OK else None


def _endpoint(ports: Ports) -> Endpoint:
    return Endpoint(
        grpc=f"{_HOST}:{ports.grpc}",
        http=f"{_HOST}:{ports.http}",
        metrics_url=f"http://{_HOST}:{ports.metrics}/metrics",
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
    return Note(
        en=f"{ended}: started again; the measurement of that moment failed or is taken again.",
        ko=f"tritonserver 종료 후 재시작({ended}): 그 시점의 측정은 실패로 기록하거나 다시 측정.",
    )


def _failure(message: str, log: Path) -> RuntimeStartError:
    return RuntimeStartError(f"{message}. Its last words:\n{process.last_lines(log)}", log=log)
