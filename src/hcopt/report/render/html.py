"""A run, or an overview of several models, becomes one HTML file that needs no network, by a Jinja2 template."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcopt.deploy.capacity import PriceOf
from hcopt.deploy.scaling import Scaling
from hcopt.errors import OutputError
from hcopt.records.run import ModelOutcome, RunRecord
from hcopt.report import charts
from hcopt.report.pages.overview import overview_of
from hcopt.report.render.drawings import Drawing
from hcopt.report.render.writing import write_laid_out
from hcopt.report.values import Report
from hcopt.system.files import whole_file
from hcopt.words import Language, texts

if TYPE_CHECKING:
    from jinja2 import Environment

# What the system has for Korean and Latin: a font inside the file would double its size.
_FONTS = 'system-ui, "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "Noto Sans CJK KR", sans-serif'

# Colours come from the page's style sheet, so that they follow the reader's light or dark mode while the page is open.
_SCREEN_THEME: Mapping[str, Any] = charts.theme(
    font=_FONTS, ink="var(--ink)", soft="var(--soft)", grid="var(--grid)", paper="var(--paper)", size=9.5
)


def write_html(
    run: RunRecord,
    *,
    language: Language,
    price_per_hour: float | None = None,
    scaling: Scaling | None = None,
    drawn: Mapping[str, Drawing] | None = None,
    path: Path,
) -> None:
    """Writes the report on a finished run: what the PDF says, with charts that answer to the pointer.

    Args:
        run: A finished run, whatever its verdict.
        language: Of every word but the user's own and those of third-party tools.
        price_per_hour: Of one server, in the user's currency; adds the cost of a million inferences.
        scaling: What `hcopt scale-check` has measured.
        drawn: The run's charts in this language, where they were drawn before; they take most of the time.
        path: Where it goes; an older report there stays until the new one is complete.

    Raises:
        OutputError: The report cannot be made or written.
    """
    write_laid_out(
        run, _page, language=language, price_per_hour=price_per_hour, scaling=scaling, drawn=drawn, path=path
    )


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
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(page.encode(errors="replace"))
    except OSError as error:
        raise OutputError(f"cannot write the overview {path}: {error.strerror or error}") from error


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
    # Bytes of a path that are no UTF-8 become question marks.
    return page.encode(errors="replace")


def _resource(*names: str) -> str:
    """A text file of this package."""
    return files("hcopt.report").joinpath(*names).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """What a content security policy calls a script by."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
