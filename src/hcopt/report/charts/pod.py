"""What one pod carries as it is planned: the autoscaler's target, and what is kept free above it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from hcopt.deploy.capacity import lower_bound, sustained, target_rate, usual_reaction
from hcopt.errors import ConfigError
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.report import figures
from hcopt.report.charts.drawing import AMBER, BLUE, GREY, HALO, LIMIT_DASH, SKY, data, like, tooltip
from hcopt.words import Language, Text, texts

if TYPE_CHECKING:
    import altair as alt

_COLORS = (BLUE, SKY, AMBER)


def pod_load(run: RunRecord, *, language: Language) -> alt.LayerChart | None:
    """A bar from 0 to the capacity C, and what a closed loop reached beside it; None without a capacity."""
    import altair as alt

    text = texts(language)
    try:
        capacity = lower_bound(sustained(run))
    except ConfigError:
        return None
    reaction = usual_reaction(run)
    target = target_rate(capacity, reaction)
    rows = _parts((0.0, target, target * (1 + reaction.tolerance_ratio), capacity), text)
    axis = alt.Axis(format=",~f", tickCount=6, labelOverlap=True)
    x = alt.X("start:Q", title=text["axis_pod"], scale=alt.Scale(zero=True, nice=False), axis=axis)
    layers: list[alt.Chart | alt.LayerChart] = [
        _bar(rows, x, text),
        *_closed_loop(run, x, text),
        _end(capacity, x, text),
    ]
    description = text["alt_pod"].format(target=rows[0]["shown"], capacity=figures.rate(capacity))
    chart: alt.LayerChart = alt.layer(*layers).properties(width=520, height=36, description=description)
    return chart


def _parts(bounds: Sequence[float], text: Text) -> list[JsonObject]:
    shown = [figures.rate(high - low) for low, high in pairwise(bounds)]
    return [
        {"start": low, "end": high, "shown": said, "part": text[f"pod_{name}"].format(rate=said)}
        for (low, high), name, said in zip(pairwise(bounds), ("target", "tolerance", "growth"), shown, strict=True)
    ]


def _bar(rows: list[JsonObject], x: alt.X, text: Text) -> alt.Chart:
    import altair as alt

    scale = alt.Scale(domain=[row["part"] for row in rows], range=list(_COLORS))
    legend = alt.Legend(title=None, orient="top", labelLimit=260, symbolOpacity=1)
    bar: alt.Chart = (
        alt.Chart(data(rows))
        .mark_bar(height=20, opacity=1)
        .encode(
            x=x,
            x2="end:Q",
            color=alt.Color("part:N", scale=scale, legend=legend),
            tooltip=tooltip(text, part="tip_part"),
        )
    )
    return bar


def _end(capacity: float, x: alt.X, text: Text) -> alt.LayerChart:
    """The name of the bar's end, beside it."""
    import altair as alt

    said = text["pod_capacity"].format(rate=figures.rate(capacity))
    base = alt.Chart(data([{"rate": capacity, "end_shown": said}])).encode(x=like(x, "rate"), text="end_shown:N")
    halo, label = (base.mark_text(align="left", dx=5, fontWeight="bold", style=style) for style in (HALO, "text"))
    both: alt.LayerChart = halo + label
    return both


def _closed_loop(run: RunRecord, x: alt.X, text: Text) -> list[alt.Chart]:
    """What the same configuration reached in the confirmation, which is not to be planned with."""
    import altair as alt

    best = run.confirmation.best
    if best is None:
        return []
    rate = best.throughput_infer_per_s.estimate
    said = text["pod_closed"].format(rate=figures.rate(rate))
    base = alt.Chart(data([{"rate": rate, "closed": said}]))
    rule = base.mark_rule(color=GREY, strokeDash=LIMIT_DASH, strokeWidth=1.6).encode(
        x=like(x, "rate"), tooltip=tooltip(text, closed="tip_part")
    )
    label = base.mark_text(align="right", baseline="bottom", dx=-4, y=8).encode(x=like(x, "rate"), text="closed:N")
    return [rule, label]
