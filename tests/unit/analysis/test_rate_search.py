"""The search on simulated servers whose sustainable rate is known, and on ones that fail in each way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest

from hcopt.analysis.rate_search import FoundRate, Limits, Search
from hcopt.records.measurement import LatencySummary, LoadPoint, Measurement
from hcopt.records.verdict import Estimate
from tests.support.records import default_variant

SERVICE_S = 0.001
LIMIT_S = 0.010
WINDOW_S = 2.0
WALL_S = 3.0
CLOSED_LOOP = 950.0


def latencies_s(arrivals_s: np.ndarray, service_s: np.ndarray) -> np.ndarray:
    """One server, first come first served (Lindley's recursion, summed up)."""
    work = np.cumsum(service_s)
    starts = np.maximum.accumulate(arrivals_s - (work - service_s))
    return starts + work - arrivals_s


def poisson_latencies_s(rate: float, seconds: float, random: np.random.Generator, speed: float = 1.0) -> np.ndarray:
    arrivals = np.cumsum(random.exponential(1 / rate, int(rate * seconds) + 1))
    return latencies_s(arrivals, np.full(len(arrivals), SERVICE_S / speed))


@cache
def true_rate(sd_ratio: float = 0.0) -> float:
    """The rate at which 1 % of the requests take longer than the limit, over a long time and all the server's moods."""
    random = np.random.default_rng(7)
    speeds = np.exp(random.normal(0, sd_ratio, 40 if sd_ratio else 1))
    low, high = 400.0, 1000.0
    while high - low > 1:
        rate = (low + high) / 2
        slow = [
            np.mean(poisson_latencies_s(rate, 2000 / len(speeds), random, speed)[2000:] > LIMIT_S) for speed in speeds
        ]
        low, high = (rate, high) if np.mean(slow) <= 0.01 else (low, rate)
    return low


@dataclass
class Simulated:
    """A server with deterministic service (M/D/1), whose speed may change from window to window; and its clock."""

    seed: int
    sd_ratio: float = 0.0
    generator_limit: float = float("inf")
    wall_s: float = WALL_S
    now_s: float = 0.0
    asked: list[tuple[float, int]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now_s

    def measure(self, rate: float, index: int) -> Measurement:
        self.now_s += self.wall_s
        self.asked.append((rate, index))
        if rate > self.generator_limit:
            return failed(rate, index)
        random = np.random.default_rng([self.seed, round(rate * 1000), index])
        found = poisson_latencies_s(rate, 1.25 * WINDOW_S, random, np.exp(random.normal(0, self.sd_ratio)))
        return measurement(rate, index, found[int(0.25 * WINDOW_S * rate) :])

    def search(self, *, max_s: float = 75.0, closed_loop: float = CLOSED_LOOP) -> FoundRate:
        return Search(self.measure, self.clock, Limits(max_s=max_s)).run(closed_loop)


def measurement(rate: float, index: int, found_s: np.ndarray) -> Measurement:
    p50, p90, p95, p99 = np.percentile(1000 * found_s, (50, 90, 95, 99))
    return Measurement(
        phase="open_loop",
        profiler="perf_analyzer",
        variant=default_variant(),
        load=LoadPoint(request_rate_per_s=rate),
        started_at="2026-01-01T00:00:00.000+00:00",
        block=index,
        throughput_infer_per_s=rate,
        latency=LatencySummary(avg_ms=1000 * found_s.mean(), p50_ms=p50, p90_ms=p90, p95_ms=p95, p99_ms=p99),
        request_count=len(found_s),
        miss_count=int(np.count_nonzero(found_s > LIMIT_S)),
    )


def failed(rate: float, index: int) -> Measurement:
    return Measurement(
        phase="open_loop",
        profiler="perf_analyzer",
        variant=default_variant(),
        load=LoadPoint(request_rate_per_s=rate),
        started_at="2026-01-01T00:00:00.000+00:00",
        block=index,
        error="the load generator lagged: 9.0% of the requests",
    )


def constant(miss_ratio: Callable[[float], float], *, requests: int = 4000) -> Callable[[float, int], Measurement]:
    """A server whose share of misses is the same in every window."""

    def measure(rate: float, index: int) -> Measurement:
        missed = round(requests * miss_ratio(rate))
        return measurement(rate, index, np.repeat([2 * LIMIT_S, LIMIT_S / 2], [missed, requests - missed]))

    return measure


@dataclass
class Ticking:
    """A clock that a fixed time passes on with every window."""

    of: Callable[[float, int], Measurement]
    wall_s: float = WALL_S
    now_s: float = 0.0
    asked: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now_s

    def measure(self, rate: float, index: int) -> Measurement:
        self.now_s += self.wall_s
        self.asked.append(rate)
        return self.of(rate, index)

    def search(self, closed_loop: float = 1000.0, *, max_s: float = 75.0) -> FoundRate:
        return Search(self.measure, self.clock, Limits(max_s=max_s)).run(closed_loop)


@cache
def rates(sd_ratio: float) -> tuple[Estimate, ...]:
    """What 300 searches say of a known server."""
    return tuple(Simulated(seed, sd_ratio).search().sustainable_rate_infer_per_s for seed in range(300))


@pytest.mark.parametrize("sd_ratio", [0.0, 0.05])
def test_lower_bound_is_below_what_a_known_server_sustains_in_nearly_all_runs(sd_ratio: float) -> None:
    found = rates(sd_ratio)
    lows = [one.ci_low for one in found if one.ci_low is not None]
    # Nominally 1 %, which 300 runs exceed 6 times in one case of thirty.
    assert sum(low > true_rate(sd_ratio) for low in lows) <= 6
    assert all(one.ci_low <= one.estimate for one in found if one.ci_low is not None)
    assert all(one.ci_low < one.ci_high for one in found if one.ci_low is not None and one.ci_high is not None)


def test_lower_bound_is_found_and_near_what_a_steady_server_sustains() -> None:
    lows = [one.ci_low for one in rates(0.0)]
    assert sum(low is not None and low > 0.6 * true_rate() for low in lows) >= 0.9 * len(lows)
    assert np.median([low or 0.0 for low in lows]) > 0.7 * true_rate()


def test_search_ends_in_time_and_every_window_has_arrivals_of_its_own() -> None:
    server = Simulated(3)
    server.search()
    assert server.now_s <= 75
    assert len(set(server.asked)) == len(server.asked)


def test_points_rise_and_hold_what_was_measured() -> None:
    server = Simulated(4)
    found = server.search()
    rates = [point.rate_infer_per_s for point in found.points]
    assert rates == sorted(set(rates))
    assert found.unmeasured == ()
    assert rates == sorted({rate for rate, _ in server.asked})
    assert found.window_count == len(server.asked)
    low = found.sustainable_rate_infer_per_s.ci_low
    [proven] = [point for point in found.points if point.rate_infer_per_s == low]
    assert proven.verdict == "feasible"
    assert proven.window_count == 8
    assert proven.miss_ratio.ci_high is not None
    assert proven.miss_ratio.ci_high <= 0.01


def test_both_bounds_enclose_a_sharp_edge() -> None:
    # No misses up to 700, nothing but misses above.
    found = Ticking(constant(lambda rate: float(rate > 700))).search()
    rate = found.sustainable_rate_infer_per_s
    assert rate.ci_low is not None
    assert rate.ci_high is not None
    assert rate.ci_low <= rate.estimate <= rate.ci_high
    assert 0.8 * 700 <= rate.ci_low <= 700 < rate.ci_high < 1.4 * rate.ci_low


def test_rate_at_which_the_generator_lags_is_left_and_told() -> None:
    server = Simulated(5, generator_limit=600)
    found = server.search()
    rate = found.sustainable_rate_infer_per_s
    assert rate.ci_low is not None
    assert rate.ci_low <= 600
    assert rate.ci_high is None  # the server was not the one that failed
    assert [rate > 600 for rate, _ in found.unmeasured] == [True] * len(found.unmeasured)
    assert "lagged" in found.unmeasured[0][1]
    assert len(server.asked) - found.window_count >= 2


def test_generator_that_lags_once_is_asked_again_with_other_arrivals() -> None:
    lagging = iter([True])

    def measure(rate: float, index: int) -> Measurement:
        return failed(rate, index) if next(lagging, False) else constant(edge)(rate, index)

    server = Ticking(measure)
    found = server.search()
    assert server.asked[0] == server.asked[1]
    assert len(server.asked) - found.window_count == 1
    assert found.sustainable_rate_infer_per_s.ci_low is not None


def edge(rate: float) -> float:
    return float(rate > 700)


def test_rate_at_which_the_generator_mostly_lags_gives_way_to_a_lower_one() -> None:
    # Probes at the edge get through, the verdict's windows do not.
    def measure(rate: float, index: int) -> Measurement:
        return failed(rate, index) if rate > 650 and index > 0 else constant(edge)(rate, index)

    found = Ticking(measure).search()
    rate = found.sustainable_rate_infer_per_s
    assert rate.ci_low is not None
    assert rate.ci_low <= 650


def test_server_that_sustains_nothing_gives_no_lower_bound_and_no_estimate() -> None:
    found = Ticking(constant(lambda _: 0.5)).search()
    assert found.sustainable_rate_infer_per_s.ci_low is None
    assert found.sustainable_rate_infer_per_s.estimate == 0.0
    assert found.points


def test_generator_that_always_lags_gives_no_point() -> None:
    found = Ticking(failed).search()
    assert found.points == ()
    assert found.window_count == 0
    assert found.sustainable_rate_infer_per_s.ci_low is None
    assert len(found.unmeasured) == len({rate for rate, _ in found.unmeasured}) > 0


def test_server_far_below_its_closed_loop_throughput_is_found() -> None:
    found = Ticking(constant(lambda rate: float(rate > 100))).search()
    rate = found.sustainable_rate_infer_per_s
    assert rate.ci_low is not None
    assert 70 < rate.ci_low <= 100


def test_server_without_a_miss_is_promised_more_than_its_closed_loop_and_has_no_upper_bound() -> None:
    found = Ticking(constant(lambda _: 0.0)).search()
    rate = found.sustainable_rate_infer_per_s
    assert rate.ci_low is not None
    assert 1300 < rate.ci_low <= rate.estimate <= 2000
    assert rate.ci_high is None


def test_too_short_a_time_gives_probes_without_a_verdict() -> None:
    found = Ticking(constant(edge)).search(max_s=9.0)
    assert found.out_of_time
    assert found.sustainable_rate_infer_per_s.ci_low is None
    assert found.sustainable_rate_infer_per_s.estimate > 0  # what probes saw is an estimate, and no more
    assert {point.verdict for point in found.points} == {"undecided"}


def test_slow_windows_leave_time_for_a_verdict() -> None:
    server = Ticking(constant(edge), wall_s=7.0)
    assert server.search().sustainable_rate_infer_per_s.ci_low is not None
    assert server.now_s <= 75


def test_share_of_misses_just_below_the_limit_is_never_called_feasible() -> None:
    found = Ticking(constant(lambda _: 0.0099, requests=1000)).search()
    assert found.sustainable_rate_infer_per_s.ci_low is None


def test_requests_answered_with_an_error_count_as_misses() -> None:
    def measure(rate: float, index: int) -> Measurement:
        return replace(constant(lambda _: 0.0)(rate, index), error_count=400)

    found = Ticking(measure).search()
    assert found.sustainable_rate_infer_per_s.ci_low is None
    assert found.points[0].miss_ratio.estimate == pytest.approx(400 / 4400)


@pytest.mark.parametrize("throughput", [0.0, -1.0, float("nan"), float("inf")])
def test_no_throughput_is_refused(throughput: float) -> None:
    with pytest.raises(ValueError, match="not a throughput"):
        Ticking(constant(edge)).search(throughput)


@dataclass
class Refusing(Simulated):
    """Refuses requests in each window from a rate on."""

    refuses_from: float = 400.0

    def measure(self, rate: float, index: int) -> Measurement:
        taken = super().measure(rate, index)
        if rate < self.refuses_from:
            return taken
        return replace(taken, throughput_infer_per_s=None, latency=None, error="full", failure_cause="refused")


@pytest.mark.parametrize("seed", range(3))
def test_rates_at_which_the_variant_refuses_are_broken_and_not_left_out(seed: int) -> None:
    server = Refusing(seed=seed)
    found = server.search()
    rate = found.sustainable_rate_infer_per_s
    assert rate.ci_low is None or rate.ci_low < server.refuses_from
    assert rate.ci_high is None or rate.ci_high >= server.refuses_from
    assert all(why == "full" for _, why in found.unmeasured)
    assert all(point.rate_infer_per_s < server.refuses_from for point in found.points if point.verdict == "feasible")


def test_windows_that_the_variant_fails_are_misses_of_their_rate() -> None:
    server = Simulated(seed=1)

    def every_third(rate: float, index: int) -> Measurement:
        taken = server.measure(rate, index)
        if index % 3:
            return taken
        return replace(taken, throughput_infer_per_s=None, latency=None, error="full", failure_cause="refused")

    found = Search(every_third, server.clock, Limits(max_s=75.0)).run(CLOSED_LOOP)
    assert found.sustainable_rate_infer_per_s.ci_low is None, "no rate keeps a limit of 1 % with a third refused"
    assert len(server.asked) - found.window_count >= len(found.unmeasured) > 0


def test_proof_ends_at_the_window_after_which_it_cannot_pass_and_a_lower_rate_is_proved() -> None:
    # A tenth of one window is late at the rate that is proposed first.
    proposed: list[float] = []

    def measure(rate: float, index: int) -> Measurement:
        proved = [one for one in server.asked if server.asked.count(one) > 1]
        if not proposed and proved:
            proposed.append(proved[0])
        late = 0.1 if proposed and rate >= proposed[0] else 0.0
        return constant(lambda _: max(late, edge(rate)))(rate, index)

    server = Ticking(measure)
    rate = server.search().sustainable_rate_infer_per_s
    assert server.asked.count(proposed[0]) <= 4
    assert rate.ci_low is not None
    assert 0.7 * proposed[0] <= rate.ci_low < proposed[0]


def lagged(late_ratio: float) -> Callable[[float, int], Measurement]:
    def measure(rate: float, index: int) -> Measurement:
        return replace(constant(edge)(rate, index), late_ratio=late_ratio)

    return measure


def test_late_generator_speaks_for_a_rate_and_never_against_it() -> None:
    late, punctual = (Ticking(lagged(ratio)).search().sustainable_rate_infer_per_s for ratio in (0.3, 0.0))
    assert late.ci_low == punctual.ci_low is not None
    assert late.ci_high is None
    assert punctual.ci_high is not None


def test_proof_that_all_windows_together_speak_against_is_no_promise() -> None:
    # The machine is fast for the time of one proof, and breaks the limit at that rate before and after.
    def measure(rate: float, index: int) -> Measurement:
        fast = 12 <= len(server.asked) < 20
        return constant(lambda rate: float(rate > (700 if fast else 300)))(rate, index)

    server = Ticking(measure)
    found = server.search()
    rate = found.sustainable_rate_infer_per_s
    assert rate.ci_low is not None
    assert rate.ci_low <= 300


def test_windows_that_were_to_refute_a_rate_never_promise_it() -> None:
    # A rate breaks the limit in the first window, and in no further one: what shows that had no part of the error rate.
    def measure(rate: float, index: int) -> Measurement:
        return constant(lambda _: float(rate > 700 and index == 0))(rate, index)

    server = Ticking(measure)
    found = server.search()
    refuting = [rate for rate in set(server.asked) if rate > 700 and server.asked.count(rate) == 5]
    points = {point.rate_infer_per_s: point.verdict for point in found.points}
    assert refuting
    assert all(points[rate] == "undecided" for rate in refuting)
