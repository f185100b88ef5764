"""What is known of the p99 limit, which is a limit of the share of slow requests: holds, missed, or not shown. Pure."""

from __future__ import annotations

from hcopt.analysis.p99_limit import ALLOWED_MISS_RATIO
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate, Feasibility
from hcopt.report import figures
from hcopt.report.facts.selection import Pairing, side_name
from hcopt.report.values import Answer, Cell
from hcopt.words import Text


def limit_fact(run: RunRecord, pair: Pairing, text: Text) -> Answer | None:
    """Whether the configuration that the page is about keeps the limit; None where no share was measured."""
    limit_ms, right = run.ranking.latency_p99_limit_ms, pair.right
    if limit_ms is None or right is None or right.miss_ratio is None:
        return None
    return Answer(
        question=text["tile_miss"].format(limit=figures.limit(limit_ms), name=side_name(right, run, text)),
        answer=verdict_word(right.feasibility, text),
        details=(text["miss_detail"].format(share=_share(right.miss_ratio, text), allowed=allowed()),),
    )


def miss_lines(run: RunRecord, pair: Pairing, text: Text) -> tuple[str, ...]:
    """How each of the two stands to the limit, in as few words as that takes."""
    words = [
        text["miss_verdict"].format(
            name=side_name(side, run, text), verdict=text[f"miss_{side.feasibility}"].format(allowed=allowed())
        )
        for side in pair.sides
    ]
    if len(pair.sides) == 2 and pair.sides[0].feasibility == pair.sides[1].feasibility:
        return (text[f"miss_both_{pair.sides[0].feasibility}"].format(allowed=allowed()),)
    return tuple(words)


def miss_cell(miss_ratio: Estimate | None, text: Text) -> Cell:
    """A share of slow requests over the bounds that its verdict rests on."""
    if miss_ratio is None:
        return Cell(value=text["nothing"])
    bounds = figures.share_range(miss_ratio, text)
    detail = text["no_interval"] if bounds is None else text["bounds"].format(range=bounds)
    return Cell(value=figures.share(miss_ratio.estimate), detail=detail)


def verdict_word(feasibility: Feasibility, text: Text) -> str:
    """The verdict on the limit as one word of a table."""
    return text[f"feasibility_{feasibility}"]


def allowed() -> str:
    """The share of slow requests that a p99 limit allows."""
    return figures.share(ALLOWED_MISS_RATIO)


def _share(miss_ratio: Estimate, text: Text) -> str:
    bounds = figures.share_range(miss_ratio, text)
    share = figures.share(miss_ratio.estimate)
    return share if bounds is None else f"{share} ({bounds})"
