"""What all charts share: colours and shapes, the print theme, rows as data, tooltips.

Colours are of Okabe and Ito's set, which colour-blind readers can tell apart; each also has a shape or a place of its
own. What depends on paper or screen (text, grid, background, whiskers) is left to the theme.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from hcopt.analysis.view import Role
from hcopt.records.json import JsonObject
from hcopt.words import Text

if TYPE_CHECKING:
    import altair as alt

    Channel = TypeVar("Channel", alt.X, alt.Y)

FONT = "Hcopt Gothic"
HALO, WHISKER, FRAME, CELL, CAPTION = "halo", "whisker", "frame", "cell", "caption"
BLUE, ORANGE, GREY, GREEN, PALE = "#0072B2", "#D55E00", "#767B83", "#009E73", "#9FB4C4"
SKY, AMBER = "#56B4E9", "#E69F00"
LIMIT_DASH = [5, 3]

# An axis over more than this is logarithmic, or the small values would share one spot.
LOG_AXIS_RATIO = 8.0

ROLE_STYLES: Mapping[Role, tuple[str, str]] = {
    "best": (BLUE, "diamond"),
    "candidate": (BLUE, "diamond"),
    "closest": (BLUE, "diamond"),
    "default": (GREY, "square"),
    "runner_up": (GREEN, "triangle-up"),
}


def theme(*, font: str, ink: str, soft: str, grid: str, paper: str, size: float) -> Mapping[str, Any]:
    """A Vega-Lite configuration.

    Args:
        font: Of all text.
        ink: Colour of titles, figures and whiskers.
        soft: Colour of axes' text.
        grid: Colour of grid lines.
        paper: What lies behind the chart; drawn around figures that a line crosses.
        size: Of an axis' labels, in px.
    """
    return {
        "font": font,
        "background": None,
        "view": {"stroke": None},
        "axis": {
            "labelColor": soft,
            "titleColor": soft,
            "titleFontWeight": "normal",
            "labelFontSize": size,
            "titleFontSize": size + 0.5,
            "gridColor": grid,
            "domainColor": PALE,
            "tickColor": PALE,
        },
        "header": {"labelColor": ink, "labelFontSize": size + 0.5, "labelFontWeight": "bold"},
        "legend": {
            "labelFontSize": size,
            "labelColor": soft,
            "titleFontSize": size,
            "titleColor": soft,
            "titleFontWeight": "normal",
        },
        "title": {
            "fontSize": size + 1.5,
            "fontWeight": "bold",
            "color": ink,
            "subtitleFontSize": size - 0.5,
            "subtitleColor": soft,
            "anchor": "start",
        },
        "text": {"fontSize": size + 0.5, "color": ink},
        "style": {
            # Keeps a figure readable where a line runs behind it.
            HALO: {"stroke": paper, "strokeWidth": 3, "strokeJoin": "round"},
            # A rule takes no `stroke` of a style, a tick no `color`.
            WHISKER: {"color": ink, "stroke": ink, "strokeWidth": 1.4},
            FRAME: {"stroke": ink, "strokeWidth": 2.2},
            # A title that only explains.
            CAPTION: {"font": font, "fontSize": size - 0.5, "fontWeight": "normal", "fill": soft},
            CELL: {"stroke": paper, "strokeWidth": 1},
        },
    }


PRINT_THEME = theme(font=FONT, ink="#1B1F24", soft="#3A3F45", grid="#E6E8EB", paper="white", size=8.5)


def data(rows: Sequence[JsonObject]) -> alt.Data:
    """Rows as a chart's data."""
    import altair as alt

    # Altair copies lists, each row of them, at every step; a tuple it leaves alone.
    return alt.Data(values=tuple(rows))  # type: ignore[no-untyped-call]


def tooltip(text: Text, **fields: str) -> list[alt.Tooltip]:
    """Texts of a row that appear beside the pointer: field by the key of its title."""
    import altair as alt

    return [alt.Tooltip(f"{field}:N", title=text[key]) for field, key in fields.items()]


def styled(field: str, styles: Mapping[str, tuple[str, str]], legend: alt.Legend) -> tuple[alt.Color, alt.Shape]:
    """Colour and shape by a field's values, in the legend's order."""
    import altair as alt

    domain, (colors, shapes) = list(styles), zip(*styles.values(), strict=True)
    return (
        alt.Color(field, scale=alt.Scale(domain=domain, range=list(colors)), legend=legend),
        alt.Shape(field, scale=alt.Scale(domain=domain, range=list(shapes)), legend=legend),
    )


def role_lines(
    rows: Sequence[JsonObject],
    x: alt.X,
    y: alt.Y,
    legend: alt.Legend,
    tips: Sequence[alt.Tooltip],
    *,
    line: Mapping[str, float],
    size: int,
) -> list[alt.Chart]:
    """A line with its points for each name, in the style of its role."""
    import altair as alt

    color, shape = styled("name:N", {row["name"]: ROLE_STYLES[row["role"]] for row in rows}, legend)
    base = alt.Chart(data(rows)).encode(x=x, y=y, color=color)
    points = base.mark_point(filled=True, size=size, opacity=1).encode(shape=shape, tooltip=list(tips))
    return [base.mark_line(**line), points]


def limit_line(channel: alt.X | alt.Y, row: JsonObject) -> alt.Chart:
    """A dashed line at a limit; `row` holds the field of the channel."""
    import altair as alt

    mark = alt.Chart(data([row])).mark_rule(color=ORANGE, strokeDash=LIMIT_DASH, strokeWidth=1.4)
    chart: alt.Chart = mark.encode(channel)
    return chart


def like(channel: Channel, field: str) -> Channel:
    """The same axis for another field."""
    other: Channel = channel.copy()
    other.shorthand = f"{field}:Q"
    return other


def latency_axis(values: Sequence[float], *, title: str | None = None) -> alt.Axis:
    """An axis in ms; a logarithmic one has the ticks 1, 2, 5, 10 …, since Vega would draw nine in a decade."""
    import altair as alt

    if not needs_log(values):
        return alt.Axis(title=title, format=",.3~f", tickCount=6, labelOverlap=True)
    decades = range(math.floor(math.log10(min(v for v in values if v > 0))) - 1, math.ceil(math.log10(max(values))) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    return alt.Axis(title=title, format=",.3~f", values=ticks, labelOverlap=True)


def needs_log(values: Sequence[float]) -> bool:
    """Whether positive values lie so far apart that an axis over them is better logarithmic."""
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) / min(positive) > LOG_AXIS_RATIO
