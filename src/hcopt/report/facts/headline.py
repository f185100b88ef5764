"""The verdict of a run as the first page gives it: a sentence, and what to deploy, how much better, how sure. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hcopt.records.measurement import LoadPoint
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Comparison, Estimate
from hcopt.report import figures
from hcopt.report.facts.open_loop import capacity_fact
from hcopt.report.facts.p99_limit import limit_fact
from hcopt.report.facts.relations import cheaper_than_runner_up, equal_load, equal_load_phrase, straddles_one
from hcopt.report.facts.selection import Pairing, Side, batches, default_wins, short_name, side_name
from hcopt.report.values import Answer, Headline, Tone
from hcopt.words import Text


def headline(run: RunRecord, pair: Pairing, text: Text) -> Headline:
    """The verdict of a run."""
    found = run.confirmation
    tones: dict[str, Tone] = {"better": "good", "tied": "neutral", "undecided": "open", "no_feasible_config": "bad"}
    return Headline(
        tone=tones[found.verdict],
        badge=text[_badge(run)],
        sentence=_sentence(run, pair, text),
        answers=(_deploy(run, pair, text), _gain(run, pair, text), _certainty(run, pair, text)),
        facts=tuple(fact for fact in (limit_fact(run, pair, text), capacity_fact(run, pair, text)) if fact),
    )


def _badge(run: RunRecord) -> str:
    verdict = run.confirmation.verdict
    if verdict == "no_feasible_config" and run.ranking.latency_p99_limit_ms is None:
        return "badge_no_answers"
    return "badge_default_wins" if _keeps_default(run) else f"badge_{verdict}"


def _keeps_default(run: RunRecord) -> bool:
    """Whether the default is shown to be the one to keep, and not only all that there is to show."""
    return default_wins(run) and run.confirmation.verdict == "tied"


def load_name(load: LoadPoint, text: Text) -> str:
    """A load in words."""
    key = "load" if load.client_batch_size == 1 else "load_batched"
    return text[key].format(concurrency=load.concurrency, batch=load.client_batch_size)


def load_value(load: LoadPoint, text: Text) -> str:
    """A load where a heading says that it is the concurrency; an open-loop one by its arrivals."""
    if load.request_rate_per_s is not None:
        return text["load_value_rate"].format(rate=f"{load.request_rate_per_s:,.0f}")
    if load.client_batch_size == 1:
        return str(load.concurrency)
    return text["load_value_batched"].format(concurrency=load.concurrency, batch=load.client_batch_size)


def settings_name(variant: ModelConfigVariant, text: Text) -> str:
    """A variant's settings on one line."""
    waiting = text["unit_delay"].format(value=f"{variant.max_queue_delay_us:,}")
    delay = waiting if batches(variant) else text["batching_off"]
    key = "settings" if variant.max_batch_size > 0 else "settings_unbatched"
    swept = text[key].format(batch=variant.max_batch_size, instances=variant.instance_count, delay=delay)
    return " · ".join((swept, *(f"{key} {value}" for key, value in variant.parameters)))


def _sentence(run: RunRecord, pair: Pairing, text: Text) -> str:
    verdict, right = run.confirmation.verdict, pair.right
    if right is None:
        return text["nothing_measured"]
    if verdict == "no_feasible_config":
        return _no_feasible_sentence(run, right, text)
    if default_wins(run):
        return _default_sentence(run, pair, right, text)
    if only_best_is_feasible(run, pair):
        return _only_best_sentence(run, pair, right, text)
    if pair.comparison is None:
        return text["undecided_uncompared"]
    return _compared_sentence(run, right, pair, pair.comparison, text)


def _only_best_sentence(run: RunRecord, pair: Pairing, right: Side, text: Text) -> str:
    failed, limit_ms, name = _failing_default(run), run.ranking.latency_p99_limit_ms, side_name(right, run, text)
    if failed is not None:
        return text["better_default_fails"].format(name=name, **failed.values)
    assert pair.left is not None
    p99 = figures.latency(pair.left.latency_p99_ms.estimate)
    limit = "" if limit_ms is None else figures.limit(limit_ms)
    return text["better_only_feasible" if limit else "better_only_answers"].format(
        name=name, limit=limit, default_p99=p99
    )


