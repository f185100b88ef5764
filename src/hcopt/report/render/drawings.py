"""The charts as a report shows them: drawn once, each with its title, for the PDF and for the HTML page."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from hcopt.errors import OutputError
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.report import charts
from hcopt.report.pictures import to_svgs
from hcopt.report.render.worker import run_in_worker
from hcopt.words import Language, Text, texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """One chart.

    Attributes:
        title: A heading.
        alt: For those who cannot see it.
        spec: Vega-Lite, without a theme.
        svg: In the print's colours.
    """

    title: str
    alt: str
    spec: JsonObject
    svg: str

    @property
    def svg_base64(self) -> str:
        """The picture as a data URI holds it."""
        return base64.b64encode(self.svg.encode()).decode()


def drawn_charts(run: RunRecord, *, language: Language, in_worker: bool = False) -> dict[str, Drawing]:
    """Every chart that the run has data for, by name, in the order in which a reader meets them.

    Args:
        run: A finished run.
        language: Of their words.
        in_worker: Whether a process of its own draws them, see `worker`.

    Raises:
        OutputError: A chart cannot be drawn.
    """
    words, specs = texts(language), chart_specs(run, language=language)
    arguments = (specs, charts.PRINT_THEME)
    try:
        drawn = run_in_worker("svg", to_svgs, *arguments) if in_worker else to_svgs(*arguments)
    except ValueError as error:
        raise OutputError(f"cannot draw the charts of run {run.run_id}: {error}") from error
    return {
        name: Drawing(title=_title(name, run, words), alt=spec["description"], spec=spec, svg=drawn[name])
        for name, spec in specs.items()
    }


def chart_specs(run: RunRecord, *, language: Language) -> dict[str, JsonObject]:
    """Every chart that the run has data for as Vega-Lite, without a theme, by name.

    Raises:
        OutputError: A chart cannot be drawn.
    """
    try:
        # The tests check them against Vega-Lite's schema; here that would take longer than drawing them.
        made = charts.all_charts(run, language=language)
        return {name: chart.to_dict(validate=False) for name, chart in made.items()}
    except ValueError as error:
        raise OutputError(f"cannot draw the charts of run {run.run_id}: {error}") from error


def _title(name: str, run: RunRecord, words: Text) -> str:
    """A heading; where there is no limit, the one that does not speak of it."""
    unlimited = f"title_{name}_no_limit"
    if run.ranking.latency_p99_limit_ms is None and unlimited in words:
        return words[unlimited]
    return words[f"title_{name}"]
