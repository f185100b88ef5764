"""The confirmation's blocks: each finalist's throughput a block, and the paired ratio with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.records.verdict import ConfirmedVariant, Estimate
from hcopt.report import figures
from hcopt.report.charts.drawing import BLUE, GREY, ROLE_STYLES, data, tooltip
from hcopt.report.facts.selection import Pairing, Role, default_wins, pairing, short_name, side_name
from hcopt.words import Language, Text, texts
from hcopt.words.chart_labels import chart_texts

if TYPE_CHECKING:
    import altair as alt


def confirmation_blocks(run: RunRecord, *, language: Language) -> alt.ConcatChart | None:
    """Throughput by block, and the pair's ratio by block; None where nothing was confirmed in blocks."""
    import altair as alt

    text, words, pair = texts(language), chart_texts(language), pairing(run)
    rows = [row for role, entry in _finalists(run) for row in _series(role, entry, run, text)]
    if len({row["block"] for row in rows}) < 2:
        return None
    x = alt.X("block:O", title=words["axis_block"], axis=alt.Axis(labelAngle=0, labelOverlap=True))
    panels = [_throughput_panel(rows, x, text, words)]
    ratio = None if pair.comparison is None else pair.comparison.throughput_ratio
    ratios = _ratios(rows, pair)
    if ratio is not None and ratios:
        panels.append(_ratio_panel(ratios, ratio, x, _ratio_title(pair, ratio, run, text, words), words))
    names = ", ".join(dict.fromkeys(row["name"] for row in rows))
    description = words["alt_blocks"].format(names=names, blocks=len({row["block"] for row in rows}))
    if ratio is not None and ratio.ci_low is not None:
        description += words["alt_blocks_ratio"].format(ratio=_shown(ratio, text))
    chart: alt.ConcatChart = alt.concat(*panels, columns=2, spacing=26).properties(description=description)
    return chart


def _finalists(run: RunRecord) -> tuple[tuple[Role, ConfirmedVariant], ...]:
    found = run.confirmation
    best: Role = "default" if default_wins(run) else "best" if found.verdict == "better" else "candidate"
    rows: list[tuple[Role, ConfirmedVariant | None]] = [(best, found.best), ("runner_up", found.runner_up)]
    rows += [] if default_wins(run) else [("default", found.default)]
    return tuple((role, entry) for role, entry in rows if entry is not None)


def _series(role: Role, entry: ConfirmedVariant, run: RunRecord, text: Text) -> list[JsonObject]:
    """One finalist's blocks at its own load, counted from 1."""
    return [
        {
            "name": f"{short_name(entry.variant.config_name, run)} ({text[f'group_{role}']})",
            "role": role,
            "block": m.block + 1,
            "throughput": m.throughput_infer_per_s,
            "throughput_shown": text["unit_throughput"].format(value=figures.throughput(m.throughput_infer_per_s)),
            "p99_shown": text["unit_latency"].format(value=figures.latency(m.latency.p99_ms)),
        }
        for m in run.measurements
        if m.phase == "confirmation" and m.block is not None and m.load == entry.load
        if m.variant.settings == entry.variant.settings
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


def _ratio_title(pair: Pairing, ratio: Estimate, run: RunRecord, text: Text, words: Text) -> alt.TitleParams:
    import altair as alt

    left, right = (side_name(side, run, text) for side in pair.sides)
    band = f" · {words['subtitle_ratio']}" if ratio.ci_low is not None else ""
    return alt.TitleParams(words["axis_ratio"].format(left=left, right=right), subtitle=_shown(ratio, text) + band)


def _shown(ratio: Estimate, text: Text) -> str:
    """A ratio as a change, with its interval where it has one."""
    bounds = figures.change_range(ratio, text)
    return figures.change(ratio.estimate) + ("" if bounds is None else f" ({bounds})")


def _throughput_panel(rows: list[JsonObject], x: alt.X, text: Text, words: Text) -> alt.LayerChart:
    import altair as alt

    styles = {row["name"]: ROLE_STYLES[row["role"]] for row in rows}
    domain = list(styles)
    legend = alt.Legend(title=None, orient="bottom", labelLimit=220, columns=1, symbolOpacity=1)
    color = alt.Color("name:N", scale=alt.Scale(domain=domain, range=[styles[n][0] for n in domain]), legend=legend)
    shape = alt.Shape("name:N", scale=alt.Scale(domain=domain, range=[styles[n][1] for n in domain]), legend=legend)
    y = alt.Y("throughput:Q", title=None, scale=alt.Scale(zero=False, nice=True, padding=8))
    tips = tooltip(words, name="tip_config", block="tip_block", throughput_shown="tip_throughput", p99_shown="tip_p99")
    base = alt.Chart(data(rows)).encode(x=x, y=y, color=color)
    points = base.mark_point(filled=True, size=55, opacity=1).encode(shape=shape, tooltip=tips)
    panel: alt.LayerChart = alt.layer(base.mark_line(strokeWidth=1, opacity=0.8), points).properties(
        width=250, height=165, title=text["chart_throughput"]
    )
    return panel


def _ratio_panel(
    ratios: list[JsonObject], ratio: Estimate, x: alt.X, title: alt.TitleParams, words: Text
) -> alt.LayerChart:
    import altair as alt

    y = alt.Y("ratio:Q", title=None, scale=alt.Scale(zero=False, nice=True, padding=8), axis=alt.Axis(format=".2f"))
    one = alt.Chart(data([{"ratio": 1.0}])).mark_rule(color=GREY, strokeWidth=1.4).encode(y=y)
    estimate = alt.Chart(data([{"ratio": ratio.estimate}])).mark_rule(color=BLUE, strokeWidth=1.2).encode(y=y)
    points = (
        alt.Chart(data(ratios))
        .mark_point(filled=True, size=55, opacity=1, color=BLUE, shape="diamond")
        .encode(x=x, y=y, tooltip=tooltip(words, block="tip_block", shown="tip_ratio"))
    )
    layers: list[alt.Chart] = [one, estimate, points]
    if ratio.ci_low is not None and ratio.ci_high is not None:
        band = [{"ratio": ratio.ci_low, "high": ratio.ci_high}]
        layers.insert(0, alt.Chart(data(band)).mark_rect(color=BLUE, opacity=0.18).encode(y=y, y2="high:Q"))
    panel: alt.LayerChart = alt.layer(*layers).properties(width=200, height=165, title=title)
    return panel
