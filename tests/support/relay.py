"""A Docker socket that leads to the real one until it is cut, as if the engine had been stopped."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Relay:
    """Passes everything on, in both directions."""

    def __init__(self, path: Path, target: str) -> None:
        self._target = target
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
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
                there = socket.socket(socket.AF_UNIX)
                there.connect(self._target)
                with self._lock:
                    self._open += [here, there]
                self._start(self._pass_on, here, there)
                self._start(self._pass_on, there, here)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def relay(path: Path, target: str = "/var/run/docker.sock") -> Iterator[Relay]:
    """A relay at `path` for as long as the context lasts."""
    opened = Relay(path, target)
    try:
        yield opened
    finally:
        opened.close()
