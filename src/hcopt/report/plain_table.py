"""Configurations side by side in plain English: one table for the terminal, MLflow and comparisons of runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hcopt.analysis.view import Side, Value, rows_of
from hcopt.records.measurement import LoadPoint
from hcopt.records.verdict import Estimate
from hcopt.report import figures
from hcopt.report.facts.names import load_value
from hcopt.words import texts

_LABELS = {
    "model_file": "model file",
    "max_batch_size": "max batch size",
    "instance_count": "instances",
    "max_queue_delay_us": "queue delay (µs)",
    "load": "concurrency",
    "throughput_infer_per_s": "throughput (infer/s)",
    "latency_p99_ms": "p99 latency (ms)",
    "memory_mb": "memory (MB)",
}
_DIGITS = {
    "throughput_infer_per_s": figures.throughput,
    "latency_p99_ms": figures.latency,
    "miss_ratio": figures.percent,
}


def plain_rows(sides: Sequence[Side], *, limit_ms: float | None = None, limited: bool) -> dict[str, list[str]]:
    """The cells of each row, by its label.

    Args:
        sides: The configurations, from left to right.
        limit_ms: The p99 limit, where all have the same.
        limited: Whether any of them has one; a row then says how each stands to it.
    """
    over = "over the limit" if limit_ms is None else f"over {limit_ms:g} ms"
    labels, text = {**_LABELS, "miss_ratio": over}, texts("en")
    rows = {labels.get(row.what, row.what): [_cell(row.what, value) for value in row.values] for row in rows_of(sides)}
    if limited:
        rows["limit (at most 1%)"] = [text[f"feasibility_{side.feasibility}"] for side in sides]
    return rows


def _cell(what: str, value: Value) -> str:
    if isinstance(value, Estimate):
        return figures.bracketed(value, _DIGITS[what])
    if isinstance(value, LoadPoint):
        return load_value(value, texts("en"))
    if value is None:
        return {"max_queue_delay_us": "off", "miss_ratio": "-", "memory_mb": "-"}.get(what, "unset")
    if what == "memory_mb":
        return figures.whole(float(value))
    return f"{value}"
