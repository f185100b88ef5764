"""A batch of models on one page: a line each with its verdict, what to deploy, how much that gains, and its report.

Where they were measured on several kinds of machines: a line for each kind, and above them which to take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from hcopt import __version__
from hcopt.analysis.view import pairing, why_default_is_out
from hcopt.deploy.capacity import PriceOf, sustained_cost
from hcopt.records.run import ModelOutcome, RunRecord
from hcopt.records.verdict import Estimate
from hcopt.report import figures
from hcopt.report.facts.hardware import HardwareAnswer, by_model, hardware_answers, kind_cell, model_name
from hcopt.report.facts.headline import headline_of, interval_inline
from hcopt.report.facts.limit import capacity_cell
from hcopt.report.values import Answer, Cell, Tone
from hcopt.words import Language, Text, texts

_WIDTH, _MARGIN = 180.0, 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """A ratio with its interval on the axis that all models share, in pixels from the left."""

    estimate: float
    low: float
    high: float
    default: float
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model, or one kind of machine that it was measured on.

    Attributes:
        failure: What kept it from ending well, and what to do about it; nothing where all went well.
        links: (words, address) of its reports.
        heads: Whether it is the first of its model's rows, above which the name stands.
    """

    name: str
    source: str
    tone: Tone
    badge: str
    failure: tuple[str, ...]
    deploy: Answer | None = None
    gain: Answer | None = None
    whisker: Whisker | None = None
    capacity: Cell | None = None
    links: tuple[tuple[str, str], ...] = ()
    hardware: Cell | None = None
    cost: Cell | None = None
    heads: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All that the page says.

    Attributes:
        has_kinds: Whether there are several kinds of machines.
        has_cost: Whether the price of one of them is known.
    """

    heading: str
    counts: tuple[tuple[Tone, str], ...]
    answers: tuple[HardwareAnswer, ...]
    has_kinds: bool
    has_cost: bool
    axis: str
    rows: tuple[ModelRow, ...]
    footer: str


def overview_of(
    outcomes: Sequence[ModelOutcome], *, run_id: str, started_at: str, language: Language, price_of: PriceOf
) -> Overview:
    """What the page says. Pure."""
    text = texts(language)
    ratios = [ratio for outcome in outcomes if outcome.record and (ratio := _ratio(outcome.record)) is not None]
    low, high = _span(ratios)
    groups, kinds = by_model(outcomes), {outcome.hardware for outcome in outcomes}
    rows = tuple(_row(outcome, low, high, language) for outcome in outcomes)
    has_kinds = len(kinds) > 1
    if has_kinds:
        mine = iter(rows)
        rows = tuple(row for group in groups for row in _of_kinds(group, mine, price_of, text))
    counts = Counter((row.tone, row.badge) for row in rows)
    return Overview(
        heading=_heading(groups, len(kinds), text),
        counts=tuple(
            (tone, text["overview_count"].format(count=count, badge=badge)) for (tone, badge), count in counts.items()
        ),
        answers=hardware_answers(outcomes, price_of, text) if has_kinds else (),
        has_kinds=has_kinds,
        has_cost=has_kinds
        and any(one.record and price_of(one.record.environment.cpu_model) is not None for one in outcomes),
        axis="" if not ratios else text["overview_axis"].format(low=f"{low:.2f}×", high=f"{high:.2f}×"),
        rows=rows,
        footer=" · ".join(
            (
                f"hcopt {__version__}",
                run_id,
                text["overview_measured"].format(date=started_at[:16].replace("T", " ")),
            )
        ),
    )


def _heading(groups: Sequence[Sequence[ModelOutcome]], kinds: int, text: Text) -> str:
    if kinds == 1:
        return text["overview_heading"].format(count=len(groups))
    models = model_name(groups[0]) if len(groups) == 1 else text["overview_heading"].format(count=len(groups))
    return text["overview_heading_kinds"].format(models=models, kinds=kinds)


def _of_kinds(
    group: Sequence[ModelOutcome], rows: Iterator[ModelRow], price_of: PriceOf, text: Text
) -> Iterator[ModelRow]:
    """The next rows, which are of one model."""
    name, source = model_name(group), group[0].source_uri
    for outcome in group:
        yield replace(
            next(rows),
            name=name,
            source=source if source != name else "",
            hardware=kind_cell(outcome.hardware or ""),
            cost=None if outcome.record is None else _cost(outcome.record, price_of, text),
            heads=outcome is group[0],
        )


def _cost(run: RunRecord, price_of: PriceOf, text: Text) -> Cell | None:
    cost, price = sustained_cost(run, price_of), price_of(run.environment.cpu_model)
    if cost is None or price is None:
        return None
    at = text["cost_at"].format(price=f"{price:.12g}")
    return Cell(value=text["hardware_cost_most"].format(cost=figures.cost(cost)), detail=at)


def _ratio(run: RunRecord) -> Estimate | None:
    """The ratio that the verdict rests on; None where it rests on the limit, as the report's own page has it."""
    comparison = pairing(run).comparison
    return None if comparison is None or why_default_is_out(run.confirmation) else comparison.throughput_ratio


def _span(ratios: Sequence[Estimate]) -> tuple[float, float]:
    """From the lowest bound to the highest, the default (1) among them."""
    ends = [1.0]
    for ratio in ratios:
        ends += [end for end in (ratio.estimate, ratio.ci_low, ratio.ci_high) if end is not None]
    return min(ends), max(ends)


def _row(outcome: ModelOutcome, low: float, high: float, language: Language) -> ModelRow:
    text = texts(language)
    failure = outcome.failure
    said: tuple[str, ...] = ()
    if failure is not None:
        code = text["overview_exit_code"].format(code=failure.exit_code)
        said = tuple(filter(None, (f"{failure.message} ({code})", failure.remedy)))
    if outcome.record is None:
        waiting = failure is None
        return ModelRow(
            name=outcome.label,
            source=outcome.source_uri if outcome.label != outcome.source_uri else "",
            tone="neutral" if waiting else "bad",
            badge=text["overview_waiting" if waiting else "overview_failed"],
            failure=(text["overview_waiting_detail"],) if waiting else said,
        )
    run, pair = outcome.record, pairing(outcome.record)
    told, ratio = headline_of(run, pair, language), _ratio(outcome.record)
    deploy, gain, _ = told.answers
    folder = quote(outcome.label)
    return ModelRow(
        name=outcome.label,
        source=outcome.source_uri,
        tone=told.tone,
        badge=told.badge,
        deploy=deploy,
        gain=gain,
        whisker=None if ratio is None else _whisker(ratio, low, high, text),
        capacity=None if run.capacity is None else capacity_cell(run.capacity, text),
        failure=said,
        links=(
            (text["overview_page"], f"{folder}/result_summary.html"),
            (text["overview_pdf"], f"{folder}/result_summary.pdf"),
        ),
    )


def _whisker(ratio: Estimate, low: float, high: float, text: Text) -> Whisker:
    def place(value: float) -> float:
        return round(_MARGIN + (_WIDTH - 2 * _MARGIN) * (value - low) / ((high - low) or 1.0), 1)

    said = figures.change(ratio.estimate) + interval_inline(ratio, text)
    return Whisker(
        estimate=place(ratio.estimate),
        low=place(ratio.estimate if ratio.ci_low is None else ratio.ci_low),
        high=place(ratio.estimate if ratio.ci_high is None else ratio.ci_high),
        default=place(1.0),
        said=said,
    )
