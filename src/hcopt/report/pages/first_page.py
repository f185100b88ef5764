"""The first page below its verdict: default against best as a table, and the config.pbtxt to deploy."""

from __future__ import annotations

import difflib

from hcopt.analysis.view import Pairing, Row, Side, Value, default_wins
from hcopt.deploy.capacity import cost_per_million
from hcopt.records.measurement import LoadPoint
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate
from hcopt.report import figures
from hcopt.report.facts.insights import row_lines
from hcopt.report.facts.limit import lower_bound, miss_cell
from hcopt.report.facts.names import load_value, short_name
from hcopt.report.values import Cell, ComparisonRow, ComparisonTable, ConfigFile, ConfigLine
from hcopt.words import Text

# Lines of config.pbtxt that fit on the first page.
_BOX_LINES = 30


def comparison_table(run: RunRecord, pair: Pairing, text: Text, price_per_hour: float | None) -> ComparisonTable | None:
    """Default against best; None where nothing was measured."""
    if pair.right is None:
        return None
    rows = [_row(run, pair, row, text) for row in pair.rows]
    if price_per_hour is not None:
        rows.append(_cost_row(run, pair, price_per_hour, text))
    heading = None if pair.left is None else _heading(pair.left, run, text)
    return ComparisonTable(left=heading, right=_heading(pair.right, run, text), rows=tuple(rows))


def _heading(side: Side, run: RunRecord, text: Text) -> tuple[str, str]:
    return (text[f"role_{side.role}"], short_name(side.variant.config_name, run))


def _row(run: RunRecord, pair: Pairing, row: Row, text: Text) -> ComparisonRow:
    # A swept parameter is called as it is in config.pbtxt.
    key, limit_ms = f"row_{row.what}", run.ranking.latency_p99_limit_ms
    limit = "" if limit_ms is None else figures.limit(limit_ms)
    return _table_row(
        text[key].format(limit=limit) if key in text else row.what,
        [_cell(row.what, value, text) for value in row.values],
        row_lines(run, pair, row, text),
    )


def _table_row(label: str, cells: list[Cell], lines: tuple[str, ...]) -> ComparisonRow:
    *left, right = cells
    differs = bool(left) and left[0].value != right.value
    return ComparisonRow(label=label, left=left[0] if left else None, right=right, lines=lines, differs=differs)


def _cell(what: str, value: Value, text: Text) -> Cell:
    if isinstance(value, Estimate):
        return figure_cell(what, value, text)
    if isinstance(value, LoadPoint):
        return Cell(value=load_value(value, text))
    if what == "max_queue_delay_us":
        return Cell(value=text["off"] if value is None else f"{value:,} µs")
    if what == "miss_ratio":
        return miss_cell(None, text)
    if what == "memory_mb":
        return Cell(value=text["nothing"] if value is None else f"{figures.whole(float(value))} MB")
    return Cell(value=text["unset"] if value is None else f"{value}")


def figure_cell(what: str, figure: Estimate, text: Text) -> Cell:
    """A measured figure over its interval."""
    if what == "miss_ratio":
        return miss_cell(figure, text)
    digits, unit = {
        "throughput_infer_per_s": (figures.throughput, figures.rate),
        "latency_p99_ms": (figures.latency, figures.milliseconds),
    }[what]
    bounds = figures.bounds(figure, digits, text)
    detail = text["no_interval"] if bounds is None else text["interval"].format(range=bounds)
    return Cell(value=unit(figure.estimate), detail=detail)


def _cost_row(run: RunRecord, pair: Pairing, price_per_hour: float, text: Text) -> ComparisonRow:
    """At the rate that is promised; where none is, at the closed loop's throughput, which is no load to plan with."""
    price = text["cost_at"].format(price=f"{price_per_hour:.12g}")
    names = [side.variant.config_name for side in pair.sides]
    capacity = run.capacity
    rate = None if capacity is None or capacity.config_name not in names else lower_bound(capacity)
    if capacity is None or rate is None:
        costs = [cost_per_million(price_per_hour, side.throughput_infer_per_s.estimate) for side in pair.sides]
        cells = [Cell(value=figures.cost(cost)) for cost in costs]
        return _table_row(text["row_cost"], cells, (price, text["cost_closed_loop"]))
    most = text["hardware_cost_most"].format(cost=figures.cost(cost_per_million(price_per_hour, rate)))
    cells = [Cell(value=most if name == capacity.config_name else text["nothing"]) for name in names]
    return _table_row(text["row_cost"], cells, (price, text["cost_sustained"].format(rate=figures.rate(rate))))


def config_file(run: RunRecord, text: Text) -> ConfigFile | None:
    """The config.pbtxt to deploy; None where nothing is to be deployed."""
    best = run.confirmation.best
    if run.best_config_pbtxt is None:
        return None
    lines = _compared(run.default_config_pbtxt, run.best_config_pbtxt)
    fits = len(lines) <= _BOX_LINES
    name = run.plan.default.config_name if best is None else best.variant.config_name
    if default_wins(run):
        title, caption = "golden_default", ""
    else:
        title = "golden" if run.confirmation.verdict == "better" else "golden_candidate"
        caption = text["golden_caption"].format(name=short_name(name, run))
    return ConfigFile(
        title=text[title],
        caption=caption if fits else "; ".join(part for part in (caption, text["golden_continued"]) if part),
        excerpt=lines if fits else _excerpt(lines),
        lines=() if fits else lines,
    )


def _compared(default: str, best: str) -> tuple[ConfigLine, ...]:
    """The best configuration's lines, those that the default lacks marked; white space is no difference."""
    ours, theirs = best.rstrip().splitlines(), default.rstrip().splitlines()
    matcher = difflib.SequenceMatcher(
        None, [line.strip() for line in theirs], [line.strip() for line in ours], autojunk=False
    )
    kept = {j for _, start, size in matcher.get_matching_blocks() for j in range(start, start + size)}
    return tuple(ConfigLine(text=line, differs=j not in kept) for j, line in enumerate(ours))


def _excerpt(lines: tuple[ConfigLine, ...]) -> tuple[ConfigLine, ...]:
    """The changed lines with two lines around each, what is left out as an ellipsis; the head where nothing changed."""
    wanted = [j for j, line in enumerate(lines) if any(near.differs for near in lines[max(0, j - 2) : j + 3])]
    wanted = wanted[: _BOX_LINES // 2] or list(range(_BOX_LINES - 1))
    shown: list[ConfigLine] = []
    previous = -1
    for j in wanted:
        if j != previous + 1:
            shown.append(ConfigLine(text="…", differs=False))
        shown.append(lines[j])
        previous = j
    return (*shown, ConfigLine(text="…", differs=False)) if previous < len(lines) - 1 else tuple(shown)


def remedies(run: RunRecord, text: Text) -> tuple[str, ...]:
    """What can be tried where nothing meets the limit."""
    limit_ms = run.ranking.latency_p99_limit_ms
    lowest = min((load.concurrency for load in run.plan.loads), default=1)
    lines = [text["remedy_lower_load"].format(concurrency=lowest)] if lowest > 1 else []
    if limit_ms is not None:
        lines.append(text["remedy_limit"].format(limit_value=f"{limit_ms:.12g}"))
    return (*lines, text["remedy_hardware"].format(cores=run.environment.cpu_count))