def _failing_default(run: RunRecord) -> Note | None:
    """Where `better` rests on the default's own failures: what is said of them."""
    reason = run.confirmation.reason
    while isinstance(then := reason.values.get("then"), Note):
        reason = then
    why = reason.values.get("why")
    is_only_best = reason.code in ("only_best_answers", "only_best_keeps_limit")
    return why if is_only_best and isinstance(why, Note) and why.code == "fails_windows" else None


def _compared_sentence(run: RunRecord, right: Side, pair: Pairing, comparison: Comparison, text: Text) -> str:
    verdict, limit_ms = run.confirmation.verdict, run.ranking.latency_p99_limit_ms
    equal = equal_load(run, pair)
    if verdict == "better" and equal is not None and pair.left is not None:
        # p99 at different loads says little, so the sentence has it at the same one.
        return text["better_loads"].format(
            name=side_name(right, run, text),
            change=figures.change(comparison.throughput_ratio.estimate),
            interval=interval_inline(comparison.throughput_ratio, text),
            right_load=load_value(right.load, text),
            left_load=load_value(pair.left.load, text),
            equal=equal_load_phrase(equal, text),
        )
    key: str = verdict
    if _limit_is_open(run, pair):
        key = "undecided_answers" if limit_ms is None else "undecided_limit"
    return text[key].format(
        name=side_name(right, run, text),
        limit="" if limit_ms is None else figures.limit(limit_ms),
        change=figures.change(comparison.throughput_ratio.estimate),
        interval=interval_inline(comparison.throughput_ratio, text),
        latency=_latency_phrase(comparison.latency_p99_ratio, text),
        needed=needed_blocks(comparison, run.confirmation.block_count, text),
    )


def _default_sentence(run: RunRecord, pair: Pairing, right: Side, text: Text) -> str:
    limit_ms = run.ranking.latency_p99_limit_ms
    if _keeps_default(run):
        return _default_wins_sentence(run, pair, text)
    if right.feasibility == "undecided":
        limit = "" if limit_ms is None else figures.limit(limit_ms)
        return text["undecided_default_limit" if limit else "undecided_default_answers"].format(limit=limit)
    if pair.comparison is None or pair.left is None:
        return text["undecided_uncompared"]
    return text["undecided_default_first"].format(
        name=side_name(pair.left, run, text),
        change=figures.change(pair.comparison.throughput_ratio.estimate),
        interval=interval_inline(pair.comparison.throughput_ratio, text),
        needed=needed_blocks(pair.comparison, run.confirmation.block_count, text),
    )


def _default_wins_sentence(run: RunRecord, pair: Pairing, text: Text) -> str:
    limit_ms = run.ranking.latency_p99_limit_ms
    if pair.comparison is not None and pair.left is not None:
        ratio = pair.comparison.throughput_ratio
        return text["default_wins_compared"].format(
            name=side_name(pair.left, run, text),
            change=figures.change(ratio.estimate),
            interval=interval_inline(ratio, text),
        )
    # Whatever the sweep ranked above the default is out only because fresh data refuted it.
    first = run.ranking.ranked[0].variant
    refuted = first.settings != run.plan.default.settings
    if refuted and any(one.config_name == first.config_name and one.variant_count for one in run.confirmation.failures):
        return text["default_wins_failing"].format(name=short_name(first.config_name, run))
    if limit_ms is None:
        return text["default_wins"]
    return text["default_wins_refuted" if refuted else "default_wins_limit"].format(limit=figures.limit(limit_ms))


