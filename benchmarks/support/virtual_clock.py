"""A clock that only moves when it is told to, in the place of the machine's own for a whole process.

To be installed before hcopt is imported: defaults such as `clock=time.monotonic` are bound then. What `datetime` says
stays the machine's.
"""

from __future__ import annotations

import time
from typing import SupportsIndex


class VirtualClock:
    """Seconds since it was made, and how far somebody has set the clock that people read.

    Attributes:
        now_s: On the clock that only grows.
        set_by_s: What the other one was set by, in all.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.set_by_s = 0.0
        self._began_s = time.time()

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self._began_s + self.now_s + self.set_by_s

    def sleep(self, seconds: float | SupportsIndex) -> None:
        self.now_s += float(seconds)

    def install(self) -> None:
        """Takes the place of the machine's clocks in this process, for good."""
        time.monotonic, time.monotonic_ns = self.monotonic, lambda: round(1e9 * self.monotonic())
        time.time, time.time_ns = self.time, lambda: round(1e9 * self.time())
        time.sleep = self.sleep
