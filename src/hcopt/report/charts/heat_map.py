"""Best throughput by settings: a cell a pair of max batch size and instances, a panel a queue delay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hcopt.analysis.view import SweepPoint, batches, pairing, sweep_points
from hcopt.records.json import JsonObject
from hcopt.records.model import ModelConfigVariant
from hcopt.records.run import RunRecord
from hcopt.report import figures
from hcopt.report.charts.drawing import BLUE, CELL, FRAME, GREY, ORANGE, data, tooltip
from hcopt.report.facts.names import load_name, short_name
from hcopt.words import Language, Text, texts

if TYPE_CHECKING:
    import altair as alt

# From pale to the report's blue: the darker cell is the faster one, in print without colours too.
_RANGE = ["#E4EFF7", BLUE]
_CELL_HEIGHT = 24
_MIN_CELL_WIDTH, _MAX_CELL_WIDTH = 27.0, 110.0
_MAX_COLUMNS = 3
# The print's text width in px.
_PAGE_WIDTH = 520
_OVERHEAD = 44


def throughput_by_settings(run: RunRecord, *, language: Language) -> alt.FacetChart | None:
    """The grid's best throughput within the limit; None where the grid has a single cell."""
    import altair as alt

    text = texts(language)
    cells = _cells(run, text)
    if len(cells) < 2:
        return None
    delays = list(dict.fromkeys(cell["delay"] for cell in cells))
    batch_count = len({cell["batch"] for cell in cells})
    instance_count = len({cell["instances"] for cell in cells})
    columns, cell_width = _layout(len(delays), batch_count)
    panel = alt.layer(*_layers(cells, text), data=data(cells)).properties(
        width=round(batch_count * cell_width), height=instance_count * _CELL_HEIGHT
    )
    facet = alt.Facet("delay:N", sort=delays, title=None, header=alt.Header(labelAnchor="start"))
    description = text["alt_heat_map"].format(
        cells=len(cells),
        delays=len(delays),
        infeasible=sum(cell["state"] == text["cell_infeasible"] for cell in cells),
        failed=sum(cell["state"] == text["cell_failed"] for cell in cells),
    )
    chart: alt.FacetChart = panel.facet(facet=facet, columns=columns, spacing=14).properties(description=description)
    return chart


def _layout(panels: int, batches: int) -> tuple[int, float]:
    """How many panels stand side by side, and how wide a cell is: as many as leave room for a figure in each cell."""
    for columns in range(min(panels, _MAX_COLUMNS), 0, -1):
        cell_width = (_PAGE_WIDTH / columns - _OVERHEAD) / batches
        if cell_width >= _MIN_CELL_WIDTH:
            return columns, min(cell_width, _MAX_CELL_WIDTH)
    return 1, _MIN_CELL_WIDTH


def _cells(run: RunRecord, text: Text) -> list[JsonObject]:
    """A row a cell, in the order of delay, batch, instances; the best over loads and swept parameters."""
    groups: dict[Hashable, list[ModelConfigVariant]] = defaultdict(list)
    for variant in run.plan.variants:
        groups[replace(variant, parameters=(), execution_accelerator="none").settings].append(variant)
    points: dict[Hashable, list[SweepPoint]] = defaultdict(list)
    for point in sweep_points(run):
        points[point.variant.settings].append(point)
    right = pairing(run).right
    framed = None if right is None else right.variant.settings
    cells = [
        _cell(
            group[0],
            [point for variant in group for point in points.get(variant.settings, [])],
            framed=framed in {variant.settings for variant in group},
            run=run,
            text=text,
        )
        for group in groups.values()
    ]
    return sorted(cells, key=lambda cell: (cell["order"], cell["batch"], cell["instances"]))


