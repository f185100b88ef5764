"""`hcopt profile`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hcopt.cli import options
from hcopt.cli.boundary import app, boundary, command_line, program
from hcopt.errors import ConfigError

if TYPE_CHECKING:
    from hcopt.cli.progress_bar import TerminalProgress
    from hcopt.config.sections import Config
    from hcopt.store.unfinished import Unfinished


@app.command(rich_help_panel=options.MEASURE)
def profile(
    run: Annotated[
        str | None, typer.Argument(help="With --resume: the run; the latest unfinished if not given.")
    ] = None,
    *,
    model: options.Models = None,
    config: options.Config = None,
    set_: options.Set = None,
    output: options.Output = Path("results"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and the expected time; measure and write nothing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run of this configuration, if there is one.")
    ] = False,
    promote: options.Promote = None,
    runtime: options.AnyRuntime = None,
    endpoint: options.Endpoint = None,
    executor: options.Executor = None,
    address: options.Address = None,
    profiler: options.Profiler = None,
    max_minutes: options.MaxMinutes = None,
    strict: options.Strict = False,
    force: options.Force = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print summary.json, or the plan, to stdout.", rich_help_panel=options.OUTPUT),
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Sweep, rank, prove, report and log: the whole job.

    Exit codes: 0 done; 2 configuration; 3 model; 4 Triton; 5 no usable measurement; 6 nothing meets the limit; 7 report
    or MLflow; 9 another run measures on this machine; 10 of several models one or more failed; 130 interrupted.
    """
    with boundary(debug=debug):
        from hcopt.config.load import load_config

        if run is not None and not resume:
            raise ConfigError(f"what is {run} for? A run is named with --resume only", remedy="Add --resume.")
        given = {
            **options.model_options(model or []),
            **options.runtime_options(runtime, endpoint),
            **options.given(
                {
                    "profiler.kind": profiler,
                    "profiler.max_minutes": max_minutes,
                    "mlflow.promote_alias": promote,
                    "noise.gate": "strict" if strict else None,
                    "executor.kind": executor,
                    "executor.address": address,
                }
            ),
        }
        loaded = load_config(config, options=given, overrides=set_ or [])
        if dry_run:
            _print_plan(loaded, output, as_json=as_json)
        else:
            _profile(loaded, output, as_json=as_json, force=force, resume=(run or "") if resume else None)


def _profile(config: Config, output: Path, *, as_json: bool, force: bool, resume: str | None) -> None:
    """`resume` names a run; an empty one stands for the latest."""
    from rich.console import Console

    from hcopt.cli.progress_bar import TerminalProgress
    from hcopt.cli.show.run import print_closing, print_models
    from hcopt.job.batch import profile_all
    from hcopt.job.executors import open_executors
    from hcopt.job.run import FinishedRun, Job

    command = command_line()
    with (
        TerminalProgress(Console(stderr=True, soft_wrap=True)) as progress,
        open_executors(config, command=command, force=force, progress=progress) as executors,
    ):
        unfinished = None if resume is None else _unfinished(config, output, resume, progress)
        job = Job(config=config, results=output, command=command, program=program(), unfinished=unfinished)
        finished = profile_all(job, executors, progress)
    if as_json:
        print(finished.folder.summary.read_text(encoding="utf-8"), end="")
    elif isinstance(finished, FinishedRun):
        print_closing(Console(soft_wrap=True), finished)
    else:
        print_models(Console(soft_wrap=True), finished, config.report.price_of)
    if (error := finished.error) is not None:
        raise error


def _unfinished(config: Config, output: Path, run: str, progress: TerminalProgress) -> Unfinished | None:
    from hcopt.store.unfinished import latest_unfinished, unfinished_run

    if run:
        return unfinished_run(run, config, results=output)
    found, note = latest_unfinished(config, results=output)
    if note is not None:
        progress.note(note)
    return found


def _print_plan(config: Config, output: Path, *, as_json: bool) -> None:
    from rich.console import Console

    from hcopt.cli.show.run import print_plan, print_total
    from hcopt.job.plan import plan_job

    planned = [plan_job(one, results=output) for one in config.each()]
    total_s = sum(one.expected_s for one in planned)
    if as_json:
        plans = [one.as_json() for one in planned]
        batch = {"models": plans, "expected_s": round(total_s, 1)}
        print(json.dumps(batch if config.models else plans[0], indent=2))
        return
    console = Console(soft_wrap=True)
    for one in planned:
        print_plan(console, one)
    if config.models:
        print_total(console, len(planned), total_s)
