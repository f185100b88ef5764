"""How two configurations compare: whether a change is shown, both at the same load, the cheaper of two equal ones."""

from __future__ import annotations

from hcopt.analysis.verdict import advantage
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Comparison, Estimate
from hcopt.report import figures
from hcopt.report.facts.selection import Pairing, short_name
from hcopt.words import Text


def straddles_one(ratio: Estimate) -> bool:
    """Whether nothing is shown; an estimate without an interval shows nothing either."""
    return ratio.ci_low is None or ratio.ci_high is None or ratio.ci_low <= 1 <= ratio.ci_high


def equal_load(run: RunRecord, pair: Pairing) -> Comparison | None:
    """Best against default at the load of the best, where the page sets these two side by side at different loads."""
    found, left, right = run.confirmation.equal_load, pair.left, pair.right
    if found is None or left is None or right is None or left.load == right.load:
        return None
    return found if (found.candidate, left.role) == (right.variant.config_name, "default") else None


def equal_load_phrase(equal: Comparison, text: Text) -> str:
    """Both at the load of the best, in few words: a change only where its interval shows one."""
    throughput, latency = (
        text["not_shown" if straddles_one(ratio) else "plain_change"].format(change=figures.change(ratio.estimate))
        for ratio in (equal.throughput_ratio, equal.latency_p99_ratio)
    )
    return text["equal_load"].format(throughput=throughput, latency=latency)


def cheaper_than_runner_up(run: RunRecord, text: Text) -> str | None:
    """Why the best was preferred to a runner-up that is as fast: what it takes less of; None where nothing is said."""
    found = run.confirmation
    best, other, relation = found.best, found.runner_up, found.runner_up_relation
    if best is None or other is None or relation is None or relation.verdict != "tied":
        return None
    cheaper = advantage(best, other, relation)
    if cheaper is None:
        return None
    ours, theirs = best.variant.instance_count, other.variant.instance_count
    if cheaper.code == "smaller_batch":
        ours, theirs = best.variant.max_batch_size, other.variant.max_batch_size
    return text[cheaper.code].format(
        other=short_name(other.variant.config_name, run),
        ours=ours,
        theirs=theirs,
        change=figures.change(relation.latency_p99_ratio.estimate),
    )
