"""`hcopt capacity`, `hcopt scale-check` and `hcopt check`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hcopt.cli import options
from hcopt.cli.boundary import app, boundary, command_line
from hcopt.deploy.capacity import USUAL_GROWTH, USUAL_RATE_WINDOW_S, USUAL_SCRAPE_INTERVAL_S, parse_growth

if TYPE_CHECKING:
    from hcopt.cli.progress_bar import TerminalProgress


@app.command(rich_help_panel=options.DEPLOY)
def capacity(
    run: options.Run,
    *,
    rate: Annotated[float | None, typer.Option("--rate", min=0, help="A load in infer/s: replicas for it.")] = None,
    replicas: Annotated[int | None, typer.Option("--replicas", min=1, help="Pods: the load they carry.")] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="CSV with t_s,infer_per_s: simulates the autoscaler over it.")
    ] = None,
    manifests: Annotated[
        Path | None,
        typer.Option("--manifests", help="Folder that hcopt kubernetes wrote: simulates that autoscaler, as it is."),
    ] = None,
    chart: Annotated[Path | None, typer.Option("--chart", help="Of the simulation: .html, .svg or .png.")] = None,
    growth: options.Growth = USUAL_GROWTH,
    scrape_interval: options.Scrape = USUAL_SCRAPE_INTERVAL_S,
    rate_window: options.Window = USUAL_RATE_WINDOW_S,
    pod_start: options.PodStart = None,
    price_per_hour: Annotated[
        float | None,
        typer.Option("--price-per-hour", min=0, help="Of one pod; report.price_per_hour if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    output: options.Output = Path("results"),
    debug: options.Debug = False,
) -> None:
    """Replicas for a load, load for replicas, cost, and the autoscaler simulated over a load trace."""
    with boundary(debug=debug):
        from rich.console import Console

        from hcopt.cli.show.deployment import print_answer
        from hcopt.cli.show.simulation import simulation_chart, write_chart
        from hcopt.deploy.answers import answer
        from hcopt.deploy.load_trace import read_trace
        from hcopt.errors import ConfigError
        from hcopt.store.run_folder import find_run

        if chart is not None and trace is None:
            raise ConfigError("--chart draws a simulation, which needs a load", remedy="Give --trace load.csv.")
        if manifests is not None and trace is None:
            raise ConfigError("--manifests are simulated, which needs a load", remedy="Give --trace load.csv.")
        folder = find_run(run, results=output)
        found = answer(
            folder,
            rate_infer_per_s=rate,
            replicas=replicas,
            trace=None if trace is None else read_trace(trace),
            manifests=manifests,
            growth=parse_growth(growth),
            scrape_interval_s=scrape_interval,
            rate_window_s=rate_window,
            pod_start_s=pod_start,
            price_per_hour=price_per_hour,
        )
        if chart is not None and found.simulated is not None:
            drawn = simulation_chart(found.simulated, capacity_infer_per_s=found.capacity_infer_per_s)
            write_chart(drawn, chart)
        if as_json:
            print(json.dumps(found.as_json(), indent=2))
            return
        print_answer(Console(soft_wrap=True, highlight=False), found)
        if chart is not None:
            print(f"chart: {chart}")


@app.command("scale-check", rich_help_panel=options.MEASURE)
def scale_check(
    run: options.Run,
    *,
    servers: Annotated[int, typer.Option("--servers", help="Isolated servers at once.")] = 2,
    cpus: Annotated[
        int | None, typer.Option("--cpus", min=1, help="CPUs of each server; those of the run, if not given.")
    ] = None,
    blocks: Annotated[int, typer.Option("--blocks", min=2, help="Blocks to measure.")] = 8,
    runtime: options.Runtime = None,
    set_: options.Set = None,
    output: options.Output = Path("results"),
    force: options.Force = False,
    debug: options.Debug = False,
) -> None:
    """Measure whether capacity grows with the servers: isolated ones on disjoint CPUs, alone and all at once.

    Exit codes: 0 measured; 2 the machine is too small; 4 Triton; 5 no usable measurement; 9 another run measures.
    """
    with boundary(debug=debug):
        from hcopt.check.run_scaling import run_scale_check
        from hcopt.config.load import load_config
        from hcopt.deploy.scaling import write_scaling
        from hcopt.store.run_folder import find_run, recorded_config

        folder = find_run(run, results=output)
        config = load_config(
            options=options.runtime_options(runtime), overrides=set_ or [], recorded=recorded_config(folder)
        )
        with _measuring(force=force) as progress:
            found = run_scale_check(folder, config, progress, servers=servers, cpus_per_server=cpus, blocks=blocks)
        path = write_scaling(folder.path, found)
        print(
            f"{found.servers} servers of {found.cpus_per_server} CPUs carry {found.ratio:.3f} "
            f"[{found.ci_low:.3f}, {found.ci_high:.3f}] of {found.servers} times one: {path}"
        )


@app.command(rich_help_panel=options.MEASURE)
def check(
    *,
    baseline: Annotated[str, typer.Option("--baseline", help="A run, or models:/NAME@alias and the like.")],
    golden: Annotated[
        Path, typer.Option("--golden", help="The model's folder with config.pbtxt to check, or one that holds it.")
    ] = Path("golden"),
    max_regression: Annotated[
        float, typer.Option("--max-regression", min=0, max=99, help="Still allowed, in percent.")
    ] = 5.0,
    blocks: Annotated[int, typer.Option("--blocks", help="Blocks to measure, both models in each.")] = 12,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="File that gets the answer appended, $GITHUB_STEP_SUMMARY.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="File for the answer as JUnit XML.")] = None,
    config: options.Config = None,
    runtime: options.AnyRuntime = None,
    endpoint: options.Endpoint = None,
    set_: options.Set = None,
    output: options.Output = Path("results"),
    force: options.Force = False,
    debug: options.Debug = False,
) -> None:
    """For CI: measure a golden configuration and its baseline side by side on this machine.

    Exit codes: 0 no regression shown; 2 configuration; 3 model; 4 Triton; 5 no usable measurement; 7 not written;
    8 a regression, its whole interval beyond --max-regression; 9 another run measures on this machine.
    """
    with boundary(debug=debug):
        from hcopt.check.run_regression import CheckJob, run_check
        from hcopt.cli.show.check import answer, write_answer
        from hcopt.config.load import load_config
        from hcopt.errors import RegressionError

        job = CheckJob(
            config=load_config(config, options=options.runtime_options(runtime, endpoint), overrides=set_ or []),
            golden=golden,
            baseline=baseline,
            results=output,
            max_regression_ratio=max_regression / 100,
            blocks=blocks,
        )
        with _measuring(force=force) as progress:
            found, compared = run_check(job, progress)
        write_answer(found, compared, markdown_file=markdown, junit_file=junit)
        print(answer(found, compared))
        if found.outcome == "regression":
            raise RegressionError(
                f"{compared.candidate} is worse than {compared.baseline}",
                remedy="Find the change that did it, or give --max-regression if it is meant.",
            )


@contextmanager
def _measuring(*, force: bool) -> Iterator[TerminalProgress]:
    """Progress on the terminal, while no other hcopt measures on this machine."""
    from rich.console import Console

    from hcopt.cli.progress_bar import TerminalProgress
    from hcopt.system.machine_lock import measuring_alone

    with (
        TerminalProgress(Console(stderr=True, soft_wrap=True)) as progress,
        measuring_alone(command_line(), force=force, note=progress.note),
    ):
        yield progress
