"""Which hardware: the kinds of machines that a model was measured on, by cost or by what they sustain. Pure.

Plans go by the rate that is shown to hold; whether two kinds differ is said by the intervals up to the rate that is
shown not to.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from hcopt.deploy.capacity import PriceOf, cost_per_million
from hcopt.records.run import ModelOutcome
from hcopt.report import figures
from hcopt.report.facts.limit import lower_bound
from hcopt.report.values import Cell
from hcopt.words import Text

_KIND = re.compile(r"(?P<cpu>.+), (?P<size>\d+ CPUs, \d+ GB.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareAnswer:
    """Which hardware one model is best served on.

    Attributes:
        title: The question, with the model's name.
        shown: Whether one kind is shown to be best.
        figures: The kinds that it compares, each with its interval; the best first, then those that may be as good.
        left_out: The others, each with the reason.
    """

    title: str
    shown: bool
    sentence: str
    figures: tuple[str, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A kind that sustains a rate.

    Attributes:
        low: Rate that is shown to hold, infer/s.
        high: Rate that is shown not to; infinite where none was found.
        price: For an hour; None where it is unknown.
    """

    name: str
    low: float
    high: float
    limit_ms: float
    price: float | None

    @property
    def most(self) -> float:
        """The highest cost of a million inferences."""
        return cost_per_million(self.price or 0.0, self.low)

    @property
    def least(self) -> float:
        return cost_per_million(self.price or 0.0, self.high)


def by_model(outcomes: Sequence[ModelOutcome]) -> tuple[tuple[ModelOutcome, ...], ...]:
    """Outcomes that follow each other on different hardware, and are of one model."""
    groups: list[list[ModelOutcome]] = []
    for outcome in outcomes:
        group = groups[-1] if groups else []
        if group and group[0].source_uri == outcome.source_uri and _is_new(outcome, group):
            group.append(outcome)
        else:
            groups.append([outcome])
    return tuple(map(tuple, groups))


def _is_new(outcome: ModelOutcome, group: Sequence[ModelOutcome]) -> bool:
    return outcome.hardware is not None and all(one.hardware != outcome.hardware for one in group)


def model_name(group: Sequence[ModelOutcome]) -> str:
    """What a model is called on whatever hardware; where it comes from, as long as none has come to an end."""
    return next((one.record.model.name for one in group if one.record is not None), group[0].source_uri)


def kind_cell(hardware: str) -> Cell:
    """A kind of machine: its CPU, and how much of everything."""
    found = _KIND.fullmatch(hardware)
    return Cell(value=hardware) if found is None else Cell(value=found["cpu"], detail=found["size"])


def hardware_answers(outcomes: Sequence[ModelOutcome], price_of: PriceOf, text: Text) -> tuple[HardwareAnswer, ...]:
    """An answer for each model of which at least two kinds have come to an end, good or bad."""
    return tuple(
        _answer(group, price_of, text)
        for group in by_model(outcomes)
        if sum(one.record is not None or one.failure is not None for one in group) > 1
    )


def _answer(group: Sequence[ModelOutcome], price_of: PriceOf, text: Text) -> HardwareAnswer:
    found = [_kind(one, price_of, text) for one in group]
    sustaining = [kind for kind in found if isinstance(kind, _Kind)]
    priced = [kind for kind in sustaining if kind.price is not None]
    by_cost = len(priced) > 1
    compared, open_count = _best_first(priced if by_cost else sustaining, by_cost=by_cost)
    left_out = [
        (_name(outcome, text), text["hardware_no_price"] if isinstance(kind, _Kind) else kind)
        for outcome, kind in zip(group, found, strict=True)
        if kind not in compared
    ]
    return HardwareAnswer(
        title=text["hardware_title"].format(model=model_name(group)),
        shown=len(compared) > 1 and open_count == 1,
        sentence=_best(compared, open_count, text, by_cost=by_cost) if len(compared) > 1 else _single(compared, text),
        figures=tuple((_cost if by_cost else _rate)(kind, text) for kind in compared),
        left_out=tuple(text["hardware_left_out"].format(kind=kind, why=why) for kind, why in left_out),
    )


def _best_first(kinds: Sequence[_Kind], *, by_cost: bool) -> tuple[Sequence[_Kind], int]:
    """The best by what is shown to hold, those that may be as good, and the others; and how many may be best."""
    ordered = sorted(kinds, key=lambda kind: kind.most if by_cost else -kind.low)
    rivals = [kind for kind in ordered if (kind.least <= ordered[0].most if by_cost else kind.high >= ordered[0].low)]
    return [*rivals, *(kind for kind in ordered if kind not in rivals)], len(rivals)


def _name(outcome: ModelOutcome, text: Text) -> str:
    cell = kind_cell(outcome.hardware or "")
    return text["hardware_kind"].format(kind=cell.value, size=cell.detail) if cell.detail else cell.value


def _kind(outcome: ModelOutcome, price_of: PriceOf, text: Text) -> _Kind | str:
    """What is known of it, or why it cannot be compared."""
    record, failure = outcome.record, outcome.failure
    if record is None or record.capacity is None:
        if failure is not None:
            return failure.message
        if record is None:
            return text["hardware_waiting"]
        return text["hardware_no_limit" if record.ranking.latency_p99_limit_ms is None else "hardware_no_capacity"]
    low, high = lower_bound(record.capacity), record.capacity.sustainable_rate_infer_per_s.ci_high
    if low is None:
        return text["hardware_no_rate"]
    return _Kind(
        name=_name(outcome, text),
        low=low,
        high=math.inf if high is None else high,
        limit_ms=record.capacity.latency_p99_limit_ms,
        price=price_of(record.environment.cpu_model),
    )


def _best(kinds: Sequence[_Kind], open_count: int, text: Text, *, by_cost: bool) -> str:
    """Which of two or more is best, and by how much."""
    best, following = kinds[:2]
    key, limit = "hardware_cheapest" if by_cost else "hardware_most", figures.limit(best.limit_ms)
    if open_count > 1:
        return text[f"{key}_open"].format(limit=limit, count=open_count)
    names = {"best": best.name, "limit": limit, "next": following.name}
    if by_cost:
        more, least = (figures.excess(cost / best.most) for cost in (following.most, following.least))
        return text[key].format(**names, cost=figures.cost(best.most), more=more, least=least)
    less, least = (figures.shortfall(rate / best.low) for rate in (following.low, following.high))
    return text[key].format(**names, rate=figures.rate(best.low), less=less, least=least)


def _single(kinds: Sequence[_Kind], text: Text) -> str:
    if not kinds:
        return text["hardware_none"]
    limit, rate = figures.limit(kinds[0].limit_ms), figures.rate(kinds[0].low)
    return text["hardware_only"].format(best=kinds[0].name, limit=limit, rate=rate)


def _cost(kind: _Kind, text: Text) -> str:
    most = figures.cost(kind.most)
    cost = text["hardware_cost_most"].format(cost=most)
    if kind.high < math.inf:
        cost = text["range"].format(low=figures.cost(kind.least), high=most)
    return text["hardware_cost"].format(kind=kind.name, cost=cost)


def _rate(kind: _Kind, text: Text) -> str:
    rate = text["capacity_least"].format(rate=figures.rate(kind.low))
    if kind.high < math.inf:
        both = text["range"].format(low=figures.throughput(kind.low), high=figures.throughput(kind.high))
        rate = f"{both} infer/s"
    return text["hardware_rate"].format(kind=kind.name, rate=rate)
