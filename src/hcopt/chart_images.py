"""A run becomes its report's charts as PNG images, for places that show pictures and no reports."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from hcopt.errors import OutputError
from hcopt.schema import RunRecord

if TYPE_CHECKING:
    import altair as alt

    from hcopt.report.text import Language

# Twice the size on paper, for screens; on white, because a page may be dark.
_SCALE = 2


def chart_images(run: RunRecord, language: Language) -> Mapping[str, bytes]:
    """The charts by name, as PNG; none where nothing was measured.

    Raises:
        OutputError: A chart cannot be drawn.
    """
    from hcopt.report import charts

    try:
        return {name: _png(chart) for name, chart in charts.all_charts(run, language=language).items()}
    except ValueError as error:
        raise OutputError(f"cannot draw the charts of run {run.run_id}: {error}") from error


def _png(chart: alt.TopLevelMixin) -> bytes:
    import vl_convert

    from hcopt.report.charts import PRINT_THEME

    with as_file(files("hcopt.report") / "fonts") as folder:
        vl_convert.register_font_directory(str(folder))
        image: bytes = vl_convert.vegalite_to_png(
            chart.to_dict(), scale=_SCALE, config={**PRINT_THEME, "background": "white", "padding": 12}
        )
    return image
