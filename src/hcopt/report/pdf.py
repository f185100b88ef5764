"""A run becomes a PDF: content and charts laid out by a Typst template, compiled in this process."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import as_file, files
from pathlib import Path

from hcopt.errors import OutputError
from hcopt.files import whole_file
from hcopt.report import charts
from hcopt.report.content import build
from hcopt.report.text import Language, texts
from hcopt.report.values import Report
from hcopt.schema import JsonObject, RunRecord


def write_pdf(run: RunRecord, *, language: Language, price_per_hour: float | None = None, path: Path) -> None:
    """Writes the report on a finished run.

    Args:
        run: A finished run, whatever its verdict.
        language: Of every word but the user's own and those of third-party tools.
        price_per_hour: Of one server, in the user's currency; adds the cost of a million inferences.
        path: Where it goes; an older report there stays until the new one is complete.

    Raises:
        OutputError: The report cannot be made or written.
    """
    document = _compiled(build(run, language=language, price_per_hour=price_per_hour), _drawings(run, language))
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(document)
    except OSError as error:
        raise OutputError(f"cannot write the report {path}: {error}") from error


def _drawings(run: RunRecord, language: Language) -> dict[str, dict[str, str]]:
    """The charts as SVG with a text for those who cannot see them; none where nothing was measured."""
    try:
        return {name: _drawing(chart) for name, chart in charts.all_charts(run, language=language).items()}
    except ValueError as error:
        raise OutputError(f"cannot draw the charts of run {run.run_id}: {error}") from error


def _drawing(chart: charts.Chart) -> dict[str, str]:
    return {"svg": charts.to_svg(chart), "alt": str(chart.description)}


def _compiled(report: Report, drawings: dict[str, dict[str, str]]) -> bytes:
    import typst

    # As inputs, so that no text of the user's is ever source of the template.
    inputs = {
        "report": _json(asdict(report)),
        "words": _json(dict(texts(report.language))),
        "charts": _json(drawings),
    }
    try:
        with (
            as_file(files("hcopt.report") / "templates") as templates,
            as_file(files("hcopt.report") / "fonts") as fonts,
        ):
            compiled = typst.compile(
                templates / "report.typ",
                root=templates,
                font_paths=[fonts],
                ignore_system_fonts=True,
                sys_inputs=inputs,
            )
    except typst.TypstError as error:
        raise OutputError(f"cannot make the report on run {report.run_id}: {error.diagnostic}") from error
    assert compiled is not None  # it is None only where an output file is named
    return compiled


def _json(value: JsonObject) -> str:
    """JSON in which bytes of a path that are no UTF-8 have become question marks, since Typst takes nothing else."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()
