"""Whole blocks become figures, shares of misses and comparisons, each as sure as the look at them demands. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from hcopt import looks, miss_rate, statistics
from hcopt.blocks import Arm, Blocks
from hcopt.config import ConfirmationSection
from hcopt.finalists import Pair
from hcopt.schema import Comparison, ConfirmedVariant, Estimate, Feasibility, Measurement, Verdict

# The largest family: best, runner-up and default with each other, and the first two with the default at equal load.
COMPARISONS = 5
_MAX_BLOCKS_TO_DECIDE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Blocks in which every arm was measured, and how sure a claim on them has to be.

    Attributes:
        blocks: The measurements by arm, in the same blocks.
        latency_p99_limit_ms: The limit, or None.
        settings: α and the indifference zone.
        share: The part of the error rates that this look may spend, see `looks`.
    """

    blocks: Blocks
    latency_p99_limit_ms: float | None
    settings: ConfirmationSection
    share: float = 1.0

    @property
    def alpha(self) -> float:
        """What a claim at this look may be wrong."""
        return self.settings.alpha * self.share

    def confirmed(self, arm: Arm) -> ConfirmedVariant:
        """An arm's figures with their 95 % intervals, and what they say of the limit."""
        taken = self.blocks[arm]
        confidence = statistics.look_confidence(0.95, self.share)
        feasibility, miss_ratio = self._feasibility(taken)
        return ConfirmedVariant(
            variant=arm.variant,
            load=arm.load,
            throughput_infer_per_s=statistics.positive_interval(_throughputs(taken), confidence=confidence),
            latency_p99_ms=statistics.positive_interval(_p99s(taken), confidence=confidence),
            feasibility=feasibility,
            block_count=len(taken),
            miss_ratio=miss_ratio,
            blocks_to_decide=self._blocks_to_judge(taken) if feasibility == "undecided" else None,
        )

    def compare(self, pairs: Sequence[Pair]) -> dict[Pair, Comparison]:
        """Each candidate against its baseline; the pairs are the family over which α is kept.

        Source: method.md, rules 8-9: paired log-ratios with a t interval, exact sign-flip test, Holm.
        """
        raw = [statistics.sign_flip_p_value(self._log_ratios(pair)) for pair in pairs]
        return {
            pair: self._comparison(pair, p_value, len(pairs))
            for pair, p_value in zip(pairs, statistics.holm(raw), strict=True)
        }

    def reversed(self, pair: Pair, comparisons: int) -> Comparison:
        """A pair the other way round. The data suggested this direction, so its p-value is doubled."""
        turned = (pair[1], pair[0])
        p_value = 2 * comparisons * statistics.sign_flip_p_value(self._log_ratios(turned))
        return self._comparison(turned, p_value, 2 * comparisons)

    def _feasibility(self, taken: Sequence[Measurement]) -> tuple[Feasibility, Estimate | None]:
        if self.latency_p99_limit_ms is None:
            return "feasible", None
        counted = _counted(taken)
        if counted is None:
            return self._feasibility_by_p99(taken, self.latency_p99_limit_ms), None
        misses, requests = counted
        return miss_rate.verdict(misses, requests, alpha=self.alpha)

    def _feasibility_by_p99(self, taken: Sequence[Measurement], limit_ms: float) -> Feasibility:
        """By the blocks' own p99, for measurements without a count of misses."""
        found = statistics.t_interval([math.log(p99) for p99 in _p99s(taken)], confidence=1 - 2 * self.alpha)
        if found.ci_high is not None and found.ci_high <= math.log(limit_ms):
            return "feasible"
        return "infeasible" if found.ci_low is not None and found.ci_low > math.log(limit_ms) else "undecided"

    def _blocks_to_judge(self, taken: Sequence[Measurement]) -> int | None:
        counted = _counted(taken)
        if counted is None:
            return None
        further = takewhile(
            lambda look: look.block_count < _MAX_BLOCKS_TO_DECIDE, looks.planned(self.settings.alpha, COMPARISONS)
        )
        misses, requests = counted
        return miss_rate.blocks_to_decide(misses, requests, alpha=self.settings.alpha, further_looks=further)

    def _log_ratios(self, pair: Pair) -> tuple[float, ...]:
        candidate, baseline = (_throughputs(self.blocks[arm]) for arm in pair)
        return statistics.log_ratios(candidate, baseline)

    def _comparison(self, pair: Pair, family_p_value: float, comparisons: int) -> Comparison:
        """One comparison's verdict by rule 9, over paired blocks."""
        candidate, baseline = (self.blocks[arm] for arm in pair)
        ratio = self._ratio(_throughputs(candidate), _throughputs(baseline), 0.95)
        narrow = self._ratio(_throughputs(candidate), _throughputs(baseline), 0.90)
        p_value = min(1.0, family_p_value / self.share)
        verdict = _relation(ratio, narrow, p_value, self.settings)
        return Comparison(
            candidate=pair[0].variant.config_name,
            baseline=pair[1].variant.config_name,
            throughput_ratio=ratio,
            latency_p99_ratio=self._ratio(_p99s(candidate), _p99s(baseline), 0.95),
            p_value=p_value,
            verdict=verdict,
            reason=_reason(verdict, ratio, p_value, self.settings),
            blocks_to_decide=self._blocks_to_compare(pair, comparisons) if verdict == "undecided" else None,
        )

    def _blocks_to_compare(self, pair: Pair, comparisons: int) -> int | None:
        return statistics.blocks_to_decide(
            self._log_ratios(pair),
            alpha=self.settings.alpha,
            comparisons=comparisons,
            zone=self.settings.indifference_ratio,
        )

    def _ratio(self, candidate: Sequence[float], baseline: Sequence[float], confidence: float) -> Estimate:
        at_look = statistics.look_confidence(confidence, self.share)
        return statistics.ratio_interval(candidate, baseline, confidence=at_look)


