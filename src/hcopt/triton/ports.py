"""Free ports of this machine."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass

from hcopt.triton.base import Endpoint

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The three ports of one Triton."""

    http: int
    grpc: int
    metrics: int

    def endpoint(self, host: str = HOST) -> Endpoint:
        """The server that listens on them; by default on the loopback interface."""
        return Endpoint(
            grpc=f"{host}:{self.grpc}", http=f"{host}:{self.http}", metrics_url=f"http://{host}:{self.metrics}/metrics"
        )


def free_ports() -> Ports:
    """Three ports that are free on the loopback interface now.

    Raises:
        OSError: There are none.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind((HOST, 0))
        http_port, grpc_port, metrics_port = (one.getsockname()[1] for one in sockets)
    return Ports(http=http_port, grpc=grpc_port, metrics=metrics_port)
