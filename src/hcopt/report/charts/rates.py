"""The open-loop check: share of requests over the limit, and p99 latency, against the arrival rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcopt.analysis.p99_limit import ALLOWED_MISS_RATIO
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Capacity, RatePoint
from hcopt.report import figures
from hcopt.report.charts.drawing import (
    BLUE,
    GREY,
    LIMIT_DASH,
    ORANGE,
    data,
    latency_axis,
    like,
    limit_line,
    needs_log,
    styled,
    tooltip,
)
from hcopt.report.facts.limit import lower_bound
from hcopt.words import Language, Text, texts

if TYPE_CHECKING:
    import altair as alt

_MISS_TICKS = [0, 0.001, ALLOWED_MISS_RATIO, 0.1, 1]
_VERDICT_STYLES = {"feasible": (BLUE, "circle"), "undecided": (GREY, "diamond"), "infeasible": (ORANGE, "cross")}


def misses_against_rate(run: RunRecord, *, language: Language) -> alt.ConcatChart | None:
    """Two panels over the arrival rates that were tried; None where there was no open-loop check."""
    import altair as alt

    text, capacity = texts(language), run.capacity
    if capacity is None or not capacity.points:
        return None
    rows = [_row(point, text) for point in capacity.points]
    axis = alt.Axis(format=",~f", labelOverlap=True, tickCount=5, grid=False)
    x = alt.X("rate:Q", title=text["axis_rate"], scale=alt.Scale(zero=False, nice=True, padding=12), axis=axis)
    panels = (_miss_panel(rows, x, capacity, text), _latency_panel(rows, x, capacity, text))
    chart: alt.ConcatChart = (
        alt.concat(*panels, columns=2, spacing=26)
        .resolve_scale(color="shared", shape="shared")
        .properties(description=text["alt_rates"].format(count=len(rows)))
    )
    return chart


def _row(point: RatePoint, text: Text) -> JsonObject:
    miss = point.miss_ratio
    return {
        "rate": point.rate_infer_per_s,
        "rate_shown": figures.rate(point.rate_infer_per_s),
        "miss": miss.estimate,
        "low": miss.ci_low,
        "high": miss.ci_high,
        "miss_shown": figures.followed(figures.share(miss.estimate), figures.bounds(miss, figures.share, text)),
        "p99_ms": point.latency_p99_ms,
        "p99_shown": figures.milliseconds(point.latency_p99_ms),
        "windows": str(point.window_count),
        "verdict": text[f"feasibility_{point.verdict}"],
    }


def _miss_panel(rows: list[JsonObject], x: alt.X, capacity: Capacity, text: Text) -> alt.LayerChart:
    import altair as alt

    # Overload misses nearly everything, a light load nothing: both and the 1 % between them have to be read.
    scale = alt.Scale(type="symlog", constant=0.001, domain=[0, 1])
    y = alt.Y("miss:Q", title=None, scale=scale, axis=alt.Axis(values=_MISS_TICKS, format=".1~%"))
    measured = alt.Chart(data(rows)).transform_filter("isValid(datum.low)")
    bars = measured.mark_rule(strokeWidth=1.6).encode(x=x, y=like(y, "low"), y2="high:Q", color=_style(text)[0])
    layers = [limit_line(y, {"miss": ALLOWED_MISS_RATIO}), *_sustainable(x, capacity), bars, _points(rows, x, y, text)]
    title = alt.TitleParams(text["axis_miss"], subtitle=_subtitle(capacity, text))
    panel: alt.LayerChart = alt.layer(*layers).properties(width=215, height=165, title=title)
    return panel


def _latency_panel(rows: list[JsonObject], x: alt.X, capacity: Capacity, text: Text) -> alt.LayerChart:
    import altair as alt

    limit_ms = capacity.latency_p99_limit_ms
    wide = needs_log([row["p99_ms"] for row in rows] + [limit_ms])
    scale = alt.Scale(type="log", nice=False, padding=8) if wide else alt.Scale(zero=True, nice=True)
    y = alt.Y("p99_ms:Q", title=None, scale=scale, axis=latency_axis([row["p99_ms"] for row in rows] + [limit_ms]))
    layers = [limit_line(y, {"p99_ms": limit_ms}), *_sustainable(x, capacity), _points(rows, x, y, text)]
    title = alt.TitleParams(text["chart_latency"], subtitle=text["chart_limit"].format(limit=figures.limit(limit_ms)))
    panel: alt.LayerChart = alt.layer(*layers).properties(width=215, height=165, title=title)
    return panel


def _subtitle(capacity: Capacity, text: Text) -> str:
    return "" if lower_bound(capacity) is None else text["subtitle_sustainable"]


def _sustainable(x: alt.X, capacity: Capacity) -> list[alt.Chart]:
    """A line at the highest rate that is shown to keep the limit, which is what capacity planning uses."""
    import altair as alt

    low = lower_bound(capacity)
    if low is None:
        return []
    rule = alt.Chart(data([{"rate": low}])).mark_rule(color=BLUE, strokeDash=LIMIT_DASH, strokeWidth=1.4)
    return [rule.encode(x=x)]


def _style(text: Text) -> tuple[alt.Color, alt.Shape]:
    import altair as alt

    legend = alt.Legend(title=None, orient="bottom", symbolOpacity=1)
    styles = {text[f"feasibility_{verdict}"]: style for verdict, style in _VERDICT_STYLES.items()}
    return styled("verdict:N", styles, legend)


def _points(rows: list[JsonObject], x: alt.X, y: alt.Y, text: Text) -> alt.Chart:
    import altair as alt

    color, shape = _style(text)
    tips = tooltip(
        text,
        rate_shown="tip_rate",
        miss_shown="tip_miss",
        p99_shown="tip_p99",
        windows="column_windows",
        verdict="tip_verdict",
    )
    points: alt.Chart = (
        alt.Chart(data(rows))
        .mark_point(filled=True, size=60, opacity=1)
        .encode(x=x, y=y, color=color, shape=shape, tooltip=tips)
    )
    return points
