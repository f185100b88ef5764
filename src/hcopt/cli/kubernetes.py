"""`hcopt kubernetes`: the manifests of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hcopt.cli import options
from hcopt.cli.boundary import app, boundary, command_line
from hcopt.deploy.capacity import USUAL_GROWTH, USUAL_RATE_WINDOW_S, USUAL_SCRAPE_INTERVAL_S, parse_growth
from hcopt.deploy.kubernetes.options import MEMORY_MARGIN, USUAL_POD_MEMORY_MB, Options, parse_node_selector


@app.command(rich_help_panel=options.DEPLOY)
def kubernetes(
    run: options.Run,
    *,
    peak: Annotated[float, typer.Option("--peak", help="Highest load to carry, in infer/s.")],
    base: Annotated[float, typer.Option("--base", help="Load that is always there, in infer/s.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the manifests.")] = Path("deploy"),
    growth: options.Growth = USUAL_GROWTH,
    keda: Annotated[bool, typer.Option("--keda/--hpa", help="KEDA's ScaledObject, or a plain HPA.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse where the Deployment is not what was measured.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of all objects; the model's if not given."),
    ] = None,
    namespace: options.Namespace = "default",
    image: Annotated[
        str | None,
        typer.Option("--image", help="Triton's; that of the run if not given."),
    ] = None,
    model_uri: Annotated[
        str | None, typer.Option("--model-uri", help="s3://… folder with the files of golden/<model>/<version>/.")
    ] = None,
    s3_endpoint_url: Annotated[str | None, typer.Option("--s3-endpoint-url", help="Of MinIO and others.")] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            "--memory",
            min=1,
            help=f"Of a pod, in MiB; else {MEMORY_MARGIN:g} times what was measured, or {USUAL_POD_MEMORY_MB}.",
        ),
    ] = None,
    scrape_interval: options.Scrape = USUAL_SCRAPE_INTERVAL_S,
    rate_window: options.Window = USUAL_RATE_WINDOW_S,
    pod_start: options.PodStart = None,
    node_selector: options.NodeSelector = None,
    node_cpu: Annotated[
        str | None, typer.Option("--node-cpu", help="CPU model of the nodes, as /proc/cpuinfo names it.")
    ] = None,
    exclusive_cpus: Annotated[
        bool, typer.Option("--exclusive-cpus", help="The nodes' kubelet has the static CPU manager policy.")
    ] = False,
    prometheus_url: Annotated[
        str, typer.Option("--prometheus-url", help="Where KEDA finds Prometheus.")
    ] = "http://prometheus-operated.monitoring.svc:9090",
    output: options.Output = Path("results"),
    debug: options.Debug = False,
) -> None:
    """Write a run's Deployment, Service, autoscaler and the rest as YAML; every number says where it comes from.

    Exit codes: 0 done; 2 the run has no capacity to plan with, or an option is missing; 7 not written, or refused by
    --strict.
    """
    with boundary(debug=debug):
        from rich.console import Console

        from hcopt.cli.show.deployment import print_deployment
        from hcopt.deploy.answers import write_deployment
        from hcopt.store.run_folder import find_run

        asked = Options(
            base_infer_per_s=base,
            peak_infer_per_s=peak,
            growth=parse_growth(growth),
            growth_text=growth,
            autoscaler="keda" if keda else "hpa",
            name=name,
            namespace=namespace,
            image=image,
            model_uri=model_uri,
            s3_endpoint_url=s3_endpoint_url,
            memory_mb=memory,
            scrape_interval_s=scrape_interval,
            rate_window_s=rate_window,
            pod_start_s=pod_start,
            node_selector=parse_node_selector(node_selector or ()),
            node_cpu=node_cpu,
            exclusive_cpus=exclusive_cpus,
            prometheus_url=prometheus_url,
        )
        folder = find_run(run, results=output)
        plan, files = write_deployment(folder, asked, command=command_line(), strict=strict, out=out)
        console = Console(soft_wrap=True, highlight=False)
        print_deployment(console, plan, files, autoscaler=asked.autoscaler, golden=folder.golden)
