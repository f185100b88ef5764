"""The head-to-head as a chart: wall time against the share of the true best, a panel for each recording and noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.search.rows import Row
from hcopt.report.charts.drawing import AMBER, BLUE, GREEN, GREY, ORANGE, PALE, SKY, data, theme
from hcopt.report.pictures import to_svg

if TYPE_CHECKING:
    import altair as alt

# Also their order in the legend.
STYLES = {
    "brute": (GREY, "square"),
    "brute×3": ("#1B1F24", "square"),
    "quick": (AMBER, "triangle-up"),
    "optuna": (ORANGE, "triangle-down"),
    "halving": (PALE, "cross"),
    "tpe": (SKY, "cross"),
    "adaptive": (BLUE, "circle"),
}
COLUMNS = 2
PANEL_WIDTH, PANEL_HEIGHT = 320, 150
# A README's reader has not the report's font.
THEME = theme(
    font="Verdana, DejaVu Sans, sans-serif", ink="#1B1F24", soft="#3A3F45", grid="#E6E8EB", paper="white", size=12
)
GOAL_SHARE = 0.99
MINUTES = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]


def write_chart(rows: Sequence[Row], path: Path) -> None:
    """Draws the rows as SVG on white, so that it can be read on a dark page too."""
    path.write_text(to_svg(search_chart(rows).to_dict(), {**THEME, "background": "white"}), encoding="utf-8")


def search_chart(rows: Sequence[Row]) -> alt.ConcatChart:
    """Points are medians; a whisker goes down to the 5th percentile, to the panel's foot where that lies below it."""
    import altair as alt

    panels: dict[str, list[Row]] = {}
    for row in rows:
        panels.setdefault(f"{row.recording}: {row.points:,} points, noise {row.noise}", []).append(row)
    foot = _foot(rows)
    charts = [_panel(title, part, foot) for title, part in panels.items()]
    chart: alt.ConcatChart = (
        alt.concat(*charts, columns=COLUMNS, spacing=18)
        .resolve_scale(color="shared", shape="shared", x="shared", y="shared")
        .properties(description=_description(rows))
    )
    return chart


def _foot(rows: Sequence[Row]) -> float:
    """Where the axis ends: below all medians, not below what is worth nothing anyway."""
    return max(0.0, min(0.8, *(row.share_median - 0.05 for row in rows)))


def _panel(title: str, rows: Sequence[Row], foot: float) -> alt.LayerChart:
    import altair as alt

    methods = [method for method in STYLES if any(row.method == method for row in rows)]
    values = [
        {
            "method": row.method,
            "minutes": row.wall_s / 60,
            "median": row.share_median,
            "low": max(foot, row.share_p5),
        }
        for row in rows
    ]
    known = list(STYLES)
    color = alt.Color("method:N", title=None, sort=known, scale=_scale(known, 0), legend=_legend(methods))
    shape = alt.Shape("method:N", title=None, sort=known, scale=_scale(known, 1))
    x = alt.X(
        "minutes:Q",
        title="wall time of the search, minutes",
        scale=alt.Scale(type="log", nice=False, padding=14),
        axis=alt.Axis(values=MINUTES, format="~g", labelOverlap=True),
    )
    y = alt.Y(
        "median:Q",
        title="share of the true best",
        scale=alt.Scale(domain=[foot, 1.0], padding=6),
        axis=alt.Axis(format=".0%", tickCount=5),
    )
    base = alt.Chart(data(values))
    whiskers = base.mark_rule(strokeWidth=2).encode(x=x, y=y, y2="low:Q", color=color)
    points = base.mark_point(filled=True, size=110, opacity=1).encode(x=x, y=y, color=color, shape=shape)
    goal = alt.Chart(data([{"median": GOAL_SHARE}])).mark_rule(color=GREEN, strokeDash=[5, 3]).encode(y=y)
    chart: alt.LayerChart = alt.layer(goal, whiskers, points).properties(
        title=title, width=PANEL_WIDTH, height=PANEL_HEIGHT
    )
    return chart


def _scale(known: Sequence[str], which: int) -> alt.Scale:
    import altair as alt

    return alt.Scale(domain=list(known), range=[STYLES[method][which] for method in known])


def _legend(methods: Sequence[str]) -> alt.Legend:
    import altair as alt

    return alt.Legend(orient="top", values=list(methods), symbolSize=110, symbolType="circle")


def _description(rows: Sequence[Row]) -> str:
    said = (
        f"{row.method} on {row.recording} at {row.noise} noise: {row.share_median:.1%} of the best after "
        f"{row.wall_s / 60:.1f} minutes"
        for row in rows
    )
    return "; ".join(said)
