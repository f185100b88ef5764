"""A slow model's rate keeps its digits."""

from __future__ import annotations

import pytest

from hcopt.words.digits import rounded_down, throughput, whole_throughput


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0.00"), (0.0047, "0.0047"), (0.47, "0.47"), (9.5, "9.50"), (123.4, "123.4"), (5609.3, "5,609")],
)
def test_throughput_keeps_what_is_no_noise(value: float, shown: str) -> None:
    assert throughput(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.0047, "0.0047"), (0.47, "0.47"), (9.5, "9.5"), (123.4, "123"), (5609.3, "5,609")]
)
def test_whole_throughput_has_a_point_for_slow_models_only(value: float, shown: str) -> None:
    assert whole_throughput(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0, "0"), (0.479, "0.47"), (9.999, "9.99"), (5609.9, "5,609")])
def test_rounded_down_is_never_more(value: float, shown: str) -> None:
    assert rounded_down(value) == shown
