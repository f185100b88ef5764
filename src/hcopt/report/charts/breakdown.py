"""Where a request spends its time in the server: stacked bars from Triton's own statistics, which is why one wins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from hcopt.analysis.view import Side, pairing
from hcopt.records.json import JsonObject
from hcopt.records.measurement import LoadPoint, Phase, ServerTimes
from hcopt.records.run import RunRecord
from hcopt.report import figures
from hcopt.report.charts.drawing import AMBER, BLUE, GREEN, HALO, SKY, data, tooltip
from hcopt.report.facts.names import load_name, short_name
from hcopt.words import Language, Text, texts

if TYPE_CHECKING:
    import altair as alt

# A segment narrower than this share of the longest bar has no room for its figure.
_LABELLED_RATIO = 0.14

_STAGES: Mapping[str, tuple[str, Callable[[ServerTimes], float]]] = {
    "stage_queue": (AMBER, lambda times: times.queue_us),
    "stage_input": (SKY, lambda times: times.compute_input_us),
    "stage_infer": (BLUE, lambda times: times.compute_infer_us),
    "stage_output": (GREEN, lambda times: times.compute_output_us),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerShare:
    """Mean server times of one configuration at one load.

    Attributes:
        phase: Where they were measured.
    """

    side: Side
    load: LoadPoint
    times: ServerTimes
    phase: Phase

    @property
    def total_us(self) -> float:
        """All stages together."""
        return sum(stage(self.times) for _, stage in _STAGES.values())


def server_shares(run: RunRecord) -> tuple[ServerShare, ...]:
    """Server times of the first page's pair, each at its own load, and the left one at the right one's load too.

    A request waits longer the more are under way, so that only an equal load shows what the settings do.
    """
    pair = pairing(run)
    wanted = [(side, side.load) for side in pair.sides]
    if pair.left is not None and pair.right is not None and pair.left.load != pair.right.load:
        wanted.insert(1, (pair.left, pair.right.load))
    shares = (_share(run, side, load) for side, load in wanted)
    return tuple(share for share in shares if share is not None)


def latency_breakdown(run: RunRecord, *, language: Language) -> alt.LayerChart | None:
    """A stacked bar a configuration; None where the server's statistics are missing."""
    import altair as alt

    text, shares = texts(language), server_shares(run)
    longest_us = max((share.total_us for share in shares), default=0.0)
    if longest_us <= 0:
        return None
    rows = [row for share in shares for row in _segments(share, longest_us, run, text)]
    totals = [_total(share, run, text) for share in shares]
    x = alt.X(
        "start:Q",
        title=text["axis_server_time"],
        # Head room for the total behind the longest bar.
        scale=alt.Scale(domain=[0, 1.14 * longest_us / 1000], nice=False),
        axis=alt.Axis(tickCount=6),
    )
    axis = alt.Axis(title=None, labelExpr="split(datum.label, '\\n')", ticks=False, labelLimit=150, domain=False)
    y = alt.Y("bar:N", sort=None, axis=axis, scale=alt.Scale(paddingInner=0.35, paddingOuter=0.2))
    chart: alt.LayerChart = alt.layer(*_bars(rows, x, y, text), *_sums(totals, x, y)).properties(
        width=430, height=44 * len(shares), description=_description(shares, run, text)
    )
    return chart


def _share(run: RunRecord, side: Side, load: LoadPoint) -> ServerShare | None:
    """From the confirmation's windows, else from the sweep's."""
    windows = [m for m in run.measurements if m.variant.settings == side.variant.settings and m.load == load]
    phases: tuple[Phase, ...] = ("confirmation", "sweep")
    for phase in phases:
        times = [m.server for m in windows if m.phase == phase and m.server is not None]
        if times:
            return ServerShare(side=side, load=load, times=_mean(times), phase=phase)
    return None


def _mean(times: Sequence[ServerTimes]) -> ServerTimes:
    """The windows' mean; each window counts once, as everywhere in the confirmation."""
    return ServerTimes(
        queue_us=fmean(t.queue_us for t in times),
        compute_input_us=fmean(t.compute_input_us for t in times),
        compute_infer_us=fmean(t.compute_infer_us for t in times),
        compute_output_us=fmean(t.compute_output_us for t in times),
    )


def _bar_name(share: ServerShare, run: RunRecord, text: Text) -> str:
    name = f"{text[f'role_{share.side.role}']} · {short_name(share.side.variant.config_name, run)}"
    return f"{name}\n{load_name(share.load, text)}"


def _segments(share: ServerShare, longest_us: float, run: RunRecord, text: Text) -> list[JsonObject]:
    rows, start_us = [], 0.0
    for key, (_, stage) in _STAGES.items():
        length_us = stage(share.times)
        rows.append(
            {
                "bar": _bar_name(share, run, text),
                "name": short_name(share.side.variant.config_name, run),
                "stage": text[key],
                "start": start_us / 1000,
                "end": (start_us + length_us) / 1000,
                "middle": (start_us + length_us / 2) / 1000,
                "shown": figures.milliseconds(length_us / 1000),
                "label": figures.latency(length_us / 1000) if length_us >= _LABELLED_RATIO * longest_us else "",
                "share": f"{length_us / share.total_us:.0%}",
                "load": load_name(share.load, text),
                "source": text[f"source_{share.phase}"],
            }
        )
        start_us += length_us
    return rows


def _total(share: ServerShare, run: RunRecord, text: Text) -> JsonObject:
    shown = figures.milliseconds(share.total_us / 1000)
    return {"bar": _bar_name(share, run, text), "start": share.total_us / 1000, "shown": shown}


def _bars(rows: list[JsonObject], x: alt.X, y: alt.Y, text: Text) -> list[alt.Chart]:
    import altair as alt

    colors = alt.Scale(domain=[text[key] for key in _STAGES], range=[color for color, _ in _STAGES.values()])
    color = alt.Color("stage:N", scale=colors, legend=alt.Legend(title=None, orient="top", labelLimit=150))
    tips = tooltip(
        text,
        name="tip_config",
        stage="tip_stage",
        shown="tip_time",
        share="tip_share",
        load="tip_load",
        source="tip_source",
    )
    base = alt.Chart(data(rows))
    bars = base.mark_bar().encode(x=x, x2="end:Q", y=y, color=color, tooltip=tips)
    # White reads on the blue only.
    ink = alt.condition(f"datum.stage == {text['stage_infer']!r}", alt.value("white"), alt.value("#1B1F24"))
    figure = base.mark_text(fontWeight="bold").encode(x="middle:Q", y=y, text="label:N", color=ink, tooltip=tips)
    return [bars, figure]


def _sums(totals: list[JsonObject], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    import altair as alt

    base = alt.Chart(data(totals)).encode(x=x, y=y, text="shown:N")
    return [base.mark_text(align="left", dx=5, style=style) for style in (HALO, "text")]


def _description(shares: Sequence[ServerShare], run: RunRecord, text: Text) -> str:
    totals = "; ".join(
        text["alt_breakdown_total"].format(
            name=_bar_name(share, run, text).replace("\n", ", "),
            total=figures.latency(share.total_us / 1000),
            queue=figures.latency(share.times.queue_us / 1000),
            infer=figures.latency(share.times.compute_infer_us / 1000),
        )
        for share in shares
    )
    return text["alt_breakdown"].format(totals=totals)
