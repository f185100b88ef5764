"""The command line: the only place that prints and exits. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from hcopt import __version__
from hcopt.cli.deploy import register
from hcopt.cli.options import WITHOUT_CLUSTERS, ForceOption
from hcopt.errors import ConfigError, HcoptError, InterruptedRunError

if TYPE_CHECKING:
    from hcopt.cli.progress_bar import TerminalProgress
    from hcopt.config.sections import Config
    from hcopt.doctor.findings import Finding
    from hcopt.job.batch import FinishedModels
    from hcopt.job.run import FinishedRun
    from hcopt.store.unfinished import Unfinished

# What a service manager, and a terminal that goes away, send; Python itself takes care of Ctrl-C.
_ENDING = (signal.SIGTERM, signal.SIGHUP)

app = typer.Typer(
    name="hcopt",
    help="Finds the Triton configuration with the most throughput within your latency limit, proves it against the "
    "default, and hands it over.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="config.yaml; without it ./config.yaml, else the defaults.")
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="models:/NAME@alias, runs:/ID/path, s3://bucket/key, a folder or a file.")
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="models:/NAME@alias, runs:/ID/path, s3://bucket/key, a folder or a file; several models: several times.",
    ),
]
RuntimeOption = Annotated[str | None, typer.Option("--runtime", help="auto, embedded, docker or remote.")]
EndpointOption = Annotated[
    str | None, typer.Option("--endpoint", help="A Triton that runs already, grpc://host:port; means --runtime remote.")
]
ExecutorOption = Annotated[
    str | None,
    typer.Option("--executor", hidden=WITHOUT_CLUSTERS, help="local, or ray: on the nodes of a Ray cluster."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        hidden=WITHOUT_CLUSTERS,
        help="With --executor ray: the head, host:port; auto: that of this machine.",
    ),
]
ProfilerOption = Annotated[str | None, typer.Option("--profiler", help="model-analyzer or adaptive.")]
MaxMinutesOption = Annotated[
    float | None, typer.Option("--max-minutes", help="Budget of an adaptive search, in minutes.")
]
PromoteOption = Annotated[
    str | None, typer.Option("--promote", help="Alias that the model version gets if the best is proven better.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value, as in config.yaml; may be given several times.")
]
RunArgument = Annotated[str, typer.Argument(help="A run's folder, its id, or `results` for the latest.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Refuse to compare on a machine that is noisier than `noise` allows.")
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.callback(invoke_without_command=True)
def _options(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"hcopt {__version__}")
        raise typer.Exit


@app.command()
def profile(
    run: Annotated[
        str | None, typer.Argument(help="With --resume: the run; the latest unfinished if not given.")
    ] = None,
    *,
    config: ConfigOption = None,
    output: OutputOption = Path("results"),
    model: ModelsOption = None,
    runtime: RuntimeOption = None,
    endpoint: EndpointOption = None,
    profiler: ProfilerOption = None,
    max_minutes: MaxMinutesOption = None,
    executor: ExecutorOption = None,
    address: AddressOption = None,
    set_: SetOption = None,
    promote: PromoteOption = None,
    strict: StrictOption = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run of this configuration, if there is one.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and the expected time; measure and write nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json, or the plan, to stdout.")] = False,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Sweep, rank, prove, report and log: the whole job.

    Exit codes: 0 done; 2 configuration; 3 model; 4 Triton; 5 no usable measurement; 6 nothing meets the limit; 7 report
    or MLflow; 9 another run measures on this machine; 10 of several models one or more failed; 130 interrupted.
    """
    with _boundary(debug=debug):
        if run is not None and not resume:
            raise ConfigError(f"what is {run} for? A run is named with --resume only", remedy="Add --resume.")
        given = _overrides(
            runtime=runtime,
            endpoint=endpoint,
            profiler=profiler,
            max_minutes=max_minutes,
            promote=promote,
            strict=strict,
            executor=executor,
            address=address,
        )
        loaded = _load(config, [*_models(model or []), *given, *(set_ or [])])
        if dry_run:
            _print_plan(loaded, output, as_json=as_json)
        else:
            _profile(loaded, output, as_json=as_json, force=force, resume=(run or "") if resume else None)


