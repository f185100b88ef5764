"""`hcopt fetch`, `hcopt seed` and `hcopt doctor`: what is done before a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hcopt.cli import options
from hcopt.cli.boundary import app, boundary


@app.command(rich_help_panel=options.SERVICE)
def fetch(
    *,
    config: options.Config = None,
    output: options.Output = Path("results"),
    model: options.Model = None,
    set_: options.Set = None,
    debug: options.Debug = False,
) -> None:
    """Pull the model and build its Triton model repository; no measurement."""
    with boundary(debug=debug):
        from hcopt.config.load import load_config

        loaded = load_config(config, options=options.model_options([model] if model else []), overrides=set_ or [])
        from rich.console import Console

        from hcopt.cli.progress_bar import TerminalProgress
        from hcopt.job.plan import fetch_repository

        with TerminalProgress(Console(stderr=True, soft_wrap=True)) as progress:
            folders = [fetch_repository(one, results=output, progress=progress) for one in loaded.each()]
        print(*folders, sep="\n")


@app.command(rich_help_panel=options.SERVICE)
def seed(
    *,
    config: options.Config = None,
    output: options.Output = Path("results"),
    set_: options.Set = None,
    debug: options.Debug = False,
) -> None:
    """Register the sample model in the configured MLflow, where it is not there yet."""
    with boundary(debug=debug):
        from hcopt.config.load import load_config
        from hcopt.job.plan import seed as seed_model

        print(seed_model(load_config(config, overrides=set_ or []), results=output))


@app.command(rich_help_panel=options.SERVICE)
def doctor(
    *,
    config: options.Config = None,
    output: options.Output = Path("results"),
    set_: options.Set = None,
    fix: Annotated[bool, typer.Option("--fix", help="Remove what killed runs have left in the Docker Engine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    debug: options.Debug = False,
) -> None:
    """Look at this machine and the configured services: one line each, with the remedy where something is wrong.

    Exit codes: 0 no error; 1 an error.
    """
    with boundary(debug=debug):
        from rich.console import Console

        from hcopt.cli.show.run import print_finding
        from hcopt.config.load import load_config
        from hcopt.doctor.examination import examine
        from hcopt.doctor.findings import as_json as findings_json

        console, findings = Console(soft_wrap=True), {}
        for name, finding in examine(load_config(config, overrides=set_ or []), output, fix=fix):
            findings[name] = finding
            if not as_json:
                print_finding(console, name, finding)
        if as_json:
            print(json.dumps(findings_json(findings), indent=2))
        if any(finding.status == "error" for finding in findings.values()):
            raise typer.Exit(1)
