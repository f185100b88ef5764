"""The description that MLflow shows over a run's figures, in Markdown. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hcopt.analysis.view import Side, pairing
from hcopt.records.run import RunRecord
from hcopt.report.facts.names import short_name
from hcopt.report.plain_table import plain_rows
from hcopt.words import texts
from hcopt.words.notes import sentence

# MLflow's page sets the columns of a table without any space between them.
_GAP = " &emsp;"


def run_note(run: RunRecord) -> str:
    """The description over the run's figures, in Markdown: verdict, what to deploy against the default, the command."""
    found = run.confirmation
    parts = [f"**{found.verdict.replace('_', ' ')}**: {_plain(sentence(found.reason))}"]
    if sides := pairing(run).sides:
        parts.append(_table(run, sides))
    # A longer fence than any in the command.
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", run.command)), default=0))
    parts.append(f"{fence}sh\n{run.command}\n{fence}")
    return "\n\n".join(parts)


def _table(run: RunRecord, sides: Sequence[Side]) -> str:
    limit_ms = run.ranking.latency_p99_limit_ms
    names = [short_name(side.variant.config_name, run) for side in sides]
    rows = {"configuration": names, **plain_rows(sides, limit_ms=limit_ms, limited=limit_ms is not None)}
    head = [f"| |{_cells(texts('en')[f'group_{side.role}'] for side in sides)}", "| --- |" + " --- |" * len(sides)]
    return "\n".join([*head, *(f"| {_plain(label)} |{_cells(cells)}" for label, cells in rows.items())])


def _cells(cells: Iterable[str]) -> str:
    return "".join(f"{_GAP}{_plain(cell)} |" for cell in cells)


def _plain(text: str) -> str:
    """Text in which nothing is Markdown's or a table's."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", " ".join(text.split()))