def _no_feasible_sentence(run: RunRecord, closest: Side, text: Text) -> str:
    reason, limit_ms = run.confirmation.reason, run.ranking.latency_p99_limit_ms
    name, why = short_name(str(reason.values.get("name", "")), run), reason.values.get("why")
    if isinstance(why, Note):
        return text["nothing_answers"].format(name=name, **why.values)
    if reason.code == "everything_fails":
        return text["everything_fails"].format(name=name, share=reason.values["share"])
    if limit_ms is None:
        return text["nothing_measured"]
    p99 = closest.latency_p99_ms.estimate
    over = text["no_feasible_over"].format(over=figures.excess(p99 / limit_ms)) if p99 > limit_ms else ""
    return text["no_feasible_config"].format(
        limit=figures.limit(limit_ms),
        name=side_name(closest, run, text),
        load=load_name(closest.load, text),
        p99=figures.latency(p99),
        over=over,
    )


def only_best_is_feasible(run: RunRecord, pair: Pairing) -> bool:
    """Whether `better` rests on the limit, or on the default's failures: then no ratio of throughputs is claimed."""
    left, right = pair.left, pair.right
    if _failing_default(run) is not None:
        return True
    if run.confirmation.verdict != "better" or left is None or right is None:
        return False
    return right.feasible and left.feasibility == "infeasible"


def _limit_is_open(run: RunRecord, pair: Pairing) -> bool:
    """Whether `undecided` is for want of proof that the limit holds, and not of a difference in throughput."""
    right, comparison = pair.right, pair.comparison
    if run.confirmation.verdict != "undecided" or right is None or comparison is None:
        return False
    return right.feasibility == "undecided" and comparison.verdict != "undecided"


def interval_inline(ratio: Estimate, text: Text) -> str:
    """A ratio's interval in brackets, for a sentence; nothing where there is none."""
    bounds = figures.change_range(ratio, text)
    return "" if bounds is None else text["interval_inline"].format(range=bounds)


def _latency_phrase(ratio: Estimate, text: Text) -> str:
    key = "latency_unclear" if straddles_one(ratio) else "latency_change"
    bounds = figures.change_range(ratio, text)
    interval = "" if bounds is None else f", {bounds}" if key == "latency_unclear" else interval_inline(ratio, text)
    return text[key].format(change=figures.change(ratio.estimate), interval=interval)


def needed_blocks(comparison: Comparison, measured: int, text: Text) -> str:
    """How many blocks would decide, as the end of a sentence; nothing where that is unknown."""
    if comparison.blocks_to_decide is None:
        return ""
    return text["undecided_needed"].format(blocks=f"{comparison.blocks_to_decide:,}", measured=measured)


def _deploy(run: RunRecord, pair: Pairing, text: Text) -> Answer:
    question, verdict, right = text["tile_deploy"], run.confirmation.verdict, pair.right
    if right is None or verdict == "no_feasible_config":
        return Answer(question=question, answer=text["deploy_nothing"], details=(text["deploy_nothing_detail"],))
    settings = settings_name(right.variant, text)
    if verdict == "better":
        cheaper = cheaper_than_runner_up(run, text)
        details = (settings, *((cheaper,) if cheaper else ()))
        return Answer(question=question, answer=side_name(right, run, text), details=details)
    answer = text["deploy_keep"] if verdict == "tied" else text["deploy_wait"]
    if right.role == "default":
        return Answer(question=question, answer=answer, details=(settings,))
    candidate = text["deploy_candidate"].format(name=side_name(right, run, text))
    return Answer(question=question, answer=answer, details=(candidate, settings))


