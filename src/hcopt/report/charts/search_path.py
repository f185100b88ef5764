"""The path of an adaptive search: its windows over time, coloured by what became of their variants; the best so far."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Literal

import numpy as np

from hcopt.records.json import JsonObject
from hcopt.records.measurement import Measurement
from hcopt.records.run import RunRecord
from hcopt.records.search import Decision
from hcopt.report import figures
from hcopt.report.charts.drawing import BLUE, CAPTION, GREEN, GREY, ORANGE, PALE, SKY, data, like, tooltip
from hcopt.report.facts.names import load_name, settings_name, short_name
from hcopt.words import Language, Text, texts

if TYPE_CHECKING:
    import altair as alt

Fate = Literal["slow", "late", "open", "finalist", "winner"]

# In the order in which they are drawn: the winner's windows lie on top.
_COLORS: Mapping[Fate, str] = {"slow": PALE, "late": ORANGE, "open": SKY, "finalist": GREEN, "winner": BLUE}
_MANY = 150


def windows_over_time(run: RunRecord, *, language: Language) -> alt.LayerChart | None:
    """Throughput of each window; None where the run had no adaptive search."""
    import altair as alt

    text = texts(language)
    swept = [m for m in run.measurements if m.phase == "sweep"]
    if not run.decisions or not swept:
        return None
    times = _times(run.decisions, len(swept))
    rows = _windows(run, swept, times, text)
    axis = alt.Axis(format=",.0f", tickCount=8, grid=False)
    x = alt.X("time_s:Q", title=text["axis_search_time"], scale=alt.Scale(nice=False, padding=8), axis=axis)
    y = alt.Y("throughput:Q", title=text["column_throughput"], scale=alt.Scale(zero=False, nice=True, padding=8))
    layers = [_points(rows, x, y, text, has_limit=run.ranking.latency_p99_limit_ms is not None)]
    best = _best_so_far(run.decisions, swept)
    if best:
        line = alt.Chart(data(best)).mark_line(interpolate="step-after", color=GREY, strokeWidth=2)
        layers.append(line.encode(x=x, y=like(y, "best"), order="time_s:Q"))
    chart: alt.LayerChart = alt.layer(*layers).properties(
        width=520,
        height=190,
        description=text["alt_search"].format(windows=len(rows), variants=len({row["name"] for row in rows})),
        **({"title": alt.TitleParams(text["subtitle_search"], style=CAPTION)} if best else {}),
    )
    return chart


def _times(decisions: Sequence[Decision], count: int) -> list[float]:
    """When each window ended: decisions say how many had been taken when, and between two they are spread evenly."""
    # Both only grow, so that of the decisions at one number the last one's time stays.
    known = {one.window_count: one.elapsed_s for one in decisions}
    return [float(t) for t in np.interp(range(1, count + 1), list(known), list(known.values()))]


def _fates(run: RunRecord) -> dict[Hashable, Fate]:
    """What became of each variant that was dropped or confirmed, by its settings."""
    settings = {variant.config_name: variant.settings for variant in run.plan.all_variants}
    fates: dict[Hashable, Fate] = {
        settings[one.config_name]: "late" if one.cause == "late" else "slow"
        for one in run.decisions
        if one.action == "drop" and one.config_name in settings
    }
    found = run.confirmation
    for entry in (found.default, found.runner_up):
        if entry is not None:
            fates[entry.variant.settings] = "finalist"
    if found.best is not None:
        fates[found.best.variant.settings] = "winner"
    return fates


def _windows(run: RunRecord, swept: Sequence[Measurement], times: Sequence[float], text: Text) -> list[JsonObject]:
    fates, limit_ms, order = _fates(run), run.ranking.latency_p99_limit_ms, list(_COLORS)
    rows = []
    for m, time_s in zip(swept, times, strict=True):
        if m.throughput_infer_per_s is None or m.latency is None:
            continue
        fate = fates.get(m.variant.settings, "open")
        over = limit_ms is not None and m.latency.p99_ms > limit_ms
        rows.append(
            {
                "time_s": round(time_s, 2),
                "throughput": round(m.throughput_infer_per_s, 2),
                "fate": text[f"fate_{fate}"],
                "limit": text["window_over" if over else "window_within"],
                "name": short_name(m.variant.config_name, run),
                "settings": settings_name(m.variant, text),
                "load": load_name(m.load, text),
                "throughput_shown": figures.rate(m.throughput_infer_per_s),
                "p99_shown": figures.milliseconds(m.latency.p99_ms),
                "order": order.index(fate),
            }
        )
    return sorted(rows, key=lambda row: row["order"])


def _points(rows: list[JsonObject], x: alt.X, y: alt.Y, text: Text, *, has_limit: bool) -> alt.Chart:
    import altair as alt

    present = [fate for fate in reversed(list(_COLORS)) if any(row["fate"] == text[f"fate_{fate}"] for row in rows)]
    colors = alt.Scale(domain=[text[f"fate_{fate}"] for fate in present], range=[_COLORS[fate] for fate in present])
    shapes = alt.Scale(domain=[text["window_within"], text["window_over"]], range=["circle", "cross"])
    legend = alt.Legend(orient="top", title=None, labelLimit=200, symbolSize=60, symbolOpacity=1)
    tips = tooltip(
        text,
        name="column_config",
        settings="tip_settings",
        fate="tip_fate",
        load="tip_load",
        throughput_shown="tip_throughput",
        p99_shown="tip_p99",
    )
    marks = alt.Chart(data(rows)).mark_point(filled=True, opacity=0.9, size=50 if len(rows) < _MANY else 20)
    points: alt.Chart = marks.encode(x=x, y=y, color=alt.Color("fate:N", scale=colors, legend=legend), tooltip=tips)
    if has_limit:
        # Below: beside the other one the legend would be wider than the page.
        below = alt.Legend(orient="bottom", title=None, symbolSize=60, symbolOpacity=1, symbolFillColor=GREY)
        points = points.encode(shape=alt.Shape("limit:N", scale=shapes, legend=below))
    return points


def _best_so_far(decisions: Sequence[Decision], swept: Sequence[Measurement]) -> list[JsonObject]:
    """At each decision that names the best, and to the end: the mean of its windows until then."""
    named = [one for one in decisions if one.action in ("race", "winner") and one.config_name is not None]
    rows = []
    for one in named:
        own = [
            m.throughput_infer_per_s
            for m in swept[: one.window_count]
            if m.variant.config_name == one.config_name
            and (m.load.concurrency, m.load.client_batch_size) == (one.concurrency, one.client_batch_size)
            and m.throughput_infer_per_s is not None
        ]
        if own:
            rows.append({"time_s": round(one.elapsed_s, 2), "best": round(fmean(own), 2)})
    return rows
