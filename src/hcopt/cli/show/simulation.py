"""The chart of a simulated autoscaler: load and capacity, replicas, and the share of requests over the limit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hcopt.analysis.p99_limit import ALLOWED_MISS_RATIO
from hcopt.deploy.simulation import Moment, Simulation
from hcopt.errors import ConfigError, OutputError
from hcopt.records.json import JsonObject
from hcopt.report.charts.drawing import BLUE, GREY, ORANGE, PRINT_THEME
from hcopt.report.pictures import to_svg
from hcopt.system.files import whole_file

if TYPE_CHECKING:
    import altair as alt

SUFFIXES = (".html", ".svg", ".png")
_MAX_ROWS = 1200
_WIDTH = 620
_PNG_SCALE = 2.0
# Below this a share is drawn at the foot: the axis is logarithmic.
_MIN_SHARE = 1e-4


def simulation_chart(found: Simulation, *, capacity_infer_per_s: float) -> alt.VConcatChart:
    """Three panels over the same time."""
    import altair as alt

    rows = _rows(found.moments, capacity_infer_per_s)
    data = alt.Data(values=rows)  # type: ignore[no-untyped-call]
    x = alt.X("minutes:Q", title=None)
    load = _panel(
        data,
        x,
        title="Load, and what the ready pods sustain (infer/s)",
        lines=(("load", GREY, "linear"), ("sustained", BLUE, "step-after")),
        height=150,
    )
    pods = _panel(
        data,
        x,
        title="Pods asked for, and ready",
        lines=(("asked", GREY, "step-after"), ("ready", BLUE, "step-after")),
        height=110,
    )
    misses = _misses(data, alt.X("minutes:Q", title="minutes"))
    description = (
        f"{len(rows)} moments of a simulated autoscaler: {100 * found.miss_ratio:.2f} % of the requests over the limit"
    )
    panels = alt.vconcat(load, pods, misses, spacing=14).resolve_scale(color="independent")
    chart: alt.VConcatChart = panels.properties(description=description)
    return chart


def write_chart(chart: alt.VConcatChart, path: Path) -> None:
    """Writes it as .html (interactive, complete in itself), .svg or .png.

    Raises:
        ConfigError: Another suffix.
        OutputError: It cannot be drawn or written.
    """
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"a chart cannot be written as {path.suffix or 'a file without a suffix'}: {path}",
            remedy=f"Give a file that ends with {', '.join(SUFFIXES)}.",
        )
    try:
        with whole_file(path) as temporary:
            if path.suffix == ".html":
                temporary.write_text(chart.to_html(inline=True), encoding="utf-8")
            elif path.suffix == ".svg":
                temporary.write_text(to_svg(chart.to_dict(), {**PRINT_THEME, "background": "white"}), encoding="utf-8")
            else:
                temporary.write_bytes(_png(chart))
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write the chart {path}: {error}", remedy="Give another file.") from error


def _png(chart: alt.VConcatChart) -> bytes:
    import vl_convert

    svg = to_svg(chart.to_dict(), {**PRINT_THEME, "background": "white"})
    return bytes(vl_convert.svg_to_png(svg, scale=_PNG_SCALE))


def _rows(moments: Sequence[Moment], capacity_infer_per_s: float) -> list[JsonObject]:
    """A moment in so many: the one with the most misses, so that none of them is lost between two."""
    every = max(1, -(-len(moments) // _MAX_ROWS))
    chosen = (
        max(moments[start : start + every], key=lambda moment: moment.miss_ratio)
        for start in range(0, len(moments), every)
    )
    return [
        {
            "minutes": moment.time_s / 60,
            "load": moment.load_infer_per_s,
            "sustained": moment.ready * capacity_infer_per_s,
            "asked": moment.replicas,
            "ready": moment.ready,
            "share": max(_MIN_SHARE, moment.miss_ratio),
        }
        for moment in chosen
    ]


def _panel(
    data: alt.Data, x: alt.X, *, title: str, lines: Sequence[tuple[str, str, str]], height: int
) -> alt.LayerChart:
    import altair as alt

    scale = alt.Scale(domain=[name for name, _, _ in lines], range=[color for _, color, _ in lines])
    legend = alt.Legend(title=None, orient="top-left", symbolType="stroke")
    layers = [
        alt.Chart(data)
        .transform_calculate(line=f"'{name}'")
        .mark_line(interpolate=interpolate, strokeWidth=1.6)
        .encode(
            x=x,
            y=alt.Y(f"{name}:Q", title=None, scale=alt.Scale(zero=True), axis=alt.Axis(format="~s", tickCount=5)),
            color=alt.Color("line:N", scale=scale, legend=legend),
        )
        for name, _, interpolate in lines
    ]
    panel: alt.LayerChart = alt.layer(*layers).properties(
        width=_WIDTH, height=height, title=alt.TitleParams(title, anchor="start", frame="group")
    )
    return panel


def _misses(data: alt.Data, x: alt.X) -> alt.LayerChart:
    import altair as alt

    axis = alt.Axis(format="~%", values=[_MIN_SHARE, 0.001, ALLOWED_MISS_RATIO, 0.1, 1])
    y = alt.Y("share:Q", title=None, scale=alt.Scale(type="log", domain=[_MIN_SHARE, 1]), axis=axis)
    line = alt.Chart(data).mark_line(color=BLUE, strokeWidth=1.6, interpolate="step-after").encode(x=x, y=y)
    allowed = alt.Data(values=[{"share": ALLOWED_MISS_RATIO}])  # type: ignore[no-untyped-call]
    limit = alt.Chart(allowed).mark_rule(color=ORANGE, strokeDash=[5, 3], strokeWidth=1.4).encode(y=y)
    title = f"Share of the requests over the p99 limit; dashed: the {100 * ALLOWED_MISS_RATIO:g} % that it allows"
    panel: alt.LayerChart = alt.layer(line, limit).properties(
        width=_WIDTH, height=90, title=alt.TitleParams(title, anchor="start", frame="group")
    )
    return panel
