"""What is known of the p99 limit: whether it holds, is missed or is not shown, and up to which rate it holds. Pure."""

from __future__ import annotations

from hcopt.analysis.p99_limit import ALLOWED_MISS_RATIO
from hcopt.analysis.view import Pairing
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Capacity, Estimate
from hcopt.report import figures
from hcopt.report.facts.names import side_name
from hcopt.report.values import Answer, Cell
from hcopt.words import Text

# The share of slow requests that a p99 limit allows.
ALLOWED = figures.share(ALLOWED_MISS_RATIO)


def limit_fact(run: RunRecord, pair: Pairing, text: Text) -> Answer | None:
    """Whether the configuration that the page is about keeps the limit; None where no share was measured."""
    limit_ms, right = run.ranking.latency_p99_limit_ms, pair.right
    if limit_ms is None or right is None or right.miss_ratio is None:
        return None
    miss = right.miss_ratio
    share = figures.followed(figures.share(miss.estimate), figures.bounds(miss, figures.share, text))
    return Answer(
        question=text["tile_miss"].format(limit=figures.limit(limit_ms), name=side_name(right, run, text)),
        answer=text[f"feasibility_{right.feasibility}"],
        details=(text["miss_detail"].format(share=share, allowed=ALLOWED),),
    )


def miss_lines(run: RunRecord, pair: Pairing, text: Text) -> tuple[str, ...]:
    """How each of the two stands to the limit, in as few words as that takes."""
    if len(pair.sides) == 2 and pair.sides[0].feasibility == pair.sides[1].feasibility:
        return (text[f"miss_both_{pair.sides[0].feasibility}"].format(allowed=ALLOWED),)
    return tuple(
        f"{side_name(side, run, text)}: {text[f'miss_{side.feasibility}'].format(allowed=ALLOWED)}"
        for side in pair.sides
    )


def miss_cell(miss_ratio: Estimate | None, text: Text) -> Cell:
    """A share of slow requests over the bounds that its verdict rests on."""
    if miss_ratio is None:
        return Cell(value=text["nothing"])
    detail = figures.bounds(miss_ratio, figures.share, text) or text["no_interval"]
    return Cell(value=figures.share(miss_ratio.estimate), detail=detail)


def capacity_fact(run: RunRecord, pair: Pairing, text: Text) -> Answer | None:
    """The lower bound of the sustainable rate; None where nothing was checked, or another than the page is about."""
    capacity = run.capacity
    if capacity is None or pair.right is None or capacity.config_name != pair.right.variant.config_name:
        return None
    cell = capacity_cell(capacity, text)
    details: tuple[str, ...] = ()
    if lower_bound(capacity) is not None:
        details = (cell.detail,)
    elif capacity.points:
        tried = min(point.rate_infer_per_s for point in capacity.points)
        details = (text["capacity_none_detail"].format(rate=figures.rate(tried)),)
    return Answer(question=text["tile_capacity"], answer=cell.value, details=details)


def capacity_cell(capacity: Capacity, text: Text) -> Cell:
    """The lower bound of the sustainable rate over the limit that it keeps."""
    low, limit = lower_bound(capacity), figures.limit(capacity.latency_p99_limit_ms)
    shown = text["capacity_none"] if low is None else text["capacity_least"].format(rate=figures.rate(low))
    return Cell(value=shown, detail=text["capacity_detail"].format(limit=limit))


def lower_bound(capacity: Capacity) -> float | None:
    """The highest rate at which the limit is shown to hold; None where there is none."""
    low = capacity.sustainable_rate_infer_per_s.ci_low
    return low if low is not None and low > 0 else None
