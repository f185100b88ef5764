"""What PDF and HTML share: a run's content and charts, laid out by one of them, become a file; whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hcopt.deploy.scaling import Scaling
from hcopt.errors import OutputError
from hcopt.records.run import RunRecord
from hcopt.report.pages.content import build
from hcopt.report.render.drawings import Drawing, drawings
from hcopt.report.values import Report
from hcopt.system.files import whole_file
from hcopt.words import Language

LayOut = Callable[[Report, Mapping[str, Drawing]], bytes]


def write_laid_out(
    run: RunRecord,
    lay_out: LayOut,
    *,
    language: Language,
    price_per_hour: float | None,
    scaling: Scaling | None,
    drawn: Mapping[str, Drawing] | None,
    path: Path,
) -> None:
    """Writes the report on a finished run; see `write_pdf` and `write_html`.

    Raises:
        OutputError: The report cannot be made or written.
    """
    content = build(run, language=language, price_per_hour=price_per_hour, scaling=scaling)
    document = lay_out(content, drawings(run, language=language) if drawn is None else drawn)
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(document)
    except OSError as error:
        raise OutputError(
            f"cannot write the report {path}: {error.strerror or error}",
            remedy=f"Make room. Then `hcopt report {run.run_id}` makes it.",
        ) from error
