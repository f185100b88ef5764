"""`hcopt log`, `hcopt report` and `hcopt compare` for finished runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from hcopt.cli import options
from hcopt.cli.boundary import app, boundary
from hcopt.errors import ConfigError


@app.command(rich_help_panel=options.RESULTS)
def log(
    run: options.Run,
    *,
    output: options.Output = Path("results"),
    set_: options.Set = None,
    debug: options.Debug = False,
) -> None:
    """Log a finished run to MLflow, with the configuration it was made with; again, it completes what is missing."""
    with boundary(debug=debug):
        from hcopt.cli.progress_bar import printable
        from hcopt.job.handover import log_again
        from hcopt.store.run_folder import find_run

        tracked = log_again(find_run(run, results=output), set_ or [])
        print(tracked.page_command)
        if tracked.promotion is not None:
            print(printable(tracked.promotion), file=sys.stderr)


@app.command(rich_help_panel=options.RESULTS)
def report(
    run: options.Run,
    *,
    output: options.Output = Path("results"),
    set_: options.Set = None,
    debug: options.Debug = False,
) -> None:
    """Make a finished run's PDF again, from its files alone."""
    with boundary(debug=debug):
        from hcopt.job.handover import report_again
        from hcopt.store.run_folder import find_run

        print(report_again(find_run(run, results=output), set_ or []))


@app.command(rich_help_panel=options.RESULTS)
def compare(
    run_a: options.Run,
    run_b: options.Run,
    *,
    output: options.Output = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown.")] = False,
    debug: options.Debug = False,
) -> None:
    """Two finished runs side by side, from their files alone; ratios only where the conditions were the same."""
    with boundary(debug=debug):
        if as_json and as_markdown:
            raise ConfigError("--json and --markdown exclude each other")
        from rich.console import Console

        from hcopt.check.compare_runs import compare_runs
        from hcopt.cli.show import comparison
        from hcopt.store.run_folder import find_run, read_record

        folders = [find_run(reference, results=output) for reference in (run_a, run_b)]
        if folders[0].path == folders[1].path:
            raise ConfigError(f"{run_a} and {run_b} are the same run, {folders[0].run_id}", remedy="Name two runs.")
        found = compare_runs(*map(read_record, folders))
        if as_json:
            print(json.dumps(comparison.as_json(found), indent=2, allow_nan=False))
        elif as_markdown:
            print(comparison.markdown(found), end="")
        else:
            # A terminal gets whole words, a pipe whole lines.
            comparison.print_comparison(Console(soft_wrap=not sys.stdout.isatty()), found)
