"""Triton in NVIDIA's server image, the measuring programs in its SDK image, both on a network of the run's own.

The server sees the model repository, read-only, and nothing else of this machine; the SDK container sees the run's
folder. Neither gets the engine's socket, hcopt's environment, or more rights than the user has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hcopt.errors import RuntimeStartError
from hcopt.records.json import JsonObject
from hcopt.records.measurement import Backend, Environment
from hcopt.records.note import Note
from hcopt.system import process
from hcopt.system.cgroup import cgroup_memory_mb
from hcopt.system.cpu_list import parse_cpu_list
from hcopt.system.machine import read_environment
from hcopt.system.progress import Progress
from hcopt.triton.base import Tool
from hcopt.triton.docker.containers import (
    SERVER_ENDPOINT,
    ContainerLog,
    Limits,
    RunContainers,
    create_network,
    start,
    user_of_files,
)
from hcopt.triton.docker.engine import docker_client, docker_errors, how_it_ended, how_it_ended_within
from hcopt.triton.docker.images import digest, image_names, missing_images, pull
from hcopt.triton.docker.leftovers import remove_leftovers, remove_run
from hcopt.triton.docker.tools import DockerTools, execute, find_programs
from hcopt.triton.ports import Ports, free_ports
from hcopt.triton.served_backend import served_backend
from hcopt.triton.supervised import SHARE_BESIDE, PortTakenError, SupervisedServer

if TYPE_CHECKING:
    from docker import DockerClient

_PORT_TAKEN = ("already allocated", "already in use")
_BYTES_PER_MB = 1024 * 1024
_PROGRAMS: tuple[Tool, ...] = ("model-analyzer", "perf_analyzer", "python3")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerRuntime:
    """Starts the containers of one Triton release.

    Attributes:
        release: Such as 26.09.
        limits: What they may use.
        progress: Told how far a pull is.
        note: Takes what the user has to know about containers that ended, or that could not be removed.
        start_timeout_s: How long Triton may take to answer.
        choose_ports: Gives ports that are likely to be free; asked again when one is taken in between.
    """

    release: str
    limits: Limits
    progress: Progress
    note: Callable[[Note], None]
    start_timeout_s: float = 120.0
    choose_ports: Callable[[], Ports] = free_ports

    @contextmanager
    def serve(self, repository: Path, run_folder: Path) -> Iterator[DockerServer]:
        """Starts both containers, from images that are pulled where the engine lacks them; all goes with the context.

        Args:
            repository: A Triton model repository; nothing of it is loaded yet.
            run_folder: The run's folder; its name is the run's id. The server's log is `logs/tritonserver.log` in it.

        Raises:
            RuntimeStartError: No engine, no image, no Model Analyzer in it, or Triton does not get ready in time.
        """
        run_folder, images = run_folder.absolute(), image_names(self.release)
        log_file = run_folder / "logs" / "tritonserver.log"
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            client = stack.enter_context(docker_client())
            self._remove_leftovers(client)
            for name in missing_images(client, images.both):
                pull(client, name, self.progress)
            containers = RunContainers(
                run_folder=run_folder,
                repository=repository,
                images=images,
                limits=self.limits,
                user=user_of_files(client),
            )
            log = ContainerLog(containers.server_name, log_file)
            stack.callback(log.wait)
            stack.callback(self._remove, client, containers.run_id)
            create_network(client, containers)
            start(client, containers.sdk())
            tools = _tools(client, containers)
            server = DockerServer(
                name=f"tritonserver in {containers.server_name}",
                log=log_file,
                note_restart=lambda ended: self.note(Note.of("container_restarted", ended=ended)),
                choose_ports=self.choose_ports,
                start_timeout_s=self.start_timeout_s,
                client=client,
                containers=containers,
                tools=tools,
                copied_log=log,
            )
            version = server.start()
            _check_reach(client, containers)
            server.environment = _environment(server, version)
            yield server

    def _remove_leftovers(self, client: DockerClient) -> None:
        """What killed runs have left holds memory and CPUs that this one is going to measure with."""
        try:
            gone = remove_leftovers(client)
        except RuntimeStartError as error:
            # Another run may be removing the same one at this moment.
            self.note(Note.of("leftovers_stay", reason=error.message))
        else:
            if gone:
                names = ", ".join(f"{one.kind} {one.name}" for one in gone)
                self.note(Note.of("leftovers_removed", names=names))

    def _remove(self, client: DockerClient, run_id: str) -> None:
        try:
            remove_run(client, run_id)
        except RuntimeStartError as error:
            command = f"docker ps -aq --filter label=hcopt.run={run_id}"
            self.note(Note.of("containers_left", reason=error.message, command=command))


@dataclass(slots=True, kw_only=True)
class DockerServer(SupervisedServer):
    """A Triton in its container, with the SDK container beside it.

    Attributes:
        client: The engine.
        containers: How both are made.
        tools: The measuring programs in the SDK container.
        copied_log: Copies what Triton says into the log.
        started: The container's id and its first process, from `launch` on.
    """

    client: DockerClient
    containers: RunContainers
    tools: DockerTools
    copied_log: ContainerLog
    started: tuple[str, int] = field(init=False)

    @property
    def max_instances(self) -> Callable[[int], int]:
        """See `Server.max_instances`: by the memory that the server's container holds, and that it may hold."""
        return self._max_instances

    def _max_instances(self, loaded: int) -> int:
        with docker_errors(f"the Docker Engine does not say what {self.name} holds"):
            memory = self.client.api.stats(self.containers.server_name, stream=False, one_shot=True)["memory_stats"]
        # Where the engine counts no memory, a second variant would be a guess.
        held = memory.get("usage", memory.get("limit", 0)) or 1
        return int(loaded * SHARE_BESIDE * memory.get("limit", 0) / held)

    def memory_mb(self) -> float | None:
        """See `Server.memory_mb`: as the kernel of this machine counts it, since docker-py is for one thread."""
        container, pid = self.started
        return cgroup_memory_mb(pid, name=container)

    def launch(self) -> None:
        """See `SupervisedServer.launch`."""
        try:
            self.started = start(self.client, self.containers.server(self.ports))
        except RuntimeStartError as error:
            if any(sign in error.message for sign in _PORT_TAKEN):
                raise PortTakenError(error.message, remedy=error.remedy) from error
            raise
        self.copied_log.follow()

    def how_it_ended(self) -> str | None:
        """See `SupervisedServer.how_it_ended`; the engine learns of an end a moment later than Triton's clients."""
        return how_it_ended(self.client, self.containers.server_name)

    def how_tools_ended(self) -> str | None:
        """See `SupervisedServer.how_tools_ended`."""
        return how_it_ended(self.client, self.containers.sdk_name)

    def restart_tools(self) -> None:
        """See `SupervisedServer.restart_tools`."""
        start(self.client, self.containers.sdk())

    def last_words(self) -> str:
        """See `SupervisedServer.last_words`."""
        self.copied_log.wait(timeout_s=2.0)
        return process.last_lines(self.log)


