"""The p99 limit: at most 1 % of the requests take longer, or fail. Every reading of that rule is here. Pure, on SciPy.

A miss is a request that took longer than the limit, or failed on the variant's own account. Requests of one burst share
their fate, so blocks are what counts as independent. Which reading applies depends on what is known:

| reading | where | what it looks at |
| --- | --- | --- |
| `judge_counts` | confirmation, verdict on a rate | bounds of the share of misses, counted in blocks |
| `judge_failures` | confirmation without a limit, `hcopt check` | the same of failed requests; none needs no proof |
| `judge_windows` | confirmation, where nobody counted requests | the same, each window as one request |
| `judge_p99s` | confirmation, where nobody counted misses | interval of the blocks' measured p99, in ms |
| `keeps_in_sweep` | full sweep | means of p99 and of failed requests: it only proposes |
| `fails_too_often` | both sweeps, what to tell where nothing is feasible | mean share of failed requests |
| `clearly_breaks` | probe of the rate search | share of one window, with a margin: it only steers |
| `is_within` | rate search, the rate that it estimates | observed share |

The adaptive sweep asks for the probability that p99 is within the limit instead, see `measure/search/belief.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hcopt.analysis import stats
from hcopt.analysis.sequential import Look
from hcopt.records.measurement import Measurement
from hcopt.records.verdict import Estimate, FailedWindows, Feasibility

# What p99 means: one request of a hundred may take longer.
ALLOWED_MISS_RATIO = 0.01
# With about this share in one of eight windows, or more, the verdict on them stays open, even if no other has a miss.
ROOM_MISS_RATIO = ALLOWED_MISS_RATIO / 2
# With so many misses in a probe a few windows are enough to show that a rate breaks the limit.
CLEAR_MISS_RATIO = 10 * ALLOWED_MISS_RATIO


# Readings that show it, or show the opposite


def judge_counts(misses: Sequence[int], requests: Sequence[int], *, alpha: float) -> tuple[Feasibility, Estimate]:
    """Whether the share of misses is shown to be at most what is allowed, or more, or neither.

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
    return _judged(found, ALLOWED_MISS_RATIO), found


def judge_failures(misses: Sequence[int], requests: Sequence[int], *, alpha: float) -> tuple[Feasibility, Estimate]:
    """As `judge_counts`, for misses that are failed requests only.

    Where none failed it is feasible, however few were sent: that requests are answered is what everybody expects, and
    not a claim about a limit.
    """
    feasibility, found = judge_counts(misses, requests, alpha=alpha)
    return feasibility if any(misses) else "feasible", found


def judge_windows(failed: FailedWindows, *, alpha: float) -> Feasibility:
    """By the share of windows that failed on the variant's own account, where nobody counted requests."""
    count = failed.window_count - failed.other_count
    if not failed.variant_count:
        return "feasible"
    misses = [1] * failed.variant_count + [0] * (count - failed.variant_count)
    return judge_failures(misses, [1] * count, alpha=alpha)[0]


def judge_p99s(p99s_ms: Sequence[float], limit_ms: float, *, alpha: float) -> Feasibility:
    """By the blocks' own p99, for measurements without a count of misses."""
    return _judged(stats.t_interval([math.log(p99) for p99 in p99s_ms], confidence=1 - 2 * alpha), math.log(limit_ms))


def _judged(found: Estimate, limit: float) -> Feasibility:
    if found.ci_high is not None and found.ci_high <= limit:
        return "feasible"
    return "infeasible" if found.ci_low is not None and found.ci_low > limit else "undecided"


# Readings that propose


def keeps_in_sweep(failed_ratio: float, latency_p99_ms: float, limit_ms: float | None) -> bool:
    """Whether a load's mean p99 keeps the limit, where there is one, and not too many of its requests failed."""
    return not fails_too_often(failed_ratio) and (limit_ms is None or latency_p99_ms <= limit_ms)


def fails_too_often(failed_ratio: float) -> bool:
    """Whether more requests failed than may miss a limit, whatever the others took."""
    return failed_ratio > ALLOWED_MISS_RATIO


def clearly_breaks(miss_ratio: float) -> bool:
    """Whether one probe's share of misses is so far beyond that its rate cannot be promised any more."""
    return miss_ratio > CLEAR_MISS_RATIO


def is_within(miss_ratio: float) -> bool:
    """Whether an observed share of misses is within what is allowed."""
    return miss_ratio <= ALLOWED_MISS_RATIO


# What was counted, and how sure that is


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
        ValueError: As `judge_counts`.
    """
    _check(misses, requests)
    if len(misses) < 2:
        return None
    share = sum(misses) / sum(requests)
    count_a_block = sum(requests) / _design_effect(misses, requests) / len(misses)
    for look in further_looks:
        blocks = look.block_count
        low, high = _bounds(share, blocks * count_a_block, blocks=blocks, alpha=alpha * look.share)
        if blocks > len(misses) and (high <= ALLOWED_MISS_RATIO or low > ALLOWED_MISS_RATIO):
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
