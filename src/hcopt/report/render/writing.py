"""Writes a document as a file, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from hcopt.errors import OutputError
from hcopt.system.files import whole_file


def write_document(document: bytes, path: Path, *, what: str, remedy: str | None = None) -> None:
    """Writes it; an older one there stays until the new one is complete.

    Raises:
        OutputError: It cannot be written; says `what` it is and what to do.
    """
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(document)
    except OSError as error:
        raise OutputError(f"cannot write the {what} {path}: {error.strerror or error}", remedy=remedy) from error


def write_report_document(document: bytes, path: Path, run_id: str) -> None:
    """Writes a run's report.

    Raises:
        OutputError: It cannot be written.
    """
    write_document(document, path, what="report", remedy=f"Make room. Then `hcopt report {run_id}` makes it.")
