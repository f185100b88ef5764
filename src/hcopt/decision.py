"""Blocks of the finalists become the verdict: whom to deploy, how much better than the default, how sure. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from hcopt.blocks import Arm, whole_blocks
from hcopt.config import ConfirmationSection
from hcopt.evidence import Comparisons, Evidence
from hcopt.finalists import Cast, Finalists
from hcopt.schema import Comparison, Confirmation, ConfirmedVariant, Measurement, Verdict

Figures = Mapping[Arm, ConfirmedVariant]

_STRENGTH = {"better": 2, "tied": 1, "undecided": 0}


def is_settled(found: Confirmation) -> bool:
    """Whether more blocks would change nothing that the verdict rests on.

    The relation to the runner-up may stay open: which of two near neighbours is ahead is not worth the time.
    """
    if found.best is None or found.best.feasibility == "undecided":
        return False
    if found.best.feasibility == "infeasible" or found.default is None:
        return True
    return found.verdict in ("better", "tied") and found.default.feasibility != "undecided"


def decide(
    finalists: Finalists,
    measurements: Iterable[Measurement],
    *,
    latency_p99_limit_ms: float | None,
    settings: ConfirmationSection,
    share: float = 1.0,
    look_count: int = 1,
) -> Confirmation:
    """The verdict on the blocks in which every finalist was measured.

    A finalist that never was does not take the others' verdict with it: it is left out.

    Args:
        finalists: Who was measured.
        measurements: All windows; failed ones and those of no block are left out.
        latency_p99_limit_ms: The limit, or None.
        settings: α and the indifference zone.
        share: The part of the error rates that this look may spend; 1 where it is the only one.
        look_count: Which look this is.
    """
    taken = tuple(measurements)
    measured = {Arm(variant=m.variant, load=m.load) for m in taken if m.error is None}
    cast = finalists.cast.without(lambda arm: arm not in measured)
    evidence = Evidence(
        blocks=whole_blocks(cast.arms, taken),
        latency_p99_limit_ms=latency_p99_limit_ms,
        settings=settings,
        share=share,
    )
    if not evidence.blocks[cast.best]:
        reason = "No block of the confirmation was measured whole, so nothing is known beyond the sweep."
        return Confirmation(verdict="undecided", reason=reason, best=None, default=None, look_count=look_count)
    return replace(_judged(cast, evidence), look_count=look_count)


def _judged(cast: Cast, evidence: Evidence) -> Confirmation:
    figures = {arm: evidence.confirmed(arm) for arm in cast.arms}
    compared = evidence.compare(cast.pairs)
    plain = _confirmation(cast, figures, compared)
    preferred = _preferred(cast, figures, compared, evidence)
    found = plain
    if preferred is not None and _STRENGTH[preferred.verdict] >= _STRENGTH[plain.verdict]:
        found = preferred
    if found.verdict != "better" and _default_is_faster(plain):
        assert cast.improvement is not None  # else there were no comparison
        return _default_kept(plain, evidence.reversed(cast.improvement, len(compared)))
    return found


def _confirmation(cast: Cast, figures: Figures, compared: Comparisons) -> Confirmation:
    """What the data say of this cast."""
    improvement = None if cast.improvement is None else compared[cast.improvement]
    verdict, reason = _verdict(cast, figures, improvement)
    equal = cast.default_at_best_load
    return Confirmation(
        verdict=verdict,
        reason=reason,
        best=figures[cast.best],
        default=None if cast.default is None else figures[cast.default],
        runner_up=None if cast.runner_up is None else figures[cast.runner_up],
        improvement=improvement,
        runner_up_relation=None if cast.runner_up is None else compared.get((cast.best, cast.runner_up)),
        block_count=figures[cast.best].block_count,
        equal_load=None if equal is None else compared[cast.best, equal],
        default_at_best_load=None if equal is None else figures[equal],
    )


def _verdict(cast: Cast, figures: Figures, improvement: Comparison | None) -> tuple[Verdict, str]:
    best = figures[cast.best]
    if best.feasibility == "infeasible":
        return "undecided", f"{best.variant.config_name} misses the p99 limit on fresh data."
    if best.feasibility == "undecided":
        return "undecided", _unknown_feasibility(best)
    if cast.default == cast.best:
        return "tied", "The default itself has the most throughput within the limit: nothing to change."
    if cast.default is None or improvement is None:
        return "undecided", "The default could not be measured, so there is nothing to compare the best with."
    if figures[cast.default].feasibility == "infeasible":
        return "better", "Only the best configuration keeps the latency limit; the default misses it."
    return improvement.verdict, improvement.reason


def _unknown_feasibility(best: ConfirmedVariant) -> str:
    if best.miss_ratio is None or best.miss_ratio.ci_low is None or best.miss_ratio.ci_high is None:
        seen = f"its p99 is {best.latency_p99_ms.estimate:.3g} ms over {best.block_count} blocks"
    else:
        share = best.miss_ratio
        seen = f"{share.estimate:.2%} of its requests took longer ({share.ci_low:.2%} to {share.ci_high:.2%}), 1% may"
    needed = "" if best.blocks_to_decide is None else f"; about {best.blocks_to_decide} blocks would decide"
    return f"Whether {best.variant.config_name} keeps the p99 limit is not decided: {seen}{needed}."


def _preferred(cast: Cast, figures: Figures, compared: Comparisons, evidence: Evidence) -> Confirmation | None:
    """The runner-up in the best's place, where it is as fast and cheaper, or proves faster on fresh data."""
    if cast.runner_up is None or cast.default == cast.best or not figures[cast.runner_up].feasible:
        return None
    best, runner_up = figures[cast.best], figures[cast.runner_up]
    if best.feasibility == "infeasible":
        return None
    relation = compared[cast.best, cast.runner_up]
    high = relation.throughput_ratio.ci_high
    if relation.verdict != "tied" and (high is None or high >= 1):
        return None
    turned, why = evidence.reversed((cast.best, cast.runner_up), len(compared)), None
    if turned.verdict == "better":
        why = f"On fresh data {turned.candidate} is faster than the sweep's winner {turned.baseline}."
    elif relation.verdict == "tied" and (advantage := _advantage(runner_up, best, turned)) is not None:
        why = f"{turned.candidate} gives as much throughput as the sweep's winner {turned.baseline} with {advantage}."
    if why is None:
        return None
    found = _confirmation(cast.swapped(cast.runner_up), figures, compared)
    return replace(found, reason=f"{why} {found.reason}", runner_up_relation=turned)