@app.command()
def fetch(
    *,
    config: ConfigOption = None,
    output: OutputOption = Path("results"),
    model: ModelOption = None,
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Pull the model and build its Triton model repository; no measurement."""
    with _boundary(debug=debug):
        loaded = _load(config, [*_models([model] if model else []), *(set_ or [])])
        from rich.console import Console

        from hcopt.cli.progress_bar import TerminalProgress
        from hcopt.job.plan import fetch_repository

        with TerminalProgress(Console(stderr=True, soft_wrap=True)) as progress:
            folders = [fetch_repository(one, results=output, progress=progress) for one in loaded.each()]
        print(*folders, sep="\n")


@app.command()
def seed(
    *,
    config: ConfigOption = None,
    output: OutputOption = Path("results"),
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Register the sample model in the configured MLflow, where it is not there yet."""
    with _boundary(debug=debug):
        from hcopt.job.plan import seed as seed_model

        print(seed_model(_load(config, set_ or []), results=output))


@app.command()
def log(
    run: RunArgument,
    *,
    output: OutputOption = Path("results"),
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Log a finished run to MLflow, with the configuration it was made with; again, it completes what is missing."""
    with _boundary(debug=debug):
        from hcopt.cli.progress_bar import printable
        from hcopt.job.handover import log_again
        from hcopt.store.run_folder import find_run

        tracked = log_again(find_run(run, results=output), set_ or [])
        print(tracked.page_command)
        if tracked.promotion is not None:
            print(printable(tracked.promotion), file=sys.stderr)


@app.command()
def report(
    run: RunArgument,
    *,
    output: OutputOption = Path("results"),
    set_: SetOption = None,
    debug: DebugOption = False,
) -> None:
    """Make a finished run's PDF again, from its files alone."""
    with _boundary(debug=debug):
        from hcopt.job.handover import report_again
        from hcopt.store.run_folder import find_run

        print(report_again(find_run(run, results=output), set_ or []))


@app.command()
def compare(
    run_a: RunArgument,
    run_b: RunArgument,
    *,
    output: OutputOption = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown.")] = False,
    debug: DebugOption = False,
) -> None:
    """Two finished runs side by side, from their files alone; ratios only where the conditions were the same."""
    with _boundary(debug=debug):
        if as_json and as_markdown:
            raise ConfigError("--json and --markdown exclude each other")
        _compare(run_a, run_b, output, form="json" if as_json else "markdown" if as_markdown else "table")


@app.command()
def doctor(
    *,
    config: ConfigOption = None,
    output: OutputOption = Path("results"),
    set_: SetOption = None,
    fix: Annotated[bool, typer.Option("--fix", help="Remove what killed runs have left in the Docker Engine.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    debug: DebugOption = False,
) -> None:
    """Look at this machine and the configured services: one line each, with the remedy where something is wrong.

    Exit codes: 0 no error; 1 an error.
    """
    with _boundary(debug=debug):
        findings = _examined(_load(config, set_ or []), output, fix=fix, quiet=as_json)
        if as_json:
            from hcopt.doctor.findings import as_json as findings_json

            print(json.dumps(findings_json(findings), indent=2))
        if any(finding.status == "error" for finding in findings.values()):
            raise typer.Exit(1)


def main() -> NoReturn:
    """The program."""
    # The wheels of ONNX Runtime 1.32 report to Microsoft unless told not to, here and in the server's instances.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    app()
    raise SystemExit(0)


@contextmanager
def _boundary(*, debug: bool) -> Iterator[None]:
    """The one place where errors become messages and exit codes."""
    for number in _ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's SIGHUP stays ignored
            signal.signal(number, _on_signal)
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt as error:
        _fail(InterruptedRunError(str(error) or "interrupted by Ctrl-C"), debug=debug)
    except HcoptError as error:
        _fail(error, debug=debug)
    except Exception as error:
        _fail(
            HcoptError(
                f"unexpected {type(error).__name__}: {error}",
                remedy="Run it again with --debug and report what it says.",
            ),
            debug=debug,
        )


def _on_signal(number: int, _frame: object) -> NoReturn:
    # From here every context manager on the stack ends what it started, as on Ctrl-C; a second one must not stop that.
    # No error of ours: a library's `except Exception` would swallow it.
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt(f"ended by {signal.Signals(number).name}")


def _fail(error: HcoptError, *, debug: bool) -> NoReturn:
    from rich.console import Console
    from rich.markup import escape

    from hcopt.cli.progress_bar import printable
    from hcopt.config.dotenv import dotenv_file
    from hcopt.system.redaction import redacted

    known = {**dotenv_file(), **os.environ}

    def said(text: object) -> str:
        return escape(printable(redacted(str(text), known)))

    if debug:
        print(redacted(traceback.format_exc(), known), file=sys.stderr)
    console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    console.print(f"[bold red]error:[/bold red] {said(error.message)}")
    if error.remedy:
        console.print(f"[bold]what to do:[/bold] {said(error.remedy)}")
    if error.log:
        console.print(f"[bold]log:[/bold] {said(error.log)}")
    raise typer.Exit(error.exit_code)


def _models(uris: list[str]) -> list[str]:
    """Models that are named on the command line stand for those of config.yaml."""
    if not uris:
        return []
    if len(uris) == 1:
        return [f"model.uri={json.dumps(uris[0])}", "models=[]"]
    return [f"models={json.dumps([{'model': {'uri': uri}} for uri in uris])}"]


def _overrides(
    *,
    runtime: str | None = None,
    endpoint: str | None = None,
    profiler: str | None = None,
    max_minutes: float | None = None,
    promote: str | None = None,
    strict: bool = False,
    executor: str | None = None,
    address: str | None = None,
) -> list[str]:
    """Options that stand for one key of config.yaml each."""
    given = {
        "runtime.kind": runtime or (None if endpoint is None else "remote"),
        "runtime.remote.grpc": endpoint,
        "profiler.kind": profiler,
        "profiler.max_minutes": max_minutes,
        "mlflow.promote_alias": promote,
        "noise.gate": "strict" if strict else None,
        "executor.kind": executor,
        "executor.address": address,
    }
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]


def _load(path: Path | None, overrides: list[str]) -> Config:
    from hcopt.config.load import load_config

    return load_config(path, overrides=overrides)


def _profile(config: Config, output: Path, *, as_json: bool, force: bool, resume: str | None) -> None:
    """`resume` names a run; an empty one stands for the latest."""
    from rich.console import Console

    from hcopt.cli.progress_bar import TerminalProgress
    from hcopt.job.batch import SeveralJob, profile_several
    from hcopt.job.executors import open_places
    from hcopt.job.plan import open_job
    from hcopt.job.run import profile as run_profile

    command = _command_line()
    with (
        TerminalProgress(Console(stderr=True, soft_wrap=True)) as progress,
        open_places(config, command=command, force=force, progress=progress) as places,
    ):
        unfinished = None if resume is None else _unfinished(config, output, resume, progress)
        finished: FinishedRun | FinishedModels
        # A run that is gone on with stays what it is, whatever kinds of machines there are now.
        begun = None if unfinished is None else unfinished.state
        if config.models or (len(places.all) > 1 if begun is None else "parts" in begun):
            several = SeveralJob(
                config=config, results=output, command=command, program=_program(), unfinished=unfinished, places=places
            )
            finished = profile_several(several, progress, places.opened)
        else:
            job = open_job(config, results=output, command=command, progress=progress, unfinished=unfinished)
            place = places.named(None if begun is None else begun.get("hardware"))
            finished = run_profile(replace(job, program=_program(), place=place), progress, places.opened)
    if as_json:
        print(finished.folder.summary.read_text(encoding="utf-8"), end="")
    else:
        _print_result(finished, config)
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


def _compare(run_a: str, run_b: str, output: Path, *, form: Literal["table", "json", "markdown"]) -> None:
    from rich.console import Console

    from hcopt.check.compare_runs import compare_runs
    from hcopt.cli.show import comparison
    from hcopt.store.run_folder import find_run, read_record

    folders = [find_run(reference, results=output) for reference in (run_a, run_b)]
    if folders[0].path == folders[1].path:
        raise ConfigError(f"{run_a} and {run_b} are the same run, {folders[0].run_id}", remedy="Name two runs.")
    found = compare_runs(*map(read_record, folders))
    if form == "json":
        print(json.dumps(comparison.as_json(found), indent=2, allow_nan=False))
    elif form == "markdown":
        print(comparison.markdown(found), end="")
    else:
        # A terminal gets whole words, a pipe whole lines.
        comparison.print_comparison(Console(soft_wrap=not sys.stdout.isatty()), found)


def _examined(config: Config, output: Path, *, fix: bool, quiet: bool) -> dict[str, Finding]:
    from rich.console import Console

    from hcopt.cli.show.run import print_finding
    from hcopt.doctor.examination import examine

    console = Console(soft_wrap=True)
    findings = {}
    for name, finding in examine(config, output, fix=fix):
        findings[name] = finding
        if not quiet:
            print_finding(console, name, finding)
    return findings


def _command_line() -> str:
    from hcopt.system.redaction import without_credentials

    return without_credentials(shlex.join(["hcopt", *sys.argv[1:]]))


def _program() -> str:
    """What to type for this program: its path where its folder is not among those of the shell."""
    return "hcopt" if shutil.which("hcopt") else shlex.quote(sys.argv[0])


def _print_result(finished: FinishedRun | FinishedModels, config: Config) -> None:
    from rich.console import Console

    from hcopt.cli.show.run import print_closing, print_models
    from hcopt.job.run import FinishedRun

    console = Console(soft_wrap=True)
    if isinstance(finished, FinishedRun):
        print_closing(console, finished)
    else:
        print_models(console, finished, config.report.price_of)


def _print_plan(config: Config, output: Path, *, as_json: bool) -> None:
    from rich.console import Console

    from hcopt.cli.show.run import print_plan, print_total
    from hcopt.job.plan import plan_job

    planned = [plan_job(one, results=output) for one in config.each()]
    total_s = sum(one.expected_s for one in planned)
    if as_json:
        plans = [one.as_json() for one in planned]
        several = {"models": plans, "expected_s": round(total_s, 1)}
        print(json.dumps(several if config.models else plans[0], indent=2))
        return
    console = Console(soft_wrap=True)
    for one in planned:
        print_plan(console, one)
    if config.models:
        print_total(console, len(planned), total_s)


register(app, _boundary, _command_line)


if __name__ == "__main__":
    main()
