"""The PDF of a report: content and charts laid out by a Typst template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from hcopt.records.json import JsonObject
from hcopt.report.render.drawings import Drawing
from hcopt.report.render.typesetting import typeset
from hcopt.report.render.worker import run_in_worker
from hcopt.report.render.writing import write_document
from hcopt.report.values import Report
from hcopt.words import texts

# On paper; the interactive page has all of them.
_MAX_ROWS = 300


def write_pdf(report: Report, drawn: Mapping[str, Drawing], path: Path, *, in_worker: bool = False) -> None:
    """Writes a report.

    Args:
        report: What it says.
        drawn: The run's charts in its language.
        path: Where it goes; an older report there stays until the new one is complete.
        in_worker: Whether a process of its own lays it out, see `worker`.

    Raises:
        OutputError: The report cannot be made or written.
    """
    inputs = _inputs(report, drawn)
    document = run_in_worker("pdf", typeset, inputs) if in_worker else typeset(inputs)
    write_document(document, path, run_id=report.run_id)


def _shortened(report: Report) -> Report:
    """With as many rows as fit on paper: Typst takes 0.2 MB of memory for each."""
    said = texts(report.language)["rows_on_paper"]

    def caption(before: str, rows: Sequence[object]) -> str:
        if len(rows) <= _MAX_ROWS:
            return before
        return f"{before} {said.format(shown=f'{_MAX_ROWS:,}', total=f'{len(rows):,}')}"

    return replace(
        report,
        measurements=report.measurements[:_MAX_ROWS],
        measurements_caption=caption(report.measurements_caption, report.measurements),
        failures=report.failures[:_MAX_ROWS],
        failures_caption=caption(report.failures_caption, report.failures),
    )


def _inputs(report: Report, drawn: Mapping[str, Drawing]) -> dict[str, str]:
    """As inputs, so that no text of the user's is ever source of the template."""
    return {
        "report": _json(asdict(_shortened(report))),
        "words": _json(dict(texts(report.language))),
        "charts": _json({name: _picture(drawing) for name, drawing in drawn.items()}),
    }


def _picture(drawing: Drawing) -> dict[str, str]:
    return {"svg": drawing.svg, "alt": drawing.alt}


def _json(value: JsonObject) -> str:
    """JSON with a question mark for each byte of a path that is no UTF-8, since Typst takes nothing else."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()
