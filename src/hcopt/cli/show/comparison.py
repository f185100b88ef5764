"""A comparison of two runs as the terminal shows it, as Markdown, and as JSON. One set of rows for the first two."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from hcopt.analysis.view import confirmed_side, deployed, improvement
from hcopt.check.compare_runs import RunComparison
from hcopt.check.conclusion import relation
from hcopt.cli.progress_bar import duration, printable
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.records.verdict import ConfirmedVariant, Estimate
from hcopt.report import figures
from hcopt.report.facts.limit import lower_bound
from hcopt.report.facts.names import short_name
from hcopt.report.plain_table import plain_rows
from hcopt.words.notes import worded

SCHEMA_VERSION = 1

_NOTHING = "-"
_MARKDOWN_SIGNS = re.compile(r"([\\`*_{}\[\]<>|~#&])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; an interval is on a line of its own below its figure.

    Attributes:
        ratio: B / A; empty where there is none.
    """

    label: str
    a: str
    b: str
    ratio: str = ""


def rows(comparison: RunComparison) -> list[Row]:
    """The figures of both runs, and the ratios where there are any."""
    runs, ratios = (comparison.a, comparison.b), comparison.ratios
    shown = (
        {}
        if ratios is None
        else {
            "throughput (infer/s)": ratios.throughput,
            "p99 latency (ms)": ratios.latency_p99,
            "default (infer/s)": ratios.default_throughput,
            "golden / default": ratios.gain_over_default,
        }
    )
    cells = {
        "verdict": [run.confirmation.verdict.replace("_", " ") for run in runs],
        "configuration": [_name(run) for run in runs],
        **_golden_rows(runs),
        "p99 limit (ms)": [_limit(run) for run in runs],
        "default (infer/s)": [_figure(_default(run), figures.throughput) for run in runs],
        "golden / default": [_figure(_gain(run), figures.times) for run in runs],
        "sustainable rate (infer/s)": [_sustained(run) for run in runs],
        "spread of blocks": [_NOTHING if run.noise is None else f"{run.noise.block_sd_ratio:.1%}" for run in runs],
        "resolvable change": [_NOTHING if run.noise is None else f"{run.noise.resolvable_ratio:.1%}" for run in runs],
        "took": [duration(sum(run.elapsed_s.values())) for run in runs],
    }
    return [
        Row(label=label, a=a, b=b, ratio=_figure(shown[label], figures.times) if label in shown else "")
        for label, (a, b) in cells.items()
        if (a, b) != (_NOTHING, _NOTHING)
    ]


def _golden_rows(runs: tuple[RunRecord, RunRecord]) -> dict[str, list[str]]:
    """What is deployed, and its figures."""
    golden = [run.confirmation.best for run in runs]
    sides = [confirmed_side(best, "best") for best in golden if best is not None]
    found = plain_rows(sides, limited=True)
    if None in golden:
        found = {label: [_NOTHING if best is None else cells[0] for best in golden] for label, cells in found.items()}
    # An interval stands in a line of its own: three of them do not fit side by side.
    return {label: [cell.replace(" [", "\n[") for cell in cells] for label, cells in found.items()}


def _name(run: RunRecord) -> str:
    best = run.confirmation.best
    if best is None:
        return _NOTHING
    name = short_name(best.variant.config_name, run)
    return f"{name}\ncandidate" if run.confirmation.verdict == "undecided" else name


def _limit(run: RunRecord) -> str:
    limit_ms = run.ranking.latency_p99_limit_ms
    return "none" if limit_ms is None else f"{limit_ms:g}"


def _default(run: RunRecord) -> Estimate | None:
    return None if run.confirmation.default is None else run.confirmation.default.throughput_infer_per_s


def _gain(run: RunRecord) -> Estimate | None:
    found = improvement(run.confirmation)
    return None if found is None else found.throughput_ratio


def _capacity(run: RunRecord) -> Estimate | None:
    return None if run.capacity is None else run.capacity.sustainable_rate_infer_per_s


def _sustained(run: RunRecord) -> str:
    """The rate that is promised, as everywhere."""
    if run.capacity is None:
        return _NOTHING
    low = lower_bound(run.capacity)
    return "none shown" if low is None else f"≥ {figures.throughput(low)}"


def _figure(value: Estimate | None, digits: figures.Digits) -> str:
    """A figure, and its interval in the line below."""
    return _NOTHING if value is None else figures.bracketed(value, digits).replace(" [", "\n[")


# The terminal


def print_comparison(console: Console, comparison: RunComparison) -> None:
    """Which runs, what differs between their conditions, the figures, and what it comes to."""
    for name, run in (("A", comparison.a), ("B", comparison.b)):
        console.print(Text.assemble((f"{name}  ", "bold"), printable(_title(run))), highlight=False)
    same = comparison.a.model.sha256 == comparison.b.model.sha256
    model, conditions = ("same" if same else "different"), ("different" if comparison.differences else "same")
    console.print(f"Model file: {model}. Conditions: {conditions}.", highlight=False)
    for difference in comparison.differences:
        values = printable(f"{difference.a or _NOTHING} | {difference.b or _NOTHING}")
        console.print(Text.assemble("  ", (f"{difference.key}: ", "yellow"), values), highlight=False)
        console.print(Text(f"    {printable(difference.why)}"), highlight=False)
    console.print(_table(comparison))
    console.print(Text(printable(comparison.conclusion), style="bold"), highlight=False)
    for remark in comparison.remarks:
        console.print(Text.assemble("  ", ("note:", "yellow"), f" {printable(remark)}"), highlight=False)


