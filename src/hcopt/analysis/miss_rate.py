"""Misses of the latency limit, counted in blocks, become a verdict on their share. Pure, on SciPy.

A p99 limit is the claim that at most 1 % of the requests take longer. Requests of one burst share their fate, so
blocks are what counts as independent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hcopt.analysis.sequential import Look
from hcopt.records.measurement import Measurement
from hcopt.records.verdict import Estimate, Feasibility

# The share of slow requests that a p99 limit allows.
LIMIT_RATIO = 0.01


def verdict(misses: Sequence[int], requests: Sequence[int], *, alpha: float) -> tuple[Feasibility, Estimate]:
    """Whether the share of slow requests is shown to be at most LIMIT_RATIO, or more, or neither.

    Args:
        misses: Requests over the limit, a block each.
        requests: All requests of the same blocks.
        alpha: Error rate of each bound: of `feasible` where the share is above the limit, and of `infeasible` where it
            is not.

    Returns:
        The verdict, and the share with the two bounds that gave it.

    Raises:
        ValueError: Different lengths, a negative count, more misses than requests, or no request at all.
    """
    found = miss_interval(misses, requests, alpha=alpha)
    if found.ci_high is not None and found.ci_high <= LIMIT_RATIO:
        return "feasible", found
    if found.ci_low is not None and found.ci_low > LIMIT_RATIO:
        return "infeasible", found
    return "undecided", found


def miss_interval(misses: Sequence[int], requests: Sequence[int], *, alpha: float) -> Estimate:
    """Share of slow requests, with bounds each of which is wrong with probability `alpha`; one block has none.

    The exact binomial bounds, for as many requests as would vary as much as the blocks do if they were independent
    (never more than there are), and fewer again by (z / t)², since few blocks show that variation badly. Without any
    miss in n = 12 blocks it takes 767 requests where independent ones would need 528 (α = 0.5 %), and two blocks prove
    nothing.

    Source: Korn & Graubard (1998), Confidence Intervals for Proportions with Small Expected Number of Positive Counts
        Estimated from Survey Data, Survey Methodology 24, 193-201, with blocks as clusters and z for their t of many
        requests; Clopper & Pearson (1934). Variance of a ratio of totals: Cochran (1977), Sampling Techniques, §2.11.
        How often it is wrong on made-up machines stands in benchmarks/README.md. The modified Cox interval of log
        shares, Olsson (2005), Journal of Statistics Education 13(1), leaves more undecided where misses are few.
    """
    _check(misses, requests)
    share = sum(misses) / sum(requests)
    if len(misses) < 2:
        return Estimate(estimate=share)
    count = sum(requests) / _design_effect(misses, requests)
    low, high = _bounds(share, count, blocks=len(misses), alpha=alpha)
    return Estimate(estimate=share, ci_low=low, ci_high=high)


def blocks_to_decide(
    misses: Sequence[int],
    requests: Sequence[int],
    *,
    alpha: float,
    further_looks: Iterable[Look],
) -> int | None:
    """After how many blocks in all one of the looks would decide, if the share and its variation stay.

    None where none of them does, or one block does not show the variation.

    Raises:
        ValueError: As `verdict`.
    """
    _check(misses, requests)
    if len(misses) < 2:
        return None
    share = sum(misses) / sum(requests)
    count_a_block = sum(requests) / _design_effect(misses, requests) / len(misses)
    for look in further_looks:
        blocks = look.block_count
        low, high = _bounds(share, blocks * count_a_block, blocks=blocks, alpha=alpha * look.share)
        if blocks > len(misses) and (high <= LIMIT_RATIO or low > LIMIT_RATIO):
            return blocks
    return None


def counts(
    windows: Iterable[Measurement], *, failed_windows: int = 0, limited: bool = True
) -> tuple[list[int], list[int]] | None:
    """Misses and requests of each window, failed requests among both; None where nobody counted in one with figures.

    A window that failed on the variant's own account is missed throughout, and has as many requests as the others have
    on average.

    Args:
        windows: Those with figures; others count where they failed on the variant's own account.
        failed_windows: How many more did.
        limited: Whether late requests are misses, or only failed ones are.
    """
    misses, requests = list[int](), list[int]()
    for one in windows:
        if one.error is not None:
            failed_windows += one.failed_by_variant
            continue
        late = one.miss_count if limited else 0
        if late is None or one.asked_count is None:
            return None
        misses.append(late + one.error_count)
        requests.append(one.asked_count)
    a_window = max(1, round(sum(requests) / len(requests))) if requests else 1
    lost = [a_window] * failed_windows
    return (misses + lost, requests + lost) if sum(requests + lost) else None


def failed_ratio(windows: Iterable[Measurement]) -> float:
    """Share of the requests that failed on the variant's own account, the mean of its windows; 0 where there is none.

    A window that failed so counts whole. One that failed for another's sake counts for nothing.
    """
    shares = [share for one in windows if (share := failed_share(one)) is not None]
    return math.fsum(shares) / len(shares) if shares else 0.0


def failed_share(window: Measurement) -> float | None:
    """Share of its requests that failed on the variant's own account; None where it failed for another's sake."""
    if window.error is not None:
        return 1.0 if window.failed_by_variant else None
    return window.error_count / window.asked_count if window.asked_count else 0.0


def _bounds(share: float, count: float, *, blocks: int, alpha: float) -> tuple[float, float]:
    """Clopper and Pearson's, for `count` independent requests whose variation was seen in so many blocks."""
    from scipy import special

    count *= float(special.ndtri(1 - alpha) / special.stdtrit(blocks - 1, 1 - alpha)) ** 2
    hits = share * count
    low = float(special.betaincinv(hits, count - hits + 1, alpha)) if share > 0 else 0.0
    high = float(special.betaincinv(hits + 1, count - hits, 1 - alpha)) if share < 1 else 1.0
    return low, high


def _design_effect(misses: Sequence[int], requests: Sequence[int]) -> float:
    """How many times more the share varies between blocks than independent requests would let it; at least 1."""
    asked, blocks = sum(requests), len(requests)
    share = sum(misses) / asked
    if share in (0.0, 1.0):
        return 1.0
    squares = math.fsum((missed - share * count) ** 2 for missed, count in zip(misses, requests, strict=True))
    variance = blocks / (blocks - 1) * squares / asked**2
    return max(1.0, variance / (share * (1 - share) / asked))


def _check(misses: Sequence[int], requests: Sequence[int]) -> None:
    if any(not 0 <= missed <= count for missed, count in zip(misses, requests, strict=True)):
        raise ValueError("a block has a negative number of misses, or more of them than requests")
    if sum(requests) == 0:
        raise ValueError("no requests")
