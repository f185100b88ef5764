"""A run becomes Altair charts, one definition for the PDF's SVG and for interactive HTML. Pure but for `to_svg`, which
registers the fonts with the converter.

Colours are of Okabe and Ito's set, which colour-blind readers can tell apart; each also has a shape of its own. What
depends on paper or screen (text, grid, background) is left to the theme.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

from hcopt.report import figures
from hcopt.report.headline import load_name, settings_name
from hcopt.report.selection import Pairing, Role, Side, pairing, short_name, sweep_points
from hcopt.report.text import Language, Text, texts
from hcopt.schema import Estimate, JsonObject, LoadPoint, ModelConfigVariant, RankedVariant, RunRecord

if TYPE_CHECKING:
    import altair as alt

Digits = Callable[[float], str]

FONT = "Hcopt Gothic"
HALO = "halo"
BLUE, ORANGE, GREY, GREEN, PALE = "#0072B2", "#D55E00", "#767B83", "#009E73", "#9FB4C4"

# A latency axis over more than this is logarithmic, or the fast variants would share one spot.
_LOG_AXIS_RATIO = 8.0
# A limit this far above the bars is only named in the subtitle: drawn, it would flatten the bars.
_LIMIT_IN_VIEW_RATIO = 2.0
_ROLE_STYLES: Mapping[Role, tuple[str, str]] = {
    "best": (BLUE, "diamond"),
    "candidate": (BLUE, "diamond"),
    "closest": (BLUE, "diamond"),
    "default": (GREY, "square"),
    "runner_up": (GREEN, "triangle-up"),
}

PRINT_THEME: Mapping[str, Any] = {
    "font": FONT,
    "background": None,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "#3A3F45",
        "titleColor": "#3A3F45",
        "titleFontWeight": "normal",
        "labelFontSize": 8.5,
        "titleFontSize": 9,
        "gridColor": "#E6E8EB",
        "domainColor": "#9AA0A6",
        "tickColor": "#9AA0A6",
    },
    "legend": {"labelFontSize": 8.5, "labelColor": "#3A3F45"},
    "title": {
        "fontSize": 10,
        "fontWeight": "bold",
        "color": "#1B1F24",
        "subtitleFontSize": 8,
        "subtitleColor": "#5A6068",
        "anchor": "start",
    },
    "text": {"fontSize": 9, "color": "#1B1F24"},
    # Keeps a figure readable where a line runs behind it.
    "style": {HALO: {"stroke": "white", "strokeWidth": 3, "strokeJoin": "round"}},
}


def default_against_best(run: RunRecord, *, language: Language) -> alt.HConcatChart:
    """Two small panels: throughput and p99 latency of the first page's pair, with their 95 % intervals."""
    import altair as alt

    text, pair = texts(language), pairing(run)
    labels = [(side, _bar_label(side, pair, run, text)) for side in pair.sides]
    throughput = [_bar(side, label, side.throughput_infer_per_s, figures.throughput, text) for side, label in labels]
    latency = [_bar(side, label, side.latency_p99_ms, figures.latency, text) for side, label in labels]
    limit_ms = _limit_in_view(pair, run.ranking.latency_p99_limit_ms)
    left = _bar_panel(throughput, text["chart_throughput"], _subtitle(pair, text["chart_higher"], text))
    better = _subtitle(pair, _latency_direction(run, text), text)
    right = _bar_panel(latency, text["chart_latency"], better, limit_ms=limit_ms)
    names = ", ".join(short_name(side.variant.config_name, run) for side in pair.sides)
    description = text["chart_pair_alt"].format(names=names)
    chart: alt.HConcatChart = alt.hconcat(left, right, spacing=22).properties(description=description)
    return chart