def _title(run: RunRecord) -> str:
    version = "" if run.model.version is None else f" version {run.model.version}"
    return f"{run.run_id}, {run.model.name}{version}, {run.started_at[:16].replace('T', ' ')} UTC"


def _table(comparison: RunComparison) -> Table:
    with_ratio = comparison.ratios is not None
    table = Table("", *(Column(side, overflow="fold") for side in ("A", "B", *(["B / A"] if with_ratio else []))))
    for row in rows(comparison):
        cells = (row.label, row.a, row.b, *([row.ratio] if with_ratio else []))
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


# Markdown


def markdown(comparison: RunComparison) -> str:
    """The same for a pull request or a job's summary (GitHub's tables)."""
    lines = [f"- **{name}**: {_plain(_title(run))}" for name, run in (("A", comparison.a), ("B", comparison.b))]
    if comparison.differences:
        lines += ["", "| condition | A | B | why it matters |", "| --- | --- | --- | --- |"]
        for each in comparison.differences:
            lines.append(_markdown_row(each.key, each.a or _NOTHING, each.b or _NOTHING, each.why))
    with_ratio = comparison.ratios is not None
    lines += ["", f"| | A | B |{' B / A |' if with_ratio else ''}", "| --- |" + " ---: |" * (3 if with_ratio else 2)]
    for row in rows(comparison):
        lines.append(_markdown_row(row.label, row.a, row.b, *([row.ratio] if with_ratio else [])))
    lines += ["", f"**{_plain(comparison.conclusion)}**", ""]
    lines += [f"- {_plain(remark)}" for remark in comparison.remarks]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_row(*cells: str) -> str:
    return f"| {' | '.join(_plain(cell) for cell in cells)} |"


def _plain(text: str) -> str:
    """Text in which nothing is markup, on one line."""
    return _MARKDOWN_SIGNS.sub(r"\\\1", " ".join(text.split()))


# JSON


def as_json(comparison: RunComparison) -> JsonObject:
    """For machines; schemas/comparison.schema.json describes it."""
    ratios = comparison.ratios
    return {
        "schema_version": SCHEMA_VERSION,
        "comparable": not comparison.differences,
        "differences": [asdict(difference) for difference in comparison.differences],
        "same_model": comparison.a.model.sha256 == comparison.b.model.sha256,
        "same_configuration": comparison.same_configuration,
        "same_load": comparison.same_load,
        "repeatability_check": comparison.is_repeatability_check,
        "ratios": None
        if ratios is None
        else {
            "throughput": _ratio(ratios.throughput),
            "latency_p99": _ratio(ratios.latency_p99),
            "default_throughput": _ratio(ratios.default_throughput),
            "gain_over_default": _ratio(ratios.gain_over_default),
        },
        "conclusion": comparison.conclusion,
        "remarks": list(comparison.remarks),
        "a": _run(comparison.a),
        "b": _run(comparison.b),
    }


def _ratio(ratio: Estimate | None) -> JsonObject | None:
    return None if ratio is None else {**asdict(ratio), "relation": relation(ratio)}


def _run(run: RunRecord) -> JsonObject:
    found = run.confirmation
    capacity = _capacity(run)
    gain = _gain(run)
    return {
        "run_id": run.run_id,
        "started_at": run.started_at,
        "model": {key: getattr(run.model, key) for key in ("name", "source_uri", "version", "sha256")},
        "environment": asdict(run.environment),
        "latency_p99_limit_ms": run.ranking.latency_p99_limit_ms,
        "verdict": found.verdict,
        "reason": worded(found.reason),
        "golden": _confirmed(found.best),
        "default": _confirmed(found.default),
        "throughput_ratio_to_default": None if gain is None else asdict(gain),
        "sustainable_rate_infer_per_s": None if capacity is None else asdict(capacity),
        "noise": None
        if run.noise is None
        else {
            "block_sd_ratio": run.noise.block_sd_ratio,
            "resolvable_ratio": run.noise.resolvable_ratio,
            "exceeded": list(run.noise.exceeded),
        },
        "elapsed_s": sum(run.elapsed_s.values()),
    }


def _confirmed(side: ConfirmedVariant | None) -> JsonObject | None:
    if side is None:
        return None
    return {
        **deployed(side.variant, side.load),
        "dynamic_batching": side.variant.dynamic_batching,
        "parameters": dict(side.variant.parameters),
        "throughput_infer_per_s": asdict(side.throughput_infer_per_s),
        "latency_p99_ms": asdict(side.latency_p99_ms),
        "feasibility": side.feasibility,
        "miss_ratio": None if side.miss_ratio is None else asdict(side.miss_ratio),
        "block_count": side.block_count,
    }
