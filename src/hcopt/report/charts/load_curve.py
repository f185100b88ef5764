"""p99 latency and throughput against concurrency, for the first page's pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcopt.analysis.view import Pairing, Side, pairing, sweep_points
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.report import figures
from hcopt.report.charts.drawing import limit_line, needs_log, role_lines, tooltip
from hcopt.report.facts.names import load_name, side_name
from hcopt.words import Language, Text, texts

if TYPE_CHECKING:
    import altair as alt

# A limit this far above the curves would flatten them: it is named in the title then.
_LIMIT_IN_VIEW_RATIO = 3.0


def latency_against_concurrency(run: RunRecord, *, language: Language) -> alt.ConcatChart | None:
    """Two panels over the sweep's concurrencies; None where the sweep has fewer than two."""
    import altair as alt

    text, pair = texts(language), pairing(run)
    rows = [row for side in pair.sides for row in _curve(side, pair, run, text)]
    concurrencies = sorted({row["concurrency"] for row in rows})
    if len(concurrencies) < 2:
        return None
    limit_ms = run.ranking.latency_p99_limit_ms
    highest = max(row["p99_ms"] for row in rows)
    drawn = limit_ms is not None and limit_ms <= _LIMIT_IN_VIEW_RATIO * highest
    named = "" if limit_ms is None else f" · {text['chart_limit'].format(limit=figures.limit(limit_ms))}"
    x = _concurrency_axis(concurrencies, text)
    p99 = alt.Y("p99_ms:Q", title=None, scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickCount=5))
    throughput = alt.Y("throughput:Q", title=None, scale=alt.Scale(zero=True, nice=True), axis=alt.Axis(tickCount=5))
    batch = _batch_note(pair, text)
    limit = [limit_line(p99, {"p99_ms": limit_ms})] if drawn else []
    panels = [
        _panel([*limit, *_curves(rows, x, p99, text)], text["chart_latency"] + named, batch),
        _panel(_curves(rows, x, throughput, text), text["column_throughput"], batch),
    ]
    names = ", ".join(side_name(side, run, text) for side in pair.sides)
    chart: alt.ConcatChart = (
        alt.concat(*panels, columns=2, spacing=26)
        .resolve_scale(color="shared", shape="shared")
        .properties(description=text["alt_load_curve"].format(names=names))
    )
    return chart


def _curve(side: Side, pair: Pairing, run: RunRecord, text: Text) -> list[JsonObject]:
    """The closed-loop loads of one configuration with as many rows a request as the best has."""
    swept = sorted(
        (
            point
            for point in sweep_points(run)
            if point.variant.settings == side.variant.settings
            if point.load.concurrency > 0 and point.load.client_batch_size == _client_batch_size(pair)
        ),
        key=lambda point: point.load.concurrency,
    )
    return [
        {
            "name": side_name(side, run, text),
            "role": side.role,
            "concurrency": point.load.concurrency,
            "throughput": point.throughput_infer_per_s,
            "p99_ms": point.latency_p99_ms,
            "throughput_shown": figures.rate(point.throughput_infer_per_s),
            "p99_shown": figures.milliseconds(point.latency_p99_ms),
            "load": load_name(point.load, text),
        }
        for point in swept
    ]


def _client_batch_size(pair: Pairing) -> int:
    return 1 if pair.right is None else pair.right.load.client_batch_size


def _batch_note(pair: Pairing, text: Text) -> str:
    batch = _client_batch_size(pair)
    return "" if batch == 1 else text["client_batch"].format(batch=batch)


def _concurrency_axis(concurrencies: list[int], text: Text) -> alt.X:
    import altair as alt

    wide = needs_log(concurrencies)
    scale = alt.Scale(type="log", base=2, nice=False, padding=10) if wide else alt.Scale(zero=False, padding=10)
    axis = alt.Axis(values=concurrencies, format="d", labelOverlap=True, grid=False)
    return alt.X("concurrency:Q", title=text["column_load"], scale=scale, axis=axis)


def _panel(layers: list[alt.Chart], title: str, subtitle: str) -> alt.LayerChart:
    import altair as alt

    heading = alt.TitleParams(title, subtitle=subtitle) if subtitle else alt.TitleParams(title)
    panel: alt.LayerChart = alt.layer(*layers).properties(width=220, height=170, title=heading)
    return panel


def _curves(rows: list[JsonObject], x: alt.X, y: alt.Y, text: Text) -> list[alt.Chart]:
    import altair as alt

    legend = alt.Legend(title=None, orient="top", labelLimit=180, symbolStrokeWidth=1.4)
    tips = tooltip(text, name="column_config", load="tip_load", throughput_shown="tip_throughput", p99_shown="tip_p99")
    return role_lines(rows, x, y, legend, tips, line={"strokeWidth": 1.6}, size=60)
