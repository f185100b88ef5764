"""Typst makes the PDF of the report's template, here or in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import as_file, files

from hcopt.errors import OutputError


def typeset(inputs: Mapping[str, str]) -> bytes:
    """Compiles the template.

    Raises:
        OutputError: It cannot be compiled.
    """
    import typst

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
                sys_inputs=dict(inputs),
            )
    except typst.TypstError as error:
        run_id = json.loads(inputs["report"])["run_id"]
        raise OutputError(f"cannot make the report on run {run_id}: {error.diagnostic}") from error
    assert compiled is not None  # it is None only where an output file is named
    return compiled
