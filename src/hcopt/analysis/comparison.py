"""Figures, shares of misses and comparisons from measured blocks, each as sure as the look at them demands. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hcopt.analysis import p99_limit, sequential, stats
from hcopt.analysis.blocks import Candidate, Windows, paired
from hcopt.analysis.finalists import Pair
from hcopt.config.sections import ConfirmationSection
from hcopt.records.measurement import Measurement
from hcopt.records.model import Settings
from hcopt.records.note import Note
from hcopt.records.verdict import Comparison, ConfirmedVariant, Estimate, FailedWindows, Feasibility, Verdict

# The largest family: best, runner-up and default with each other, and the first two with the default at equal load.
COMPARISONS = 5
# From the best that can be said of a limit to the worst.
_SEVERITY: tuple[Feasibility, ...] = ("feasible", "undecided", "infeasible")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The windows of every candidate, and how sure a claim on them has to be.

    What is said of one candidate rests on all of its windows, and a comparison on the blocks in which both have
    figures: a third candidate that fails takes nothing from either.

    Attributes:
        windows: Of each candidate those with figures, by their blocks.
        latency_p99_limit_ms: The limit, or None.
        settings: α and the indifference zone.
        share: The part of the error rates that this look may spend, see `looks`.
        failures: Of the candidates of which windows failed; those on their own account count as missed throughout.
        out: Who may not be deployed whatever it shows, and why.
    """

    windows: Mapping[Candidate, Mapping[int, Measurement]]
    latency_p99_limit_ms: float | None
    settings: ConfirmationSection
    share: float = 1.0
    failures: Mapping[Candidate, FailedWindows] = field(default_factory=dict)
    out: Mapping[Settings, Note] = field(default_factory=dict)

    @property
    def alpha(self) -> float:
        """What a claim at this look may be wrong."""
        return self.settings.alpha * self.share

    def confirmed(self, candidate: Candidate) -> ConfirmedVariant:
        """A candidate's figures with their 95 % intervals, and what they say of the limit."""
        taken = self._taken(candidate)
        confidence = stats.look_confidence(0.95, self.share)
        feasibility, miss_ratio = self._feasibility(candidate)
        return ConfirmedVariant(
            variant=candidate.variant,
            load=candidate.load,
            throughput_infer_per_s=stats.positive_interval(_throughputs(taken), confidence=confidence),
            latency_p99_ms=stats.positive_interval(_p99s(taken), confidence=confidence),
            feasibility=feasibility,
            block_count=len(taken),
            miss_ratio=miss_ratio,
            blocks_to_decide=self._blocks_to_judge(candidate) if feasibility == "undecided" else None,
        )

    def has_pairs(self, pair: Pair) -> bool:
        """Whether there is a block in which both have figures."""
        return bool(self._pairs(pair)[0])

    def fails(self, candidate: Candidate) -> bool:
        """Whether its failed windows alone, without any late request, are shown to be more than the limit allows."""
        failed = self.failures.get(candidate)
        if failed is None or not failed.variant_count:
            return False
        counted = p99_limit.counts(self._taken(candidate), failed_windows=failed.variant_count, limited=False)
        if counted is None:
            return p99_limit.judge_windows(failed, alpha=self.alpha) == "infeasible"
        return p99_limit.judge_failures(*counted, alpha=self.alpha)[0] == "infeasible"

    def compare(self, pairs: Sequence[Pair]) -> dict[Pair, Comparison]:
        """Each pair and its reverse, since the test has no direction. `pairs` is the family that α is kept over.

        Source: method.md, rules 8-9: paired log-ratios, exact signed-rank test and its interval, Holm.
        """
        raw = [stats.signed_rank_p_value(self._log_ratios(pair)) for pair in pairs]
        return {
            (candidate, baseline): self._comparison((candidate, baseline), p_value, len(pairs))
            for pair, p_value in zip(pairs, stats.holm(raw), strict=True)
            for candidate, baseline in (pair, pair[::-1])
        }

    def is_at_most_as_fast(self, pair: Pair) -> bool:
        """Whether the first of a pair is shown to gain no more than the indifference zone over the second.

        By the upper end of the 90 % interval, which `tied` asks for too: an error rate of 5 %.
        """
        high = self._ratio_of(pair, 0.90).ci_high
        return high is not None and high <= 1 + self.settings.indifference_ratio

    def _feasibility(self, candidate: Candidate) -> tuple[Feasibility, Estimate | None]:
        limit_ms, counted = self.latency_p99_limit_ms, self._counted(candidate)
        if counted is not None:
            misses, requests = counted
            if limit_ms is not None:
                return p99_limit.judge_counts(misses, requests, alpha=self.alpha)
            return p99_limit.judge_failures(misses, requests, alpha=self.alpha)[0], None
        by_p99: Feasibility = "feasible"
        if limit_ms is not None:
            by_p99 = p99_limit.judge_p99s(_p99s(self._taken(candidate)), limit_ms, alpha=self.alpha)
        failed = self.failures.get(candidate)
        by_windows = "feasible" if failed is None else p99_limit.judge_windows(failed, alpha=self.alpha)
        return max((by_p99, by_windows), key=_SEVERITY.index), None

    def _counted(self, candidate: Candidate) -> tuple[list[int], list[int]] | None:
        """See `p99_limit.counts`; without a limit only what failed is a miss."""
        failed = self.failures.get(candidate)
        return p99_limit.counts(
            self._taken(candidate),
            failed_windows=0 if failed is None else failed.variant_count,
            limited=self.latency_p99_limit_ms is not None,
        )

    def _blocks_to_judge(self, candidate: Candidate) -> int | None:
        counted = self._counted(candidate)
        if counted is None:
            return None
        further = sequential.planned_within(stats.MAX_BLOCKS_TO_DECIDE, self.settings.alpha, COMPARISONS)
        misses, requests = counted
        return p99_limit.blocks_to_decide(misses, requests, alpha=self.settings.alpha, further_looks=further)

    def _taken(self, candidate: Candidate) -> list[Measurement]:
        return list(self.windows.get(candidate, {}).values())

    def _pairs(self, pair: Pair) -> tuple[Windows, Windows]:
        return paired(self.windows[pair[0]], self.windows[pair[1]])

    def _log_ratios(self, pair: Pair) -> tuple[float, ...]:
        candidate, baseline = map(_throughputs, self._pairs(pair))
        return stats.log_ratios(candidate, baseline)

    def _comparison(self, pair: Pair, family_p_value: float, comparisons: int) -> Comparison:
        """One comparison's verdict by rule 9, over paired blocks."""
        candidate, baseline = self._pairs(pair)
        ratio, narrow = self._ratio_of(pair, 0.95), self._ratio_of(pair, 0.90)
        p_value = min(1.0, family_p_value / self.share)
        verdict = _relation(ratio, narrow, p_value, self.settings)
        # The opposite may be shown: more blocks would only show it better.
        is_slower = ratio.ci_high is not None and ratio.ci_high < 1 and p_value <= self.settings.alpha
        is_open = verdict == "undecided" and not is_slower
        return Comparison(
            candidate=pair[0].variant.config_name,
            baseline=pair[1].variant.config_name,
            throughput_ratio=ratio,
            latency_p99_ratio=self._ratio(_p99s(candidate), _p99s(baseline), 0.95),
            p_value=p_value,
            verdict=verdict,
            reason=_reason(verdict, ratio, p_value, self.settings),
            blocks_to_decide=self._blocks_to_compare(pair, comparisons) if is_open else None,
        )

    def _blocks_to_compare(self, pair: Pair, comparisons: int) -> int | None:
        return stats.blocks_to_decide(
            self._log_ratios(pair),
            alpha=self.settings.alpha,
            comparisons=comparisons,
            zone=self.settings.indifference_ratio,
        )

    def _ratio_of(self, pair: Pair, confidence: float) -> Estimate:
        candidate, baseline = map(_throughputs, self._pairs(pair))
        return self._ratio(candidate, baseline, confidence)

    def _ratio(self, candidate: Sequence[float], baseline: Sequence[float], confidence: float) -> Estimate:
        at_look = stats.look_confidence(confidence, self.share)
        return stats.ratio_interval(candidate, baseline, confidence=at_look)


Comparisons = Mapping[Pair, Comparison]


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
    # The same whichever of the two is the candidate.
    most = 1 + settings.indifference_ratio
    return "tied" if 1 / most <= narrow.ci_low and narrow.ci_high <= most else "undecided"


def _reason(verdict: Verdict, ratio: Estimate, p_value: float, settings: ConfirmationSection) -> Note:
    figures, zone = ratio_figures(ratio, p_value), settings.indifference_ratio
    if verdict == "better":
        return Note.of("ratio_better", figures=figures, alpha=settings.alpha)
    if verdict == "tied":
        return Note.of("ratio_tied", figures=figures, zone=zone)
    return Note.of("ratio_undecided", figures=figures, alpha=settings.alpha, zone=zone)


def ratio_figures(ratio: Estimate, p_value: float) -> Note:
    """A throughput ratio, with its interval where it has one."""
    if ratio.ci_low is None or ratio.ci_high is None:
        return Note.of("ratio", ratio=ratio.estimate)
    return Note.of("ratio_interval", ratio=ratio.estimate, low=ratio.ci_low, high=ratio.ci_high, p=_p(p_value))


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.4f}"
