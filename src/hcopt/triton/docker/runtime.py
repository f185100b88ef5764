"""Triton in NVIDIA's server image, the measuring programs in its SDK image, both on a network of the run's own.

The server sees the model repository, read-only, and nothing else of this machine; the SDK container sees the run's
folder. Neither gets the engine's socket, hcopt's environment, or more rights than the user has.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hcopt.errors import RuntimeStartError
from hcopt.records.measurement import Backend, Environment
from hcopt.records.note import Note
from hcopt.system import process
from hcopt.system.machine import read_environment
from hcopt.system.progress import Progress
from hcopt.triton.base import Endpoint, Tool
from hcopt.triton.docker.containers import (
    SERVER_ENDPOINT,
    ContainerLog,
    Limits,
    RunContainers,
    copied_log,
    create_network,
    start,
    user_of_files,
)
from hcopt.triton.docker.engine import engine, how_it_ended, how_it_ended_within, told
from hcopt.triton.docker.images import digest, image_names, missing_images, pull
from hcopt.triton.docker.leftovers import remove_leftovers, remove_run
from hcopt.triton.docker.tools import DockerTools, execute, find_programs
from hcopt.triton.ports import Ports, free_ports
from hcopt.triton.ready import health
from hcopt.triton.served_backend import served_backend

if TYPE_CHECKING:
    from docker import DockerClient

_HOST = "127.0.0.1"
_POLL_S = 0.1
_SILENCE_S = 15.0
_PORT_TRIES = 5
_PORT_TAKEN = ("already allocated", "already in use")
_RESTARTS = 3
_BYTES_PER_MB = 1024 * 1024
_PROGRAMS: tuple[Tool, Tool] = ("model-analyzer", "perf_analyzer")


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
            client = stack.enter_context(engine())
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
            log = stack.enter_context(copied_log(containers.server_name, log_file))
            stack.callback(self._remove, client, containers.run_id)
            create_network(client, containers)
            start(client, containers.sdk())
            tools = _tools(client, containers)
            ports = self._start_server(client, containers)
            log.follow()
            version = _version_when_ready(client, containers, ports, log, self.start_timeout_s)
            _check_reach(client, containers)
            yield DockerServer(
                client=client,
                containers=containers,
                ports=ports,
                tools=tools,
                environment=_environment(client, containers, ports, version, log),
                log=log,
                note=self.note,
                start_timeout_s=self.start_timeout_s,
            )

    def _start_server(self, client: DockerClient, containers: RunContainers) -> Ports:
        """Starts Triton, on other ports when somebody took one in the meantime."""
        for _ in range(_PORT_TRIES):
            ports = self.choose_ports()
            try:
                start(client, containers.server(ports))
            except RuntimeStartError as error:
                if not any(sign in error.message for sign in _PORT_TAKEN):
                    raise
            else:
                return ports
        raise RuntimeStartError(f"no free ports for tritonserver in {_PORT_TRIES} tries")

    def _remove_leftovers(self, client: DockerClient) -> None:
        """What killed runs have left holds memory and CPUs that this one is going to measure with."""
        try:
            gone = remove_leftovers(client)
        except RuntimeStartError as error:
            # Another run may be removing the same one at this moment.
            self.note(_leftovers_stay(error.message))
        else:
            if gone:
                self.note(_leftovers_removed(", ".join(f"{one.kind} {one.name}" for one in gone)))

    def _remove(self, client: DockerClient, run_id: str) -> None:
        try:
            remove_run(client, run_id)
        except RuntimeStartError as error:
            self.note(_left(run_id, error.message))


@dataclass(slots=True, kw_only=True)
class DockerServer:
    """A running Triton in its container, with the SDK container beside it.

    Attributes:
        client: The engine.
        containers: How both are made.
        ports: Where they are published on this machine.
        tools: The measuring programs in the SDK container.
        environment: The conditions that go with every figure.
        log: What Triton says.
        note: Told of each restart.
        start_timeout_s: How long Triton may take to answer after one.
        restarts: How many there were in a row.
        suspicion: Why the server counts as dead though it may answer.
    """

    client: DockerClient
    containers: RunContainers
    ports: Ports
    tools: DockerTools
    environment: Environment
    log: ContainerLog
    note: Callable[[Note], None]
    start_timeout_s: float
    restarts: int = 0
    suspicion: str | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The server as this process reaches it; the same after a restart."""
        return _published(self.ports)

    def mark_unhealthy(self, what: str) -> None:
        """See `Server.mark_unhealthy`."""
        self.suspicion = what

    @property
    def max_instances(self) -> None:
        """See `Server.max_instances`: an instance of the native backend is no process, and is there soon."""

    def restart_if_dead(self) -> str | None:
        """Starts a container that has ended again; called after each measurement, so that it can count.

        Returns:
            Which one had ended, and how; None where both run.

        Raises:
            RuntimeStartError: That was once too often, or the engine has stopped.
        """
        server = self._how_server_ended()
        sdk = how_it_ended(self.client, self.containers.sdk_name)
        ended = "; ".join(filter(None, (server, sdk)))
        if not ended:
            self.restarts = 0
            return None
        if self.restarts == _RESTARTS:
            raise _failure(f"{ended}, after {_RESTARTS} restarts in a row", self.log)
        self.restarts += 1
        if sdk is not None:
            start(self.client, self.containers.sdk())
        if server is not None:
            self.suspicion = None
            start(self.client, self.containers.server(self.ports))
            self.log.follow()
            _version_when_ready(self.client, self.containers, self.ports, self.log, self.start_timeout_s)
        self.note(_restarted(ended))
        return ended

    def _how_server_ended(self) -> str | None:
        """None while it answers: the engine learns of an end a moment later than the server's clients."""
        deadline = time.monotonic() + _SILENCE_S
        while True:
            ended = how_it_ended(self.client, self.containers.server_name)
            if ended is None and self.suspicion is not None:
                return f"the container {self.containers.server_name} was ended: {self.suspicion}"
            if ended is not None or health(self.endpoint.http) is not None:
                return ended
            if time.monotonic() > deadline:
                return f"tritonserver in {self.containers.server_name} has not answered for {_SILENCE_S:g} s"
            time.sleep(_POLL_S)


