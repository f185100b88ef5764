"""A comparison of two runs as the terminal shows it, as Markdown, and as JSON. One set of rows for the first two."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from hcopt.check.compare_runs import RunComparison
from hcopt.check.conclusion import relation
from hcopt.cli.progress_bar import duration, printable
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.records.verdict import ConfirmedVariant, Estimate
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
    runs = (comparison.a, comparison.b)
    ratios = comparison.ratios
    throughput, latency, default, gain = (
        ("", "", "", "")
        if ratios is None
        else (
            _interval(each, "{:.3f}")
            for each in (ratios.throughput, ratios.latency_p99, ratios.default_throughput, ratios.gain_over_default)
        )
    )
    lines = [
        _row("verdict", runs, lambda run: run.confirmation.verdict.replace("_", " ")),
        *_setting_rows(runs),
        _golden_row(
            "throughput (infer/s)", runs, lambda side: _interval(side.throughput_infer_per_s, "{:,.0f}"), throughput
        ),
        _golden_row("p99 latency (ms)", runs, lambda side: _interval(side.latency_p99_ms, "{:.2f}"), latency),
        _row("p99 limit (ms)", runs, _limit),
        _golden_row("limit kept", runs, _kept),
        _row("default (infer/s)", runs, _default, default),
        _row("golden / default", runs, _gain, gain),
        _row("sustainable rate (infer/s)", runs, _capacity),
        _row("spread of blocks", runs, _spread),
        _row("resolvable change", runs, _resolvable),
        _row("took", runs, lambda run: duration(sum(run.elapsed_s.values()))),
    ]
    return [line for line in lines if (line.a, line.b) != (_NOTHING, _NOTHING)]


def _row(label: str, runs: tuple[RunRecord, RunRecord], cell: Callable[[RunRecord], str], ratio: str = "") -> Row:
    return Row(label=label, a=cell(runs[0]), b=cell(runs[1]), ratio=ratio)


def _golden_row(
    label: str, runs: tuple[RunRecord, RunRecord], cell: Callable[[ConfirmedVariant], str], ratio: str = ""
) -> Row:
    def of(run: RunRecord) -> str:
        best = run.confirmation.best
        return _NOTHING if best is None else cell(best)

    return _row(label, runs, of, ratio)


def _setting_rows(runs: tuple[RunRecord, RunRecord]) -> list[Row]:
    """What is deployed; parameters, plain batching and rows a request only where a run has them."""
    settings = [
        _row("configuration", runs, _name),
        _golden_row("max batch size", runs, lambda side: str(side.variant.max_batch_size)),
        _golden_row("instances", runs, lambda side: str(side.variant.instance_count)),
        _golden_row("queue delay (µs)", runs, lambda side: str(side.variant.max_queue_delay_us)),
        _golden_row("concurrency", runs, lambda side: str(side.load.concurrency)),
    ]
    sides = [run.confirmation.best for run in runs if run.confirmation.best is not None]
    if any(side.variant.parameters for side in sides):
        settings.append(_golden_row("parameters", runs, _parameters))
    if not all(side.variant.dynamic_batching for side in sides):
        settings.append(
            _golden_row("dynamic batching", runs, lambda side: "on" if side.variant.dynamic_batching else "off")
        )
    if any(side.load.client_batch_size != 1 for side in sides):
        settings.append(_golden_row("rows a request", runs, lambda side: str(side.load.client_batch_size)))
    return settings


def _name(run: RunRecord) -> str:
    best = run.confirmation.best
    if best is None:
        return _NOTHING
    name = best.variant.config_name.removeprefix(f"{run.model.name}_")
    return f"{name}\ncandidate" if run.confirmation.verdict == "undecided" else name


def _parameters(side: ConfirmedVariant) -> str:
    return "\n".join(f"{key}={value}" for key, value in side.variant.parameters) or _NOTHING


def _limit(run: RunRecord) -> str:
    limit_ms = run.ranking.latency_p99_limit_ms
    return "none" if limit_ms is None else f"{limit_ms:g}"


def _kept(side: ConfirmedVariant) -> str:
    said = {"feasible": "yes", "infeasible": "no", "undecided": "not shown"}[side.feasibility]
    if side.miss_ratio is None:
        return said
    return f"{said}\n{side.miss_ratio.estimate:.2%} over"


def _default(run: RunRecord) -> str:
    default = run.confirmation.default
    return _NOTHING if default is None else _interval(default.throughput_infer_per_s, "{:,.0f}")


def _gain(run: RunRecord) -> str:
    improvement, default = run.confirmation.improvement, run.confirmation.default
    # A default that misses the limit has no throughput to compare with.
    if improvement is None or default is None or not default.feasible:
        return _NOTHING
    return _interval(improvement.throughput_ratio, "{:.3f}")


def _capacity(run: RunRecord) -> str:
    return _NOTHING if run.capacity is None else _interval(run.capacity.sustainable_rate_infer_per_s, "{:,.0f}")


def _spread(run: RunRecord) -> str:
    return _NOTHING if run.noise is None else f"{run.noise.block_sd_ratio:.1%}"


def _resolvable(run: RunRecord) -> str:
    return _NOTHING if run.noise is None else f"{run.noise.resolvable_ratio:.1%}"


def _interval(value: Estimate | None, form: str) -> str:
    """A figure, and its interval in the line below; a bound that is not known is left open."""
    if value is None:
        return _NOTHING
    if value.ci_low is None and value.ci_high is None:
        return form.format(value.estimate)
    low, high = ("…" if bound is None else form.format(bound) for bound in (value.ci_low, value.ci_high))
    return f"{form.format(value.estimate)}\n[{low}, {high}]"


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
    capacity = None if run.capacity is None else asdict(run.capacity.sustainable_rate_infer_per_s)
    compared = found.improvement if found.default is not None and found.default.feasible else None
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
        "throughput_ratio_to_default": None if compared is None else asdict(compared.throughput_ratio),
        "sustainable_rate_infer_per_s": capacity,
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
        "config_name": side.variant.config_name,
        "max_batch_size": side.variant.max_batch_size,
        "instance_count": side.variant.instance_count,
        "max_queue_delay_us": side.variant.max_queue_delay_us,
        "dynamic_batching": side.variant.dynamic_batching,
        "parameters": dict(side.variant.parameters),
        "concurrency": side.load.concurrency,
        "client_batch_size": side.load.client_batch_size,
        "throughput_infer_per_s": asdict(side.throughput_infer_per_s),
        "latency_p99_ms": asdict(side.latency_p99_ms),
        "feasibility": side.feasibility,
        "miss_ratio": None if side.miss_ratio is None else asdict(side.miss_ratio),
        "block_count": side.block_count,
    }
