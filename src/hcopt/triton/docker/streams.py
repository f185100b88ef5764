"""What containers and the programs in them say, as it comes.

Not by docker-py's own streams of programs: it reads past the answer's header into a buffer, then on from the socket, so
that what a program says quickly is lost on a busy machine.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from docker import DockerClient
    from requests import Response

_HEADER_BYTES = 8
_SIZE_OFFSET = 4


@contextmanager
def program_output(client: DockerClient, execution: str, *, silence_s: float) -> Iterator[Iterator[bytes]]:
    """Starts a program that `exec_create` has made, and gives what it says until its end.

    Args:
        client: The engine.
        execution: The id that `exec_create` gave.
        silence_s: Longest wait for the next piece.

    Raises:
        APIError: The engine does not start it.
        urllib3.exceptions.HTTPError: It was silent for longer, or the engine is gone.
    """
    url = f"{_url(client)}/exec/{execution}/start"
    with client.api.post(url, json={"Detach": False, "Tty": False}, stream=True, timeout=silence_s) as response:
        yield _pieces(response)


@contextmanager
def container_output(client: DockerClient, container: str) -> Iterator[Iterator[bytes]]:
    """What a container says, from its first line to its end.

    Raises:
        APIError: There is no such container.
        urllib3.exceptions.HTTPError: The engine is gone.
    """
    parameters = {"follow": "1", "stdout": "1", "stderr": "1"}
    url = f"{_url(client)}/containers/{container}/logs"
    with client.api.get(url, params=parameters, stream=True, timeout=None) as response:
        yield _pieces(response)


def _url(client: DockerClient) -> str:
    return f"{client.api.base_url}/v{client.api.api_version}"


def _pieces(response: Response) -> Iterator[bytes]:
    """The payloads of a stream's frames.

    Source: Docker Engine API, ContainerAttach, stream format: one byte for the pipe, three of zeros, four for the size.
    """
    from docker.errors import APIError

    if response.status_code != http.client.OK:
        raise APIError(response.text, response=response, explanation=response.text.strip())
    while len(header := response.raw.read(_HEADER_BYTES)) == _HEADER_BYTES:
        yield response.raw.read(int.from_bytes(header[_SIZE_OFFSET:], "big"))