def _cell(
    variant: ModelConfigVariant, points: Sequence[SweepPoint], *, framed: bool, run: RunRecord, text: Text
) -> JsonObject:
    limit_ms = run.ranking.latency_p99_limit_ms
    within = [point for point in points if limit_ms is None or point.latency_p99_ms <= limit_ms]
    best = max(within, key=lambda point: point.throughput_infer_per_s, default=None)
    shown = best or min(points, key=lambda point: point.latency_p99_ms, default=None)
    delay = text["facet_delay"].format(value=f"{variant.max_queue_delay_us:,}")
    return {
        "delay": delay if batches(variant) else text["facet_no_batching"],
        "order": variant.max_queue_delay_us if batches(variant) else -1,
        "batch": variant.max_batch_size,
        "instances": variant.instance_count,
        "name": short_name((shown.variant if shown else variant).config_name, run),
        "throughput": None if best is None else best.throughput_infer_per_s,
        "shown": "" if best is None else _short(best.throughput_infer_per_s),
        "throughput_shown": "" if shown is None else figures.throughput(shown.throughput_infer_per_s),
        "p99_shown": "" if shown is None else figures.milliseconds(shown.latency_p99_ms),
        "load": "" if shown is None else load_name(shown.load, text),
        "state": None if best else text["cell_infeasible" if points else "cell_failed"],
        "framed": framed,
    }


def _short(throughput: float) -> str:
    """A figure that fits a cell."""
    if throughput >= 100_000:
        return f"{throughput / 1000:,.0f}k"
    return f"{throughput / 1000:.1f}k" if throughput >= 10_000 else figures.throughput(throughput)


def _layers(cells: Sequence[JsonObject], text: Text) -> list[alt.Chart]:
    import altair as alt

    x = alt.X("batch:O", title=text["row_max_batch_size"], axis=alt.Axis(labelAngle=0))
    y = alt.Y("instances:O", title=text["row_instance_count"], sort="descending")
    base = alt.Chart().encode(x=x, y=y)
    tips = tooltip(
        text,
        name="column_config",
        throughput_shown="tip_throughput",
        p99_shown="tip_p99",
        load="tip_load",
        state="tip_state",
    )
    layers = [base.mark_rect(color="transparent").encode(tooltip=tips)]
    measured = [cell["throughput"] for cell in cells if cell["throughput"] is not None]
    if measured:
        layers += _filled(base, tips, min(measured), max(measured), text)
    states = {cell["state"] for cell in cells}
    present = [state for state in (text["cell_infeasible"], text["cell_failed"]) if state in states]
    if present:
        layers.append(_marked(base, tips, present, text))
    if any(cell["framed"] for cell in cells):
        frame = base.transform_filter("datum.framed")
        layers.append(frame.mark_rect(fillOpacity=0, style=FRAME).encode(tooltip=tips))
    return layers


def _filled(base: alt.Chart, tips: list[alt.Tooltip], low: float, high: float, text: Text) -> list[alt.Chart]:
    """Cells with a feasible figure, and the figure in them."""
    import altair as alt

    within = base.transform_filter("isValid(datum.throughput)")
    color = alt.Color(
        "throughput:Q",
        # A single value needs a width of the scale too.
        scale=alt.Scale(domain=[low, high if high > low else low + 1], range=_RANGE, nice=False),
        legend=alt.Legend(title=text["column_throughput"], orient="top", gradientLength=150, tickCount=3, format=",~f"),
    )
    # Up to here the dark figure has the greater contrast.
    threshold = low + 0.85 * (high - low)
    ink = alt.condition(f"datum.throughput > {threshold!r}", alt.value("white"), alt.value("#1B1F24"))
    cells = within.mark_rect(style=CELL).encode(color=color, tooltip=tips)
    figure = within.mark_text(fontSize=8).encode(text="shown:N", color=ink, tooltip=tips)
    return [cells, figure]


def _marked(base: alt.Chart, tips: list[alt.Tooltip], present: list[str], text: Text) -> alt.Chart:
    """Cells without one."""
    import altair as alt

    styles = {text["cell_infeasible"]: (ORANGE, "cross"), text["cell_failed"]: (GREY, "triangle-down")}
    legend = alt.Legend(title=None, orient="top", labelLimit=220)
    colors = alt.Scale(domain=present, range=[styles[state][0] for state in present])
    shapes = alt.Scale(domain=present, range=[styles[state][1] for state in present])
    marks: alt.Chart = (
        base.transform_filter("isValid(datum.state)")
        .mark_point(filled=True, size=48, opacity=1)
        .encode(
            fill=alt.Fill("state:N", scale=colors, legend=legend),
            shape=alt.Shape("state:N", scale=shapes, legend=legend),
            tooltip=tips,
        )
    )
    return marks
