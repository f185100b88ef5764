"""Confidence intervals, exact tests, and how many blocks would decide. Pure, on SciPy.

The quantiles are those of `scipy.special`: to import `scipy.stats` takes four times as long (0.6 s), at every command
that judges figures. Tests compare the intervals with those of `scipy.stats`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING

from hcopt.analysis import sequential
from hcopt.records.verdict import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Sums over half of so many blocks: 2**12 take a millisecond, 2**18 a tenth of a second.
_EXACT_BLOCKS, _MAX_EXACT_BLOCKS = 24, 36
# Between the two, and beyond, patterns are drawn: until so many are as large, or a first few show that p is small.
_ENOUGH_AS_LARGE = 100
_FIRST_DRAWS, _DRAWS, _MAX_DRAWS = 1_999, 99_999, 999_999
MAX_BLOCKS_TO_DECIDE = 10_000
# So many have an exact interval of 99 %.
_MIN_EXACT_BLOCKS = 8
# Beyond, the normal distribution is as good: it is off by 2 % of a p-value of 0.0001 there.
_MAX_EXACT_RANKS = 300
_MAX_GAIN_RATIO = 10.0
# Probability of telling a gain apart that is there.
_POWER = 0.9


def t_interval(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Mean of independent blocks with Student's t interval; one block has no interval.

    Raises:
        ValueError: There is no value.

    Source: Student (1908). Assumes block means that are independent and about normal.
    """
    if not values:
        raise ValueError("no values")
    mean = fmean(values)
    if len(values) < 2:
        return Estimate(estimate=mean)
    half = _t_quantile(confidence, len(values) - 1) * standard_deviation(values) / math.sqrt(len(values))
    return Estimate(estimate=mean, ci_low=mean - half, ci_high=mean + half)


