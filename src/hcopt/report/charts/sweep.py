"""Throughput against p99: every variant at its best load, the limit, what the confirmation made of the finalists."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

from hcopt.analysis.view import Pairing, Role, Side, finalists, pairing, sweep_points
from hcopt.records.json import JsonObject
from hcopt.records.model import ModelConfigVariant
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate, RankedVariant
from hcopt.report import figures
from hcopt.report.charts.drawing import (
    CAPTION,
    HALO,
    ORANGE,
    PALE,
    ROLE_STYLES,
    data,
    latency_axis,
    like,
    limit_line,
    needs_log,
    styled,
    tooltip,
)
from hcopt.report.facts.names import load_name, settings_name, short_name
from hcopt.words import Language, Text, texts

if TYPE_CHECKING:
    import altair as alt


# An interval of few blocks may reach from next to nothing to the sky: it is drawn as far as this beyond all points.
_REACH = 2.0


def throughput_against_p99(run: RunRecord, *, language: Language) -> alt.LayerChart:
    """Every variant at its best load, the limit, the finalists' confirmed intervals, and the pair's other loads."""
    import altair as alt

    text, pair = texts(language), pairing(run)
    roles = _roles(run, pair)
    confirmed = {entry.variant.settings: entry for entry in finalists(run)}
    points = [_point(entry, roles, confirmed.get(entry.variant.settings), run, text) for entry in run.ranking.ranked]
    lines = [row for side in pair.sides for row in _load_line(side, run, text)]
    limit_ms = run.ranking.latency_p99_limit_ms
    for field, low, high in (("p99_ms", "p99_low", "p99_high"), ("throughput", "throughput_low", "throughput_high")):
        _shorten(points, low, high, values=[row[field] for row in (*points, *lines)])
    x = _latency_axis([*_extent(points), *(row["p99_ms"] for row in lines)], limit_ms, text)
    y = alt.Y("throughput:Q", title=text["column_throughput"], scale=alt.Scale(zero=False, nice=True, padding=14))
    layers: list[alt.Chart | alt.LayerChart] = []
    if limit_ms is not None:
        layers.append(_limit_rule(limit_ms, x, text))
    if lines:
        layers.append(_load_lines(lines, x, y))
    bars = [row for row in points if row["p99_low"] is not None and row["throughput_low"] is not None]
    if bars:
        layers.append(_error_bars(bars, x, y))
    layers += [_points(points, x, y, text), *_labels(points, x, y)]
    chart: alt.LayerChart = alt.layer(*layers).properties(
        width=520,
        height=260,
        description=text["chart_sweep_alt"].format(count=len(points)),
        **({"title": alt.TitleParams(text["subtitle_sweep"], style=CAPTION)} if bars else {}),
    )
    return chart


def _roles(run: RunRecord, pair: Pairing) -> dict[Hashable, Role]:
    """The role of every configuration that has one, by its settings."""
    found: dict[Hashable, Role] = {side.variant.settings: side.role for side in pair.sides}
    runner_up = run.confirmation.runner_up
    if runner_up is not None:
        found.setdefault(runner_up.variant.settings, "runner_up")
    found.setdefault(run.plan.default.settings, "default")
    return found


def _point(
    entry: RankedVariant,
    roles: Mapping[Hashable, Role],
    confirmed: Side | None,
    run: RunRecord,
    text: Text,
) -> JsonObject:
    """A variant's row: a finalist stands where the confirmation found it, which the sweep's maximum overstates."""
    role = roles.get(entry.variant.settings)
    shown = entry if confirmed is None else confirmed
    throughput, p99_ms = _estimate(shown.throughput_infer_per_s), _estimate(shown.latency_p99_ms)
    return {
        **_figures(entry.variant, throughput.estimate, p99_ms.estimate, run, text),
        "throughput_low": throughput.ci_low,
        "throughput_high": throughput.ci_high,
        "p99_low": p99_ms.ci_low,
        "p99_high": p99_ms.ci_high,
        "throughput_shown": figures.followed(
            figures.rate(throughput.estimate), figures.bounds(throughput, figures.throughput, text)
        ),
        "p99_shown": figures.followed(
            figures.milliseconds(p99_ms.estimate), figures.bounds(p99_ms, figures.latency, text)
        ),
        "load": load_name(shown.load, text),
        "group": text[f"group_{role or _feasibility(entry, run)}"],
        "role": role,
        "feasible": shown.feasible,
    }


def _estimate(figure: Estimate | float) -> Estimate:
    return figure if isinstance(figure, Estimate) else Estimate(estimate=figure)


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
    color, _ = ROLE_STYLES[side.role]
    return [
        {
            **_figures(side.variant, point.throughput_infer_per_s, point.latency_p99_ms, run, text),
            "color": color,
            "order": order,
        }
        for order, point in enumerate(swept)
    ]


def _shorten(points: Sequence[JsonObject], low: str, high: str, *, values: Sequence[float]) -> None:
    """Ends the intervals not far beyond the values themselves, which would else lie in one line."""
    least, most = min(values) / _REACH, max(values) * _REACH
    for row in points:
        if row[low] is not None:
            row[low], row[high] = max(row[low], least), min(row[high], most)


def _extent(points: Sequence[JsonObject]) -> list[float]:
    return [row[field] for row in points for field in ("p99_ms", "p99_low", "p99_high") if row[field] is not None]


def _latency_axis(values: list[float], limit_ms: float | None, text: Text) -> alt.X:
    import altair as alt

    shown = values if limit_ms is None else [*values, limit_ms]
    linear = alt.Scale(type="linear", zero=False, nice=True)
    scale = alt.Scale(type="log", nice=False) if needs_log(shown) else linear
    # Room for half of the longest name, `config_default`, beside its point.
    scale.padding = 44
    return alt.X("p99_ms:Q", scale=scale, axis=latency_axis(shown, title=text["chart_latency"]))


def _limit_rule(limit_ms: float, x: alt.X, text: Text) -> alt.LayerChart:
    import altair as alt

    row = {"p99_ms": limit_ms, "shown": text["chart_limit"].format(limit=figures.limit(limit_ms))}
    label = alt.Chart(data([row])).mark_text(color=ORANGE, align="center", baseline="bottom", y=-3)
    both: alt.LayerChart = limit_line(x, row) + label.encode(x=x, text="shown:N")
    return both


def _load_lines(lines: list[JsonObject], x: alt.X, y: alt.Y) -> alt.LayerChart:
    import altair as alt

    base = alt.Chart(data(lines)).encode(
        x=x, y=y, detail="name:N", order="order:Q", color=alt.Color("color:N", scale=None)
    )
    both: alt.LayerChart = base.mark_line(strokeWidth=0.9, opacity=1) + base.mark_circle(size=14, opacity=1)
    return both


def _error_bars(rows: list[JsonObject], x: alt.X, y: alt.Y) -> alt.LayerChart:
    """The 95 % intervals of those with a role, in its colour, along both axes."""
    import altair as alt

    fields = ("p99_ms", "p99_low", "p99_high", "throughput", "throughput_low", "throughput_high")
    styled = [
        {**{field: row[field] for field in fields}, "color": ROLE_STYLES[row["role"]][0]}
        for row in rows
        if row["role"] is not None
    ]
    base = alt.Chart(data(styled)).mark_rule(strokeWidth=1.6)
    color = alt.Color("color:N", scale=None)
    across = base.encode(x=like(x, "p99_low"), x2="p99_high:Q", y=y, color=color)
    along = base.encode(x=x, y=like(y, "throughput_low"), y2="throughput_high:Q", color=color)
    both: alt.LayerChart = across + along
    return both


def _points(points: list[JsonObject], x: alt.X, y: alt.Y, text: Text) -> alt.Chart:
    import altair as alt

    # Those with a role come last, so that they are drawn over the others.
    rows = sorted(points, key=lambda row: row["role"] is not None)
    groups = {row["group"] for row in rows}
    present = {group: style for group, style in _group_styles(text).items() if group in groups}
    legend = alt.Legend(orient="top", title=None, symbolStrokeWidth=1.4, labelLimit=150, symbolSize=70, symbolOpacity=1)
    color, shape = styled("group:N", present, legend)
    size = alt.condition("isValid(datum.role)", alt.value(110), alt.value(38))
    tips = tooltip(
        text,
        name="column_config",
        group="tip_role",
        throughput_shown="tip_throughput",
        p99_shown="tip_p99",
        load="tip_load",
        settings="tip_settings",
    )
    chart: alt.Chart = (
        alt.Chart(data(rows))
        .mark_point(filled=True, strokeWidth=1.4, opacity=1)
        .encode(
            x=x,
            y=y,
            size=size,
            color=color,
            shape=shape,
            tooltip=tips,
        )
    )
    return chart


def _group_styles(text: Text) -> dict[str, tuple[str, str]]:
    """Colour and shape by the legend's name, in the legend's order."""
    roles = {text[f"group_{role}"]: style for role, style in ROLE_STYLES.items()}
    return {
        **roles,
        text["group_feasible"]: (PALE, "circle"),
        text["group_other"]: (PALE, "circle"),
        text["group_infeasible"]: (ORANGE, "cross"),
    }


def _labels(points: list[JsonObject], x: alt.X, y: alt.Y) -> list[alt.LayerChart]:
    """Names of the two that the report is about: the upper one above its point, the lower one below, never at once."""
    named = sorted(
        (row for row in points if row["role"] not in (None, "runner_up")),
        key=lambda row: row["throughput"],
        reverse=True,
    )
    return [_label([row], x, y, dy=dy) for row, dy in zip(named[:2], (-14, 16), strict=False)]


def _label(rows: Sequence[JsonObject], x: alt.X, y: alt.Y, *, dy: int) -> alt.LayerChart:
    import altair as alt

    base = alt.Chart(data(rows)).encode(x=x, y=y, text="name:N")
    halo, name = (base.mark_text(dy=dy, fontWeight="bold", limit=200, style=style) for style in (HALO, "text"))
    both: alt.LayerChart = halo + name
    return both