def throughput_against_p99(run: RunRecord, *, language: Language) -> alt.LayerChart:
    """Every variant at its best load in the sweep, the limit, and the other loads of the first page's pair."""
    import altair as alt

    text, pair = texts(language), pairing(run)
    roles = _roles(run, pair)
    points = [_point(entry, roles, run, text) for entry in run.ranking.ranked]
    lines = [row for side in pair.sides for row in _load_line(side, run, text)]
    limit_ms = run.ranking.latency_p99_limit_ms
    x = _latency_axis([row["p99_ms"] for row in (*points, *lines)], limit_ms, text)
    y = alt.Y("throughput:Q", title=text["chart_throughput"], scale=alt.Scale(zero=False, nice=True, padding=14))
    layers: list[alt.Chart | alt.LayerChart] = []
    if limit_ms is not None:
        layers.append(_limit_rule(limit_ms, x, text))
    if lines:
        layers.append(_load_lines(lines, x, y))
    layers += [_points(points, x, y, text), _labels(points, x, y)]
    description = text["chart_sweep_alt"].format(count=len(points))
    chart: alt.LayerChart = alt.layer(*layers).properties(width=520, height=260, description=description)
    return chart


def to_svg(chart: alt.TopLevelMixin, theme: Mapping[str, Any] = PRINT_THEME) -> str:
    """Draws a chart; its text stays text, in the font of the report.

    Raises:
        ValueError: The chart cannot be drawn.
    """
    import vl_convert

    with as_file(files("hcopt.report") / "fonts") as folder:
        vl_convert.register_font_directory(str(folder))
        svg: str = vl_convert.vegalite_to_svg(chart.to_dict(), config=dict(theme))
    return svg


# Default against best


def _bar(side: Side, label: str, figure: Estimate, digits: Digits, text: Text) -> JsonObject:
    color, _ = _ROLE_STYLES[side.role]
    return {
        "label": label,
        "color": color,
        "value": figure.estimate,
        "low": figure.ci_low,
        "high": figure.ci_high,
        "top": figure.estimate if figure.ci_high is None else figure.ci_high,
        "shown": digits(figure.estimate),
        "interval": _interval(figure, digits, text),
        "settings": settings_name(side.variant, text),
        "load": load_name(side.load, text),
    }


def _bar_label(side: Side, pair: Pairing, run: RunRecord, text: Text) -> str:
    """Lines under a bar; the load only where the two differ, else the panel's subtitle says it."""
    lines = [text[f"role_{side.role}"], short_name(side.variant.config_name, run)]
    if _common_load(pair) is None:
        lines += load_name(side.load, text).split(" ")
    return "\n".join(lines)


def _common_load(pair: Pairing) -> LoadPoint | None:
    loads = {side.load for side in pair.sides}
    return loads.pop() if len(loads) == 1 else None


def _interval(figure: Estimate, digits: Digits, text: Text) -> str:
    if figure.ci_low is None or figure.ci_high is None:
        return text["no_interval"]
    return text["range"].format(low=digits(figure.ci_low), high=digits(figure.ci_high))


def _bar_panel(
    rows: list[JsonObject], title: str, subtitle: list[str], *, limit_ms: float | None = None
) -> alt.LayerChart:
    import altair as alt

    axis = alt.Axis(title=None, labelExpr="split(datum.label, '\\n')", labelAngle=0, ticks=False, labelLimit=66)
    x = alt.X("label:N", sort=None, axis=axis, scale=alt.Scale(paddingInner=0.35, paddingOuter=0.3))
    highest = max([row["top"] for row in rows] + ([limit_ms] if limit_ms else []), default=1.0)
    # Head room for the figure above the highest bar.
    scale = alt.Scale(domain=[0, 1.13 * highest], nice=False)
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5))
    base = alt.Chart(_data(rows))
    tooltip = [alt.Tooltip(f"{field}:N") for field in ("label", "shown", "interval", "settings", "load")]
    bars = base.mark_bar().encode(x=x, y=y, color=alt.Color("color:N", scale=None), tooltip=tooltip)
    measured = base.transform_filter("isValid(datum.low)")
    whiskers = measured.mark_rule(strokeWidth=1.4).encode(x=x, y="low:Q", y2="high:Q")
    caps = [
        measured.mark_tick(size=10, thickness=1.4, color="black").encode(x=x, y=f"{end}:Q") for end in ("low", "high")
    ]
    figure = [
        base.mark_text(dy=-7, fontWeight="bold", style=style).encode(x=x, y="top:Q", text="shown:N")
        for style in (HALO, "text")
    ]
    layers = [bars, whiskers, *caps]
    if limit_ms is not None:
        limit = alt.Chart(_data([{"value": limit_ms}]))
        layers.append(limit.mark_rule(color=ORANGE, strokeDash=[5, 3], strokeWidth=1.4).encode(y=y))
    panel: alt.LayerChart = alt.layer(*layers, *figure).properties(
        width=125, height=195, title=alt.TitleParams(title, subtitle=subtitle)
    )
    return panel


