"""The verdict on the finalists' blocks: which to deploy, how much better than the default, how sure. Pure.

The sweep proposes who is measured; who is recommended is what the fresh data say, whichever way the sweep had pointed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from hcopt.analysis.blocks import Candidate, failed_windows, windows_of
from hcopt.analysis.comparison import Comparisons, Evidence, ratio_figures
from hcopt.analysis.finalists import ComparisonPlan, Finalists
from hcopt.config.sections import ConfirmationSection
from hcopt.records.measurement import Measurement
from hcopt.records.model import Settings
from hcopt.records.note import Note
from hcopt.records.verdict import Comparison, Confirmation, ConfirmedVariant, FailedWindows, Verdict

# Who is out from the start, where everybody may be deployed.
NOBODY: Mapping[Settings, Note] = MappingProxyType({})
_STRENGTH = {"better": 2, "tied": 1, "undecided": 0}


def is_settled(found: Confirmation, settings: ConfirmationSection) -> bool:
    """Whether more blocks would change nothing that the verdict rests on.

    Which of two near neighbours is ahead is not worth the time. But as long as the runner-up is ahead of the best by
    more than the indifference zone, and neither that nor the opposite is shown, the wrong one may be recommended.
    """
    if found.refuted is not None:
        return True
    if found.best is None or found.best.feasibility == "undecided":
        return False
    if found.default is not None and (found.verdict == "undecided" or found.default.feasibility == "undecided"):
        return False
    return not _runner_up_is_ahead(found, settings)


def _runner_up_is_ahead(found: Confirmation, settings: ConfirmationSection) -> bool:
    relation = found.runner_up_relation
    if relation is None or found.runner_up is None or found.runner_up.feasibility == "infeasible":
        return False
    least = 1 / (1 + settings.indifference_ratio)
    return relation.verdict == "undecided" and relation.throughput_ratio.estimate < least


def decide(
    finalists: Finalists,
    measurements: Iterable[Measurement],
    *,
    latency_p99_limit_ms: float | None,
    settings: ConfirmationSection,
    share: float = 1.0,
    look_count: int = 1,
    out: Mapping[Settings, Note] = NOBODY,
) -> Confirmation:
    """The verdict on the windows of the finalists, those that failed among them.

    A finalist without any figures does not take the others' verdict with it: it is left out.

    Args:
        finalists: Who was measured.
        measurements: All windows; those of no block are left out.
        latency_p99_limit_ms: The limit, or None.
        settings: α and the indifference zone.
        share: The part of the error rates that this look may spend; 1 where it is the only one.
        look_count: Which look this is.
        out: Who may not be deployed whatever it shows, and why, to follow its name. Only the default of them is there.
    """
    taken, every = tuple(measurements), finalists.plan
    measured = {Candidate(variant=m.variant, load=m.load) for m in taken if m.error is None}
    plan, failures = every.without(lambda one: one not in measured), failed_windows(every.candidates, taken)
    evidence = Evidence(
        windows=windows_of(plan.candidates, taken),
        latency_p99_limit_ms=latency_p99_limit_ms,
        settings=settings,
        share=share,
        failures=failures,
        out=out,
    )
    found = _judged(plan, every, evidence) if evidence.windows[plan.best] else _nothing_whole(plan, evidence)
    return replace(found, look_count=look_count, failures=tuple(failures.values()))


def _nothing_whole(plan: ComparisonPlan, evidence: Evidence) -> Confirmation:
    """Where the best has no figures to judge by: refuted where that is its own fault."""
    reason, refuted = Note.of("winner_not_measured"), None
    if evidence.fails(plan.best):
        refuted = plan.best.variant.config_name
        reason = Note.of("refuted", name=refuted, why=why_it_fails(evidence.failures[plan.best]))
    return Confirmation(verdict="undecided", reason=reason, best=None, default=None, refuted=refuted)


def _judged(plan: ComparisonPlan, every: ComparisonPlan, evidence: Evidence) -> Confirmation:
    """The confirmation of whoever the fresh data recommend; `plan` are those of `every` finalist that have figures."""
    case = _Case(
        plan=plan,
        every=every,
        figures={one: evidence.confirmed(one) for one in plan.candidates},
        compared=evidence.compare([pair for pair in plan.pairs if evidence.has_pairs(pair)]),
        evidence=evidence,
    )
    plain = case.confirmation(plan)
    if plain.refuted is not None:
        return plain
    found = _preferred(case, plain) or plain
    if found.verdict == "better":
        return found
    return _default_kept(case) or _held_back(case, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What the data say of the finalists.

    Attributes:
        plan: Those with figures, in the parts that the sweep gave them.
        every: All of them.
        figures: Each one's own.
        compared: Each with each, in both directions, where they have figures of the same blocks.
        evidence: The data.
    """

    plan: ComparisonPlan
    every: ComparisonPlan
    figures: Mapping[Candidate, ConfirmedVariant]
    compared: Comparisons
    evidence: Evidence

    def confirmation(self, plan: ComparisonPlan) -> Confirmation:
        """What is to be said where these have these parts."""
        improvement = None if plan.improvement is None else self.compared.get(plan.improvement)
        best, equal = self.figures[plan.best], plan.default_at_best_load
        other = None if plan.runner_up is None else self.figures[plan.runner_up]
        relation = None if plan.runner_up is None else self.compared.get((plan.best, plan.runner_up))
        verdict, reason = self._verdict(plan, improvement)
        return Confirmation(
            verdict=verdict,
            reason=reason,
            best=best,
            default=None if plan.default is None else self.figures[plan.default],
            runner_up=other,
            improvement=improvement,
            runner_up_relation=relation,
            advantage=None if other is None or relation is None else self._advantage(best, other, relation),
            block_count=best.block_count,
            equal_load=None if equal is None else self.compared.get((plan.best, equal)),
            default_at_best_load=None if equal is None else self.figures[equal],
            refuted=best.variant.config_name if best.feasibility == "infeasible" else None,
        )

    def _advantage(self, one: ConfirmedVariant, other: ConfirmedVariant, relation: Comparison) -> Note | None:
        """As `_cheaper`; before all counts that one of two serves the model itself, and the other a variant of it."""
        own = None if self.plan.default is None else self.plan.default.variant.model_file
        ours, theirs = one.variant.model_file, other.variant.model_file
        if relation.verdict == "tied" and ours != theirs and own in (ours, theirs):
            return Note.of("models_own_file", theirs=theirs) if ours == own else None
        return _cheaper(one, other, relation)

    def _verdict(self, plan: ComparisonPlan, improvement: Comparison | None) -> tuple[Verdict, Note]:
        best, default = self.figures[plan.best], self.every.default
        if best.feasibility == "infeasible":
            return "undecided", Note.of("refuted", name=best.variant.config_name, why=self._why_infeasible(plan.best))
        if best.feasibility == "undecided":
            return "undecided", self._unknown_feasibility(best, self.evidence.failures.get(plan.best))
        if plan.default == plan.best:
            return "undecided", Note.of("default_uncompared")
        if default is not None and (out := self._why_out(default)) is not None:
            return "better", out
        if improvement is None:
            return "undecided", Note.of("default_unmeasured")
        return improvement.verdict, improvement.reason

    @property
    def _limited(self) -> bool:
        return self.evidence.latency_p99_limit_ms is not None

    def _why_out(self, default: Candidate) -> Note | None:
        """Why only the best is left; None where the default may be deployed, too."""
        if (why := self.evidence.out.get(default.variant.settings)) is not None:
            return Note.of("only_best_fits_memory", why=why)
        if not self._is_out(default):
            return None
        why = self._why_infeasible(default)
        return Note.of("only_best_keeps_limit" if self._limited else "only_best_answers", why=why)

    def _is_out(self, candidate: Candidate) -> bool:
        """Whether it is shown to miss the limit, or to fail too often, with figures or without any."""
        if candidate in self.figures:
            return self.figures[candidate].feasibility == "infeasible"
        return self.evidence.fails(candidate)

    def _why_infeasible(self, candidate: Candidate) -> Note:
        if self.evidence.fails(candidate):
            return why_it_fails(self.evidence.failures[candidate])
        return Note.of("misses_limit" if self._limited else "answers_with_errors")

    def _unknown_feasibility(self, best: ConfirmedVariant, failed: FailedWindows | None) -> Note:
        if failed is not None and failed.variant_count:
            seen = Note.of(
                "windows_failed", failed=failed.variant_count, windows=failed.window_count, reason=failed.reason
            )
        elif (share := best.miss_ratio) is None or share.ci_low is None or share.ci_high is None:
            seen = Note.of("p99_measured", p99_ms=best.latency_p99_ms.estimate, blocks=best.block_count)
        else:
            seen = Note.of("share_too_late", share=share.estimate, low=share.ci_low, high=share.ci_high)
        needed = best.blocks_to_decide
        return Note.of(
            "limit_undecided" if self._limited else "answers_undecided",
            name=best.variant.config_name,
            seen=seen,
            needed="" if needed is None else Note.of("blocks_would_decide", blocks=needed),
        )

    def rivals(self, default: Candidate) -> list[Candidate]:
        """The others that may still be faster than the default within the limit."""
        others = (self.every.best, self.every.runner_up)
        return [one for one in others if one is not None and one != default and not self._is_out(one)]


