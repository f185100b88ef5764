"""A server's memory, looked at every so often while something else goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

ReadMemory = Callable[[], "float | None"]

_EVERY_S = 0.5
# Of its time: to look at gigabytes takes a while, in which the server gets no memory.
_MAX_RATIO = 0.02


def not_readable() -> None:
    """For servers whose memory nobody can read."""


class MemoryWatch:
    """Looks at a server's memory on a thread of its own, from the entry of the context to its exit.

    Linux keeps the highest memory of a process itself, but for its whole life, and not of several processes together.

    Args:
        read_mb: The memory now, in MB; None where it cannot be read.
        every_s: How long it waits between two looks.
        max_ratio: The share of its time, at most, that it spends looking.
    """

    def __init__(self, read_mb: ReadMemory, *, every_s: float = _EVERY_S, max_ratio: float = _MAX_RATIO) -> None:
        self._read_mb = read_mb
        self._every_s = every_s
        self._max_ratio = max_ratio
        self._over = threading.Event()
        self._seen: list[tuple[float, float]] = []
        self._thread: threading.Thread | None = None

    def __enter__(self) -> MemoryWatch:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> MemoryWatch:
        """Begins to look; for who cannot have a context, until `stop`."""
        if self._look():
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Looks a last time; does nothing the second time."""
        if self._thread is None:
            return
        self._over.set()
        self._thread.join()
        self._thread = None
        self._look()

    def peak_mb(self, *, until_s: float = float("inf")) -> float | None:
        """The most that was seen, in MB; None where nothing was.

        Args:
            until_s: What was seen later does not count; seconds since 1970.
        """
        return max((mb for at_s, mb in tuple(self._seen) if at_s <= until_s), default=None)

    def _look(self) -> bool:
        found = self._read_mb()
        if found is not None:
            self._seen.append((time.time(), found))
        return found is not None

    def _watch(self) -> None:
        wait_s = self._every_s
        while not self._over.wait(wait_s):
            began_s = time.monotonic()
            self._look()
            wait_s = max(self._every_s, (time.monotonic() - began_s) * (1 / self._max_ratio - 1))
