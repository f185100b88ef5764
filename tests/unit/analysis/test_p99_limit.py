"""Verdicts on the p99 limit: numbers from tables, properties, and what blocks can and cannot show."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hcopt.analysis.p99_limit import (
    ALLOWED_MISS_RATIO,
    blocks_to_decide,
    clearly_breaks,
    fails_too_often,
    is_within,
    judge_counts,
    judge_failures,
    judge_p99s,
    judge_windows,
    keeps_in_sweep,
    miss_interval,
)
from hcopt.analysis.sequential import planned
from hcopt.records.measurement import LoadPoint
from hcopt.records.verdict import FailedWindows

blocks = st.lists(
    st.integers(1, 5000).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))),
    min_size=2,
    max_size=20,
)


def exact(misses: int, requests: float, alpha: float) -> tuple[float, float]:
    """Clopper and Pearson's bounds, by the beta distribution."""
    low = 0.0 if misses == 0 else float(stats.beta.ppf(alpha, misses, requests - misses + 1))
    return low, float(stats.beta.ppf(1 - alpha, misses + 1, requests - misses))


def test_blocks_that_vary_as_independent_requests_have_the_exact_bounds_of_a_few_requests_less() -> None:
    # Equal shares: no design effect. z(0.95) = 1.6449, t(0.95; 3) = 2.3534: 0.48853 of 4,000 requests and 20 misses.
    found = miss_interval([5] * 4, [1000] * 4, alpha=0.05)
    shrink = (1.644854 / 2.353363) ** 2
    low = stats.beta.ppf(0.05, 20 * shrink, 3980 * shrink + 1)
    high = stats.beta.ppf(0.95, 20 * shrink + 1, 3980 * shrink)
    assert found.estimate == 0.005
    assert (found.ci_low, found.ci_high) == (pytest.approx(low, rel=1e-5), pytest.approx(high, rel=1e-5))


def test_blocks_that_vary_more_count_for_fewer_requests() -> None:
    # Shares 0 and 2 % around 1 %: variance of the mean (2/1 · 2 · 10²) / 2000² = 1e-4; independent ones would have
    # 0.01 · 0.99 / 2000 = 4.95e-6. Design effect 20.202: 99 requests. z / t(0.95; 1) = 1.6449 / 6.3138: 6.719 of them.
    found = miss_interval([0, 20], [1000, 1000], alpha=0.05)
    count = 99 * (1.644854 / 6.313752) ** 2
    assert found.ci_high == pytest.approx(stats.beta.ppf(0.95, 0.01 * count + 1, 0.99 * count), rel=1e-5)


def test_without_a_miss_the_upper_bound_is_that_of_so_many_requests() -> None:
    # 1 - α^(1/n) with n = 3600 · (2.5758 / 3.1058)².
    found = miss_interval([0] * 12, [300] * 12, alpha=0.005)
    count = 3600 * (2.575829 / 3.105807) ** 2
    assert (found.estimate, found.ci_low) == (0.0, 0.0)
    assert found.ci_high == pytest.approx(1 - 0.005 ** (1 / count), rel=1e-5)


@pytest.mark.parametrize(("requests", "expected"), [(63, "undecided"), (64, "feasible")])
def test_no_miss_in_twelve_blocks_is_enough_from_767_requests_on(requests: int, expected: str) -> None:
    # ln 0.005 / ln 0.99 = 527.2 independent ones; 527.2 · (3.1058 / 2.5758)² = 766.4, of which each block has 63.9.
    assert judge_counts([0] * 12, [requests] * 12, alpha=0.005)[0] == expected


@pytest.mark.parametrize(
    ("misses", "requests", "expected"),
    [
        pytest.param([0] * 12, [30] * 12, "undecided", id="too few requests"),
        pytest.param([0], [100_000], "undecided", id="one block"),
        pytest.param([0, 0], [5000, 5000], "undecided", id="two blocks"),
        pytest.param([30], [100], "undecided", id="one bad block"),
        pytest.param([2, 4] * 6, [1500] * 12, "feasible", id="0.2 %"),
        pytest.param([60, 90] * 6, [1500] * 12, "infeasible", id="5 %"),
        pytest.param([14, 16] * 6, [1500] * 12, "undecided", id="at the limit"),
        pytest.param([0] * 11 + [150], [1500] * 12, "undecided", id="one block has nearly all"),
        pytest.param([100] * 12, [100] * 12, "infeasible", id="every request"),
    ],
)
def test_judge_counts(misses: list[int], requests: list[int], expected: str) -> None:
    assert judge_counts(misses, requests, alpha=0.005)[0] == expected


@pytest.mark.parametrize(
    ("misses", "requests", "expected"),
    [
        pytest.param([0, 0], [3, 3], "feasible", id="none failed: nothing to prove"),
        pytest.param([0] * 11 + [1], [30] * 12, "undecided", id="one failed of too few"),
        pytest.param([2, 4] * 6, [1500] * 12, "feasible", id="0.2 %"),
        pytest.param([60, 90] * 6, [1500] * 12, "infeasible", id="5 %"),
    ],
)
def test_failed_requests_are_judged_like_late_ones_once_there_is_one(
    misses: list[int], requests: list[int], expected: str
) -> None:
    found, share = judge_failures(misses, requests, alpha=0.005)
    assert found == expected
    assert share == judge_counts(misses, requests, alpha=0.005)[1]


