"""The queue model of one pod: recovered from its own figures, and honest about too few of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcopt.deploy.pod_model import PodModel, fit_pod_model
from hcopt.records.verdict import Estimate, RatePoint
from tests.support.planned_run import capacity

KNOWN = PodModel(saturation_infer_per_s=1000.0, floor_ms=4.0, slope_ms=2.0, limit_ms=24.0)


def points(model: PodModel, rates: tuple[float, ...]) -> tuple[RatePoint, ...]:
    return tuple(
        RatePoint(
            rate_infer_per_s=rate,
            window_count=20,
            miss_ratio=Estimate(estimate=0.0),
            latency_p99_ms=model.p99_ms(rate),
            verdict="feasible",
        )
        for rate in rates
    )


def test_p99_by_hand() -> None:
    # ρ = 0.5: 4 + 2 · 1; ρ = 0.8: 4 + 2 · 4.
    assert math.isclose(KNOWN.p99_ms(500), 6.0)
    assert math.isclose(KNOWN.p99_ms(800), 12.0)
    assert KNOWN.p99_ms(1000) == math.inf


def test_one_percent_misses_where_p99_is_the_limit() -> None:
    # ρ / (1 − ρ) = 10 at ρ = 10 / 11: 4 + 20 = 24 ms.
    assert math.isclose(KNOWN.miss_ratio(10_000 / 11), 0.01)
    # ρ = 0.8: spread 8, left 20: 0.01 ** 2.5.
    assert math.isclose(KNOWN.miss_ratio(800), 1e-5)


def test_earlier_overload_takes_from_the_limit() -> None:
    # ρ = 0.8: 12 ms wait before it leave 8 of 20: 0.01 ** 1.
    assert math.isclose(KNOWN.miss_ratio(800, waiting_ms=12), 0.01)
    assert KNOWN.miss_ratio(800, waiting_ms=20) == 1.0


def test_pending_requests_by_hand() -> None:
    # ρ = 0.8: p99 of the wait 8 ms, mean 8 / ln 100 = 1.7372 ms, times 800 a second, two rows a request.
    model = replace(KNOWN, rows_per_request=2)
    assert math.isclose(model.pending_requests(800), 0.6949, rel_tol=1e-3)


def test_fit_recovers_the_model_that_made_the_points() -> None:
    given_points = points(KNOWN, (200.0, 500.0, 700.0, 850.0, 900.0))
    rate = Estimate(estimate=900.0, ci_low=900.0)
    found = fit_pod_model(
        capacity(points=given_points, sustainable_rate_infer_per_s=rate, latency_p99_limit_ms=KNOWN.limit_ms)
    )
    assert math.isclose(found.saturation_infer_per_s, 1000, rel_tol=1e-3)
    assert math.isclose(found.floor_ms, 4, rel_tol=1e-2)
    assert found.held_out_error_ratio is not None and found.held_out_error_ratio < 0.01
    assert (found.point_count, found.fitted) == (5, True)


def test_fit_that_cannot_be_checked_is_not_used() -> None:
    found = fit_pod_model(capacity(points=capacity().points[2:5]))
    assert (found.point_count, found.held_out_error_ratio, found.fitted) == (3, None, False)
    assert math.isclose(found.p99_ms(5800), 50.0)


def test_fit_that_is_far_off_is_not_used() -> None:
    """As a noisy machine gives them: p99 goes up and down."""
    noisy = tuple(
        replace(point, latency_p99_ms=p99) for point, p99 in zip(capacity().points, (30, 4, 45, 5, 40, 3), strict=True)
    )
    found = fit_pod_model(capacity(points=noisy))
    assert found.held_out_error_ratio is not None and found.held_out_error_ratio > 0.5
    assert not found.fitted
    assert math.isclose(found.p99_ms(5800), 50.0)
    # The upper bounds of the nearest rates that were measured.
    assert (found.miss_ratio(1000), found.miss_ratio(4000)) == (0.0004, 0.0011)


@pytest.mark.parametrize("high", [6100.0, None])
def test_too_few_points_give_the_worst_that_the_run_allows(high: float | None) -> None:
    rate = Estimate(estimate=5800.0, ci_low=5800.0, ci_high=high)
    found = fit_pod_model(capacity(points=(), sustainable_rate_infer_per_s=rate))
    assert found.point_count == 0
    assert math.isclose(found.p99_ms(5800), 50.0)
    assert math.isclose(found.miss_ratio(5800), 0.01)


def test_points_of_a_queue_that_never_settled_are_left_out() -> None:
    overload = replace(capacity().points[-1], rate_infer_per_s=9000.0, latency_p99_ms=2000.0)
    assert fit_pod_model(capacity(points=(*capacity().points, overload))) == fit_pod_model(capacity())


def test_stalls_that_were_measured_stay_in_the_misses() -> None:
    found = fit_pod_model(capacity())
    assert found.miss_ratio(3000) == 0.0001
    assert found.miss_ratio(5200) == 0.0018


@given(st.floats(0, 2000), st.floats(0, 2000), st.floats(0, 100))
def test_more_load_never_misses_less(one: float, other: float, waiting_ms: float) -> None:
    low, high = sorted((one, other))
    assert KNOWN.miss_ratio(low, waiting_ms=waiting_ms) <= KNOWN.miss_ratio(high, waiting_ms=waiting_ms) <= 1
