"""Clocks that are played."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hcopt.system.wall_clock import TOLERANCE_MS, WallClock
from tests.support import fakes
from tests.unit.measure.load.test_perf_analyzer import WINDOW, driver

MS = 1_000_000


class Clocks:
    """Both clocks; each look takes 1 µs, and somebody may set the system's."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.set_ns = 1_795_000_000_000_000_000

    def monotonic(self) -> int:
        self.now_ns += 1000
        return self.now_ns

    def system(self) -> int:
        return self.monotonic() + self.set_ns

    def wall_clock(self) -> WallClock:
        return WallClock(system_ns=self.system, monotonic_ns=self.monotonic)


@pytest.mark.parametrize("step_ms", [-3_600_000, -400, -6, 6, 400, 3_600_000])
def test_clock_that_was_set_is_told_with_how_far(step_ms: int) -> None:
    clocks = Clocks()
    watched = clocks.wall_clock()
    clocks.now_ns += 5_000 * MS
    clocks.set_ns += step_ms * MS
    assert watched.step_ms() == pytest.approx(step_ms, abs=0.1)


@pytest.mark.parametrize("step_ms", [0, 1, -1])
def test_clock_that_was_not_set_is_not_told(step_ms: int) -> None:
    clocks = Clocks()
    watched = clocks.wall_clock()
    clocks.now_ns += 3_600_000 * MS
    clocks.set_ns += step_ms * MS
    assert watched.step_ms() == 0
    assert abs(step_ms) < TOLERANCE_MS


def test_reading_during_which_others_ran_does_not_count() -> None:
    clocks = Clocks()
    watched = clocks.wall_clock()
    system, stalls = clocks.system, iter([900 * MS, 700 * MS])

    def stalling() -> int:
        clocks.now_ns += next(stalls, 0)
        return system()

    watched.system_ns = stalling
    assert watched.step_ms() == 0


def played(steps_ms: list[int]) -> Callable[[], WallClock]:
    """A clock that is set in each window by so much."""
    left: Iterator[int] = iter(steps_ms)

    def make() -> WallClock:
        clocks = Clocks()
        watched = clocks.wall_clock()
        clocks.set_ns += next(left) * MS
        return watched

    return make


def test_window_in_which_the_clock_was_set_is_measured_again(tmp_path: Path) -> None:
    perf_analyzer, tools = driver(tmp_path, *2 * [fakes.exports(fakes.steady(1001))])
    taken = replace(perf_analyzer, clock=played([-3_600_000, 0])).measure(WINDOW)
    assert taken.error is None
    assert len(tools.calls) == 2


def test_clock_that_is_set_time_and_again_is_the_reason_of_a_failed_measurement(tmp_path: Path) -> None:
    perf_analyzer, _ = driver(tmp_path, *2 * [fakes.exports(fakes.steady(1001))])
    taken = replace(perf_analyzer, clock=played([900, -900])).measure(WINDOW)
    assert taken.error == "the system's clock was set by -900 ms while perf_analyzer measured by it"