@pytest.mark.parametrize(
    ("window_count", "variant_count", "other_count", "expected"),
    [(12, 0, 0, "feasible"), (12, 12, 0, "infeasible"), (12, 1, 0, "undecided"), (12, 6, 6, "infeasible")],
)
def test_windows_that_failed_count_as_requests_where_nobody_counted_any(
    window_count: int, variant_count: int, other_count: int, expected: str
) -> None:
    failed = FailedWindows(
        config_name="a",
        load=LoadPoint(concurrency=8),
        window_count=window_count,
        variant_count=variant_count,
        other_count=other_count,
        reason="it failed",
    )
    assert judge_windows(failed, alpha=0.05) == expected


@pytest.mark.parametrize(
    ("p99s_ms", "expected"),
    [
        ([8.0, 9.0, 8.5, 8.8], "feasible"),
        ([12.0, 13.0, 12.5, 12.8], "infeasible"),
        ([9.0, 11.0, 9.5, 10.5], "undecided"),
        ([1.0], "undecided"),
    ],
)
def test_measured_p99_is_judged_by_its_interval(p99s_ms: list[float], expected: str) -> None:
    assert judge_p99s(p99s_ms, 10.0, alpha=0.01) == expected


def test_what_only_proposes_looks_at_the_observed_share() -> None:
    beyond = ALLOWED_MISS_RATIO + 1e-9
    assert (is_within(ALLOWED_MISS_RATIO), is_within(beyond)) == (True, False)
    assert (fails_too_often(ALLOWED_MISS_RATIO), fails_too_often(beyond)) == (False, True)
    # Ten times of what is allowed is clear.
    assert (clearly_breaks(0.1), clearly_breaks(0.101)) == (False, True)


@pytest.mark.parametrize(
    ("failed_ratio", "p99_ms", "limit_ms", "expected"),
    [(0.0, 10.0, 10.0, True), (0.0, 10.1, 10.0, False), (0.02, 1.0, 10.0, False), (0.01, 99.0, None, True)],
)
def test_sweep_asks_for_p99_and_for_answers(
    failed_ratio: float, p99_ms: float, limit_ms: float | None, expected: bool
) -> None:
    assert keeps_in_sweep(failed_ratio, p99_ms, limit_ms) is expected


@pytest.mark.parametrize(
    ("misses", "requests"), [([1], [1, 2]), ([-1, 0], [5, 5]), ([6, 0], [5, 5]), ([0, 0], [0, 0]), ([], [])]
)
def test_counts_that_cannot_be_are_refused(misses: list[int], requests: list[int]) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer|misses|requests"):
        judge_counts(misses, requests, alpha=0.01)


@given(blocks, st.sampled_from([0.0003, 0.005, 0.05]))
def test_bounds_enclose_the_share_and_are_never_narrower_than_those_of_independent_requests(
    counted: list[tuple[int, int]], alpha: float
) -> None:
    misses, requests = zip(*counted, strict=True)
    found = miss_interval(misses, requests, alpha=alpha)
    low, high = exact(sum(misses), sum(requests), alpha) if sum(misses) < sum(requests) else (0.0, 1.0)
    assert found.ci_low is not None
    assert found.ci_high is not None
    assert 0 <= found.ci_low <= found.estimate <= found.ci_high <= 1
    assert found.ci_high >= high * (1 - 1e-9)
    if sum(misses) < sum(requests):
        assert found.ci_low <= low * (1 + 1e-9)


@given(blocks)
def test_order_of_the_blocks_plays_no_part(counted: list[tuple[int, int]]) -> None:
    misses, requests = zip(*counted, strict=True)
    one, other = (miss_interval(m, r, alpha=0.01) for m, r in ((misses, requests), (misses[::-1], requests[::-1])))
    assert one.ci_high == pytest.approx(other.ci_high, rel=1e-9)


def test_blocks_to_decide_names_the_first_look_that_would() -> None:
    misses, requests = [0] * 12, [20] * 12
    found = blocks_to_decide(misses, requests, alpha=0.01, further_looks=planned(0.01, 3))
    # The last look spends 3/4 of 1 % at 48 blocks: ln 0.0075 / ln 0.99 = 486.8, times (t / z)² = (2.525 / 2.432)²: 525
    # requests, of 960. At 24 blocks there are 480 of 569.
    assert found == 48
    look = next(look for look in planned(0.01, 3) if look.block_count == found)
    assert judge_counts([0] * 48, [20] * 48, alpha=0.01 * look.share)[0] == "feasible"


@pytest.mark.parametrize(
    ("misses", "requests"),
    [pytest.param([10] * 12, [1000] * 12, id="at the limit"), pytest.param([0], [9000], id="one block")],
)
def test_blocks_to_decide_is_none_where_no_look_would(misses: list[int], requests: list[int]) -> None:
    looks = islice(planned(0.01, 3), 15)
    assert blocks_to_decide(misses, requests, alpha=0.01, further_looks=looks) is None
