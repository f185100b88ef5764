"""The charts of a run's report as PNG images, for places that show pictures and no reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hcopt.records.run import RunRecord

if TYPE_CHECKING:
    from hcopt.report.render.drawings import Drawing
    from hcopt.words import Language

# Twice the size on paper, for screens.
_SCALE = 2.0


def chart_images(run: RunRecord, language: Language, drawn: Mapping[str, Drawing] | None = None) -> Mapping[str, bytes]:
    """The charts by name, as PNG; none where nothing was measured.

    Args:
        run: A finished run.
        language: Of the charts' words.
        drawn: Its charts in that language, where a report has shown them before; else they are drawn now.

    Raises:
        OutputError: A chart cannot be drawn.
    """
    from hcopt.report.pictures import to_pngs
    from hcopt.report.render.drawings import drawn_charts
    from hcopt.report.render.worker import run_in_worker

    if drawn is None:
        drawn = drawn_charts(run, language=language, in_worker=True)
    svgs = {name: drawing.svg for name, drawing in drawn.items()}
    return run_in_worker("png", to_pngs, svgs, _SCALE) if svgs else {}
