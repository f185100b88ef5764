"""The confirmation's blocks: each finalist's throughput a block, and the paired ratio with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hcopt.analysis.view import Pairing, Side, finalists, pairing
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate
from hcopt.report import figures
from hcopt.report.charts.drawing import BLUE, GREY, data, role_lines, tooltip
from hcopt.report.facts.names import short_name, side_name
from hcopt.words import Language, Text, texts

if TYPE_CHECKING:
    import altair as alt

# More have small marks, or they would hide one another.
_FEW_BLOCKS = 40


def confirmation_blocks(run: RunRecord, *, language: Language) -> alt.ConcatChart | None:
    """Throughput by block, and the pair's ratio by block; None where nothing was confirmed in blocks."""
    import altair as alt

    text, pair = texts(language), pairing(run)
    rows = [row for side in finalists(run) for row in _series(side, run, text)]
    blocks = len({row["block"] for row in rows})
    if blocks < 2:
        return None
    few = blocks <= _FEW_BLOCKS
    size, line = (55, {"strokeWidth": 1, "opacity": 0.8}) if few else (14, {"strokeWidth": 0.6, "opacity": 0.35})
    x = alt.X("block:O", title=text["axis_block"], axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=few))
    panels = [_throughput_panel(rows, x, text, line=line, size=size)]
    ratio = None if pair.comparison is None else pair.comparison.throughput_ratio
    ratios = _ratios(rows, pair)
    if ratio is not None and ratios:
        panels.append(_ratio_panel(ratios, ratio, x, _ratio_title(pair, ratio, run, text), text, size=size))
    names = ", ".join(dict.fromkeys(row["name"] for row in rows))
    description = text["alt_blocks"].format(names=names, blocks=blocks)
    if ratio is not None and ratio.ci_low is not None:
        description += text["alt_blocks_ratio"].format(ratio=figures.change_with_bounds(ratio, text))
    chart: alt.ConcatChart = alt.concat(*panels, columns=2, spacing=26).properties(description=description)
    return chart


def _series(side: Side, run: RunRecord, text: Text) -> list[JsonObject]:
    """One finalist's blocks at its own load, counted from 1."""
    return [
        {
            "name": f"{short_name(side.variant.config_name, run)} ({text[f'group_{side.role}']})",
            "role": side.role,
            "block": m.block + 1,
            "throughput": m.throughput_infer_per_s,
            "throughput_shown": figures.rate(m.throughput_infer_per_s),
            "p99_shown": figures.milliseconds(m.latency.p99_ms),
        }
        for m in run.measurements
        if m.phase == "confirmation" and m.block is not None and m.load == side.load
        if m.variant.settings == side.variant.settings
        if m.throughput_infer_per_s is not None and m.latency is not None
    ]


def _ratios(rows: Sequence[JsonObject], pair: Pairing) -> list[JsonObject]:
    """Right by left in every block that has both."""
    if pair.left is None or pair.right is None:
        return []
    by_role = {
        side.role: {row["block"]: row["throughput"] for row in rows if row["role"] == side.role} for side in pair.sides
    }
    left, right = by_role[pair.left.role], by_role[pair.right.role]
    return [
        {"block": block, "ratio": right[block] / left[block], "shown": figures.change(right[block] / left[block])}
        for block in sorted(left.keys() & right.keys())
    ]


def _ratio_title(pair: Pairing, ratio: Estimate, run: RunRecord, text: Text) -> alt.TitleParams:
    import altair as alt

    left, right = (side_name(side, run, text) for side in pair.sides)
    band = f" · {text['subtitle_ratio']}" if ratio.ci_low is not None else ""
    return alt.TitleParams(
        text["axis_ratio"].format(left=left, right=right),
        subtitle=figures.change_with_bounds(ratio, text) + band,
    )


def _throughput_panel(rows: list[JsonObject], x: alt.X, text: Text, *, line: JsonObject, size: int) -> alt.LayerChart:
    import altair as alt

    legend = alt.Legend(title=None, orient="bottom", labelLimit=220, columns=1, symbolOpacity=1)
    y = alt.Y("throughput:Q", title=None, scale=alt.Scale(zero=False, nice=True, padding=8))
    tips = tooltip(
        text, name="column_config", block="axis_block", throughput_shown="tip_throughput", p99_shown="tip_p99"
    )
    layers = role_lines(rows, x, y, legend, tips, line=line, size=size)
    panel: alt.LayerChart = alt.layer(*layers).properties(width=250, height=165, title=text["column_throughput"])
    return panel


def _ratio_panel(
    ratios: list[JsonObject], ratio: Estimate, x: alt.X, title: alt.TitleParams, text: Text, *, size: int
) -> alt.LayerChart:
    import altair as alt

    y = alt.Y("ratio:Q", title=None, scale=alt.Scale(zero=False, nice=True, padding=8), axis=alt.Axis(format=".2f"))
    one = alt.Chart(data([{"ratio": 1.0}])).mark_rule(color=GREY, strokeWidth=1.4).encode(y=y)
    estimate = alt.Chart(data([{"ratio": ratio.estimate}])).mark_rule(color=BLUE, strokeWidth=1.2).encode(y=y)
    points = (
        alt.Chart(data(ratios))
        .mark_point(filled=True, size=size, opacity=1, color=BLUE, shape="diamond")
        .encode(x=x, y=y, tooltip=tooltip(text, block="axis_block", shown="tip_ratio"))
    )
    layers: list[alt.Chart] = [one, estimate, points]
    if ratio.ci_low is not None and ratio.ci_high is not None:
        band = [{"ratio": ratio.ci_low, "high": ratio.ci_high}]
        layers.insert(0, alt.Chart(data(band)).mark_rect(color=BLUE, opacity=0.18).encode(y=y, y2="high:Q"))
    panel: alt.LayerChart = alt.layer(*layers).properties(width=200, height=165, title=title)
    return panel
