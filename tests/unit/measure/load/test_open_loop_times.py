"""Exports against schedules: lags, missing ends, and figures computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcopt.errors import ProfileError
from hcopt.measure.load.open_loop_times import aligned, check_lag, open_loop_figures
from hcopt.measure.load.poisson import Schedule, poisson_schedule
from hcopt.store.measurements import NO_ANSWER, RequestSamples, WindowFigures, read_pairs

REAL_EXPORT = Path(__file__).parents[3] / "data" / "perf_analyzer_2.51.0" / "open_loop_export.json"
START = 1_795_398_229_452_679_727
MS = 1_000_000


def schedule(rate_per_s: float = 500.0, *, seed: int = 5) -> Schedule:
    return poisson_schedule(rate_per_s, load_s=2.0, warm_up_ratio=0.25, drain_s=0.5, seed=seed, index=0)


def every_ms(count: int, *, warm_up_ms: int = 0) -> Schedule:
    """A request a millisecond."""
    return Schedule(
        intended_ns=np.arange(count, dtype=np.int64) * MS,
        warm_up_ns=warm_up_ms * MS,
        load_end_ns=count * MS,
        drain_end_ns=(count + 100) * MS,
    )


def export(one: Schedule, *, lag_ns: np.ndarray | int = 0, latency_ns: np.ndarray | int = 2 * MS) -> np.ndarray:
    sent = START + one.intended_ns + lag_ns
    return np.stack([sent, sent + latency_ns], axis=1)


def figures(one: Schedule, samples: RequestSamples, *, limit_ms: float = 50.0, rows: int = 1) -> WindowFigures:
    return open_loop_figures(samples, client_batch_size=rows, latency_limit_ms=limit_ms, drain_end_ns=one.drain_end_ns)


def test_generator_on_time_has_no_lag_and_latency_is_its_own() -> None:
    one = schedule()
    found = aligned(export(one), one)
    assert found.sent_ns.tolist() == one.intended_ns.tolist()
    assert found.lag_ns is not None
    assert not found.lag_ns.any()
    assert set(found.latency_ns.tolist()) == {2 * MS}
    assert (found.warm_up_ns, found.end_ns, found.failed_count) == (one.warm_up_ns, one.load_end_ns, 0)


def test_latency_counts_from_the_intended_time_where_the_sending_was_late() -> None:
    one = every_ms(100)
    lag = np.zeros(100, dtype=np.int64)
    lag[40:50] = np.arange(10, 0, -1) * MS  # a stall of 10 ms, made up for at once
    found = aligned(export(one, lag_ns=lag), one)
    assert found.lag_ns is not None
    assert found.lag_ns.tolist() == lag.tolist()
    assert found.latency_ns.tolist() == (lag + 2 * MS).tolist()


def test_requests_missing_at_the_start_are_found_out_by_the_intervals() -> None:
    one = schedule()
    found = aligned(export(one)[7:], one)
    assert found.sent_ns.tolist() == one.intended_ns[7:].tolist()
    assert found.failed_count == 0


def test_requests_missing_at_the_end_went_unanswered() -> None:
    one = schedule()
    found = aligned(export(one)[:-25], one)
    assert found.sent_ns.tolist() == one.intended_ns[:-25].tolist()
    assert found.failed_count == 25


@pytest.mark.parametrize("unanswered", [0, 3])
def test_trickle_does_not_count_nor_take_the_place_of_what_went_unanswered(unanswered: int) -> None:
    one = every_ms(50)
    trickle = np.array([[START + one.trickle_ns, START + one.trickle_ns + MS]] * 4)
    found = aligned(np.concatenate([export(one)[: 50 - unanswered], trickle]), one)
    assert len(found.sent_ns) == 50 - unanswered
    assert found.failed_count == unanswered
    assert found.lag_ns is not None
    assert not found.lag_ns.any()


def test_request_without_an_answer_is_counted_where_it_was_sent_after_the_warm_up() -> None:
    one = every_ms(100, warm_up_ms=20)
    pairs = export(one)
    pairs[[10, 60, 61], 1] = NO_ANSWER
    found = aligned(pairs, one)
    assert len(found.sent_ns) == 97
    assert found.failed_count == 2


def test_export_without_a_request_is_refused() -> None:
    with pytest.raises(ProfileError, match="no request"):
        aligned(np.empty((0, 2), dtype=np.int64), schedule())


@given(st.integers(0, 2**32), st.integers(0, 40), st.floats(0, 3))
def test_alignment_is_found_for_any_seed_with_small_lags(seed: int, lost: int, lag_ms: float) -> None:
    one = schedule(seed=seed)
    random = np.random.default_rng(seed)
    lag = (random.exponential(lag_ms / 10, len(one.intended_ns)) * MS).astype(np.int64)
    lag[-1] = 0  # someone is on time
    found = aligned(export(one, lag_ns=lag)[lost:], one)
    assert found.sent_ns.tolist() == one.intended_ns[lost:].tolist()
    assert found.lag_ns is not None
    assert found.lag_ns.tolist() == lag[lost:].tolist()


def test_figures_of_a_steady_window_by_hand() -> None:
    one = every_ms(100, warm_up_ms=20)
    latency = np.full(100, 2 * MS)
    latency[[10, 50, 51]] = 60 * MS  # the first one is warm-up
    found = figures(one, aligned(export(one, latency_ns=latency), one), rows=3)
    assert found.request_count == 80
    assert found.miss_count == 2
    assert found.duration_s == pytest.approx(0.08)
    # Answered after 20 ms and up to 100 ms: those sent at 19 … 98 ms but for the two slow ones, and the one at 10.
    assert found.throughput_infer_per_s == pytest.approx((80 - 2 + 1) * 3 / 0.08)


def test_unanswered_requests_are_requests_and_misses_and_as_slow_as_the_drain() -> None:
    one = every_ms(100)
    found = figures(one, aligned(export(one)[:90], one))
    assert (found.request_count, found.miss_count) == (100, 10)
    assert found.latency.p99_ms == pytest.approx(100.0)  # the drain is 100 ms
    assert found.latency.p50_ms == pytest.approx(2.0)


def test_lag_counts_in_the_latency_of_a_valid_window() -> None:
    one = every_ms(200)
    lag = np.zeros(200, dtype=np.int64)
    lag[100] = 4 * MS  # within a tenth of the limit
    found = figures(one, aligned(export(one, lag_ns=lag, latency_ns=47 * MS), one))
    assert found.miss_count == 1


@pytest.mark.parametrize(
    ("late_count", "late_ms", "limit_ms", "valid"),
    [
        (2, 100.0, 50.0, True),  # 1 % of 200 may be late
        (3, 100.0, 50.0, False),
        (200, 24.9, 50.0, True),
        (3, 25.1, 50.0, False),  # half the limit
        (3, 0.9, 1.0, True),
        (3, 1.1, 1.0, False),  # but 1 ms at least
    ],
)
def test_window_is_invalid_where_more_than_one_request_in_a_hundred_is_late_by_half_the_limit(
    late_count: int, late_ms: float, limit_ms: float, *, valid: bool
) -> None:
    lag = np.zeros(200, dtype=np.int64)
    lag[:late_count] = round(late_ms * MS)
    samples = RequestSamples(
        sent_ns=np.arange(200, dtype=np.int64) * MS, latency_ns=lag + MS, warm_up_ns=0, end_ns=200 * MS, lag_ns=lag
    )
    if valid:
        check_lag(samples, limit_ms)
        return
    with pytest.raises(ProfileError, match=r"the load generator lagged: 1\.5% .* more than (25|1) ms late"):
        check_lag(samples, limit_ms)


def test_window_tells_its_share_of_late_requests() -> None:
    one = every_ms(200)
    lag = np.zeros(200, dtype=np.int64)
    lag[100:130], lag[130:200] = 6 * MS, 4 * MS  # beyond a tenth of the limit of 50 ms, and within
    assert figures(one, aligned(export(one, lag_ns=lag), one)).late_ratio == pytest.approx(30 / 200)


def test_lag_in_the_warm_up_does_not_count() -> None:
    one = every_ms(100, warm_up_ms=20)
    lag = np.zeros(100, dtype=np.int64)
    lag[:10] = np.arange(10, 0, -1) * MS
    assert figures(one, aligned(export(one, lag_ns=lag), one)).request_count == 80


def test_window_in_which_nothing_was_answered_is_refused() -> None:
    one = every_ms(10, warm_up_ms=5)
    with pytest.raises(ProfileError, match="too short"):
        figures(one, aligned(export(one, latency_ns=90 * MS), one))


def test_real_export_keeps_to_its_schedule() -> None:
    one = poisson_schedule(100.0, load_s=1.0, warm_up_ratio=0.2, drain_s=0.2, seed=11, index=3)
    pairs = read_pairs(REAL_EXPORT)
    found = aligned(pairs, one)
    assert found.sent_ns.tolist() == one.intended_ns.tolist()
    assert found.lag_ns is not None
    assert 0 == found.lag_ns.min() <= np.median(found.lag_ns) < MS
    assert (found.latency_ns - found.lag_ns).tolist() == (pairs[:, 1] - pairs[:, 0]).tolist()
    # By another way: perf_analyzer notes when its first window began, which was as it started its workers.
    began_ns = json.loads(REAL_EXPORT.read_bytes())["experiments"][0]["window_boundaries"][0]
    assert pairs[0, 0] - found.lag_ns[0] - found.sent_ns[0] == pytest.approx(began_ns, abs=MS)
    assert figures(one, found).miss_count == 0
