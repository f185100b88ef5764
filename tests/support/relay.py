"""A way to a server until it is cut, as if the server had been stopped: to Docker's socket, or to a port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Relay:
    """Passes everything on, in both directions.

    Args:
        listener: A bound socket.
        reach: Connects with the server.
        passes: Whether what a client sends goes on; what does not is the end of the relay.
    """

    def __init__(
        self,
        listener: socket.socket,
        reach: Callable[[], socket.socket],
        passes: Callable[[bytes], bool] = lambda _: True,
    ) -> None:
        self._listener, self._reach, self._passes = listener, reach, passes
        self._listener.listen()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._start(self._accept)

    def cut(self) -> None:
        """Ends every connection; there will be no other."""
        with self._lock:
            for opened in (self._listener, *self._open):
                with suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)
                opened.close()
            self._open.clear()

    def close(self) -> None:
        self.cut()
        for thread in self._threads:
            thread.join(timeout=10)

    def _start(self, function: object, *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                try:
                    there = self._reach()
                except OSError:  # the server is gone, perhaps not for good
                    here.close()
                    continue
                with self._lock:
                    self._open += [here, there]
                self._start(self._pass_on, here, there, self._passes)
                self._start(self._pass_on, there, here, lambda _: True)

    def _pass_on(self, source: socket.socket, sink: socket.socket, passes: Callable[[bytes], bool]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not passes(data):
                    self.cut()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def relay(path: Path, target: str = "/var/run/docker.sock") -> Iterator[Relay]:
    """A relay at `path` for as long as the context lasts."""

    def reach() -> socket.socket:
        there = socket.socket(socket.AF_UNIX)
        there.connect(target)
        return there

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    opened = Relay(listener, reach)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def port_relay(port: int, target: int, passes: Callable[[bytes], bool] = lambda _: True) -> Iterator[Relay]:
    """A relay from one port of 127.0.0.1 to another for as long as the context lasts."""
    listener = socket.create_server(("127.0.0.1", port))
    opened = Relay(listener, lambda: socket.create_connection(("127.0.0.1", target)), passes)
    try:
        yield opened
    finally:
        opened.close()
