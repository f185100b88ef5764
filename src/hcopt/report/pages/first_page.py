"""The first page below its verdict: default against best as a table, and the config.pbtxt to deploy."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from hcopt.deploy.capacity import cost_per_million
from hcopt.records.model import ModelConfigVariant
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate
from hcopt.report import figures
from hcopt.report.facts import insights
from hcopt.report.facts.headline import load_value
from hcopt.report.facts.p99_limit import miss_cell, miss_lines
from hcopt.report.facts.selection import Pairing, Side, default_wins, short_name
from hcopt.report.values import Cell, ComparisonRow, ComparisonTable, ConfigFile, ConfigLine
from hcopt.words import Text

# The first page has room for so many lines of config.pbtxt.
_BOX_LINES = 30


def comparison_table(run: RunRecord, pair: Pairing, text: Text, price_per_hour: float | None) -> ComparisonTable | None:
    """Default against best; None where nothing was measured."""
    if pair.right is None:
        return None
    rows = [_setting_row(run, pair, setting, text) for setting in insights.setting_names(pair)]
    rows += [_load_row(run, pair, text), _throughput_row(run, pair, text), _latency_row(run, pair, text)]
    if any(side.miss_ratio is not None for side in pair.sides):
        rows.append(_miss_row(run, pair, text))
    if price_per_hour is not None:
        rows.append(_cost_row(pair, price_per_hour, text))
    heading = None if pair.left is None else _heading(pair.left, run, text)
    return ComparisonTable(left=heading, right=_heading(pair.right, run, text), rows=tuple(rows))


def _heading(side: Side, run: RunRecord, text: Text) -> tuple[str, str]:
    return (text[f"role_{side.role}"], short_name(side.variant.config_name, run))


def _row(label: str, pair: Pairing, cells: Sequence[Cell], lines: tuple[str, ...]) -> ComparisonRow:
    left = cells[0] if pair.left is not None else None
    differs = left is not None and left.value != cells[-1].value
    return ComparisonRow(label=label, left=left, right=cells[-1], lines=lines, differs=differs)


def _setting_row(run: RunRecord, pair: Pairing, setting: str, text: Text) -> ComparisonRow:
    labels = {"max_batch_size": "row_batch", "instance_count": "row_instances", "max_queue_delay_us": "row_delay"}
    label = text[labels[setting]] if setting in labels else setting
    cells = [_setting_cell(side.variant, setting, text) for side in pair.sides]
    return _row(label, pair, cells, insights.setting_lines(run, pair, setting, text))


def _setting_cell(variant: ModelConfigVariant, setting: str, text: Text) -> Cell:
    value = insights.setting_value(variant, setting)
    if value is None:
        return Cell(value=text["off" if setting == "max_queue_delay_us" else "unset"])
    if setting == "max_queue_delay_us":
        return Cell(value=text["unit_delay"].format(value=f"{value:,}"))
    return Cell(value=f"{value}")


def _load_row(run: RunRecord, pair: Pairing, text: Text) -> ComparisonRow:
    cells = [Cell(value=load_value(side.load, text)) for side in pair.sides]
    return _row(text["row_load"], pair, cells, insights.load_lines(run, pair, text))


def _throughput_row(run: RunRecord, pair: Pairing, text: Text) -> ComparisonRow:
    cells = [throughput_cell(side.throughput_infer_per_s, text) for side in pair.sides]
    return _row(text["row_throughput"], pair, cells, insights.throughput_lines(run, pair, text))


def _latency_row(run: RunRecord, pair: Pairing, text: Text) -> ComparisonRow:
    cells = [latency_cell(side.latency_p99_ms, text) for side in pair.sides]
    return _row(text["row_latency"], pair, cells, insights.latency_lines(run, pair, text))


def _miss_row(run: RunRecord, pair: Pairing, text: Text) -> ComparisonRow:
    limit_ms = run.ranking.latency_p99_limit_ms
    assert limit_ms is not None  # there is no share of slow requests without a limit
    cells = [miss_cell(side.miss_ratio, text) for side in pair.sides]
    return _row(text["row_miss"].format(limit=figures.limit(limit_ms)), pair, cells, miss_lines(run, pair, text))


def throughput_cell(figure: Estimate, text: Text) -> Cell:
    """A throughput over its interval."""
    value = text["unit_throughput"].format(value=figures.throughput(figure.estimate))
    return Cell(value=value, detail=_interval(figure, figures.throughput, text))


def latency_cell(figure: Estimate, text: Text) -> Cell:
    """A latency over its interval."""
    value = text["unit_latency"].format(value=figures.latency(figure.estimate))
    return Cell(value=value, detail=_interval(figure, figures.latency, text))


def _interval(figure: Estimate, digits: Callable[[float], str], text: Text) -> str:
    if figure.ci_low is None or figure.ci_high is None:
        return text["no_interval"]
    bounds = text["range"].format(low=digits(figure.ci_low), high=digits(figure.ci_high))
    return text["interval"].format(range=bounds)


def _cost_row(pair: Pairing, price_per_hour: float, text: Text) -> ComparisonRow:
    cells = [
        Cell(value=figures.cost(cost_per_million(price_per_hour, side.throughput_infer_per_s.estimate)))
        for side in pair.sides
    ]
    return _row(text["row_cost"], pair, cells, (text["cost_at"].format(price=f"{price_per_hour:.12g}"),))


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
