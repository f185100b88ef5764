"""The decisions of an adaptive search as JSON Lines: each appended when it is taken, and read back for the report."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hcopt.errors import ProfileError
from hcopt.records.search import Decision
from hcopt.system import finite_json
from hcopt.system.files import append_line

DECISIONS_NAME = "decisions.jsonl"


def append_decision(folder: Path, decision: Decision) -> None:
    """Adds a line to decisions.jsonl of a run's folder and waits until the disk has it.

    Raises:
        OSError: It cannot be written.
    """
    values = {key: value for key, value in asdict(decision).items() if value is not None}
    append_line(folder / DECISIONS_NAME, json.dumps(values, ensure_ascii=False, allow_nan=False))


def read_decisions(folder: Path) -> tuple[Decision, ...]:
    """The decisions of a run's search, in order; a last line that was cut off by a crash is left out.

    There are none where the run had no such search.

    Raises:
        ProfileError: The file is damaged.
    """
    path = folder / DECISIONS_NAME
    if not path.exists():
        return ()
    adapter = TypeAdapter(Decision)
    try:
        whole, _, _ = path.read_bytes().rpartition(b"\n")
        return tuple(adapter.validate_python(finite_json.loads(line)) for line in whole.splitlines())
    except (OSError, ValueError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ProfileError(f"{path} is damaged: {said}", remedy=f"Remove {DECISIONS_NAME}, or its bad line.") from error
