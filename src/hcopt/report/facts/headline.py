"""The verdict of a run as the first page gives it: a sentence, and what to deploy, how much better, how sure. Pure.

Why the verdict is what it is, is the decision's reason; nothing here decides it again.
"""

from __future__ import annotations

from textwrap import shorten

from hcopt.analysis.view import Pairing, Side, default_misses_limit, default_wins, reasons, why_default_is_out
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Comparison, Estimate
from hcopt.report import figures
from hcopt.report.facts.insights import equal_load, is_unclear
from hcopt.report.facts.limit import capacity_fact, limit_fact
from hcopt.report.facts.names import load_value, one_line, settings_name, short_name, side_name
from hcopt.report.values import Answer, Headline, Tone
from hcopt.words import Language, Text, texts
from hcopt.words.notes import sentence

# Of the sentence over the page.
_MAX_LETTERS = 300
_TONES: dict[str, Tone] = {"better": "good", "tied": "neutral", "undecided": "open", "no_feasible_config": "bad"}


def headline_of(run: RunRecord, pair: Pairing, language: Language) -> Headline:
    """The verdict of a run."""
    text = texts(language)
    facts = (limit_fact(run, pair, text), capacity_fact(run, pair, text))
    return Headline(
        tone=_TONES[run.confirmation.verdict],
        badge=text[_badge(run)],
        sentence=_sentence(run, pair, text, language),
        answers=(_deploy(run, pair, text, language), _gain(run, pair, text), _certainty(run, pair, text)),
        facts=tuple(fact for fact in facts if fact),
    )


def _badge(run: RunRecord) -> str:
    verdict = run.confirmation.verdict
    if verdict == "no_feasible_config" and run.ranking.latency_p99_limit_ms is None:
        return "badge_no_answers"
    return "badge_default_wins" if default_wins(run) and verdict == "tied" else f"badge_{verdict}"


def _sentence(run: RunRecord, pair: Pairing, text: Text, language: Language) -> str:
    """What the comparison shows where the verdict rests on it, else the verdict's reason."""
    found, comparison, right = run.confirmation, pair.comparison, pair.right
    every = tuple(reasons(found))
    reason = next((one for one in every if one.code == "default_unmeasured_first"), every[-1])
    if right is not None and (why := why_default_is_out(found)) is not None:
        return text["better_alone"].format(name=side_name(right, run, text), why=_said(why, language))
    if pair.left is not None and comparison is not None:
        ratio = comparison.throughput_ratio
        shown = {"change": figures.change(ratio.estimate), "interval": interval_inline(ratio, text)}
        if reason.code == "default_is_best":
            return text["default_wins"].format(name=side_name(pair.left, run, text), **shown)
        if reason.code.startswith("ratio_"):
            return _compared_sentence(run, pair, comparison, shown, text)
    # The model's name stands above.
    return _said(reason, language).replace(f"{run.plan.model_name}_config_", "config_")


def _said(note: Note, language: Language) -> str:
    """What a server answers with may be of any length."""
    return shorten(one_line(sentence(note, language)), _MAX_LETTERS, placeholder=" …")


def _compared_sentence(run: RunRecord, pair: Pairing, comparison: Comparison, shown: dict[str, str], text: Text) -> str:
    assert pair.left is not None and pair.right is not None  # they were compared
    key: str = run.confirmation.verdict
    equal = equal_load(run, pair)
    if key == "better" and equal is not None:
        # p99 at different loads says little, so the sentence has it at the same one.
        key = "better_loads"
        shown["equal"] = equal_load_phrase(equal, text)
    return text[key].format(
        name=side_name(pair.right, run, text),
        right_load=load_value(pair.right.load, text),
        left_load=load_value(pair.left.load, text),
        latency=_latency_phrase(comparison.latency_p99_ratio, text),
        needed=needed_blocks(comparison, run.confirmation.block_count, text),
        **shown,
    )


