"""Whether a configuration is worse than its baseline, from blocks that measured both side by side. Pure.

A regression counts only where the whole interval lies beyond what is allowed: a noisy machine makes the interval wide,
never the answer wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from hcopt.analysis import p99_limit
from hcopt.analysis.stats import ratio_interval, sign_flip_p_value
from hcopt.records.measurement import Measurement
from hcopt.records.verdict import Estimate
from hcopt.store.measurements import is_usable

Outcome = Literal["passed", "regression", "undecided"]
Metric = Literal["throughput", "p99 latency", "failed requests"]

# Throughput and p99 together are wrong in at most 5 % of the checks: half of that to the side on which a job fails.
CONFIDENCE = 1 - 0.05 / 2
# Failed requests are judged on one side, with what is left of the 5 %, and some to spare.
_FAILURE_ALPHA = 0.01
MIN_BLOCKS = 4
_WORST_FIRST: tuple[Outcome, ...] = ("regression", "undecided", "passed")


class Figures(NamedTuple):
    """What one window gave."""

    infer_per_s: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCheck:
    """One metric of the candidate against the baseline's.

    Attributes:
        metric: Which.
        ratio: candidate / baseline, with an interval at `CONFIDENCE`; of failed requests the candidate's share.
        allowed_ratio: The worst ratio that passes; more is better for throughput, less for the others.
        outcome: `regression`: the whole interval is worse. `passed`: none of it is. `undecided`: some of it.
        reason: Of failed requests, why the first window of the candidate failed; None where none did whole.
    """

    metric: Metric
    ratio: Estimate
    allowed_ratio: float
    outcome: Outcome
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionCheck:
    """The answer.

    Attributes:
        outcome: `regression` where one metric has one, else `undecided` where one is, else `passed`.
        max_regression_ratio: What was allowed: 0.05 is 5 %.
        checks: Each metric.
        block_count: Blocks in which both were measured.
    """

    outcome: Outcome
    max_regression_ratio: float
    checks: tuple[MetricCheck, ...]
    block_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What was compared.

    Attributes:
        candidate: Where the golden configuration that was checked came from.
        baseline: Where the one that it was compared with came from.
        load: The load of both.
        environment: The machine and the server, in a few words.
        elapsed_s: How long it took.
    """

    candidate: str
    baseline: str
    load: str
    environment: str
    elapsed_s: float


def check_failures(baseline: Sequence[Measurement], candidate: Sequence[Measurement]) -> MetricCheck | None:
    """The candidate's share of failed requests against what a p99 limit allows; None where none of either's failed.

    A window that failed on its own account counts whole. Where the baseline fails too, the candidate is worse only if
    it is shown to fail more often, block by block.

    Args:
        baseline: All windows in blocks.
        candidate: Likewise.
    """
    ours = p99_limit.counts(candidate, limited=False)
    if ours is None or not any(map(p99_limit.failed_share, (*baseline, *candidate))):
        return None
    feasibility, share = p99_limit.judge_failures(*ours, alpha=_FAILURE_ALPHA)
    outcome: Outcome = "passed" if feasibility == "feasible" else "undecided"
    if feasibility == "infeasible" and _fails_more(baseline, candidate):
        outcome = "regression"
    return MetricCheck(
        metric="failed requests",
        ratio=share,
        allowed_ratio=p99_limit.ALLOWED_MISS_RATIO,
        outcome=outcome,
        reason=next((one.error for one in candidate if one.failed_by_variant), None),
    )


def _fails_more(baseline: Sequence[Measurement], candidate: Sequence[Measurement]) -> bool:
    """Whether the candidate fails more often than a baseline that fails too; than one that does not, it does."""
    theirs, ours = (
        {one.block: share for one in windows if (share := p99_limit.failed_share(one)) is not None}
        for windows in (baseline, candidate)
    )
    differences = [ours[block] - theirs[block] for block in ours if block in theirs]
    if not any(theirs.values()):
        return True
    return bool(differences) and sum(differences) > 0 and sign_flip_p_value(differences) <= 2 * _FAILURE_ALPHA


def paired_figures(baseline: Sequence[Measurement], candidate: Sequence[Measurement]) -> list[tuple[Figures, Figures]]:
    """The figures of both, baseline first, of each block in which both have some."""
    theirs, ours = (
        {one.block: figures for one in windows if (figures := _figures(one)) is not None}
        for windows in (baseline, candidate)
    )
    return [(theirs[block], ours[block]) for block in theirs if block in ours]


def _figures(window: Measurement) -> Figures | None:
    rate, latency = window.throughput_infer_per_s, window.latency
    if rate is None or latency is None or not is_usable(rate, latency.p99_ms):
        return None
    return Figures(rate, latency.p99_ms)


def check_regression(
    pairs: Sequence[tuple[Figures, Figures]], *, max_regression_ratio: float, failures: MetricCheck | None = None
) -> RegressionCheck:
    """Judges paired blocks.

    Args:
        pairs: Figures of baseline and candidate, a block each. At least `MIN_BLOCKS`; as few as there are where
            `failures` are a regression by themselves.
        max_regression_ratio: The loss of throughput, and the rise of p99, that is still allowed; 0 to below 1.
        failures: What `check_failures` says.

    Raises:
        ValueError: Too few blocks, or a ratio out of range.
    """
    enough = len(pairs) >= MIN_BLOCKS
    if not 0 <= max_regression_ratio < 1 or not (enough or (failures is not None and failures.outcome == "regression")):
        raise ValueError(f"{len(pairs)} blocks, allowed {max_regression_ratio}: nothing can be said")
    checks = () if failures is None else (failures,)
    if enough:
        throughput = ratio_interval(
            [candidate.infer_per_s for _, candidate in pairs],
            [baseline.infer_per_s for baseline, _ in pairs],
            confidence=CONFIDENCE,
        )
        latency = ratio_interval(
            [candidate.p99_ms for _, candidate in pairs],
            [baseline.p99_ms for baseline, _ in pairs],
            confidence=CONFIDENCE,
        )
        checks = (
            _checked("throughput", throughput, 1 - max_regression_ratio),
            _checked("p99 latency", latency, 1 + max_regression_ratio),
            *checks,
        )
    return RegressionCheck(
        outcome=min((check.outcome for check in checks), key=_WORST_FIRST.index),
        max_regression_ratio=max_regression_ratio,
        checks=checks,
        block_count=len(pairs),
    )


def _checked(metric: Metric, ratio: Estimate, allowed: float) -> MetricCheck:
    low, high = ratio.ci_low, ratio.ci_high
    if low is None or high is None:
        raise ValueError("a single block has no interval")
    more_is_better = metric == "throughput"
    wholly_worse = high < allowed if more_is_better else low > allowed
    wholly_fine = low >= allowed if more_is_better else high <= allowed
    outcome: Outcome = "regression" if wholly_worse else "passed" if wholly_fine else "undecided"
    return MetricCheck(metric=metric, ratio=ratio, allowed_ratio=allowed, outcome=outcome)
