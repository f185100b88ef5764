"""The charts of a run, made with Altair: one definition for the PDF's SVG and for interactive HTML. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from hcopt.records.run import RunRecord
from hcopt.report.charts.blocks import confirmation_blocks
from hcopt.report.charts.breakdown import latency_breakdown
from hcopt.report.charts.drawing import PRINT_THEME, theme
from hcopt.report.charts.heat_map import throughput_by_settings
from hcopt.report.charts.load_curve import latency_against_concurrency
from hcopt.report.charts.pair import default_against_best
from hcopt.report.charts.pod import pod_load
from hcopt.report.charts.rates import misses_against_rate
from hcopt.report.charts.search_path import windows_over_time
from hcopt.report.charts.sweep import throughput_against_p99
from hcopt.words import Language

if TYPE_CHECKING:
    import altair as alt

    Chart: TypeAlias = alt.LayerChart | alt.ConcatChart | alt.FacetChart

__all__ = ["CHARTS", "PRINT_THEME", "all_charts", "theme"]

# What makes a chart, by its name; a run without the data for one gives None.
CHARTS: Mapping[str, Callable[..., Chart | None]] = {
    "pair": default_against_best,
    "breakdown": latency_breakdown,
    "blocks": confirmation_blocks,
    "sweep": throughput_against_p99,
    "heat_map": throughput_by_settings,
    "load_curve": latency_against_concurrency,
    "rates": misses_against_rate,
    "pod": pod_load,
    "search": windows_over_time,
}


def all_charts(run: RunRecord, *, language: Language) -> dict[str, Chart]:
    """Every chart that the run has data for, by name; each describes itself for those who cannot see it."""
    if not run.ranking.ranked:
        return {}
    made = {name: make(run, language=language) for name, make in CHARTS.items()}
    return {name: chart for name, chart in made.items() if chart is not None}
