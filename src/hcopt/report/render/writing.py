"""Writes a document as a file, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from hcopt.errors import OutputError
from hcopt.system.files import whole_file


def write_document(document: bytes, path: Path, *, run_id: str | None = None) -> None:
    """Writes the report on a run, or the overview of a batch of models; an older one stays until it is complete.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(document)
    except OSError as error:
        remedy = None if run_id is None else f"Make room. Then `hcopt report {run_id}` makes it."
        what = "overview" if run_id is None else "report"
        raise OutputError(f"cannot write the {what} {path}: {error.strerror or error}", remedy=remedy) from error
