"""Reports on a run, made and written in one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hcopt.records.run import RunRecord
from hcopt.report.pages.content import build
from hcopt.report.render import html, pdf
from hcopt.report.render.drawings import Drawing, drawn_charts
from hcopt.words import Language

_DRAWN: dict[tuple[str, Language], Mapping[str, Drawing]] = {}


def drawn_once(run: RunRecord, language: Language) -> Mapping[str, Drawing]:
    """The charts of a run, drawn once in a process however many reports show them."""
    key = (repr(run), language)
    if key not in _DRAWN:
        _DRAWN[key] = drawn_charts(run, language=language)
    return _DRAWN[key]


def write_pdf(
    run: RunRecord,
    *,
    language: Language,
    path: Path,
    drawn: Mapping[str, Drawing] | None = None,
    in_worker: bool = False,
    **options: Any,
) -> None:
    """The PDF; `options` are those of its content."""
    charts = drawn_charts(run, language=language) if drawn is None else drawn
    pdf.write_pdf(build(run, language=language, **options), charts, path, in_worker=in_worker)


def write_html(
    run: RunRecord, *, language: Language, path: Path, drawn: Mapping[str, Drawing] | None = None, **options: Any
) -> None:
    """The page; `options` are those of its content."""
    charts = drawn_charts(run, language=language) if drawn is None else drawn
    html.write_html(build(run, language=language, **options), charts, path)
