"""The two containers of a run: how they are made, what may be said of their end, and the log of what they say."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcopt.errors import RuntimeStartError
from hcopt.system.signals import deferred_signals
from hcopt.triton.docker.engine import docker_client, docker_errors
from hcopt.triton.docker.images import ImageNames
from hcopt.triton.docker.leftovers import run_labels
from hcopt.triton.docker.streams import container_output
from hcopt.triton.docker.tools import RUN_FOLDER
from hcopt.triton.ports import HOST, Ports
from hcopt.triton.supervised import server_options

if TYPE_CHECKING:
    from docker import DockerClient

_SERVER_HOST = "tritonserver"
_PORTS = Ports(http=8000, grpc=8001, metrics=8002)
_REPOSITORY = "/hcopt/repository"
# The Python backend takes shared memory for each instance; Docker's default is 64 MB for all of them together.
_SHARED_MEMORY = "1g"
_API_VERSION = "1.41"  # of Docker 20.10
SERVER_ENDPOINT = _PORTS.endpoint(_SERVER_HOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the containers may use.

    Attributes:
        cpuset_server: The server's CPUs, as Linux writes them; None means all.
        cpuset_client: The measuring programs' CPUs; None means all.
        memory_mb: The server's memory; None means all.
        gpus: Whether the server gets the machine's GPUs. Nobody has tried it on one.
    """

    cpuset_server: str | None = None
    cpuset_client: str | None = None
    memory_mb: int | None = None
    gpus: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContainers:
    """The containers of one run, as docker-py's `containers.create` takes them.

    Attributes:
        run_folder: Its name is the run's id.
        repository: The model repository.
        images: What they are made of.
        limits: What they may use.
        user: Whose files come out of them, as `uid:gid`.
    """

    run_folder: Path
    repository: Path
    images: ImageNames
    limits: Limits
    user: str

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.run_folder.name

    @property
    def network_name(self) -> str:
        """The run's own network."""
        return f"hcopt-{self.run_id}"

    @property
    def server_name(self) -> str:
        """The container of Triton."""
        return f"hcopt-{self.run_id}-server"

    @property
    def sdk_name(self) -> str:
        """The container of the measuring programs."""
        return f"hcopt-{self.run_id}-sdk"

    def server(self, ports: Ports) -> dict[str, Any]:
        """Triton in explicit model-control mode, with ports on this machine's loopback interface alone."""
        from docker.types import DeviceRequest, EndpointConfig

        memory = None if self.limits.memory_mb is None else f"{self.limits.memory_mb}m"
        gpus = [DeviceRequest(count=-1, capabilities=[["gpu"]])] if self.limits.gpus else None
        published = {_PORTS.http: ports.http, _PORTS.grpc: ports.grpc, _PORTS.metrics: ports.metrics}
        return {
            **self._common(self.server_name, self.images.server, self.limits.cpuset_server),
            "command": ["tritonserver", *server_options(_REPOSITORY, _PORTS, gpus=self.limits.gpus)],
            "networking_config": {self.network_name: EndpointConfig(_API_VERSION, aliases=[_SERVER_HOST])},
            "mounts": [_mount(self.repository, _REPOSITORY, read_only=True)],
            "ports": {f"{inside}/tcp": (HOST, outside) for inside, outside in published.items()},
            "mem_limit": memory,
            # The same figure means no swap: a swapping server is not what is to be measured.
            "memswap_limit": memory,
            "shm_size": _SHARED_MEMORY,
            "device_requests": gpus,
        }

    def sdk(self) -> dict[str, Any]:
        """A container that waits for programs to be started in it."""
        return {
            **self._common(self.sdk_name, self.images.sdk, self.limits.cpuset_client),
            "entrypoint": ["sleep", "infinity"],
            "command": [],
            "mounts": [_mount(self.run_folder, str(RUN_FOLDER), read_only=False)],
            "working_dir": str(RUN_FOLDER),
        }

    def _common(self, name: str, image: str, cpuset: str | None) -> dict[str, Any]:
        return {
            "name": name,
            "image": image,
            "labels": run_labels(self.run_id),
            "network": self.network_name,
            "user": self.user,
            "cpuset_cpus": cpuset,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            # Docker's own configuration may name a proxy, with its login: it is for nobody in here.
            "use_config_proxy": False,
        }


def _mount(source: Path, target: str, *, read_only: bool) -> Any:
    from docker.types import Mount

    # Not `volumes`: a colon in the path would be taken for a separator, and a missing folder would be made by root.
    return Mount(target=target, source=str(source.absolute()), type="bind", read_only=read_only)


def user_of_files(client: DockerClient) -> str:
    """The user to run as, so that files belong to the one who runs hcopt.

    Raises:
        RuntimeStartError: The engine does not answer.
    """
    with docker_errors("the Docker Engine does not describe itself"):
        options = client.info().get("SecurityOptions") or ()
    # A rootless engine maps this user to root inside of its containers.
    return "0:0" if any("name=rootless" in option for option in options) else f"{os.getuid()}:{os.getgid()}"


def create_network(client: DockerClient, containers: RunContainers) -> None:
    """Makes the run's network.

    Raises:
        RuntimeStartError: The engine cannot.
    """
    with docker_errors(f"cannot create the network {containers.network_name}"), deferred_signals():
        client.networks.create(containers.network_name, labels=run_labels(containers.run_id))


def start(client: DockerClient, arguments: Mapping[str, Any]) -> tuple[str, int]:
    """Makes a container and starts it, in the place of one of its name.

    Returns:
        Its id, and the number of its first process on the engine's machine, 0 where that has ended already.

    Raises:
        RuntimeStartError: The engine cannot; it may be that one of the ports is taken.
    """
    with docker_errors(f"cannot start the container {arguments['name']} from {arguments['image']}"), deferred_signals():
        remove_container(client, arguments["name"])
        container = client.containers.create(**arguments)
        container.start()
        container.reload()
        return str(container.id), container.attrs["State"]["Pid"]


def remove_container(client: DockerClient, name: str) -> None:
    """Removes a container, running or not, where there is one."""
    from docker.errors import NotFound

    with suppress(NotFound):
        client.containers.get(name).remove(v=True, force=True)


class ContainerLog:
    """Copies what a container says into a file while it runs, so that it is there whatever ends the run.

    Args:
        name: The container.
        file: Is written on where it exists.
    """

    def __init__(self, name: str, file: Path) -> None:
        self.file = file
        self._name = name
        self._copying: threading.Thread | None = None

    def follow(self) -> None:
        """Starts to copy, from the container's first line; again for the next container of this name."""
        self.wait()
        # A connection of its own, as docker-py's are for one thread; a daemon, as nothing but the container ends it.
        self._copying = threading.Thread(target=self._copy, daemon=True)
        self._copying.start()

    def wait(self, timeout_s: float = 5.0) -> None:
        """Waits for the last lines of a container that has ended."""
        if self._copying is not None:
            self._copying.join(timeout_s)

    def _copy(self) -> None:
        try:
            with (
                docker_client() as client,
                docker_errors("no log"),
                self.file.open("ab", buffering=0) as file,
                container_output(client, self._name) as pieces,
            ):
                for piece in pieces:
                    file.write(piece)
        except (RuntimeStartError, OSError):
            # The engine has gone away, or the disk is full: the run will notice by itself.
            return