Comparisons = Mapping[Pair, Comparison]


def _counted(taken: Sequence[Measurement]) -> tuple[list[int], list[int]] | None:
    """Misses and requests of each block, errors among both; None where a block has no count."""
    misses, requests = list[int](), list[int]()
    for one in taken:
        if one.miss_count is None or one.request_count is None:
            return None
        misses.append(one.miss_count + one.error_count)
        requests.append(one.request_count + one.error_count)
    return (misses, requests) if sum(requests) else None


def _throughputs(blocks: Sequence[Measurement]) -> list[float]:
    return [m.throughput_infer_per_s for m in blocks if m.throughput_infer_per_s is not None]


def _p99s(blocks: Sequence[Measurement]) -> list[float]:
    return [m.latency.p99_ms for m in blocks if m.latency is not None]


def _relation(wide: Estimate, narrow: Estimate, p_value: float, settings: ConfirmationSection) -> Verdict:
    """`wide` is the 95 % interval of the throughput ratio, `narrow` the 90 % one."""
    if wide.ci_low is not None and wide.ci_low > 1 and p_value <= settings.alpha:
        return "better"
    if narrow.ci_low is None or narrow.ci_high is None:
        return "undecided"
    zone = settings.indifference_ratio
    return "tied" if 1 - zone <= narrow.ci_low and narrow.ci_high <= 1 + zone else "undecided"


def _reason(verdict: Verdict, ratio: Estimate, p_value: float, settings: ConfirmationSection) -> str:
    figures = f"throughput ratio {ratio.estimate:.3f}"
    if ratio.ci_low is not None and ratio.ci_high is not None:
        figures += f" (95 % interval {ratio.ci_low:.3f} to {ratio.ci_high:.3f}), {_p(p_value)}"
    if verdict == "better":
        return f"{figures}: above 1 at α = {settings.alpha:g}."
    if verdict == "tied":
        return f"{figures}: the 90 % interval lies within ±{settings.indifference_ratio:.0%}."
    return (
        f"{figures}: neither clearly above 1 at α = {settings.alpha:g} nor within ±{settings.indifference_ratio:.0%}."
    )


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.4f}"
