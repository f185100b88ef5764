"""Labels that say which run a container or network belongs to, and what is left of runs whose process is gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hcopt.system.signals import deferred_signals
from hcopt.triton.docker.engine import docker_errors

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.networks import Network

RUN = "hcopt.run"
_PID = "hcopt.pid"
_HOST = "hcopt.host"
_STARTED = "hcopt.started"
_START_TIME_FIELD = 19  # of /proc/PID/stat, counted behind the program's name: proc(5), starttime


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """Something that a run left in the engine. Its anonymous volumes go with a container, and there are no others.

    Attributes:
        kind: What it is.
        name: Its name in the engine.
        run_id: The run that made it.
    """

    kind: Literal["container", "network"]
    name: str
    run_id: str


def run_labels(run_id: str) -> dict[str, str]:
    """What marks a container or network of a run of this process."""
    pid = os.getpid()
    return {RUN: run_id, _PID: str(pid), _HOST: socket.gethostname(), _STARTED: _started(pid) or ""}


def find_leftovers(client: DockerClient) -> tuple[Leftover, ...]:
    """What is left of runs of this machine whose process is gone; a run that lives, here or elsewhere, has none.

    Raises:
        RuntimeStartError: The engine does not answer.
    """
    return tuple(_leftover(found) for found in _labelled(client, RUN) if _is_left(found))


def remove_leftovers(client: DockerClient) -> tuple[Leftover, ...]:
    """Removes what `find_leftovers` finds, and returns it.

    Raises:
        RuntimeStartError: The engine does not answer, or cannot remove one of them.
    """
    return tuple(_removed(found) for found in _labelled(client, RUN) if _is_left(found))


def remove_run(client: DockerClient, run_id: str) -> None:
    """Removes all containers and networks of one run, whoever it belongs to.

    Raises:
        RuntimeStartError: The engine does not answer, or cannot remove one of them.
    """
    with deferred_signals(), ExitStack() as stack:
        # One that cannot be removed keeps none of the others: the stack goes on, and raises in the end.
        for found in reversed(list(_labelled(client, f"{RUN}={run_id}"))):
            stack.callback(_removed, found)


def _labelled(client: DockerClient, label: str) -> Iterator[Container | Network]:
    """Containers first: a network can go only when nothing is in it."""
    filters: dict[str, str | list[str] | bool] = {"label": label}
    with docker_errors("the Docker Engine does not list what runs have left"):
        # Without details of each: one that goes away meanwhile would be an error.
        yield from client.containers.list(all=True, filters=filters, sparse=True)
        yield from client.networks.list(filters=filters)


def _labels(found: Container | Network) -> Mapping[str, str]:
    return found.attrs.get("Labels") or {}


def _leftover(found: Container | Network) -> Leftover:
    names = found.attrs.get("Names")
    return Leftover(
        kind="network" if names is None else "container",
        name=found.attrs["Name"] if names is None else names[0].removeprefix("/"),
        run_id=_labels(found)[RUN],
    )


def _is_left(found: Container | Network) -> bool:
    labels = _labels(found)
    # Of a process on another machine, or in a container of its own, nothing can be told from here.
    if labels.get(_HOST) != socket.gethostname() or not labels.get(_PID, "").isdecimal():
        return False
    return _started(int(labels[_PID])) != labels.get(_STARTED)


def _started(pid: int) -> str | None:
    """When a process was started, as nothing else on this machine ever was; None where there is no such process.

    Not psutil's `create_time`: that moves with the system's clock.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return f"{boot}/{fields[_START_TIME_FIELD]}"


def _removed(found: Container | Network) -> Leftover:
    from docker.errors import NotFound

    gone = _leftover(found)
    with docker_errors(f"cannot remove the {gone.kind} {gone.name}"):
        try:
            if gone.kind == "container":
                found.remove(v=True, force=True)  # type: ignore[call-arg]
            else:
                found.remove()
        except NotFound:
            pass
    return gone