def why_it_fails(failed: FailedWindows) -> Note:
    """What became of a configuration's windows, to follow its name."""
    return Note.of("fails_windows", failed=failed.variant_count, windows=failed.window_count, reason=failed.reason)


def _preferred(case: _Case, plain: Confirmation) -> Confirmation | None:
    """The runner-up in the best's place: faster, as fast and cheaper, or alone shown to be better than the default."""
    best, other = case.plan.best, case.plan.runner_up
    if other is None or not case.figures[other].feasible:
        return None
    found, relation = case.confirmation(case.plan.swapped(other)), case.compared.get((other, best))
    if relation is None:
        return None
    name, swept = relation.candidate, relation.baseline
    then = found.reason
    if relation.verdict == "better":
        reason = Note.of("runner_up_faster", name=name, swept=swept, then=then)
    elif best == case.plan.default:
        return None  # one that is as fast as the default is nothing to change
    elif found.verdict == "better" and plain.verdict != "better":
        reason = Note.of("runner_up_proved", name=name, swept=swept, then=then)
    elif found.advantage is not None:
        reason = Note.of("runner_up_cheaper", name=name, swept=swept, advantage=found.advantage, then=then)
    else:
        return None
    if _STRENGTH[found.verdict] < _STRENGTH[plain.verdict]:
        return None
    return replace(found, reason=reason)


