"""Whether a configuration is worse than its baseline, from blocks that measured both side by side. Pure.

A regression counts only where the whole interval lies beyond what is allowed: a noisy machine makes the interval wide,
never the answer wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hcopt.schema import Estimate
from hcopt.statistics import ratio_interval

Outcome = Literal["passed", "regression", "undecided"]
Metric = Literal["throughput", "p99 latency"]

# Both metrics together are wrong in at most 5 % of the checks.
CONFIDENCE = 1 - 0.05 / 2
FEWEST_BLOCKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block: both configurations, one after the other, on this machine."""

    baseline_infer_per_s: float
    candidate_infer_per_s: float
    baseline_p99_ms: float
    candidate_p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCheck:
    """One metric of the candidate against the baseline's.

    Attributes:
        metric: Which.
        ratio: candidate / baseline, with an interval at `CONFIDENCE`.
        allowed_ratio: The worst ratio that passes; more is better for throughput, less for latency.
        outcome: `regression`: the whole interval is worse. `passed`: none of it is. `undecided`: some of it.
    """

    metric: Metric
    ratio: Estimate
    allowed_ratio: float
    outcome: Outcome


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


def check_regression(blocks: Sequence[Block], *, max_regression_ratio: float) -> RegressionCheck:
    """Judges paired blocks.

    Args:
        blocks: At least `FEWEST_BLOCKS`.
        max_regression_ratio: The loss of throughput, and the rise of p99, that is still allowed; 0 to below 1.

    Raises:
        ValueError: Too few blocks, or a ratio out of range.
    """
    if len(blocks) < FEWEST_BLOCKS or not 0 <= max_regression_ratio < 1:
        raise ValueError(f"{len(blocks)} blocks, allowed {max_regression_ratio}: nothing can be said")
    throughput = ratio_interval(
        [block.candidate_infer_per_s for block in blocks],
        [block.baseline_infer_per_s for block in blocks],
        confidence=CONFIDENCE,
    )
    latency = ratio_interval(
        [block.candidate_p99_ms for block in blocks],
        [block.baseline_p99_ms for block in blocks],
        confidence=CONFIDENCE,
    )
    checks = (
        _checked("throughput", throughput, 1 - max_regression_ratio),
        _checked("p99 latency", latency, 1 + max_regression_ratio),
    )
    return RegressionCheck(
        outcome=_worst([check.outcome for check in checks]),
        max_regression_ratio=max_regression_ratio,
        checks=checks,
        block_count=len(blocks),
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


def _worst(outcomes: Sequence[Outcome]) -> Outcome:
    order: tuple[Outcome, ...] = ("regression", "undecided", "passed")
    return next(outcome for outcome in order if outcome in outcomes)
