"""The charts of a run's report as PNG images, for places that show pictures and no reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hcopt.records.run import RunRecord

if TYPE_CHECKING:
    from hcopt.words import Language

# Twice the size on paper, for screens; on white, because a page may be dark.
_SCALE = 2


def chart_images(run: RunRecord, language: Language) -> Mapping[str, bytes]:
    """The charts by name, as PNG; none where nothing was measured.

    Raises:
        OutputError: A chart cannot be drawn.
    """
    from hcopt.report import charts
    from hcopt.report.charts.drawing import to_pngs
    from hcopt.report.render.drawings import chart_specs
    from hcopt.report.render.worker import run_in_worker

    specs = chart_specs(run, language=language)
    options = {"scale": _SCALE, "config": {**charts.PRINT_THEME, "background": "white", "padding": 12}}
    return run_in_worker("png", to_pngs, specs, options) if specs else {}