def _cheaper(one: ConfirmedVariant, other: ConfirmedVariant, relation: Comparison) -> Note | None:
    """Why `one` is the cheaper of two that are equally fast; None where they are not, or it is not.

    Fewer instances, then a lower p99, then, unless its p99 is shown to be higher, a smaller batch size.

    Args:
        one: The one.
        other: The other.
        relation: `one` against `other`.

    Source: method.md, rule 9.
    """
    if relation.verdict != "tied":
        return None
    ours, theirs = one.variant.instance_count, other.variant.instance_count
    if ours != theirs:
        return Note.of("fewer_instances", ours=ours, theirs=theirs) if ours < theirs else None
    p99 = relation.latency_p99_ratio
    if p99.ci_high is not None and p99.ci_high < 1:
        return Note.of("lower_p99", less=1 - p99.estimate)
    if p99.ci_low is not None and p99.ci_low > 1:
        return None
    ours, theirs = one.variant.max_batch_size, other.variant.max_batch_size
    return Note.of("smaller_batch", ours=ours, theirs=theirs) if ours < theirs else None


def _default_kept(case: _Case) -> Confirmation | None:
    """The default in the best's place, where no other within the limit gains more than the indifference zone.

    None where that is not shown of each of them, or where the sweep's winner is simply tied with it.
    """
    plan, default = case.plan, case.plan.default
    if default is None or not case.figures[default].feasible or default.variant.settings in case.evidence.out:
        return None
    rivals = case.rivals(default)
    if not all(_gains_nothing(case, rival, default) for rival in rivals):
        return None
    improvement = None if plan.improvement is None else case.compared.get(plan.improvement)
    if improvement is not None and not _shows_no_gain(improvement):
        return None
    limited = case.evidence.latency_p99_limit_ms is not None
    reason = Note.of("default_has_most_within_limit" if limited else "default_has_most")
    if rivals:
        gains = [case.compared[rival, default] for rival in rivals]
        compared = tuple(Note.of("against_default", name=gain.candidate, figures=_figures(gain)) for gain in gains)
        reason = Note.of("default_is_best", compared=compared)
    rival = next(iter(rivals), None)
    return Confirmation(
        verdict="tied",
        reason=reason,
        best=case.figures[default],
        default=case.figures[default],
        runner_up=None if rival is None else case.figures[rival],
        runner_up_relation=None if rival is None else case.compared[default, rival],
        block_count=case.figures[default].block_count,
    )


def _gains_nothing(case: _Case, candidate: Candidate, default: Candidate) -> bool:
    return (candidate, default) in case.compared and case.evidence.is_at_most_as_fast((candidate, default))


def _shows_no_gain(improvement: Comparison) -> bool:
    """Whether the candidate is not shown to be as fast as the default, or even shown to be slower."""
    high = improvement.throughput_ratio.ci_high
    return improvement.verdict != "tied" or (high is not None and high < 1)


def _held_back(case: _Case, found: Confirmation) -> Confirmation:
    """A tie with the default, or the default itself, is no answer yet where another finalist may be faster."""
    default = case.plan.default
    if default is None or found.best is None or not found.best.feasible:
        return found
    own = Candidate(variant=found.best.variant, load=found.best.load)
    open_ones = [one for one in case.rivals(default) if one != own and not _gains_nothing(case, one, default)]
    if not open_ones or (found.verdict != "tied" and own != default):
        return found
    name = open_ones[0].variant.config_name
    comparison = case.compared.get((open_ones[0], default))
    why = Note.of("not_side_by_side") if comparison is None else _figures(comparison)
    reason = Note.of("default_undecided", name=name, why=why)
    return replace(found, verdict="undecided", reason=reason)


def _figures(comparison: Comparison) -> Note:
    return ratio_figures(comparison.throughput_ratio, comparison.p_value)
