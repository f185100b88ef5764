"""The decisions of an adaptive search as JSON Lines: each appended when it is taken, and read back for the report."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hcopt.errors import ProfileError
from hcopt.schema import Decision

DECISIONS_NAME = "decisions.jsonl"


class DecisionLog:
    """The file in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / DECISIONS_NAME

    def append(self, decision: Decision) -> None:
        """Adds a line and waits until the disk has it.

        Raises:
            OSError: It cannot be written.
        """
        values = {key: value for key, value in asdict(decision).items() if value is not None}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())


def read_decisions(folder: Path) -> tuple[Decision, ...]:
    """The decisions of a run's search, in order; none where it had no such search.

    Raises:
        ProfileError: The file is damaged.
    """
    path = folder / DECISIONS_NAME
    if not path.exists():
        return ()
    adapter = TypeAdapter(Decision)
    try:
        return tuple(adapter.validate_json(line) for line in path.read_bytes().splitlines())
    except ValidationError as error:
        raise ProfileError(f"{path} is damaged: {error.errors()[0]['msg']}") from error
