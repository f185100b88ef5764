"""What the confirmation found: the finalists side by side, and who stands how to whom. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hcopt.analysis.view import default_wins
from hcopt.records.run import RunRecord
from hcopt.records.verdict import ConfirmedVariant, FailedWindows
from hcopt.report import figures
from hcopt.report.facts.headline import cheaper_than_runner_up, interval_inline, needed_blocks
from hcopt.report.facts.insights import equal_load_line
from hcopt.report.facts.limit import miss_cell
from hcopt.report.facts.names import load_name, load_value, one_line, settings_name, short_name
from hcopt.report.pages.first_page import figure_cell
from hcopt.report.values import Cell, Figure, Section, Table
from hcopt.words import Language, Text


def confirmation_section(run: RunRecord, text: Text, language: Language) -> Section | None:
    """The section on it; None where it gave figures for nobody."""
    rows = tuple(_rows(run, text))
    if not rows:
        return None
    found = run.confirmation
    has_limit = run.ranking.latency_p99_limit_ms is not None
    columns = ["column_config", "tip_settings", "tip_load", "row_throughput_infer_per_s", "finalist_latency"]
    columns += ["column_miss", "column_verdict"] if has_limit else []
    note = text["finalists_caption"].format(blocks=found.block_count)
    if found.look_count > 1:
        note += text["finalists_looks"].format(looks=found.look_count)
    return Section(
        name="confirmation",
        title=text["section_confirmation"],
        lines=tuple(_lines(run, text, language)),
        table=Table(header=tuple(text[column] for column in columns), rows=rows, word_columns=2),
        note=note,
        figures=(Figure(chart="blocks", caption=text["blocks_caption"]),),
    )


def runner_up_sentence(run: RunRecord, text: Text) -> str:
    """How the best configuration stands to the next one."""
    found = run.confirmation
    relation = found.runner_up_relation
    if found.best is None or found.runner_up is None or relation is None:
        return text["runner_up_none"]
    return text[f"runner_up_{relation.verdict}"].format(
        best=short_name(found.best.variant.config_name, run),
        other=short_name(found.runner_up.variant.config_name, run),
        change=figures.change(relation.throughput_ratio.estimate),
        interval=interval_inline(relation.throughput_ratio, text),
        needed=needed_blocks(relation, found.block_count, text),
    )


def _lines(run: RunRecord, text: Text, language: Language) -> Iterator[str]:
    found = run.confirmation
    if found.best is not None:
        yield runner_up_sentence(run, text)
    yield from (_failed_sentence(failed, run, text) for failed in found.failures)
    cheaper = cheaper_than_runner_up(run, text, language)
    if cheaper is not None:
        yield text["cheaper_sentence"].format(reason=cheaper)
    if found.equal_load is not None and found.best is not None:
        line = equal_load_line(found.equal_load, text)
        yield text["equal_load_sentence"].format(load=load_name(found.best.load, text), line=line)


def _failed_sentence(failed: FailedWindows, run: RunRecord, text: Text) -> str:
    return text["failed_own" if failed.variant_count else "failed_other"].format(
        name=short_name(failed.config_name, run),
        load=load_name(failed.load, text),
        count=f"{failed.variant_count or failed.other_count:,}",
        windows=f"{failed.window_count:,}",
        share=figures.share(failed.variant_ratio),
        reason=one_line(failed.reason),
    )


def _rows(run: RunRecord, text: Text) -> Iterator[tuple[Cell, ...]]:
    """Best, runner-up, default, and the default at the load of the best."""
    found = run.confirmation
    best_role = "role_default" if default_wins(run) else "role_best" if found.verdict == "better" else "role_candidate"
    entries = [(best_role, found.best), ("role_runner_up", found.runner_up)]
    if not default_wins(run):
        entries += [("role_default", found.default), ("role_default_equal", found.default_at_best_load)]
    for role, entry in entries:
        if entry is not None:
            yield _row(text[role], entry, run, text)


def _row(role: str, entry: ConfirmedVariant, run: RunRecord, text: Text) -> tuple[Cell, ...]:
    cells = (
        Cell(value=role, detail=short_name(entry.variant.config_name, run)),
        Cell(value=settings_name(entry.variant, text)),
        Cell(value=load_value(entry.load, text)),
        figure_cell("throughput_infer_per_s", entry.throughput_infer_per_s, text),
        figure_cell("latency_p99_ms", entry.latency_p99_ms, text),
    )
    if run.ranking.latency_p99_limit_ms is None:
        return cells
    return (*cells, miss_cell(entry.miss_ratio, text), Cell(value=text[f"feasibility_{entry.feasibility}"]))
