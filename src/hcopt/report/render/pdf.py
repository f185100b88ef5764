"""A run becomes a PDF: content and charts laid out by a Typst template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from hcopt.deploy.scaling import Scaling
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.report.render.drawings import Drawing
from hcopt.report.render.typesetting import typeset
from hcopt.report.render.worker import typeset_apart
from hcopt.report.render.writing import write_laid_out
from hcopt.report.values import Report
from hcopt.words import Language, texts

# On paper; the interactive page has all of them.
_MOST_ROWS = 300


def write_pdf(
    run: RunRecord,
    *,
    language: Language,
    price_per_hour: float | None = None,
    scaling: Scaling | None = None,
    drawn: Mapping[str, Drawing] | None = None,
    path: Path,
    apart: bool = False,
) -> None:
    """Writes the report on a finished run.

    Args:
        run: A finished run, whatever its verdict.
        language: Of every word but the user's own and those of third-party tools.
        price_per_hour: Of one server, in the user's currency; adds the cost of a million inferences.
        scaling: What `hcopt scale-check` has measured.
        drawn: The run's charts in this language, where they were drawn before; they take most of the time.
        path: Where it goes; an older report there stays until the new one is complete.
        apart: Whether a process of its own lays it out, see `worker`.

    Raises:
        OutputError: The report cannot be made or written.
    """
    write_laid_out(
        run,
        lambda report, charts: (typeset_apart if apart else typeset)(_inputs(report, charts)),
        language=language,
        price_per_hour=price_per_hour,
        scaling=scaling,
        drawn=drawn,
        path=path,
    )


def _shortened(report: Report) -> Report:
    """Without the rows that nobody leafs through on paper, which Typst would take 0.2 MB of memory for each."""
    said = texts(report.language)["rows_on_paper"]

    def caption(before: str, rows: Sequence[object]) -> str:
        if len(rows) <= _MOST_ROWS:
            return before
        return f"{before} {said.format(shown=f'{_MOST_ROWS:,}', total=f'{len(rows):,}')}"

    return replace(
        report,
        measurements=report.measurements[:_MOST_ROWS],
        measurements_caption=caption(report.measurements_caption, report.measurements),
        failures=report.failures[:_MOST_ROWS],
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
    """JSON in which bytes of a path that are no UTF-8 have become question marks, since Typst takes nothing else."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()
