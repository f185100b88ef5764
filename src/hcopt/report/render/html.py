"""The HTML page of a report, and that of a batch of models: one file that needs no network, by a Jinja2 template."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcopt.deploy.capacity import PriceOf
from hcopt.records.run import ModelOutcome
from hcopt.report import charts
from hcopt.report.charts.drawing import FONT
from hcopt.report.pages.overview import overview_of
from hcopt.report.render.drawings import Drawing
from hcopt.report.render.web_font import with_web_font
from hcopt.report.render.writing import write_document
from hcopt.report.values import Report
from hcopt.words import Language, texts

if TYPE_CHECKING:
    from jinja2 import Environment

# Latin as the system has it. The font for Korean is the first, since Chromium draws boxes for some texts where a font
# from the page is only a fallback.
_FONTS = f'"{FONT}", system-ui, sans-serif'

# Colours come from the page's style sheet, so that they follow the reader's light or dark mode while the page is open.
_SCREEN_THEME: Mapping[str, Any] = charts.theme(
    font=_FONTS, ink="var(--ink)", soft="var(--soft)", grid="var(--grid)", paper="var(--paper)", size=9.5
)


def write_html(report: Report, drawn: Mapping[str, Drawing], path: Path) -> None:
    """Writes a report: what the PDF says, with charts that answer to the pointer.

    Args:
        report: What it says.
        drawn: The run's charts in its language.
        path: Where it goes; an older report there stays until the new one is complete.

    Raises:
        OutputError: The report cannot be written.
    """
    write_document(_page(report, drawn), path, run_id=report.run_id)


def write_overview(
    outcomes: Sequence[ModelOutcome],
    *,
    run_id: str,
    started_at: str,
    language: Language,
    price_of: PriceOf,
    path: Path,
) -> None:
    """Writes the overview, whole or not at all; the reports of the models lie beside it, in folders of their labels.

    Args:
        outcomes: What became of each model, in order; those that were not begun too.
        run_id: The run of all.
        started_at: UTC, ISO 8601.
        language: Of every word but the user's own.
        price_of: What a kind of machine costs.
        path: Where it goes.

    Raises:
        OutputError: It cannot be written.
    """
    overview = overview_of(outcomes, run_id=run_id, started_at=started_at, language=language, price_of=price_of)
    style = _resource("templates", "report.css")
    page = (
        _templates()
        .get_template("overview.html.jinja")
        .render(overview=overview, words=texts(language), language=language, fonts=_FONTS, style=style)
    )
    write_document(with_web_font(page).encode(errors="replace"), path)


def _templates() -> Environment:
    """The pages' templates. Names may hold markup: everything is escaped that a template does not mark as safe."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("hcopt.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _page(report: Report, drawn: Mapping[str, Drawing]) -> bytes:
    templates = _templates()
    scripts = (_resource("vega", "vega-embed.js"), _resource("templates", "report.js"))
    page = templates.get_template("report.html.jinja").render(
        report=report,
        words=texts(report.language),
        drawings=drawn,
        theme=dict(_SCREEN_THEME),
        fonts=_FONTS,
        style=_resource("templates", "report.css"),
        scripts=scripts,
        script_sources=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
    )
    # Bytes of a path that are no UTF-8 are replaced by question marks.
    return with_web_font(page).encode(errors="replace")


def _resource(*names: str) -> str:
    """A text file of this package."""
    return files("hcopt.report").joinpath(*names).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """What a content security policy calls a script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
