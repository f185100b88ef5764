"""Triton out of the `nvidia-pytriton` wheel as a child process, with an onnxruntime backend of hcopt's own.

Everything that Triton needs beside the wheel lies in a private folder that lives as long as the server.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from hcopt.errors import RuntimeStartError
from hcopt.records.note import Note
from hcopt.system import process
from hcopt.system.cpu_list import parse_cpu_list
from hcopt.system.machine import read_environment
from hcopt.system.process import Program
from hcopt.system.topology import Core, read_cores
from hcopt.triton.base import Tool
from hcopt.triton.embedded.backends import (
    EmbeddedBackend,
    NativeBackend,
    NativeBackendError,
    find_native_backend,
    find_python_backend,
)
from hcopt.triton.embedded.launch import listens, server_command, server_environment
from hcopt.triton.embedded.probe import check_backend
from hcopt.triton.embedded.server_memory import ServerMemory
from hcopt.triton.embedded.thread_choice import chosen_thread_count
from hcopt.triton.local_tools import LocalTools, bound_to, check_cpuset, install_tools, private_folder
from hcopt.triton.ports import Ports, free_ports
from hcopt.triton.programs import TritonFiles, find_perf_analyzer, find_triton, installed_version
from hcopt.triton.supervised import MAX_SILENCE_S, SupervisedServer

_SHARED_MEMORY = Path("/dev/shm")
_PORT_TAKEN = "already in use"
_STOP_GRACE_S = 10.0
_MEMORY_RATIO = 0.9
_BYTES_PER_MB = 1024 * 1024


@dataclass(slots=True, kw_only=True)
class EmbeddedServer(SupervisedServer):
    """A Triton as a child process.

    Attributes:
        folder: Its private folder.
        triton: Where its parts are.
        programs: The measuring programs of this environment.
        cpuset_server: Its CPUs; None leaves that to the kernel.
        cpuset_client: The CPUs of the measuring programs.
        cores: Its physical cores where it is bound to CPUs; none where it is not, or the machine does not show them.
        memory: What it and its instances hold, and may hold.
        running: Ends the process of the moment.
        backend: What serves its models, from `install` on.
        process: tritonserver itself, from `launch` on; its children are the Python-based backend's instances.
    """

    folder: Path
    triton: TritonFiles
    programs: Mapping[Tool, Path]
    cpuset_server: str | None
    cpuset_client: str | None
    cores: tuple[Core, ...]
    memory: ServerMemory
    running: ExitStack
    backend: EmbeddedBackend = field(init=False)
    process: Program = field(init=False)

    @property
    def tools(self) -> LocalTools:
        """The measuring programs of this environment."""
        return LocalTools(
            endpoint=self.endpoint, programs=self.programs, private_folder=self.folder, cpuset=self.cpuset_client
        )

    @property
    def max_instances(self) -> Callable[[int], int]:
        """See `Server.max_instances`."""
        return lambda loaded: self.memory.max_instances(self.process.pid, loaded)

    def install(self, backend: EmbeddedBackend) -> None:
        """Lays a backend into the private folder, in the place of the one before: Triton would choose of two.

        Raises:
            RuntimeStartError: There is no room for it.
        """
        shutil.rmtree(self.folder / "backends", ignore_errors=True)
        try:
            backend.install(self.folder)
        except OSError as error:
            raise RuntimeStartError(f"cannot prepare Triton in {self.folder}: {error}") from error
        self.backend = backend

    def launch(self) -> None:
        """See `SupervisedServer.launch`."""
        self.running.close()
        self.memory.remove_regions()
        argv = [*bound_to(self.cpuset_server), *server_command(self.folder, self.triton, self.backend, self.ports)]
        environment = server_environment(self.folder, self.backend, self.cores)
        try:
            self.process = self.running.enter_context(
                process.service(argv, log=self.log, env=environment, cwd=self.folder, grace_s=_STOP_GRACE_S)
            )
        except OSError as error:
            raise RuntimeStartError(f"cannot start {self.triton.tritonserver}: {error}") from error

    def memory_mb(self) -> float | None:
        """See `Server.memory_mb`."""
        return self.memory.used_mb(self.process.pid)

    def kill(self) -> None:
        """See `SupervisedServer.kill`."""
        self.process.kill()

    def how_it_ended(self) -> str | None:
        """See `SupervisedServer.how_it_ended`."""
        returncode = self.process.poll()
        if returncode is None:
            return None
        return f"tritonserver has ended by itself with {returncode} (logs/{self.log.name})"

    def listens(self) -> bool:
        """See `SupervisedServer.listens`: another server may have got a port first, and would answer in its place."""
        return listens(self.process.pid, self.ports)

    def lost_port(self) -> bool:
        """See `SupervisedServer.lost_port`: Triton says so before it ends."""
        return _PORT_TAKEN in self.last_words()

    def overload(self) -> str | None:
        """See `SupervisedServer.overload`: it holds more memory than it may."""
        held_mb = self.memory.held_mb(self.process.pid)
        if held_mb <= self.memory.max_mb:
            return None
        return f"tritonserver was ended: it held {held_mb} MB of memory, and {self.memory.max_mb} MB is the most"


def _untold(_: Note) -> None:
    """For those who have nobody to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedRuntime:
    """Starts the Triton that pip installed.

    Attributes:
        cpuset_server: The CPUs of Triton and its instances, as Linux writes them; None leaves that to the kernel.
        cpuset_client: The CPUs of the measuring programs.
        start_timeout_s: How long Triton may take to answer.
        choose_ports: Gives ports that are likely to be free; asked again when one is taken in between.
        note: Takes what the user has to know about a server that ended.
        silence_s: How long Triton may leave the question whether it lives unanswered, until it counts as hung.
        memory_mb: What Triton and its instances may hold before the kernel begins to choose victims; None: nearly all.
        find_native_backend: Finds it, or raises a NativeBackendError: then the Python-based one takes its place.
    """

    cpuset_server: str | None = None
    cpuset_client: str | None = None
    start_timeout_s: float = 60.0
    choose_ports: Callable[[], Ports] = free_ports
    note: Callable[[Note], None] = field(default=_untold, compare=False)
    silence_s: float = MAX_SILENCE_S
    memory_mb: int | None = None
    find_native_backend: Callable[[], NativeBackend] = find_native_backend

    @contextmanager
    def serve(self, repository: Path, run_folder: Path) -> Iterator[EmbeddedServer]:
        """Starts Triton on a model repository and ends it, with all its children, when the context ends.

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
                max_mb=self.memory_mb or int(_MEMORY_RATIO * psutil.virtual_memory().total / _BYTES_PER_MB),
            )
            stack.callback(memory.remove_regions)
            triton = find_triton()
            programs = install_tools(folder)
            try:
                log.parent.mkdir(parents=True, exist_ok=True)
                (folder / "repository").symlink_to(repository.resolve())
            except OSError as error:
                raise RuntimeStartError(f"cannot prepare Triton in {folder}: {error}") from error
            server = EmbeddedServer(
                name="tritonserver",
                log=log,
                note_restart=lambda ended: self.note(Note.of("tritonserver_restarted", ended=ended)),
                choose_ports=self.choose_ports,
                start_timeout_s=self.start_timeout_s,
                silence_s=self.silence_s,
                folder=folder,
                triton=triton,
                programs=programs,
                cpuset_server=self.cpuset_server,
                cpuset_client=self.cpuset_client,
                cores=read_cores(parse_cpu_list(self.cpuset_server)) if self.cpuset_server else (),
                memory=memory,
                running=stack.enter_context(ExitStack()),
            )
            triton_version = self._start(server)
            server.environment = read_environment(
                runtime="embedded",
                backend=server.backend.record,
                triton_version=triton_version,
                onnxruntime_version=installed_version("onnxruntime"),
                perf_analyzer_version=find_perf_analyzer().version,
                server_cpuset=self.cpuset_server,
                client_cpuset=self.cpuset_client,
                onnxruntime_thread_count=len(server.cores) or chosen_thread_count(folder),
            )
            yield server

    def _start(self, server: EmbeddedServer) -> str:
        """Triton's version: with the native backend or, where that does not serve, with the Python-based one."""
        try:
            server.install(self.find_native_backend())
            version = server.start()
            check_backend(server.endpoint, server.log)
        except NativeBackendError as error:
            self.note(Note.of("python_backend_chosen", reason=error.message))
            server.install(find_python_backend(server.triton))
            version = server.start()
        return version
