"""The arithmetic of claims: intervals, exact tests, what would decide. Pure, on SciPy."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from hcopt.schema import Estimate

# 2**20 sign patterns take a second; beyond that the test draws this many instead.
_EXACT_BLOCKS = 16
_RESAMPLES = 99_999
_MAX_BLOCKS_TO_DECIDE = 10_000


def t_interval(values: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Mean of independent blocks with Student's t interval; one block has no interval.

    Raises:
        ValueError: There is no value.

    Source: Student (1908). Assumes block means that are independent and about normal.
    """
    if not values:
        raise ValueError("no values")
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Estimate(estimate=mean)
    half = _t_quantile(confidence, len(values) - 1) * standard_deviation(values) / math.sqrt(len(values))
    return Estimate(estimate=mean, ci_low=mean - half, ci_high=mean + half)


def positive_interval(values: Sequence[float]) -> Estimate:
    """`t_interval` of quantities below which there is only zero: with wild blocks it would go on beyond that."""
    found = t_interval(values)
    return found if found.ci_low is None else replace(found, ci_low=max(0.0, found.ci_low))


def ratio_interval(candidate: Sequence[float], baseline: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Ratio candidate / baseline over paired blocks: geometric mean, t interval of the log-ratios.

    What a block does to both (the machine's drift) cancels in its ratio.

    Raises:
        ValueError: Different lengths, no value, or a value that is not positive.
    """
    logs = t_interval(log_ratios(candidate, baseline), confidence=confidence)
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
    """One-sided p-value of "the mean is above zero", exact over all sign patterns.

    Under the null each block's difference is as likely with the other sign, since the order inside the block was
    balanced. n blocks give no p-value below 2**-n. Up to 16 blocks it is exact, then 99,999 patterns are drawn.

    Source: Fisher (1935), The Design of Experiments, §21; Good (2005), Permutation, Parametric and Bootstrap Tests.
    """
    import numpy as np
    from scipy import stats

    if not differences:
        raise ValueError("no differences")
    if len(differences) == 1:
        return 0.5 if differences[0] > 0 else 1.0  # SciPy wants two values
    exact = len(differences) <= _EXACT_BLOCKS
    result = stats.permutation_test(
        (np.asarray(differences, dtype=float),),
        np.mean,
        permutation_type="samples",
        alternative="greater",
        n_resamples=2 ** len(differences) if exact else _RESAMPLES,
        rng=np.random.default_rng(0),
        vectorized=True,
    )
    return float(result.pvalue)


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


def fewest_blocks(alpha: float, comparisons: int) -> int:
    """The fewest blocks whose sign-flip test can reach a family-wise α over so many comparisons by Holm."""
    return max(2, math.ceil(math.log2(comparisons / alpha)))


def blocks_to_decide(differences: Sequence[float], *, alpha: float, comparisons: int, zone: float) -> int | None:
    """How many blocks in all would decide, if mean and spread of the log-ratios stay as they are.

    Either the interval leaves zero behind (a real difference) or the 90 % interval fits into ±`zone` (a tie).
    None where neither comes within 10,000 blocks, or one block does not show the spread.
    """
    if len(differences) < 2:
        return None
    mean, spread = math.fsum(differences) / len(differences), standard_deviation(differences)

    def decides(count: int) -> bool:
        error = spread / math.sqrt(count)
        superior = mean > _t_quantile(1 - 2 * alpha / comparisons, count - 1) * error
        reach = _t_quantile(0.90, count - 1) * error
        return superior or math.log(1 - zone) <= mean - reach <= mean + reach <= math.log(1 + zone)

    counts = range(max(fewest_blocks(alpha, comparisons), len(differences) + 1), _MAX_BLOCKS_TO_DECIDE)
    # More blocks only sharpen both, so that the first count that decides can be bisected.
    index = bisect_left(counts, True, key=decides)
    return counts[index] if index < len(counts) else None


def resolvable_ratio(pair_sd_ratio: float, blocks: int, *, alpha: float, power: float = 0.9) -> float:
    """The smallest gain that `blocks` paired blocks tell apart at one-sided `alpha` with this power: 0.06 is 6 %.

    Args:
        pair_sd_ratio: Standard deviation of the log-ratio of a block.
        blocks: At least two.
        alpha: Error rate of the one comparison.
        power: Probability of telling it apart, 0.5-1.

    Source: the sample-size formula of the paired t test, Chow, Shao, Wang (2008), Sample Size Calculations, 3.1.2.
    """
    quantiles = (_t_quantile(2 * probability - 1, blocks - 1) for probability in (1 - alpha, power))
    return math.expm1(sum(quantiles) * pair_sd_ratio / math.sqrt(blocks))


def standard_deviation(values: Sequence[float]) -> float:
    """Of a sample (n - 1); 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _t_quantile(confidence: float, degrees_of_freedom: int) -> float:
    from scipy import special

    return float(special.stdtrit(degrees_of_freedom, 0.5 + confidence / 2))