def _published(ports: Ports) -> Endpoint:
    return Endpoint(
        grpc=f"{_HOST}:{ports.grpc}",
        http=f"{_HOST}:{ports.http}",
        metrics_url=f"http://{_HOST}:{ports.metrics}/metrics",
    )


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
    )


def _version_when_ready(
    client: DockerClient, containers: RunContainers, ports: Ports, log: ContainerLog, timeout_s: float
) -> str:
    """Triton's version as soon as it is ready."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = health(_published(ports).http)
        if found is not None and found.ready:
            return found.version
        ended = how_it_ended(client, containers.server_name)
        if ended is not None:
            raise _failure(f"{ended} instead of getting ready", log)
        time.sleep(_POLL_S)
    raise _failure(f"tritonserver in {containers.server_name} was not ready after {timeout_s:g} s", log)


def _check_reach(client: DockerClient, containers: RunContainers) -> None:
    host, _, port = SERVER_ENDPOINT.grpc.partition(":")
    code, _ = execute(client, containers.sdk_name, ["timeout", "10", "bash", "-c", f"</dev/tcp/{host}/{port}"])
    if code in {1, 124}:
        raise RuntimeStartError(
            f"the SDK container does not reach {SERVER_ENDPOINT.grpc} on the network {containers.network_name}",
            remedy="A firewall of this machine may drop what goes over Docker's bridges (firewalld, nftables): allow "
            "it, or use --runtime embedded.",
        )


def _environment(
    client: DockerClient, containers: RunContainers, ports: Ports, version: str, log: ContainerLog
) -> Environment:
    with told("the Docker Engine does not describe this machine"):
        info = client.info()
    limits = containers.limits
    found = read_environment(
        runtime="docker",
        backend=_backend(client, containers, ports, log),
        triton_version=version,
        onnxruntime_version=None,
        perf_analyzer_version=_perf_analyzer_version(client, containers.sdk_name),
        # A container without a set of its own has all CPUs of the machine, also where this process has not.
        server_cpuset=limits.cpuset_server or f"0-{info['NCPU'] - 1}",
    )
    memory_mb = min(info["MemTotal"] // _BYTES_PER_MB, limits.memory_mb or info["MemTotal"])
    server_image, sdk_image = (digest(client, name) for name in containers.images.both)
    return replace(found, memory_mb=memory_mb, server_image=server_image, sdk_image=sdk_image)


def _backend(client: DockerClient, containers: RunContainers, ports: Ports, log: ContainerLog) -> Backend:
    try:
        return served_backend(_published(ports), next(containers.repository.iterdir()).name, log=log.file)
    except RuntimeStartError:
        ended = how_it_ended_within(client, containers.server_name)
        if ended is not None:
            raise _failure(f"{ended} while it loaded the model", log) from None
        raise


def _perf_analyzer_version(client: DockerClient, container: str) -> str | None:
    _, said = execute(client, container, ["perf_analyzer", "--version"])
    found = re.search(r"[0-9]+(\.[0-9]+)+", said)
    return found[0] if found else None


def _failure(message: str, log: ContainerLog) -> RuntimeStartError:
    log.wait(timeout_s=2.0)
    return RuntimeStartError(f"{message}. Its last words:\n{process.last_lines(log.file)}", log=log.file)


def _restarted(ended: str) -> Note:
    return Note.of("container_restarted", ended=ended)


def _leftovers_removed(names: str) -> Note:
    return Note.of("leftovers_removed", names=names)


def _leftovers_stay(reason: str) -> Note:
    return Note.of("leftovers_stay", reason=reason)


def _left(run_id: str, reason: str) -> Note:
    command = f"docker ps -aq --filter label=hcopt.run={run_id}"
    return Note.of("containers_left", reason=reason, command=command)
