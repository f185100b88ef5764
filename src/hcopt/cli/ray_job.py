"""`hcopt ray-job`: a RayJob of KubeRay that runs `hcopt profile` on the nodes of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hcopt.cli import options
from hcopt.cli.boundary import app, boundary, command_line
from hcopt.deploy.kubernetes.options import parse_node_selector
from hcopt.deploy.kubernetes.ray_job_options import USUAL_CPUS, USUAL_MEMORY_MB, USUAL_NAME, RayJobOptions


@app.command("ray-job", rich_help_panel=options.DEPLOY, hidden=options.WITHOUT_CLUSTERS)
def ray_job(
    *,
    image: Annotated[
        str, typer.Option("--image", help="Has hcopt[embedded,ray], bash and wget; for head and workers.")
    ],
    workers: Annotated[int, typer.Option("--workers", min=1, help="Nodes that measure, of each class.")] = 1,
    cpus: Annotated[int, typer.Option("--cpus", min=1, help="Whole CPUs of a measuring pod.")] = USUAL_CPUS,
    memory: Annotated[int, typer.Option("--memory", min=1, help="Of each pod, in MiB.")] = USUAL_MEMORY_MB,
    node_selector: options.NodeSelector = None,
    node_class: Annotated[
        list[str] | None,
        typer.Option("--node-class", help="LABEL=VALUE of one class of nodes; a worker group for each given."),
    ] = None,
    results_claim: Annotated[
        str | None, typer.Option("--results-claim", help="PersistentVolumeClaim that keeps the head's results.")
    ] = None,
    model: options.Models = None,
    config: options.Config = None,
    set_: options.Set = None,
    name: Annotated[str, typer.Option("--name", help="Of all objects.")] = USUAL_NAME,
    namespace: options.Namespace = "default",
    out: Annotated[Path, typer.Option("--out", help="Folder for the manifest.")] = Path("deploy"),
    debug: options.Debug = False,
) -> None:
    """Write a job for KubeRay that measures on the nodes of a cluster, with --config in a ConfigMap for the head.

    Exit codes: 0 done; 2 an option is missing or no use; 7 not written.
    """
    with boundary(debug=debug):
        from rich.console import Console

        from hcopt.cli.show.deployment import print_ray_job
        from hcopt.deploy.answers import write_profile_job

        asked = RayJobOptions(
            name=name,
            namespace=namespace,
            image=image,
            workers=workers,
            cpus=cpus,
            memory_mb=memory,
            node_selector=parse_node_selector(node_selector or ()),
            node_classes=parse_node_selector(node_class or (), option="--node-class"),
            results_claim=results_claim,
            models=tuple(model or ()),
            overrides=tuple(set_ or ()),
        )
        file = write_profile_job(asked, config, command=command_line(), out=out)
        print_ray_job(Console(soft_wrap=True, highlight=False), asked, file)