def equal_load_phrase(equal: Comparison, text: Text) -> str:
    """Both at the load of the best, in few words: a change only where its interval shows one."""
    throughput, latency = (
        text["not_shown"] if is_unclear(ratio) else figures.change(ratio.estimate)
        for ratio in (equal.throughput_ratio, equal.latency_p99_ratio)
    )
    return text["equal_load"].format(throughput=throughput, latency=latency)


def interval_inline(ratio: Estimate, text: Text) -> str:
    """A ratio's interval in brackets, for a sentence; nothing where there is none."""
    bounds = figures.change_bounds(ratio, text)
    return "" if bounds is None else text["interval_inline"].format(range=bounds)


def _latency_phrase(ratio: Estimate, text: Text) -> str:
    change = figures.change(ratio.estimate)
    if not is_unclear(ratio):
        return text["latency_change"].format(change=change, interval=interval_inline(ratio, text))
    bounds = figures.change_bounds(ratio, text)
    return text["latency_unclear"].format(change=change, interval="" if bounds is None else f", {bounds}")


def needed_blocks(comparison: Comparison, measured: int, text: Text) -> str:
    """How many blocks would decide, as the end of a sentence; nothing where that is unknown."""
    if comparison.blocks_to_decide is None:
        return ""
    return text["undecided_needed"].format(blocks=f"{comparison.blocks_to_decide:,}", measured=measured)


def cheaper_than_runner_up(run: RunRecord, text: Text, language: Language) -> str | None:
    """Why the best was preferred to a runner-up that is as fast; None where the decision did not rest on that."""
    found = run.confirmation
    if found.advantage is None or found.runner_up is None:
        return None
    other = short_name(found.runner_up.variant.config_name, run)
    return text["cheaper"].format(other=other, advantage=sentence(found.advantage, language))


def _deploy(run: RunRecord, pair: Pairing, text: Text, language: Language) -> Answer:
    question, verdict, right = text["tile_deploy"], run.confirmation.verdict, pair.right
    if right is None or verdict == "no_feasible_config":
        return Answer(question=question, answer=text["deploy_nothing"], details=(text["deploy_nothing_detail"],))
    settings, name = settings_name(right.variant, text), side_name(right, run, text)
    outputs = outputs_line(run, right, text)
    if verdict == "better":
        cheaper = cheaper_than_runner_up(run, text, language)
        return Answer(question=question, answer=name, details=(settings, *outputs, *((cheaper,) if cheaper else ())))
    answer = text["deploy_keep" if verdict == "tied" else "deploy_wait"]
    if right.role == "default":
        return Answer(question=question, answer=answer, details=(settings,))
    return Answer(
        question=question, answer=answer, details=(text["deploy_candidate"].format(name=name), settings, *outputs)
    )


def outputs_line(run: RunRecord, side: Side, text: Text) -> tuple[str, ...]:
    """Of a variant of the model, how far its answers are from the model's, in few words; of the model itself none."""
    variant = run.model.variant_in(side.variant.model_file)
    if variant is None:
        return ()
    ratios = [found.max_ratio for found in variant.outputs if found.max_ratio is not None]
    agreements = [found.agreement_ratio for found in variant.outputs if found.agreement_ratio is not None]
    said = [text["outputs_numbers"].format(ratio=f"{max(ratios):.2%}")] if ratios else []
    said += [text["outputs_labels"].format(ratio=f"{min(agreements):.2%}")] if agreements else []
    return (", ".join(said),)