def _tools(client: DockerClient, containers: RunContainers) -> DockerTools:
    image = containers.images.sdk
    programs = find_programs(client, containers.sdk_name, _PROGRAMS)
    if "perf_analyzer" not in programs:
        raise RuntimeStartError(f"{image} has no perf_analyzer on its PATH, so it is no Triton SDK image")
    if "model-analyzer" not in programs:
        raise RuntimeStartError(
            f"{image} has perf_analyzer, but not Model Analyzer: NVIDIA left it out of the releases 25.05 to 25.11",
            remedy="Set runtime.docker.release to one that has it: up to 25.04, or from 25.12 on, such as 26.09. "
            "Or use --runtime embedded.",
        )
    return DockerTools(
        client=client,
        container=containers.sdk_name,
        run_folder=containers.run_folder,
        endpoint=SERVER_ENDPOINT,
        programs=programs,
        cpu_count=len(parse_cpu_list(containers.limits.cpuset_client or _all_cpus(_machine(client)))),
    )


def _check_reach(client: DockerClient, containers: RunContainers) -> None:
    host, _, port = SERVER_ENDPOINT.grpc.partition(":")
    code, _ = execute(client, containers.sdk_name, ["timeout", "10", "bash", "-c", f"</dev/tcp/{host}/{port}"])
    if code in {1, 124}:
        raise RuntimeStartError(
            f"the SDK container does not reach {SERVER_ENDPOINT.grpc} on the network {containers.network_name}",
            remedy="A firewall of this machine may drop what goes over Docker's bridges (firewalld, nftables): allow "
            "it, or use --runtime embedded.",
        )


def _machine(client: DockerClient) -> JsonObject:
    """The engine's machine, as the engine describes it."""
    with docker_errors("the Docker Engine does not describe this machine"):
        info: JsonObject = client.info()
        return info


def _all_cpus(info: JsonObject) -> str:
    """The CPUs of the engine's machine, as Linux writes a list of them."""
    return f"0-{info['NCPU'] - 1}"


def _environment(server: DockerServer, version: str) -> Environment:
    client, containers = server.client, server.containers
    info, limits = _machine(client), containers.limits
    every = _all_cpus(info)
    found = read_environment(
        runtime="docker",
        backend=_backend(server),
        triton_version=version,
        onnxruntime_version=None,
        perf_analyzer_version=_perf_analyzer_version(client, containers.sdk_name),
        # A container without a set of its own has all CPUs of the machine, also where this process has not.
        server_cpuset=limits.cpuset_server or every,
        client_cpuset=limits.cpuset_client or every,
    )
    memory_mb = min(info["MemTotal"] // _BYTES_PER_MB, limits.memory_mb or info["MemTotal"])
    server_image, sdk_image = (digest(client, name) for name in containers.images.both)
    return replace(found, memory_mb=memory_mb, server_image=server_image, sdk_image=sdk_image)


def _backend(server: DockerServer) -> Backend:
    model_name = next(server.containers.repository.iterdir()).name
    try:
        return served_backend(server.endpoint, model_name, log=server.log)
    except RuntimeStartError:
        ended = how_it_ended_within(server.client, server.containers.server_name)
        if ended is not None:
            raise server.failure(f"{ended} while it loaded the model") from None
        raise


def _perf_analyzer_version(client: DockerClient, container: str) -> str | None:
    _, said = execute(client, container, ["perf_analyzer", "--version"])
    found = re.search(r"[0-9]+(\.[0-9]+)+", said)
    return found[0] if found else None
