"""The charts as a report shows them: drawn once, each with its title, for the PDF and for the HTML page."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from hcopt.errors import OutputError
from hcopt.report import charts
from hcopt.report.chart_text import chart_texts
from hcopt.report.text import Language, Text
from hcopt.schema import JsonObject, RunRecord


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


def drawings(run: RunRecord, *, language: Language) -> dict[str, Drawing]:
    """Every chart that the run has data for, by name, in the order in which a reader meets them.

    Raises:
        OutputError: A chart cannot be drawn.
    """
    words = chart_texts(language)
    try:
        return {
            name: _drawing(name, chart, run, words) for name, chart in charts.all_charts(run, language=language).items()
        }
    except ValueError as error:
        raise OutputError(f"cannot draw the charts of run {run.run_id}: {error}") from error


def _drawing(name: str, chart: charts.Chart, run: RunRecord, words: Text) -> Drawing:
    # The tests check it against Vega-Lite's schema; here that would take longer than drawing it.
    spec = chart.to_dict(validate=False)
    return Drawing(
        title=_title(name, run, words),
        alt=str(chart.description),
        spec=spec,
        svg=charts.to_svg(spec),
    )


def _title(name: str, run: RunRecord, words: Text) -> str:
    """A heading; where there is no limit, the one that does not speak of it."""
    unlimited = f"title_{name}_no_limit"
    if run.ranking.latency_p99_limit_ms is None and unlimited in words:
        return words[unlimited]
    return words[f"title_{name}"]
