"""Numbers worked out by hand or from tables, properties that hold for all data, and how often a claim is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from hcopt.analysis.stats import (
    blocks_to_decide,
    centre_interval,
    holm,
    log_ratios,
    look_confidence,
    positive_interval,
    ratio_interval,
    robust_mean_and_deviation,
    sign_flip_p_value,
    signed_rank_p_value,
    standard_deviation,
    t_interval,
    unpaired_ratio,
)
from hcopt.records.verdict import Estimate

figures = st.floats(1e-3, 1e6)
pairs = st.lists(st.tuples(figures, figures), min_size=2, max_size=12)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def test_t_interval_of_three_values() -> None:
    # Mean 2, standard deviation 1, t(0.975; 2) = 4.3027: half width 4.3027 / √3 = 2.4841.
    found = t_interval([1.0, 2.0, 3.0])
    assert (found.estimate, found.ci_low, found.ci_high) == pytest.approx((2.0, -0.4841, 4.4841), abs=1e-4)


def test_t_interval_at_90_percent_of_eight_values() -> None:
    # Mean 4.5, standard deviation √6 = 2.4495, t(0.95; 7) = 1.8946: half width 1.8946 · 2.4495 / √8 = 1.6408.
    found = t_interval([1, 2, 3, 4, 5, 6, 7, 8], confidence=0.90)
    assert (found.estimate, found.ci_low, found.ci_high) == pytest.approx((4.5, 2.8592, 6.1408), abs=1e-4)


def test_t_interval_of_equal_values_is_the_value() -> None:
    found = t_interval([5.0, 5.0, 5.0])
    assert (found.estimate, found.ci_low, found.ci_high) == (5.0, 5.0, 5.0)


def test_interval_of_positive_quantities_ends_at_zero() -> None:
    # Mean 4, standard deviation sqrt(27), t of two degrees of freedom 4.3027: 4 ± 12.908.
    found = positive_interval([1.0, 1.0, 10.0])
    assert (found.estimate, found.ci_low, found.ci_high) == (4.0, 0.0, pytest.approx(16.908, abs=1e-3))
    assert positive_interval([4.0, 5.0, 6.0]) == t_interval([4.0, 5.0, 6.0])
    assert positive_interval([5.0]) == t_interval([5.0])


def test_one_value_has_no_interval() -> None:
    found = t_interval([5.0])
    assert (found.estimate, found.ci_low, found.ci_high) == (5.0, None, None)
    ratio = ratio_interval([6.0], [3.0])
    assert (ratio.estimate, ratio.ci_low, ratio.ci_high) == (pytest.approx(2.0), None, None)


def test_ratio_interval_is_geometric() -> None:
    # Ratios 2 and 8: logarithms ln 2 and ln 8, mean ln 4, deviation √2 · ln 2, t(0.975; 1) = 12.7062.
    # Half width 12.7062 · ln 2 in logarithms: a factor of 2^12.7062.
    found = ratio_interval([2.0, 8.0], [1.0, 1.0])
    assert found.estimate == pytest.approx(4.0)
    assert found.ci_high == pytest.approx(4.0 * 2**12.7062, rel=1e-3)
    assert found.ci_low == pytest.approx(4.0 / 2**12.7062, rel=1e-3)


def test_what_a_block_does_to_both_cancels_in_the_ratio() -> None:
    found = ratio_interval([110.0, 55.0, 220.0], [100.0, 50.0, 200.0])
    assert (found.estimate, found.ci_low, found.ci_high) == pytest.approx((1.1, 1.1, 1.1))


def test_intervals_and_ratios_of_nothing_are_refused() -> None:
    for call in (lambda: t_interval([]), lambda: ratio_interval([], []), lambda: sign_flip_p_value([])):
        with pytest.raises(ValueError, match=r"^no "):
            call()


@pytest.mark.parametrize(("candidate", "baseline"), [([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([-1.0], [1.0])])
def test_ratios_of_unequal_lengths_or_of_nothing_positive_are_refused(
    candidate: list[float], baseline: list[float]
) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer|domain|positive"):
        log_ratios(candidate, baseline)


@given(pairs)
def test_interval_contains_the_estimate(values: list[tuple[float, float]]) -> None:
    candidate, baseline = zip(*values, strict=True)
    for found in (t_interval(candidate), ratio_interval(candidate, baseline)):
        assert found.ci_low is not None
        assert found.ci_high is not None
        assert found.ci_low <= found.estimate <= found.ci_high


@given(pairs)
def test_wider_confidence_gives_a_wider_interval(values: list[tuple[float, float]]) -> None:
    candidate, baseline = zip(*values, strict=True)
    wide, narrow = (ratio_interval(candidate, baseline, confidence=level) for level in (0.95, 0.90))
    assert wide.ci_low is not None and narrow.ci_low is not None
    assert wide.ci_low <= narrow.ci_low * (1 + 1e-12)


@given(pairs, st.floats(0.01, 100))
def test_ratio_does_not_depend_on_the_unit(values: list[tuple[float, float]], scale: float) -> None:
    candidate, baseline = zip(*values, strict=True)
    one = ratio_interval(candidate, baseline)
    other = ratio_interval([a * scale for a in candidate], [b * scale for b in baseline])
    assert other.estimate == pytest.approx(one.estimate, rel=1e-6)


@given(pairs)
def test_ratio_the_other_way_round_is_the_inverse(values: list[tuple[float, float]]) -> None:
    candidate, baseline = zip(*values, strict=True)
    one, other = ratio_interval(candidate, baseline), ratio_interval(baseline, candidate)
    assert one.estimate == pytest.approx(1 / other.estimate)


@pytest.mark.parametrize(
    ("differences", "p_value"),
    [
        ([0.1], 1.0),
        ([-0.1], 1.0),
        ([0.0], 1.0),
        ([0.1, 0.2, 0.3], 2 / 8),
        ([0.05] * 8, 2 / 256),
        # Of the 8 patterns of 1, 2, 3 the sums are 6, 4, 2, 0, 0, -2, -4, -6: as far from 0 as 4 are four.
        ([-1.0, 2.0, 3.0], 4 / 8),
        ([1.0, -2.0, -3.0], 4 / 8),
        ([-1.0, -2.0, 3.0], 1.0),
        ([-0.1] * 8, 2 / 256),
        ([0.0] * 8, 1.0),
    ],
)
def test_sign_flip_counts_the_patterns_as_far_from_zero(differences: list[float], p_value: float) -> None:
    assert sign_flip_p_value(differences) == pytest.approx(p_value, abs=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=10))
def test_sign_flip_lies_between_its_floor_and_one(differences: list[float]) -> None:
    assert 2.0 ** (1 - len(differences)) <= sign_flip_p_value(differences) <= 1


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=10))
def test_sign_flip_knows_no_direction(differences: list[float]) -> None:
    assert sign_flip_p_value([-one for one in differences]) == pytest.approx(sign_flip_p_value(differences))


def test_sign_flip_of_many_blocks_is_drawn_alike_each_time() -> None:
    differences = np.random.default_rng(1).normal(0.1, 1, 24).tolist()
    assert sign_flip_p_value(differences) == sign_flip_p_value(differences)
    # Near what a t test says of so many about normal values.
    mean, error = np.mean(differences), np.std(differences, ddof=1) / math.sqrt(24)
    assert sign_flip_p_value(differences) == pytest.approx(math.erfc(abs(mean) / error / math.sqrt(2)), abs=0.04)


def test_holm_textbook_example() -> None:
    # 0.01 · 4, 0.02 · 3 (raised to the one before), 0.03 · 2, 0.04 · 1.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_holm_of_one_is_itself_and_of_large_ones_at_most_one() -> None:
    assert holm([0.2]) == (0.2,)
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


@given(p_values)
def test_holm_raises_and_keeps_the_order(raw: list[float]) -> None:
    adjusted = holm(raw)
    assert all(raised >= given_value for raised, given_value in zip(adjusted, raw, strict=True))
    assert all(value <= 1 for value in adjusted)
    order = sorted(range(len(raw)), key=lambda index: raw[index])
    assert all(adjusted[a] <= adjusted[b] for a, b in pairwise(order))


def alternating(mean: float, spread: float, count: int) -> list[float]:
    """Values with this mean and this standard deviation (n - 1)."""
    step = spread * math.sqrt((count - 1) / count)
    return [mean + step * (-1) ** index for index in range(count)]


def normal(mean: float, spread: float, count: int) -> list[float]:
    """Values as normal as so many can be, of which the robust deviation is `spread`."""
    values = stats.norm.ppf((np.arange(count) + 0.5) / count)
    _, deviation = robust_mean_and_deviation(list(values))
    return [mean + spread / deviation * float(value) for value in values]


def test_robust_deviation_is_that_of_normal_values_and_withstands_a_few_wild_ones() -> None:
    values = list(0.05 * stats.norm.ppf((np.arange(40) + 0.5) / 40))
    middle, deviation = robust_mean_and_deviation(values)
    assert middle == pytest.approx(0.0, abs=1e-12)
    assert deviation == pytest.approx(standard_deviation(values), rel=0.1)
    wild = [*values[:37], 0.6, 0.7, 0.8]
    assert standard_deviation(wild) > 3 * standard_deviation(values)
    assert robust_mean_and_deviation(wild)[1] < 1.6 * deviation
    assert robust_mean_and_deviation([0.1, 0.3]) == (pytest.approx(0.2), pytest.approx(0.1 * math.sqrt(2)))


def test_blocks_to_decide_a_real_difference() -> None:
    differences = normal(0.10, 0.12, 8)
    found = blocks_to_decide(differences, alpha=0.01, comparisons=2, zone=0.02)
    # A last look after 12 blocks spends all of 0.01, halved by Holm and by the two directions, one after 24 three
    # quarters, where the mean is 0.10: t(1 - 0.01/4; 11) · 0.12 / √12 = 3.497 · 0.03464 = 0.1211,
    # t(1 - 0.0075/4; 23) · 0.12 / √24 = 3.225 · 0.02449 = 0.0790.
    assert found == 24


def test_blocks_to_decide_a_tie() -> None:
    found = blocks_to_decide(normal(0.0, 0.05, 8), alpha=0.01, comparisons=2, zone=0.02)
    # Of 10 %: t(0.95; 11) · 0.05 / √12 = 1.796 · 0.01443 = 0.02592, beyond ln 1.02 = 0.0198; three quarters of it after
    # 24 blocks: t(1 - 0.075/2; 23) · 0.05 / √24 = 1.865 · 0.01021 = 0.01903, within.
    assert found == 24


def test_blocks_to_decide_is_the_first_look_for_a_clear_difference_in_either_direction() -> None:
    for mean in (0.10, -0.10):
        assert blocks_to_decide(alternating(mean, 0.05, 8), alpha=0.01, comparisons=2, zone=0.02) == 12


@pytest.mark.parametrize(
    "differences",
    [
        pytest.param(alternating(0.001, 3.0, 8), id="too noisy"),
        pytest.param([0.3], id="one block shows no spread"),
    ],
)
def test_blocks_to_decide_is_none_where_nothing_would(differences: list[float]) -> None:
    assert blocks_to_decide(differences, alpha=0.01, comparisons=2, zone=0.02) is None


@given(st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=10))
def test_blocks_to_decide_asks_for_more_than_there_are(differences: list[float]) -> None:
    found = blocks_to_decide(differences, alpha=0.01, comparisons=2, zone=0.02)
    assert found is None or found > len(differences)


@pytest.mark.parametrize(("values", "expected"), [([], 0.0), ([3.0], 0.0), ([1.0, 3.0], math.sqrt(2))])
def test_standard_deviation_is_that_of_a_sample(values: list[float], expected: float) -> None:
    assert standard_deviation(values) == pytest.approx(expected)


@pytest.mark.parametrize(("share", "confidence"), [(1.0, 0.95), (0.5, 0.975), (0.25, 0.9875)])
def test_look_confidence_spends_its_part_of_what_may_be_wrong(share: float, confidence: float) -> None:
    assert look_confidence(0.95, share) == pytest.approx(confidence)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9))
def test_sign_flip_is_what_counting_all_patterns_gives(differences: list[float]) -> None:
    patterns = product((-1, 1), repeat=len(differences))
    sums = [math.fsum(a * b for a, b in zip(differences, signs, strict=True)) for signs in patterns]
    reached = abs(math.fsum(differences)) - 1e-12 * math.fsum(map(abs, differences))
    counted = sum(abs(value) >= reached for value in sums) / len(sums)
    assert sign_flip_p_value(differences) == pytest.approx(counted, abs=1e-12)


@pytest.mark.parametrize("blocks", [24, 36])
def test_sign_flip_reaches_its_floor_exactly(blocks: int) -> None:
    assert sign_flip_p_value([0.1, 0.2, 0.3] * (blocks // 3)) == 2.0 ** (1 - blocks)


def test_sign_flip_of_many_blocks_reaches_two_in_a_million() -> None:
    assert sign_flip_p_value([0.1] * 40) == pytest.approx(2e-6)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=10, unique_by=abs).filter(all))
def test_signed_rank_is_what_counting_all_patterns_gives(differences: list[float]) -> None:
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    own = sum(rank for rank, value in zip(ranks, differences, strict=True) if value > 0)
    sums = [
        sum(rank for rank, up in zip(ranks, signs, strict=True) if up) for signs in product((0, 1), repeat=len(ranks))
    ]
    middle = sum(ranks) / 2
    counted = sum(abs(one - middle) >= abs(own - middle) for one in sums) / len(sums)
    # Pairwise means of two that are almost opposite may round to zero, which counts for the null.
    assert signed_rank_p_value(differences) >= counted - 1e-12
    if len(differences) > 1 and min(abs(a + b) for a, b in combinations(differences, 2)) > 1e-9:
        assert signed_rank_p_value(differences) == pytest.approx(counted, abs=1e-12)


def test_signed_rank_agrees_with_scipy_where_it_is_exact_and_beyond() -> None:
    random = np.random.default_rng(3)
    for count in (12, 30, 49):
        differences = list(random.normal(0.3, 1, count))
        exact = stats.wilcoxon(differences, method="exact").pvalue
        assert signed_rank_p_value(differences) == pytest.approx(float(exact), rel=1e-9)
    many = list(random.normal(0.05, 1, 400))
    assert signed_rank_p_value(many) == pytest.approx(float(stats.wilcoxon(many).pvalue), rel=0.01)


@given(
    st.lists(st.floats(-1, 1).map(lambda one: round(one, 3)), min_size=8, max_size=20),
    st.sampled_from([0.9, 0.95, 0.99, 0.9983]),
)
def test_signed_rank_interval_and_test_never_contradict_each_other(differences: list[float], confidence: float) -> None:
    found = centre_interval(differences, confidence=confidence)
    if found.ci_low is None or found.ci_high is None:
        assert 2.0 ** (1 - len(differences)) > 1 - confidence
        return
    assert found.ci_low <= found.estimate <= found.ci_high
    leaves_zero_out = found.ci_low > 0 or found.ci_high < 0
    assert leaves_zero_out == (signed_rank_p_value(differences) <= (1 - confidence) * (1 + 1e-9))


def test_centre_and_interval_by_hand() -> None:
    # Of 1, 2, 3, 4 the ten pairwise means are 1, 1.5, 2, 2, 2.5, 2.5, 3, 3, 3.5, 4: their median is 2.5. Each end that
    # is left out costs 1/16, so that the whole range has 87.5 % and nothing has more.
    found = centre_interval([4.0, 1.0, 3.0, 2.0], confidence=0.875)
    assert (found.estimate, found.ci_low, found.ci_high) == (2.5, 1.0, 4.0)
    assert centre_interval([4.0, 1.0, 3.0, 2.0], confidence=0.9).ci_low is None
    # Two are left out at each end at 75 %: 2/16 are in each tail.
    found = centre_interval([4.0, 1.0, 3.0, 2.0], confidence=0.75)
    assert (found.ci_low, found.ci_high) == (1.5, 3.5)


def test_few_blocks_of_another_pace_move_the_ratio_little() -> None:
    steady = [100.0 * (1.05 + 0.001 * n) for n in range(17)]
    found = ratio_interval([*steady, 65.0, 160.0, 64.0], [100.0] * 20)
    assert found.estimate == pytest.approx(1.058, abs=0.002)
    assert found.ci_low is not None and found.ci_low > 1.04


VALUES = st.lists(st.floats(100, 10_000), min_size=2, max_size=12)


def unpaired(candidate: Sequence[float], baseline: Sequence[float]) -> Estimate:
    return unpaired_ratio(list(np.log(candidate)), list(np.log(baseline)))


def test_unpaired_ratio_is_welchs_interval_computed_by_hand() -> None:
    # Logarithms 0, 2 and 0, 1, 2: means 1 and 1, variances 2/2 and 1/3, so df = (4/3)² / (1 + 1/18) = 1.684.
    found = unpaired([1, math.e**2], [1, math.e, math.e**2])
    half = stats.t.ppf(0.975, (4 / 3) ** 2 / (1 + 1 / 18)) * math.sqrt(4 / 3)
    assert found.estimate == pytest.approx(1.0)
    assert found.ci_low == pytest.approx(math.exp(-half))
    assert found.ci_high == pytest.approx(math.exp(half))


@given(VALUES, VALUES)
def test_unpaired_ratio_agrees_with_scipy(candidate: list[float], baseline: list[float]) -> None:
    logs = np.log(candidate), np.log(baseline)
    assume(min(np.std(values) for values in logs) > 1e-6)  # below, SciPy warns of cancellation
    found = unpaired(candidate, baseline)
    interval = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
    assert found.ci_low == pytest.approx(math.exp(interval.low))
    assert found.ci_high == pytest.approx(math.exp(interval.high))


@given(VALUES, VALUES)
def test_unpaired_ratio_the_other_way_round_is_the_inverse(candidate: list[float], baseline: list[float]) -> None:
    there, back = unpaired(candidate, baseline), unpaired(baseline, candidate)
    assert there.ci_high is not None and back.ci_low is not None
    assert there.estimate == pytest.approx(1 / back.estimate)
    assert there.ci_high == pytest.approx(1 / back.ci_low)


def test_unpaired_interval_covers_the_truth_as_often_as_it_says() -> None:
    # 5 and 8 % between blocks, of unequal number: 2,000 seeded pairs of runs with a true ratio of 1.1.
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(2000):
        found = unpaired(1100 * np.exp(rng.normal(0, 0.08, 8)), 1000 * np.exp(rng.normal(0, 0.05, 12)))
        assert found.ci_low is not None and found.ci_high is not None
        covered += found.ci_low <= 1.1 <= found.ci_high
    assert 0.94 <= covered / 2000 <= 0.96


def test_equal_blocks_give_a_point_and_one_block_no_interval() -> None:
    assert unpaired([2, 2], [1, 1, 1]) == Estimate(estimate=2.0, ci_low=2.0, ci_high=2.0)
    assert unpaired([2], [1, 1]) == Estimate(estimate=2.0)
    with pytest.raises(ValueError, match="no blocks"):
        unpaired([], [1])