def positive_interval(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """`t_interval` of quantities below which there is only zero: with wild blocks it would go on beyond that."""
    found = t_interval(values, confidence=confidence)
    return found if found.ci_low is None else replace(found, ci_low=max(0.0, found.ci_low))


def ratio_interval(candidate: Sequence[float], baseline: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Ratio candidate / baseline over paired blocks: `centre_interval` of the log-ratios.

    What a block does to both (the machine's drift) cancels in its ratio. Fewer than eight blocks, which have no exact
    interval of a high confidence, have Student's t interval.

    Raises:
        ValueError: Different lengths, no value, or a value that is not positive.
    """
    logs = log_ratios(candidate, baseline)
    interval = t_interval if len(logs) < _MIN_EXACT_BLOCKS else centre_interval
    return _exponential(interval(logs, confidence=confidence))


def centre_interval(differences: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Centre of symmetry by Hodges and Lehmann, with the exact interval that belongs to `signed_rank_p_value`.

    The median of all pairwise means: a few blocks in which the machine changed its pace move it little, where they
    would decide how wide a t interval is. The interval leaves 0 out if and only if the p-value is at most
    1 - `confidence`. Where there are too few blocks for the confidence there is none.

    Raises:
        ValueError: There is no value.

    Source: Hodges & Lehmann (1963), Annals of Mathematical Statistics 34, 598-611; Hollander, Wolfe, Chicken (2014),
        Nonparametric Statistical Methods, 3.2-3.3. Assumes independent blocks, symmetric about the centre.
    """
    import numpy as np

    means = _pairwise_means(differences)
    # Half an error too small for the comparison: 1 - 0.95 is a little less than 0.05.
    reached = _signed_rank_cdf(len(differences)) <= (1 - confidence) / 2 * (1 + 1e-9)
    left_out = int(reached.sum())
    middle = float(np.median(means))
    if left_out == 0:
        return Estimate(estimate=middle)
    return Estimate(estimate=middle, ci_low=float(means[left_out - 1]), ci_high=float(means[-left_out]))


def signed_rank_p_value(differences: Sequence[float]) -> float:
    """Two-sided p-value of "the centre is zero" by Wilcoxon's signed-rank test, exact.

    Under the null each block's difference is as likely with the other sign, since the order inside the block was
    balanced. n blocks give no p-value below 2**(1 - n). A pairwise mean of exactly zero counts for the null.

    Raises:
        ValueError: There is no value.

    Source: Wilcoxon (1945), Biometrics Bulletin 1, 80-83; as a count of pairwise means: Tukey (1949), see Hollander,
        Wolfe, Chicken (2014), 3.1.
    """
    means = _pairwise_means(differences)
    against = min(int((means <= 0).sum()), int((means >= 0).sum()))
    cdf = _signed_rank_cdf(len(differences))
    return min(1.0, 2 * float(cdf[min(against, len(cdf) - 1)]))


def _pairwise_means(values: Sequence[float]) -> NDArray[np.float64]:
    """The mean of each value with each, itself included, in order; shape (n * (n + 1) / 2,)."""
    import numpy as np

    if not values:
        raise ValueError("no differences")
    array = np.asarray(values, dtype=float)
    rows, columns = np.triu_indices(len(array))
    means: NDArray[np.float64] = np.sort((array[rows] + array[columns]) / 2)
    return means


@lru_cache(maxsize=64)
def _signed_rank_cdf(blocks: int) -> NDArray[np.float64]:
    """P(T <= t) of the signed-rank statistic under the null, for t up to its middle."""
    import numpy as np

    if blocks > _MAX_EXACT_RANKS:
        from scipy import special

        total = blocks * (blocks + 1) / 2
        deviation = math.sqrt(total * (2 * blocks + 1) / 12)
        cdf: NDArray[np.float64] = special.ndtr((np.arange(int(total) // 2 + 1) + 0.5 - total / 2) / deviation)
        return cdf
    probabilities = np.ones(1)
    for rank in range(1, blocks + 1):
        # With and without this rank among the positive ones.
        without = np.concatenate((probabilities, np.zeros(rank)))
        without[rank:] += probabilities
        probabilities = without / 2
    return np.cumsum(probabilities)[: len(probabilities) // 2 + 1]


def unpaired_ratio(candidate: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Ratio candidate / baseline of the logarithms of blocks that do not pair: geometric means, 95 % Welch interval.

    Blocks of two runs have neither their number nor their variance in common. The interval covers the variation between
    blocks, not what changed between the runs. Fewer than two blocks of one of them give no interval.

    Raises:
        ValueError: One of them has no blocks.

    Source: Welch (1947), The Generalization of "Student's" Problem; degrees of freedom by Satterthwaite (1946). Assumes
        logarithms of independent blocks that are about normal.
    """
    if not candidate or not baseline:
        raise ValueError("no blocks")
    difference = fmean(candidate) - fmean(baseline)
    if min(len(candidate), len(baseline)) < 2:
        return Estimate(estimate=math.exp(difference))
    logs = (candidate, baseline)
    parts = [standard_deviation(values) ** 2 / len(values) for values in logs]
    variance, half = math.fsum(parts), 0.0
    if variance > 0:
        # As shares of the whole: the squares of tiny variances would vanish.
        shares = ((part / variance) ** 2 / (len(values) - 1) for part, values in zip(parts, logs, strict=True))
        half = _t_quantile(0.95, 1 / math.fsum(shares)) * math.sqrt(variance)
    return _exponential(Estimate(estimate=difference, ci_low=difference - half, ci_high=difference + half))


def _exponential(logs: Estimate) -> Estimate:
    return Estimate(
        estimate=math.exp(logs.estimate),
        ci_low=None if logs.ci_low is None else math.exp(logs.ci_low),
        ci_high=None if logs.ci_high is None else math.exp(logs.ci_high),
    )


def log_ratios(candidate: Sequence[float], baseline: Sequence[float]) -> tuple[float, ...]:
    """Natural logarithm of each pair's ratio.

    Raises:
        ValueError: Different lengths, or a value that is not positive.
    """
    return tuple(math.log(a / b) for a, b in zip(candidate, baseline, strict=True))


def sign_flip_p_value(differences: Sequence[float]) -> float:
    """Two-sided p-value of "the mean is zero", exact over all sign patterns.

    Under the null each block's difference is as likely with the other sign, since the order inside the block was
    balanced. n blocks give no p-value below 2**(1 - n). Up to 24 blocks it is exact, and up to 36 where it is small:
    1,999 patterns are drawn first, and 100 of them as large are enough to tell. Beyond, up to 999,999 are drawn.

    Source: Fisher (1935), The Design of Experiments, §21; Good (2005), Permutation, Parametric and Bootstrap Tests.
        Exact counts from the sums of both halves: Horowitz & Sahni (1974), JACM 21, 277-292. Drawing until enough are
        as large: Besag & Clifford (1991), Sequential Monte Carlo p-values, Biometrika 78, 301-304.
    """
    import numpy as np

    if not differences:
        raise ValueError("no differences")
    values = np.asarray(differences, dtype=float)
    # Turned over, the patterns are the same: twice the share of those that go as far to the side of the data.
    values = values if values.sum() >= 0 else -values
    return min(1.0, 2 * _one_sided_p_value(values))


def _one_sided_p_value(values: NDArray[np.float64]) -> float:
    """Share of the sign patterns whose sum is at least that of the values."""
    import numpy as np

    # Sums that differ in their last digits only are equal.
    reached = float(values.sum()) - 1e-12 * float(np.abs(values).sum())
    count = len(values)
    if count > _EXACT_BLOCKS:
        as_large = int((_first_patterns(count) @ values >= reached).sum())
        if as_large >= _ENOUGH_AS_LARGE:
            return (as_large + 1) / (_FIRST_DRAWS + 1)
        if count > _MAX_EXACT_BLOCKS:
            return _drawn_p_value(values, reached, as_large)
    return float(_patterns_as_large(values, reached) / 2**count)


def _patterns_as_large(values: NDArray[np.float64], reached: float) -> int:
    """How many of the 2**n sign patterns have a sum of at least `reached`."""
    import numpy as np

    half = len(values) // 2
    left, right = (_pattern_sums(part) for part in (values[:half], values[half:]))
    right.sort()
    return int(left.size * right.size - np.searchsorted(right, reached - left).sum())


def _pattern_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate((sums - value, sums + value))
    return sums


def _drawn_p_value(values: NDArray[np.float64], reached: float, as_large: int) -> float:
    """Goes on after the first draws, of which `as_large` were."""
    import numpy as np

    drawn = _FIRST_DRAWS
    random = np.random.default_rng(1)
    while as_large < _ENOUGH_AS_LARGE and drawn < _MAX_DRAWS:
        count = min(4 * drawn, _DRAWS, _MAX_DRAWS - drawn)
        as_large += int((_patterns(random, count, len(values)) @ values >= reached).sum())
        drawn += count
    return (as_large + 1) / (drawn + 1)


@lru_cache(maxsize=4)
def _first_patterns(blocks: int) -> NDArray[np.float64]:
    import numpy as np

    return _patterns(np.random.default_rng(0), _FIRST_DRAWS, blocks)


def _patterns(random: np.random.Generator, count: int, blocks: int) -> NDArray[np.float64]:
    return 2.0 * random.integers(0, 2, (count, blocks), dtype="int8") - 1.0


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values, in the order given: each may be compared with the family-wise α.

    Source: Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return tuple(adjusted)


def blocks_to_decide(differences: Sequence[float], *, alpha: float, comparisons: int, zone: float) -> int | None:
    """How many blocks in all would decide, if there were time for them and mean and spread of the log-ratios stay.

    Either the interval leaves zero behind (a real difference, in whichever direction) or the 90 % interval fits into
    ±`zone` (a tie), both at the part of the error rates that the last look may spend. None where neither comes within
    10,000 blocks, or one block does not show the spread.
    """
    if len(differences) < 2:
        return None
    mean, spread = robust_mean_and_deviation(differences)

    def decides(look: sequential.Look) -> bool:
        count = look.block_count
        error = spread / math.sqrt(count)
        confidence = max(1 - alpha * look.share / comparisons, look_confidence(0.95, look.share))
        different = sequential.min_blocks(alpha * look.share, comparisons) <= count
        different = different and abs(mean) > _t_quantile(confidence, count - 1) * error
        reach = _t_quantile(look_confidence(0.90, look.share), count - 1) * error
        return different or abs(mean) + reach <= math.log1p(zone)

    within = sequential.planned_within(MAX_BLOCKS_TO_DECIDE, alpha, comparisons)
    return next((look.block_count for look in within if look.block_count > len(differences) and decides(look)), None)


def robust_mean_and_deviation(differences: Sequence[float]) -> tuple[float, float]:
    """The centre of differences, and the standard deviation of normal ones whose interval would be as wide.

    Of fewer than eight the plain ones.
    """
    if len(differences) < _MIN_EXACT_BLOCKS:
        return fmean(differences), standard_deviation(differences)
    found = centre_interval(differences, confidence=0.90)
    assert found.ci_low is not None and found.ci_high is not None
    count = len(differences)
    return found.estimate, (found.ci_high - found.ci_low) / 2 * math.sqrt(count) / _t_quantile(0.90, count - 1)


def look_confidence(confidence: float, share: float) -> float:
    """The confidence of an interval at a look that may spend `share` of what it may be wrong in all.

    Over all looks such intervals are wrong no more often than `confidence` says, whenever one stops.

    Source: Jennison & Turnbull (1989), Interim Analyses: The Repeated Confidence Interval Approach, JRSS B 51, 305-361.
    """
    return 1 - (1 - confidence) * share


def resolvable_ratio(pair_sd_ratio: float, blocks: int, *, alpha: float) -> float:
    """The smallest gain that `blocks` paired blocks tell apart at one-sided `alpha` in nine cases of ten: 0.06 is 6 %.

    At most 10, a gain of elevenfold: what is beyond that says no more than that nothing can be told apart.

    Args:
        pair_sd_ratio: Standard deviation of the log-ratio of a block.
        blocks: At least two.
        alpha: Error rate of the one comparison.

    Source: the sample-size formula of the paired t test, Chow, Shao, Wang (2008), Sample Size Calculations, 3.1.2.
    """
    quantiles = (_t_quantile(2 * probability - 1, blocks - 1) for probability in (1 - alpha, _POWER))
    return min(_MAX_GAIN_RATIO, math.expm1(min(1.0e2, sum(quantiles) * pair_sd_ratio / math.sqrt(blocks))))


def standard_deviation(values: Sequence[float]) -> float:
    """Of a sample (n - 1); 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


@lru_cache(maxsize=1024)
def _t_quantile(confidence: float, degrees_of_freedom: float) -> float:
    from scipy import special

    return float(special.stdtrit(degrees_of_freedom, 0.5 + confidence / 2))
