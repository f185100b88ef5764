"""The open-loop check: what the best configuration sustains under Poisson arrivals. Pure."""

from __future__ import annotations

from hcopt.records.run import RunRecord
from hcopt.records.verdict import Capacity, RatePoint
from hcopt.report import figures
from hcopt.report.facts.limit import lower_bound, miss_cell
from hcopt.report.facts.names import short_name
from hcopt.report.values import Cell, Figure, Section, Table
from hcopt.words import Text


def open_loop_section(run: RunRecord, text: Text) -> Section | None:
    """The section on it; None where it did not take place."""
    capacity = run.capacity
    if capacity is None:
        return None
    return Section(
        name="open_loop",
        title=text["section_open_loop"],
        lines=open_loop_lines(run, capacity, text),
        table=_table(capacity, text),
        note=text["open_loop_note"].format(batch=capacity.client_batch_size, seed=capacity.seed),
        figures=(Figure(chart="rates", caption=text["rates_caption"]),),
    )


def open_loop_lines(run: RunRecord, capacity: Capacity, text: Text) -> tuple[str, ...]:
    """What is shown to hold, what is shown not to, and what that means beside the closed loop's throughput."""
    name, low = short_name(capacity.config_name, run), lower_bound(capacity)
    high = capacity.sustainable_rate_infer_per_s.ci_high
    words = {"name": name, "limit": figures.limit(capacity.latency_p99_limit_ms)}
    if low is None:
        lines = [text["sustains_nothing"].format(**words)]
    else:
        lines = [text["sustains"].format(rate=figures.rate(low), **words)]
    if high is not None:
        lines.append(text["sustains_not"].format(rate=figures.rate(high), **words))
    elif low is not None:
        lines.append(text["sustains_open"])
    best = run.confirmation.best
    if low is not None and best is not None and best.variant.config_name == capacity.config_name:
        closed = best.throughput_infer_per_s
        if low < (closed.estimate if closed.ci_low is None else closed.ci_low):
            share = figures.share(low / closed.estimate)
            lines.append(text["sustains_less"].format(share=share, closed=figures.rate(closed.estimate)))
    about = capacity.boundary_infer_per_s
    if about is not None and (interval := figures.bounds(about, figures.throughput, text)) is not None:
        lines.append(text["sustains_about"].format(rate=figures.rate(about.estimate), range=interval))
    return tuple(lines)


def _table(capacity: Capacity, text: Text) -> Table | None:
    if not capacity.points:
        return None
    header = tuple(text[f"column_{key}"] for key in ("rate", "windows", "miss", "latency", "verdict"))
    return Table(header=header, rows=tuple(_row(point, text) for point in capacity.points), word_columns=0)


def _row(point: RatePoint, text: Text) -> tuple[Cell, ...]:
    return (
        Cell(value=figures.throughput(point.rate_infer_per_s)),
        Cell(value=f"{point.window_count:,}"),
        miss_cell(point.miss_ratio, text),
        Cell(value=figures.latency(point.latency_p99_ms)),
        Cell(value=text[f"feasibility_{point.verdict}"]),
    )
