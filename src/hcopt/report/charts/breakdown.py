"""Where a request spends its time in the server: stacked bars from Triton's own statistics, which is why one wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hcopt.analysis.view import pairing
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.report import figures
from hcopt.report.charts.drawing import AMBER, BLUE, GREEN, HALO, SKY, data, tooltip
from hcopt.report.facts.names import load_name, short_name
from hcopt.report.facts.server_times import SERVER_PARTS, Times, server_times
from hcopt.words import Language, Text, texts

if TYPE_CHECKING:
    import altair as alt

# A segment narrower than this share of the longest bar has no room for its figure.
_LABELLED_RATIO = 0.14

_COLORS = dict(zip(SERVER_PARTS, (AMBER, SKY, BLUE, GREEN), strict=True))


def server_shares(run: RunRecord) -> tuple[Times, ...]:
    """Server times of the first page's pair, each at its own load, and the left one at the right one's load too.

    A request waits longer the more are under way, so that only an equal load shows what the settings do.
    """
    pair = pairing(run)
    wanted = [(side, side.load) for side in pair.sides]
    if pair.left is not None and pair.right is not None and pair.left.load != pair.right.load:
        wanted.insert(1, (pair.left, pair.right.load))
    shares = (server_times(run, side, load) for side, load in wanted)
    return tuple(share for share in shares if share is not None)


def latency_breakdown(run: RunRecord, *, language: Language) -> alt.LayerChart | None:
    """A stacked bar a configuration; None where the server's statistics are missing."""
    import altair as alt

    text, shares = texts(language), server_shares(run)
    longest_ms = max((share.server_ms for share in shares), default=0.0)
    if longest_ms <= 0:
        return None
    rows = [row for share in shares for row in _segments(share, longest_ms, run, text)]
    totals = [_total(share, run, text) for share in shares]
    x = alt.X(
        "start:Q",
        title=text["axis_server_time"],
        # Head room for the total behind the longest bar.
        scale=alt.Scale(domain=[0, 1.14 * longest_ms], nice=False),
        axis=alt.Axis(tickCount=6),
    )
    axis = alt.Axis(title=None, labelExpr="split(datum.label, '\\n')", ticks=False, labelLimit=150, domain=False)
    y = alt.Y("bar:N", sort=None, axis=axis, scale=alt.Scale(paddingInner=0.35, paddingOuter=0.2))
    chart: alt.LayerChart = alt.layer(*_bars(rows, x, y, text), *_sums(totals, x, y)).properties(
        width=430, height=44 * len(shares), description=_description(shares, run, text)
    )
    return chart


def _bar_name(share: Times, run: RunRecord, text: Text) -> str:
    name = f"{text[f'role_{share.side.role}']} · {short_name(share.side.variant.config_name, run)}"
    return f"{name}\n{load_name(share.load, text)}"


def _segments(share: Times, longest_ms: float, run: RunRecord, text: Text) -> list[JsonObject]:
    rows, start_ms = [], 0.0
    for part in SERVER_PARTS:
        length_ms = share.mean_ms(part)
        rows.append(
            {
                "bar": _bar_name(share, run, text),
                "name": short_name(share.side.variant.config_name, run),
                "stage": text[f"part_{part}"],
                "start": start_ms,
                "end": start_ms + length_ms,
                "middle": start_ms + length_ms / 2,
                "shown": figures.milliseconds(length_ms),
                "label": figures.latency(length_ms) if length_ms >= _LABELLED_RATIO * longest_ms else "",
                "share": f"{length_ms / share.server_ms:.0%}",
                "load": load_name(share.load, text),
                "source": text["phase_confirmation" if share.confirmed else "phase_sweep"],
            }
        )
        start_ms += length_ms
    return rows


def _total(share: Times, run: RunRecord, text: Text) -> JsonObject:
    shown = figures.milliseconds(share.server_ms)
    return {"bar": _bar_name(share, run, text), "start": share.server_ms, "shown": shown}


def _bars(rows: list[JsonObject], x: alt.X, y: alt.Y, text: Text) -> list[alt.Chart]:
    import altair as alt

    colors = alt.Scale(domain=[text[f"part_{part}"] for part in _COLORS], range=list(_COLORS.values()))
    color = alt.Color("stage:N", scale=colors, legend=alt.Legend(title=None, orient="top", labelLimit=150))
    tips = tooltip(
        text,
        name="column_config",
        stage="tip_stage",
        shown="tip_time",
        share="tip_share",
        load="tip_load",
        source="tip_source",
    )
    base = alt.Chart(data(rows))
    bars = base.mark_bar().encode(x=x, x2="end:Q", y=y, color=color, tooltip=tips)
    # White reads on the blue only.
    ink = alt.condition(f"datum.stage == {text['part_compute_infer']!r}", alt.value("white"), alt.value("#1B1F24"))
    figure = base.mark_text(fontWeight="bold").encode(x="middle:Q", y=y, text="label:N", color=ink, tooltip=tips)
    return [bars, figure]


def _sums(totals: list[JsonObject], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    import altair as alt

    base = alt.Chart(data(totals)).encode(x=x, y=y, text="shown:N")
    return [base.mark_text(align="left", dx=5, style=style) for style in (HALO, "text")]


def _description(shares: Sequence[Times], run: RunRecord, text: Text) -> str:
    totals = "; ".join(
        text["alt_breakdown_total"].format(
            name=_bar_name(share, run, text).replace("\n", ", "),
            total=figures.latency(share.server_ms),
            queue=figures.latency(share.mean_ms("queue")),
            infer=figures.latency(share.mean_ms("compute_infer")),
        )
        for share in shares
    )
    return text["alt_breakdown"].format(totals=totals)