def _limit_in_view(pair: Pairing, limit_ms: float | None) -> float | None:
    highest = max((side.latency_p99_ms.estimate for side in pair.sides), default=0.0)
    return limit_ms if limit_ms is not None and limit_ms <= _LIMIT_IN_VIEW_RATIO * highest else None


def _latency_direction(run: RunRecord, text: Text) -> str:
    limit_ms = run.ranking.latency_p99_limit_ms
    if limit_ms is None:
        return text["chart_lower"]
    return text["chart_lower_limit"].format(limit=figures.limit(limit_ms))


def _subtitle(pair: Pairing, direction: str, text: Text) -> list[str]:
    load = _common_load(pair)
    return [direction] if load is None else [direction, load_name(load, text)]


# Throughput against p99


def _roles(run: RunRecord, pair: Pairing) -> dict[Hashable, Role]:
    """The role of every configuration that has one, by its settings."""
    found: dict[Hashable, Role] = {side.variant.settings: side.role for side in pair.sides}
    runner_up = run.confirmation.runner_up
    if runner_up is not None:
        found.setdefault(runner_up.variant.settings, "runner_up")
    found.setdefault(run.plan.default.settings, "default")
    return found


def _point(entry: RankedVariant, roles: Mapping[Hashable, Role], run: RunRecord, text: Text) -> JsonObject:
    role = roles.get(entry.variant.settings)
    return {
        **_figures(entry.variant, entry.throughput_infer_per_s, entry.latency_p99_ms, run, text),
        "load": load_name(entry.load, text),
        "group": text[f"group_{role or _feasibility(entry, run)}"],
        "role": role,
        "feasible": entry.feasible,
    }


def _feasibility(entry: RankedVariant, run: RunRecord) -> str:
    if run.ranking.latency_p99_limit_ms is None:
        return "other"
    return "feasible" if entry.feasible else "infeasible"


def _figures(variant: ModelConfigVariant, throughput: float, p99_ms: float, run: RunRecord, text: Text) -> JsonObject:
    return {
        "name": short_name(variant.config_name, run),
        "settings": settings_name(variant, text),
        "throughput": throughput,
        "p99_ms": p99_ms,
    }


def _load_line(side: Side, run: RunRecord, text: Text) -> list[JsonObject]:
    """One configuration over the sweep's loads, in their order."""
    swept = sorted(
        (point for point in sweep_points(run) if point.variant.settings == side.variant.settings),
        key=lambda point: (point.load.client_batch_size, point.load.concurrency),
    )
    color, _ = _ROLE_STYLES[side.role]
    return [
        {
            **_figures(side.variant, point.throughput_infer_per_s, point.latency_p99_ms, run, text),
            "color": color,
            "order": order,
        }
        for order, point in enumerate(swept)
    ]


def _latency_axis(values: list[float], limit_ms: float | None, text: Text) -> alt.X:
    import altair as alt

    shown = [value for value in values if value > 0] + ([limit_ms] if limit_ms else [])
    wide = bool(shown) and max(shown) / min(shown) > _LOG_AXIS_RATIO
    # Room for half of the longest name, `config_default`, beside its point.
    scale = alt.Scale(type="log" if wide else "linear", zero=False, nice=not wide, padding=44)
    axis = alt.Axis(format=",.3~f", labelOverlap=True, tickCount=8)
    return alt.X("p99_ms:Q", title=text["chart_latency"], scale=scale, axis=axis)


