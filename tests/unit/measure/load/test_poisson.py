"""Schedules: their statistics, their seeds, and the file that perf_analyzer reads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hcopt.measure.load.poisson import LEAD_S, THREADS, Schedule, poisson_schedule


def schedule(rate_per_s: float = 1000.0, *, load_s: float = 2.0, seed: int = 1, index: int = 0) -> Schedule:
    return poisson_schedule(rate_per_s, load_s=load_s, warm_up_ratio=0.25, drain_s=0.5, seed=seed, index=index)


def test_intervals_are_exponential_with_the_mean_of_the_rate() -> None:
    gaps_s = np.diff(schedule(1000.0, load_s=50.0).intended_ns) / 1e9
    assert gaps_s.mean() == pytest.approx(1e-3, rel=0.02)  # 50,000 arrivals: 0.45 % is one standard error
    assert gaps_s.std() == pytest.approx(1e-3, rel=0.03)
    # Whole µs against 1 ms; the seed is fixed, so is the outcome.
    assert stats.kstest(gaps_s, "expon", args=(0, 1e-3)).pvalue > 0.01


def test_counts_of_windows_vary_as_poisson_s_do() -> None:
    counts = [len(schedule(100.0, load_s=1.0, index=index).intended_ns) for index in range(2000)]
    assert np.mean(counts) == pytest.approx(100, abs=1)  # one standard error is 0.22
    assert np.var(counts) == pytest.approx(100, rel=0.12)


def test_same_seed_rate_and_index_give_the_same_arrivals_and_each_of_them_others() -> None:
    first = schedule().intended_ns
    assert np.array_equal(first, schedule().intended_ns)
    for other in (schedule(seed=2), schedule(index=1), schedule(1000.001)):
        assert not np.array_equal(first[:100], other.intended_ns[:100])


def test_arrivals_lie_in_the_load_and_its_bounds_follow_one_another() -> None:
    one = schedule()
    assert one.intended_ns.min() >= LEAD_S * 1e9
    assert one.intended_ns.max() < one.load_end_ns == (LEAD_S + 2.0) * 1e9
    assert one.warm_up_ns == (LEAD_S + 0.5) * 1e9
    assert one.drain_end_ns == (LEAD_S + 2.5) * 1e9
    assert one.watched_s == pytest.approx(LEAD_S + 2.5)
    assert (np.diff(one.intended_ns) >= 0).all()


def test_file_s_intervals_add_up_to_the_intended_times_and_end_in_a_trickle() -> None:
    one = schedule()
    lines = one.text().splitlines()
    intervals = [int(line) for line in lines]
    assert [str(interval) for interval in intervals] == lines  # whole µs, nothing else
    assert min(intervals) >= 0
    sent_us = np.cumsum(intervals)
    load, trickle = sent_us[: len(one.intended_ns)], sent_us[len(one.intended_ns) :]
    assert (1000 * load).tolist() == one.intended_ns.tolist()
    # One for each thread at a time, none in what is watched, and for so long that no second round is reached.
    assert trickle[0] * 1000 == one.trickle_ns > one.drain_end_ns
    assert set(np.unique(trickle, return_counts=True)[1].tolist()) == {THREADS}
    assert set(np.diff(np.unique(trickle)).tolist()) == {250_000}
    assert trickle[-1] - trickle[0] >= 29_000_000


def test_rate_of_millions_is_still_whole_microseconds() -> None:
    one = schedule(3e6, load_s=0.01)
    assert len(one.intended_ns) == pytest.approx(30_000, rel=0.05)
    assert one.intervals_us().min() >= 0


def test_load_with_hardly_a_request_has_one() -> None:
    assert len(schedule(0.001, load_s=0.001).intended_ns) == 1


@pytest.mark.parametrize(
    ("rate", "load_s"), [(0.0, 1.0), (-1.0, 1.0), (1.0, 0.0), (float("inf"), 1.0), (float("nan"), 1.0)]
)
def test_no_load_is_refused(rate: float, load_s: float) -> None:
    with pytest.raises(ValueError, match="not a load"):
        schedule(rate, load_s=load_s)