def _gain(run: RunRecord, pair: Pairing, text: Text) -> Answer:
    limit_ms, right = run.ranking.latency_p99_limit_ms, pair.right
    no_feasible = run.confirmation.verdict == "no_feasible_config"
    if right is not None and limit_ms is not None and (no_feasible or only_best_is_feasible(run, pair)):
        p99 = right.latency_p99_ms.estimate
        name = side_name(right, run, text)
        detail = text["limit_detail"].format(name=name, p99=figures.latency(p99), limit=figures.limit(limit_ms))
        question = text["tile_limit" if no_feasible else "tile_p99"]
        return Answer(question=question, answer=figures.change(p99 / limit_ms), details=(detail,))
    question = text[_gain_question(run)]
    if pair.comparison is None:
        return Answer(question=question, answer=text["not_compared"], details=())
    ratio, p99_ratio = pair.comparison.throughput_ratio, pair.comparison.latency_p99_ratio
    bounds = figures.change_range(ratio, text)
    details = () if bounds is None else (text["interval"].format(range=bounds),)
    equal = equal_load(run, pair)
    if equal is not None:
        line = text["gain_equal"].format(equal=equal_load_phrase(equal, text))
        return Answer(question=question, answer=figures.change(ratio.estimate), details=(*details, line))
    p99_key = "gain_p99_unclear" if straddles_one(p99_ratio) else "gain_p99"
    p99_line = text[p99_key].format(change=figures.change(p99_ratio.estimate))
    return Answer(question=question, answer=figures.change(ratio.estimate), details=(*details, p99_line))


def _gain_question(run: RunRecord) -> str:
    if default_wins(run):
        return "tile_gain_runner_up"
    return "tile_gain" if run.confirmation.verdict == "better" else "tile_gain_candidate"


def _certainty(run: RunRecord, pair: Pairing, text: Text) -> Answer:
    question, comparison, measured = text["tile_sure"], pair.comparison, run.confirmation.block_count
    if pair.right is None or not pair.right.confirmed:
        return Answer(question=question, answer=text["sure_sweep"], details=(text["sure_sweep_detail"],))
    blocks = (text["sure_blocks"].format(blocks=measured),) if measured else ()
    if run.confirmation.verdict == "no_feasible_config":
        return _certainty_of_limit(run, (pair.right,), blocks, text)
    if only_best_is_feasible(run, pair):
        return _certainty_of_limit(run, pair.sides, blocks, text)
    if comparison is None:
        return Answer(question=question, answer=text["not_compared"], details=blocks)
    if _limit_is_open(run, pair):
        return Answer(
            question=question,
            answer=text["sure_undecided"],
            details=(*blocks, text["sure_limit_detail" if run.ranking.latency_p99_limit_ms else "sure_answers_detail"]),
        )
    details = [text["sure_detail"].format(p_value=figures.p_value(comparison.p_value), blocks=measured)]
    if comparison.blocks_to_decide is not None:
        details.append(text["sure_needed"].format(blocks=f"{comparison.blocks_to_decide:,}"))
    if comparison.verdict == "undecided" and run.noise is not None:
        details.append(text["sure_resolvable"].format(difference=figures.rough(run.noise.resolvable_ratio)))
    # Equality is judged by the interval, so a p-value beside it would only puzzle.
    shown = blocks if comparison.verdict == "tied" else tuple(details)
    return Answer(question=question, answer=text[f"sure_{comparison.verdict}"], details=shown)


def _certainty_of_limit(run: RunRecord, sides: Sequence[Side], blocks: tuple[str, ...], text: Text) -> Answer:
    """How sure a verdict is that rests on the limit."""
    if _failing_default(run) is not None or all(
        _limit_is_clear(side, run.ranking.latency_p99_limit_ms) for side in sides
    ):
        return Answer(question=text["tile_sure"], answer=text["sure_better"], details=blocks)
    return Answer(question=text["tile_sure"], answer=text["sure_likely"], details=(*blocks, text["sure_likely_detail"]))


def _limit_is_clear(side: Side, limit_ms: float | None) -> bool:
    """Whether the blocks decide on the limit; where they have no shares, no interval of p99 may reach it."""
    if side.miss_ratio is not None:
        return side.feasibility != "undecided"
    p99 = side.latency_p99_ms
    if limit_ms is None or p99.ci_low is None or p99.ci_high is None:
        return False
    return not p99.ci_low <= limit_ms <= p99.ci_high
