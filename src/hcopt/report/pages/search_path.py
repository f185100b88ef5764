"""The path of an adaptive search: how long it took, why it ended, what it dropped and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hcopt.records.run import RunRecord
from hcopt.records.search import Decision
from hcopt.records.verdict import Estimate
from hcopt.report import figures
from hcopt.report.facts.names import load_name, settings_name, short_name
from hcopt.report.pages.details import duration
from hcopt.report.values import Cell, Figure, Section, Table
from hcopt.words import Text

# Dropped configurations that are explained one by one, and names in a row.
_MAX_ROWS = 5
_MAX_NAMES = 4
_CAUSES = ("slow", "late", "failing")


def search_section(run: RunRecord, text: Text) -> Section | None:
    """The section on it; None where another profiler measured."""
    if not run.decisions:
        return None
    drops = _of(run, "drop")
    shown = _closest(drops)
    note = text["search_note"].format(shown=len(shown), dropped=f"{len(drops):,}")
    return Section(
        name="search",
        title=text["section_search"],
        lines=_lines(run, text),
        facts=tuple(_facts(run, drops, text)),
        table=_table(run, shown, text) if shown else None,
        note=note if shown else text["search_note_none"],
        figures=(Figure(chart="search", caption=text["search_caption"]),),
    )


def search_windows(run: RunRecord) -> int:
    """Windows that the search took, failed ones included."""
    return run.decisions[-1].window_count


def _of(run: RunRecord, action: str) -> tuple[Decision, ...]:
    return tuple(decision for decision in run.decisions if decision.action == action)


def _lines(run: RunRecord, text: Text) -> tuple[str, ...]:
    end = next(iter(_of(run, "stop")), run.decisions[-1])
    budget = text["search_no_budget"]
    if end.budget_s is not None:
        budget = text["search_budget"].format(budget=duration(end.budget_s, text))
    measured = text["search_measured"].format(
        windows=f"{search_windows(run):,}",
        measured=f"{len(_measured(run)):,}",
        variants=f"{len({variant.settings for variant in run.plan.all_variants}):,}",
        elapsed=duration(end.elapsed_s, text),
        budget=budget,
    )
    if end.cause is None:
        return (measured,)
    late = "_late" if end.cause == "windows" and end.gain_ratio is None else ""
    gain = figures.share(end.gain_ratio or 0.0)
    return measured, text[f"search_ended_{end.cause}{late}"].format(gain=gain)


def _measured(run: RunRecord) -> dict[str, None]:
    """Names of the configurations with figures, in the order of the ranking."""
    return {entry.variant.config_name: None for entry in run.ranking.ranked}


def _facts(run: RunRecord, drops: Sequence[Decision], text: Text) -> Iterator[tuple[str, str]]:
    dropped = {drop.config_name for drop in drops}
    kept = [short_name(name, run) for name in _measured(run) if name not in dropped]
    if kept:
        names = ", ".join(kept[:_MAX_NAMES])
        if len(kept) > _MAX_NAMES:
            names = text["search_more"].format(names=names, count=f"{len(kept) - _MAX_NAMES:,}")
        yield text["search_kept"], text["search_kept_value"].format(count=f"{len(kept):,}", names=names)
    if (bold := run.ranking.bold) is not None:
        name, safe = (short_name(one.variant.config_name, run) for one in (bold, run.ranking.ranked[0]))
        load = load_name(bold.load, text)
        yield text["search_bold"], text["search_bold_value"].format(name=name, load=load, safe=safe)
    for cause in _CAUSES:
        times = sorted(drop.elapsed_s for drop in drops if drop.cause == cause)
        if times:
            value = text["search_dropped_value"].format(count=f"{len(times):,}", when=_when(times, text))
            yield text[f"search_dropped_{cause}"], value
    # A failure at one load alone leaves the configuration in the search.
    failed = [decision for decision in _of(run, "fail") if decision.concurrency is None]
    for key, found in (("failed", failed), ("unvisited", _of(run, "unvisited")), ("left_out", _of(run, "left_out"))):
        if found:
            yield text[f"search_{key}"], text[f"search_{key}_value"].format(count=f"{len(found):,}")


def _when(times: Sequence[float], text: Text) -> str:
    first, last = (duration(seconds, text) for seconds in (times[0], times[-1]))
    return text["search_when" if first == last else "search_when_range"].format(first=first, last=last)


def _closest(drops: Sequence[Decision]) -> list[Decision]:
    """Those with the most throughput: whoever knows the model asks of them why they were dropped."""
    return sorted(drops, key=lambda drop: -(drop.throughput_ratio or 0.0))[:_MAX_ROWS]


def _table(run: RunRecord, drops: Sequence[Decision], text: Text) -> Table:
    has_limit = run.ranking.latency_p99_limit_ms is not None
    columns = ["column_config", "search_column_why", "column_load", "search_column_when", "search_column_ratio"]
    columns += ["column_latency"] if has_limit else []
    header = tuple(text[column] for column in columns)
    settings = {variant.config_name: settings_name(variant, text) for variant in run.plan.all_variants}
    rows = tuple(_row(run, drop, settings, text)[: len(columns)] for drop in drops)
    return Table(header=header, rows=rows, word_columns=2)


def _row(run: RunRecord, drop: Decision, settings: dict[str, str], text: Text) -> tuple[Cell, ...]:
    name = drop.config_name or ""
    within = "" if run.ranking.latency_p99_limit_ms is None else text["search_why_within"]
    latency = text["nothing"] if drop.latency_p99_ms is None else figures.latency(drop.latency_p99_ms)
    return (
        Cell(value=short_name(name, run), detail=settings.get(name, "")),
        Cell(value=text[f"search_why_{drop.cause}"].format(within=within)),
        Cell(value=text["nothing"] if drop.concurrency is None else str(drop.concurrency)),
        # On one line, in a narrow column too.
        Cell(value=duration(drop.elapsed_s, text).replace(" ", "\u00a0")),
        _ratio_cell(drop, text),
        Cell(value=latency),
    )


def _ratio_cell(drop: Decision, text: Text) -> Cell:
    if drop.throughput_ratio is None:
        return Cell(value=text["nothing"])
    ratio = Estimate(estimate=drop.throughput_ratio, ci_low=drop.ratio_low, ci_high=drop.ratio_high)
    return Cell(value=figures.change(ratio.estimate), detail=figures.change_bounds(ratio, text) or "")
