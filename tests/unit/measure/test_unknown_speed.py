"""Longer and longer windows for a model of unknown speed."""

from __future__ import annotations

import pytest

from hcopt.measure.load.perf_analyzer import Window, failed
from hcopt.measure.unknown_speed import first_with_figures
from hcopt.records.measurement import FailureCause, LoadPoint, Measurement
from tests.support.records import default_variant, measurement

LOAD = LoadPoint(concurrency=8)
LENGTHS_S = (1.0, 5.0, 25.0)


def windows() -> list[Window]:
    return [
        Window(variant=default_variant(), load=LOAD, expected_infer_per_s=1.0, window_s=length_s, phase="noise")
        for length_s in LENGTHS_S
    ]


@pytest.mark.parametrize("enough_s", LENGTHS_S)
def test_first_window_that_is_long_enough_is_the_last(enough_s: float) -> None:
    asked: list[float] = []

    def measure(window: Window) -> Measurement:
        asked.append(window.window_s)
        return measurement(default_variant(), LOAD, (9.0, 9.0)) if window.window_s >= enough_s else failed(window, "no")

    window, measured = first_with_figures(windows(), measure)
    assert (window.window_s, measured.throughput_infer_per_s) == (enough_s, 9.0)
    assert tuple(asked) == LENGTHS_S[: LENGTHS_S.index(enough_s) + 1]


@pytest.mark.parametrize(
    ("cause", "refusal_ends", "count"), [("refused", True, 1), ("refused", False, 3), ("other", True, 3)]
)
def test_refusal_ends_it_where_that_is_asked_for(cause: FailureCause, refusal_ends: bool, count: int) -> None:
    left = windows()

    def measure(window: Window) -> Measurement:
        assert window is left.pop(0)
        return failed(window, "no", cause=cause)

    window, measured = first_with_figures(windows_of := tuple(left), measure, refusal_ends=refusal_ends)
    assert window is windows_of[count - 1]
    assert (measured.error, len(left)) == ("no", 3 - count)
