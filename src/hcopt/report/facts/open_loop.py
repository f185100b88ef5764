"""The rate that the best configuration is shown to sustain, if it is. Pure."""

from __future__ import annotations

from hcopt.records.run import RunRecord
from hcopt.records.verdict import Capacity
from hcopt.report import figures
from hcopt.report.facts.selection import Pairing
from hcopt.report.values import Answer
from hcopt.words import Text


def capacity_fact(run: RunRecord, pair: Pairing, text: Text) -> Answer | None:
    """The lower bound of the sustainable rate; None where nothing was checked, or another than the page is about."""
    capacity = run.capacity
    if capacity is None or pair.right is None or capacity.config_name != pair.right.variant.config_name:
        return None
    low = lower_bound(capacity)
    if low is None:
        tried = rate_text(min((point.rate_infer_per_s for point in capacity.points), default=0.0), text)
        details = (text["capacity_none_detail"].format(rate=tried),) if capacity.points else ()
        return Answer(question=text["tile_capacity"], answer=text["capacity_none"], details=details)
    limit = figures.limit(capacity.latency_p99_limit_ms)
    return Answer(
        question=text["tile_capacity"],
        answer=text["capacity_least"].format(rate=rate_text(low, text)),
        details=(text["capacity_detail"].format(limit=limit),),
    )


def lower_bound(capacity: Capacity) -> float | None:
    """The highest rate at which the limit is shown to hold; None where there is none."""
    low = capacity.sustainable_rate_infer_per_s.ci_low
    return low if low is not None and low > 0 else None


def rate_text(rate_infer_per_s: float, text: Text) -> str:
    """A rate with its unit."""
    return text["unit_throughput"].format(value=figures.throughput(rate_infer_per_s))
