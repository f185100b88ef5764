"""The command line: the only package that prints and exits. Heavy modules are imported by the command that needs them.

Each module adds its commands to the program as it is imported, in the order in which `--help` shows them.
"""

from __future__ import annotations

import os
from typing import Annotated, NoReturn

import typer

from hcopt import __version__
from hcopt.cli.boundary import app

# isort: off
import hcopt.cli.profile
import hcopt.cli.runs
import hcopt.cli.kubernetes
import hcopt.cli.ray_job
import hcopt.cli.deploy
import hcopt.cli.service  # noqa: F401
# isort: on


@app.callback(invoke_without_command=True)
def _options(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"hcopt {__version__}")
        raise typer.Exit


def main() -> NoReturn:
    """The program."""
    # The wheels of ONNX Runtime 1.32 report to Microsoft unless told not to, here and in the server's instances.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # noqa: TID251 - environ.py would load pydantic for --help
    app()
    raise SystemExit(0)


if __name__ == "__main__":
    main()
