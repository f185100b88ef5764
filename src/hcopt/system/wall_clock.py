"""Whether the system's clock was set while something was timed with it.

Durations of hcopt's own are those of the monotonic clock. perf_analyzer's timestamps are those of the system's clock,
so that a window in which that was set (by a person, or by NTP in a step) has wrong latencies. Source: perf_analyzer's
src/request_record.h, std::chrono::system_clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

# NTP's slewing moves both clocks alike. What is left is how exactly the two can be read together.
TOLERANCE_MS = 5.0
_READINGS = 20
_NS_PER_MS = 1_000_000

Clock = Callable[[], int]


def _offset_ns(system_ns: Clock, monotonic_ns: Clock) -> int:
    """The system's clock less the monotonic one, from the reading that took least: others may come in between."""
    best: tuple[int, int] | None = None
    for _ in range(_READINGS):
        before, wall, after = monotonic_ns(), system_ns(), monotonic_ns()
        found = (after - before, wall - (before + after) // 2)
        best = found if best is None else min(best, found)
    assert best is not None
    return best[1]


@dataclass(slots=True)
class WallClock:
    """Remembers how the clocks stood when it was made.

    Attributes:
        system_ns: The system's clock.
        monotonic_ns: The clock that nobody sets.
    """

    system_ns: Clock = time.time_ns
    monotonic_ns: Clock = time.monotonic_ns
    _offset: int = field(init=False)

    def __post_init__(self) -> None:
        self._offset = _offset_ns(self.system_ns, self.monotonic_ns)

    def step_ms(self) -> float:
        """By how much it was set since then; 0 where that is no more than readings differ."""
        step = (_offset_ns(self.system_ns, self.monotonic_ns) - self._offset) / _NS_PER_MS
        return step if abs(step) > TOLERANCE_MS else 0.0

    def said(self) -> str | None:
        """That it was set, in words; None where it was not."""
        step_ms = self.step_ms()
        return (
            f"the system's clock was set by {step_ms:+.0f} ms while perf_analyzer measured by it" if step_ms else None
        )
