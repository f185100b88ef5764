"""Default against best: throughput and p99 latency as bars with their 95 % intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcopt.analysis.view import Pairing, Side, pairing
from hcopt.records.json import JsonObject
from hcopt.records.measurement import LoadPoint
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate
from hcopt.report import figures
from hcopt.report.charts.drawing import HALO, ROLE_STYLES, WHISKER, data, limit_line, tooltip
from hcopt.report.facts.names import load_name, settings_name, short_name
from hcopt.words import Language, Text, texts

if TYPE_CHECKING:
    import altair as alt

# A limit this far above the bars is only named in the subtitle: drawn, it would flatten the bars.
_LIMIT_IN_VIEW_RATIO = 2.0


def default_against_best(run: RunRecord, *, language: Language) -> alt.ConcatChart:
    """Two small panels: throughput and p99 latency of the first page's pair, with their 95 % intervals."""
    import altair as alt

    text, pair = texts(language), pairing(run)
    labels = [(side, _bar_label(side, pair, run, text)) for side in pair.sides]
    throughput = [_bar(side, label, side.throughput_infer_per_s, figures.throughput, text) for side, label in labels]
    latency = [_bar(side, label, side.latency_p99_ms, figures.latency, text) for side, label in labels]
    limit_ms = _limit_in_view(pair, run.ranking.latency_p99_limit_ms)
    higher = _subtitle(pair, text["chart_higher"], text)
    named = run.ranking.latency_p99_limit_ms
    direction = "chart_lower" if named is None else "chart_lower_limit"
    lower = _subtitle(pair, text[direction].format(limit="" if named is None else figures.limit(named)), text)
    left = _bar_panel(throughput, text["column_throughput"], higher, text)
    right = _bar_panel(latency, text["chart_latency"], lower, text, limit_ms=limit_ms)
    names = ", ".join(short_name(side.variant.config_name, run) for side in pair.sides)
    description = text["chart_pair_alt"].format(names=names)
    chart: alt.ConcatChart = alt.concat(left, right, columns=2, spacing=22).properties(description=description)
    return chart


def _bar(side: Side, label: str, figure: Estimate, digits: figures.Digits, text: Text) -> JsonObject:
    color, _ = ROLE_STYLES[side.role]
    return {
        "label": label,
        "name": label.replace("\n", " "),
        "color": color,
        "value": figure.estimate,
        "low": figure.ci_low,
        "high": figure.ci_high,
        "top": figure.estimate if figure.ci_high is None else figure.ci_high,
        "shown": digits(figure.estimate),
        "interval": figures.bounds(figure, digits, text) or text["no_interval"],
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


def _bar_panel(
    rows: list[JsonObject], title: str, subtitle: list[str], text: Text, *, limit_ms: float | None = None
) -> alt.LayerChart:
    import altair as alt

    axis = alt.Axis(title=None, labelExpr="split(datum.label, '\\n')", labelAngle=0, ticks=False, labelLimit=80)
    x = alt.X("label:N", sort=None, axis=axis, scale=alt.Scale(paddingInner=0.35, paddingOuter=0.3))
    highest = max([row["top"] for row in rows] + ([limit_ms] if limit_ms else []), default=1.0)
    # Head room for the figure above the highest bar.
    scale = alt.Scale(domain=[0, 1.13 * highest], nice=False)
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5))
    base = alt.Chart(data(rows))
    tips = tooltip(
        text, name="column_config", shown="tip_value", interval="tip_interval", settings="tip_settings", load="tip_load"
    )
    bars = base.mark_bar().encode(x=x, y=y, color=alt.Color("color:N", scale=None), tooltip=tips)
    measured = base.transform_filter("isValid(datum.low)")
    whiskers = measured.mark_rule(style=WHISKER).encode(x=x, y="low:Q", y2="high:Q")
    caps = [measured.mark_tick(size=10, style=WHISKER).encode(x=x, y=f"{end}:Q") for end in ("low", "high")]
    figure = [
        base.mark_text(dy=-7, fontWeight="bold", style=style).encode(x=x, y="top:Q", text="shown:N")
        for style in (HALO, "text")
    ]
    layers = [bars, whiskers, *caps]
    if limit_ms is not None:
        layers.append(limit_line(y, {"value": limit_ms}))
    panel: alt.LayerChart = alt.layer(*layers, *figure).properties(
        width=142, height=195, title=alt.TitleParams(title, subtitle=subtitle)
    )
    return panel


def _limit_in_view(pair: Pairing, limit_ms: float | None) -> float | None:
    highest = max((side.latency_p99_ms.estimate for side in pair.sides), default=0.0)
    return limit_ms if limit_ms is not None and limit_ms <= _LIMIT_IN_VIEW_RATIO * highest else None


def _subtitle(pair: Pairing, direction: str, text: Text) -> list[str]:
    load = _common_load(pair)
    return [direction] if load is None else [direction, load_name(load, text)]