def _limit_rule(limit_ms: float, x: alt.X, text: Text) -> alt.LayerChart:
    import altair as alt

    row = {"p99_ms": limit_ms, "shown": text["chart_limit"].format(limit=figures.limit(limit_ms))}
    base = alt.Chart(_data([row])).encode(x=x)
    rule = base.mark_rule(color=ORANGE, strokeDash=[5, 3], strokeWidth=1.4)
    label = base.mark_text(color=ORANGE, align="center", baseline="bottom", y=-3).encode(text="shown:N")
    both: alt.LayerChart = rule + label
    return both


def _load_lines(lines: list[JsonObject], x: alt.X, y: alt.Y) -> alt.LayerChart:
    import altair as alt

    base = alt.Chart(_data(lines)).encode(
        x=x, y=y, detail="name:N", order="order:Q", color=alt.Color("color:N", scale=None)
    )
    both: alt.LayerChart = base.mark_line(strokeWidth=0.9, opacity=1) + base.mark_circle(size=14, opacity=1)
    return both


def _points(points: list[JsonObject], x: alt.X, y: alt.Y, text: Text) -> alt.Chart:
    import altair as alt

    # Those with a role come last, so that they are drawn over the others.
    rows = sorted(points, key=lambda row: row["role"] is not None)
    styles = _group_styles(text)
    present = [group for group in styles if any(row["group"] == group for row in rows)]
    colors = alt.Scale(domain=present, range=[styles[group][0] for group in present])
    shapes = alt.Scale(domain=present, range=[styles[group][1] for group in present])
    legend = alt.Legend(
        orient="top", title=None, symbolStrokeWidth=1.4, columns=6, labelLimit=150, symbolSize=70, symbolOpacity=1
    )
    size = alt.condition("isValid(datum.role)", alt.value(110), alt.value(38))
    chart: alt.Chart = (
        alt.Chart(_data(rows))
        .mark_point(filled=True, strokeWidth=1.4, opacity=1)
        .encode(
            x=x,
            y=y,
            size=size,
            color=alt.Color("group:N", scale=colors, legend=legend),
            shape=alt.Shape("group:N", scale=shapes, legend=legend),
            tooltip=[alt.Tooltip(f"{field}:N") for field in ("name", "settings", "load")]
            + [alt.Tooltip("throughput:Q", format=",.0f"), alt.Tooltip("p99_ms:Q", format=".3~f")],
        )
    )
    return chart


def _group_styles(text: Text) -> dict[str, tuple[str, str]]:
    """Colour and shape by the legend's name, in the legend's order."""
    roles = {text[f"group_{role}"]: style for role, style in _ROLE_STYLES.items()}
    return {
        **roles,
        text["group_feasible"]: (PALE, "circle"),
        text["group_other"]: (PALE, "circle"),
        text["group_infeasible"]: (ORANGE, "cross"),
    }


def _labels(points: list[JsonObject], x: alt.X, y: alt.Y) -> alt.LayerChart:
    """Names of the two that the report is about: the upper one above its point, the lower one below, never at once."""
    named = sorted(
        (row for row in points if row["role"] not in (None, "runner_up")),
        key=lambda row: row["throughput"],
        reverse=True,
    )
    both: alt.LayerChart = _label(named[:1], x, y, dy=-12) + _label(named[1:], x, y, dy=14)
    return both


def _label(rows: Sequence[JsonObject], x: alt.X, y: alt.Y, *, dy: int) -> alt.LayerChart:
    import altair as alt

    base = alt.Chart(_data(rows)).encode(x=x, y=y, text="name:N")
    halo, name = (base.mark_text(dy=dy, fontWeight="bold", limit=200, style=style) for style in (HALO, "text"))
    both: alt.LayerChart = halo + name
    return both


def _data(rows: Sequence[JsonObject]) -> alt.Data:
    import altair as alt

    return alt.Data(values=list(rows))  # type: ignore[no-untyped-call]