def _gain(run: RunRecord, pair: Pairing, text: Text) -> Answer:
    limit_ms, right = run.ranking.latency_p99_limit_ms, pair.right
    if right is not None and right.memory_mb is not None and run.confirmation.reason.code == "nothing_fits_memory":
        return _too_large(right, right.memory_mb, run, text)
    no_feasible = run.confirmation.verdict == "no_feasible_config"
    if right is not None and limit_ms is not None and (no_feasible or default_misses_limit(run.confirmation)):
        p99, name = right.latency_p99_ms.estimate, side_name(right, run, text)
        detail = text["limit_detail"].format(name=name, p99=figures.latency(p99), limit=figures.limit(limit_ms))
        question = text["tile_limit" if no_feasible else "tile_p99"]
        return Answer(question=question, answer=figures.change(p99 / limit_ms), details=(detail,))
    question = text[_gain_question(run)]
    if pair.comparison is None:
        return Answer(question=question, answer=text["not_compared"], details=())
    ratio, p99_ratio = pair.comparison.throughput_ratio, pair.comparison.latency_p99_ratio
    bounds, equal = figures.change_bounds(ratio, text), equal_load(run, pair)
    if equal is not None:
        line = text["gain_equal"].format(equal=equal_load_phrase(equal, text))
    elif is_unclear(p99_ratio):
        line = text["gain_p99_unclear"]
    else:
        line = text["gain_p99"].format(change=figures.change(p99_ratio.estimate))
    details = (line,) if bounds is None else (text["interval"].format(range=bounds), line)
    return Answer(question=question, answer=figures.change(ratio.estimate), details=details)


def _too_large(side: Side, memory_mb: float, run: RunRecord, text: Text) -> Answer:
    """How far the one that needs the least memory is from the limit."""
    limit_mb = run.memory_limit_mb or memory_mb
    detail = text["memory_detail"].format(
        name=side_name(side, run, text), memory=figures.whole(memory_mb), limit=f"{limit_mb:,.12g}"
    )
    return Answer(question=text["tile_limit"], answer=figures.change(memory_mb / limit_mb), details=(detail,))


def _gain_question(run: RunRecord) -> str:
    if default_wins(run):
        return "tile_gain_runner_up"
    return "tile_gain" if run.confirmation.verdict == "better" else "tile_gain_candidate"


def _certainty(run: RunRecord, pair: Pairing, text: Text) -> Answer:
    if pair.right is None or not pair.right.confirmed:
        return Answer(question=text["tile_sure"], answer=text["sure_sweep"], details=(text["sure_sweep_detail"],))
    answer, details = _confirmed(run, pair.comparison, text)
    return Answer(question=text["tile_sure"], answer=answer, details=details)


def _confirmed(run: RunRecord, comparison: Comparison | None, text: Text) -> tuple[str, tuple[str, ...]]:
    """How sure the verdict is that the confirmation has given, and what that rests on."""
    found = run.confirmation
    *_, reason = reasons(found)
    blocks = (text["sure_blocks"].format(blocks=found.block_count),) if found.block_count else ()
    default_is_open = found.default is not None and found.default.feasibility == "undecided"
    if reason.code == "limit_undecided" or (found.verdict == "no_feasible_config" and default_is_open):
        return text["sure_undecided"], (*blocks, text["sure_limit_detail"])
    if reason.code == "answers_undecided":
        return text["sure_undecided"], (*blocks, text["sure_answers_detail"])
    if found.verdict == "no_feasible_config" or why_default_is_out(found) is not None:
        return text["sure_better"], blocks
    if comparison is None:
        return text["not_compared"], blocks
    # Equality is judged by the interval, so a p-value beside it would only puzzle.
    if comparison.verdict == "tied":
        return text["sure_tied" if found.verdict == "tied" else "sure_undecided"], blocks
    details = [text["sure_detail"].format(p_value=figures.p_value(comparison.p_value), blocks=found.block_count)]
    if comparison.blocks_to_decide is not None:
        details.append(text["sure_needed"].format(blocks=f"{comparison.blocks_to_decide:,}"))
    if comparison.verdict == "undecided" and run.noise is not None:
        details.append(text["sure_resolvable"].format(difference=figures.rough(run.noise.resolvable_ratio)))
    return text[f"sure_{comparison.verdict}"], tuple(details)
