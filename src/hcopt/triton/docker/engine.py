"""A connection to the Docker Engine of this machine, and its failures in hcopt's words."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hcopt.errors import RuntimeStartError
from hcopt.system.clock import wait_for

if TYPE_CHECKING:
    from docker import DockerClient

_CALL_TIMEOUT_S = 60
_POLL_S = 0.1
_START = "Start it (sudo systemctl start docker), or use --runtime embedded, which needs no Docker."
_GROUP = (
    "Add the user to the group docker (sudo usermod -aG docker $USER, then log in again), or use --runtime embedded."
)


@contextmanager
def docker_client(*, timeout_s: int = _CALL_TIMEOUT_S) -> Iterator[DockerClient]:
    """A connection to the engine that `DOCKER_HOST` or Docker's own context names, by default this machine's.

    Args:
        timeout_s: Longest wait for one answer.

    Raises:
        RuntimeStartError: None answers, this user may not use it, or it runs on another machine.
    """
    import docker

    with docker_errors("the Docker Engine cannot be used"):
        address = _address()
        _check(address, timeout_s)
        client = docker.DockerClient(base_url=address, timeout=timeout_s)
    try:
        yield client
    finally:
        client.close()


def _address() -> str:
    from docker.context import ContextAPI
    from docker.utils import kwargs_from_env

    return kwargs_from_env().get("base_url") or ContextAPI.kwargs_from_context()["base_url"]


def _check(address: str, timeout_s: float) -> None:
    scheme, _, path = address.partition("://")
    if scheme not in {"unix", "http+unix"}:
        raise RuntimeStartError(
            f"the Docker Engine at {address} is not on this machine, whose folders hcopt has to give it",
            remedy="Unset DOCKER_HOST (or run `docker context use default`), or start Triton there and use "
            "--runtime remote.",
        )
    try:
        # docker-py would say the same in a traceback's words, and leave its socket open.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(timeout_s)
            probe.connect(path)
    except PermissionError as error:
        raise RuntimeStartError(
            f"the Docker Engine cannot be used: this user may not use {path} (permission denied)", remedy=_GROUP
        ) from error
    except OSError as error:
        raise RuntimeStartError(f"no Docker Engine answers at {path}: {error.strerror}", remedy=_START) from error


@contextmanager
def docker_errors(failure: str) -> Iterator[None]:
    """Turns what docker-py raises into a RuntimeStartError that begins with `failure`."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException, Timeout
    from urllib3.exceptions import HTTPError

    try:
        yield
    except APIError as error:
        raise RuntimeStartError(f"{failure}: {str(error.explanation or error).strip()}") from error
    except Timeout as error:
        raise RuntimeStartError(f"{failure}: the Docker Engine does not answer in time", remedy=_START) from error
    except (RequestException, HTTPError) as error:
        raise RuntimeStartError(f"{failure}: the Docker Engine does not answer any more", remedy=_START) from error
    except DockerException as error:
        raise RuntimeStartError(f"{failure}: {error}") from error


def how_it_ended(client: DockerClient, name: str) -> str | None:
    """What became of a container; None while it runs.

    Raises:
        RuntimeStartError: The engine does not answer.
    """
    from docker.errors import NotFound

    with docker_errors(f"the Docker Engine does not say whether the container {name} runs"):
        try:
            state = client.containers.get(name).attrs["State"]
        except NotFound:
            return f"the container {name} was removed"
    if state["Running"]:
        return None
    if state["OOMKilled"]:
        return f"the container {name} was killed, as it needed more memory than it may have (runtime.docker.memory_mb)"
    return f"the container {name} has ended with {state['ExitCode']}{_signal_of(state['ExitCode'])}"


def how_it_ended_within(client: DockerClient, name: str, limit_s: float = 2.0) -> str | None:
    """What became of a container whose programs have gone: the engine says so a moment later than they do.

    Returns:
        None where it runs on.

    Raises:
        RuntimeStartError: The engine does not answer.
    """
    return wait_for(lambda: how_it_ended(client, name), timeout_s=limit_s, poll_s=_POLL_S)


def _signal_of(code: int) -> str:
    return {137: " (killed)", 139: " (crashed)", 143: " (told to end)"}.get(code, "")
