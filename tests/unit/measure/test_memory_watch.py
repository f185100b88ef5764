"""A server's memory, looked at while something else goes on."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from hcopt.measure.memory_watch import MemoryWatch, not_readable


@dataclass
class Memory:
    """Shows one value after the other, then the last one for ever."""

    values: list[float]
    shown: int = 0
    all_shown: threading.Event = field(default_factory=threading.Event)

    def read(self) -> float:
        value = self.values[min(self.shown, len(self.values) - 1)]
        self.shown += 1
        if self.shown > len(self.values):
            self.all_shown.set()
        return value


def test_peak_is_the_most_that_was_seen_on_the_way() -> None:
    memory = Memory([10.0, 700.0, 20.0])
    with MemoryWatch(memory.read, every_s=0.001, max_ratio=0.9) as watch:
        assert memory.all_shown.wait(60)
    assert watch.peak_mb() == 700.0


def test_both_ends_are_looked_at_however_short_it_is() -> None:
    memory = Memory([10.0, 30.0])
    with MemoryWatch(memory.read, every_s=3600) as watch:
        pass
    assert (watch.peak_mb(), memory.shown) == (30.0, 2)


def test_what_was_seen_later_does_not_count() -> None:
    memory = Memory([10.0, 700.0])
    with MemoryWatch(memory.read, every_s=3600) as watch:
        until_s = time.time()
    assert watch.peak_mb(until_s=until_s) == 10.0


def test_memory_that_cannot_be_read_has_no_peak_and_no_thread() -> None:
    before = threading.active_count()
    with MemoryWatch(not_readable, every_s=0.001) as watch:
        assert threading.active_count() == before
    assert watch.peak_mb() is None


def test_watch_ends_with_what_it_watches_and_may_be_stopped_twice() -> None:
    before, memory = threading.active_count(), Memory([10.0])
    with MemoryWatch(memory.read, every_s=0.001) as watch:
        watch.stop()
        shown = memory.shown
    assert (threading.active_count(), memory.shown) == (before, shown)