def _advantage(one: ConfirmedVariant, other: ConfirmedVariant, relation: Comparison) -> str | None:
    """Why `one` is the cheaper of two that are equally fast; None where it is not. `relation` is one against other."""
    instances = one.variant.instance_count, other.variant.instance_count
    if instances[0] != instances[1]:
        return "fewer instances" if instances[0] < instances[1] else None
    p99 = relation.latency_p99_ratio
    if p99.ci_high is not None and p99.ci_high < 1:
        return "a lower p99"
    if p99.ci_low is not None and p99.ci_low > 1:
        return None
    return "a smaller batch size" if one.variant.max_batch_size < other.variant.max_batch_size else None


def _default_is_faster(found: Confirmation) -> bool:
    if found.improvement is None or found.default is None or not found.default.feasible:
        return False
    if found.best is None or found.best.feasibility == "infeasible":
        return False
    high = found.improvement.throughput_ratio.ci_high
    return high is not None and high < 1


def _default_kept(refuted: Confirmation, relation: Comparison) -> Confirmation:
    """The sweep's winner was noise: on fresh data the default is the faster one, so there is nothing to change."""
    ratio = relation.throughput_ratio
    return Confirmation(
        verdict="tied",
        reason="The default itself is best, so there is nothing to change: on fresh data it is faster than the sweep's "
        f"winner {relation.baseline}, throughput ratio {ratio.estimate:.3f} "
        f"(95 % interval {ratio.ci_low:.3f} to {ratio.ci_high:.3f}).",
        best=refuted.default,
        default=refuted.default,
        runner_up=refuted.best,
        runner_up_relation=relation,
        block_count=refuted.block_count,
    )
