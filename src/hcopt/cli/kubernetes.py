"""`hcopt kubernetes`: the manifests of a run, or those of a measurement on a cluster. Registered by `cli_deploy`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from hcopt.cli.options import (
    WITHOUT_CLUSTERS,
    Boundary,
    DebugOption,
    GrowthOption,
    OutputOption,
    PodStartOption,
    ScrapeOption,
    WindowOption,
)
from hcopt.deploy.capacity import USUAL_GROWTH, USUAL_RATE_WINDOW_S, USUAL_SCRAPE_INTERVAL_S, parse_growth
from hcopt.deploy.kubernetes.options import USUAL_POD_MEMORY_MB, Options, parse_node_selector
from hcopt.deploy.kubernetes.ray_job_options import USUAL_CPUS, USUAL_MEMORY_MB, USUAL_NAME, RayJobOptions
from hcopt.errors import ConfigError

# Parameters of the command that only one kind of manifests takes; what neither names, both take.
OF_A_RAY_JOB = frozenset({"workers", "node_class", "cpus", "results_claim", "model", "config", "set_"})
OF_A_RUN = frozenset(
    {
        "run",
        "peak",
        "base",
        "growth",
        "keda",
        "strict",
        "model_uri",
        "s3_endpoint_url",
        "scrape_interval",
        "rate_window",
        "pod_start",
        "node_cpu",
        "exclusive_cpus",
        "prometheus_url",
        "output",
    }
)
_RAY_JOB = "With --ray-job instead a RayJob of KubeRay that runs `hcopt profile` on the nodes of a cluster."


def add_kubernetes(app: typer.Typer, boundary: Boundary, command_line: Callable[[], str]) -> None:
    """Adds the command.

    Args:
        app: The program.
        boundary: What stands around each command.
        command_line: Gives the command line, without logins.
    """

    @app.command(epilog=_with_clusters(_RAY_JOB))
    def kubernetes(
        context: typer.Context,
        run: Annotated[
            str | None,
            typer.Argument(
                help=f"A run's folder, its id, or `results` for the latest{_with_clusters('; not with --ray-job')}."
            ),
        ] = None,
        *,
        peak: Annotated[float | None, typer.Option("--peak", help="Highest load to carry, in infer/s.")] = None,
        base: Annotated[float | None, typer.Option("--base", help="Load that is always there, in infer/s.")] = None,
        out: Annotated[Path, typer.Option("--out", help="Folder for the manifests.")] = Path("deploy"),
        growth: GrowthOption = USUAL_GROWTH,
        keda: Annotated[bool, typer.Option("--keda/--hpa", help="KEDA's ScaledObject, or a plain HPA.")] = False,
        strict: Annotated[
            bool, typer.Option("--strict", help="Refuse where the Deployment is not what was measured.")
        ] = False,
        name: Annotated[
            str | None,
            typer.Option(
                "--name", help=f"Of all objects; the model's{_with_clusters(f', with --ray-job {USUAL_NAME}')}."
            ),
        ] = None,
        namespace: Annotated[str, typer.Option("--namespace")] = "default",
        image: Annotated[
            str | None,
            typer.Option(
                "--image",
                help=f"Triton's, that of the run if not given{_with_clusters('; with --ray-job one with hcopt[ray]')}.",
            ),
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
                help=f"Of a pod, in MiB; {USUAL_POD_MEMORY_MB}{_with_clusters(f', with --ray-job {USUAL_MEMORY_MB}')}.",
            ),
        ] = None,
        scrape_interval: ScrapeOption = USUAL_SCRAPE_INTERVAL_S,
        rate_window: WindowOption = USUAL_RATE_WINDOW_S,
        pod_start: PodStartOption = None,
        node_selector: Annotated[
            list[str] | None,
            typer.Option("--node-selector", help="LABEL=VALUE of the nodes; may be given several times."),
        ] = None,
        node_cpu: Annotated[
            str | None, typer.Option("--node-cpu", help="CPU model of the nodes, as /proc/cpuinfo names it.")
        ] = None,
        exclusive_cpus: Annotated[
            bool, typer.Option("--exclusive-cpus", help="The nodes' kubelet has the static CPU manager policy.")
        ] = False,
        prometheus_url: Annotated[
            str, typer.Option("--prometheus-url", help="Where KEDA finds Prometheus.")
        ] = "http://prometheus-operated.monitoring.svc:9090",
        ray_job: Annotated[
            bool,
            typer.Option(
                "--ray-job",
                hidden=WITHOUT_CLUSTERS,
                help="Instead of a run's manifests: measure on a cluster with KubeRay.",
            ),
        ] = False,
        workers: Annotated[
            int,
            typer.Option("--workers", min=1, hidden=WITHOUT_CLUSTERS, help="Nodes that measure, of each class."),
        ] = 1,
        node_class: Annotated[
            list[str] | None,
            typer.Option(
                "--node-class",
                hidden=WITHOUT_CLUSTERS,
                help="LABEL=VALUE of one class of nodes; a worker group for each given.",
            ),
        ] = None,
        cpus: Annotated[
            int, typer.Option("--cpus", min=1, hidden=WITHOUT_CLUSTERS, help="Whole CPUs of a measuring pod.")
        ] = USUAL_CPUS,
        results_claim: Annotated[
            str | None,
            typer.Option(
                "--results-claim",
                hidden=WITHOUT_CLUSTERS,
                help="PersistentVolumeClaim that keeps the head's results.",
            ),
        ] = None,
        model: Annotated[
            list[str] | None, typer.Option("--model", hidden=WITHOUT_CLUSTERS, help="As for `hcopt profile`.")
        ] = None,
        config: Annotated[
            Path | None,
            typer.Option(
                "--config",
                "-c",
                hidden=WITHOUT_CLUSTERS,
                help="config.yaml that goes into a ConfigMap for the head.",
            ),
        ] = None,
        set_: Annotated[
            list[str] | None,
            typer.Option(
                "--set",
                hidden=WITHOUT_CLUSTERS,
                help="section.key=value, as in config.yaml; may be given several times.",
            ),
        ] = None,
        output: OutputOption = Path("results"),
        debug: DebugOption = False,
    ) -> None:
        """Write a run's Deployment, Service, autoscaler and the rest as YAML; every number says where it comes from.

        Exit codes: 0 done; 2 the run has no capacity to plan with, or an option is missing or no use; 7 not written, or
        refused by --strict.
        """
        with boundary(debug=debug):
            _check_given(context, ray_job=ray_job)
            selector = parse_node_selector(node_selector or ())
            if ray_job:
                if image is None:
                    raise ConfigError(
                        "--ray-job needs --image", remedy="Give one with hcopt[ray], bash and wget in it."
                    )
                job = RayJobOptions(
                    name=name or USUAL_NAME,
                    namespace=namespace,
                    image=image,
                    workers=workers,
                    cpus=cpus,
                    memory_mb=memory or USUAL_MEMORY_MB,
                    node_selector=selector,
                    node_classes=parse_node_selector(node_class or (), option="--node-class"),
                    results_claim=results_claim,
                    models=tuple(model or ()),
                    overrides=tuple(set_ or ()),
                )
                _write_ray_job(job, config, command=command_line(), out=out)
                return
            if run is None or peak is None or base is None:
                raise ConfigError(
                    "the manifests are those of a run, for a load: RUN, --base and --peak are needed",
                    remedy="Give all three, such as `hcopt kubernetes results --base 60000 --peak 500000`"
                    f"{_with_clusters('; --ray-job, which measures on a cluster, needs none of them')}.",
                )
            options = Options(
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
                memory_mb=memory or USUAL_POD_MEMORY_MB,
                scrape_interval_s=scrape_interval,
                rate_window_s=rate_window,
                pod_start_s=pod_start,
                node_selector=selector,
                node_cpu=node_cpu,
                exclusive_cpus=exclusive_cpus,
                prometheus_url=prometheus_url,
            )
            _write_manifests(run, options, command=command_line(), strict=strict, out=out, results=output)


def _with_clusters(text: str) -> str:
    """What a help text says only to those who have what one needs for several machines."""
    return "" if WITHOUT_CLUSTERS else text


def _check_given(context: typer.Context, *, ray_job: bool) -> None:
    """Whether each option that was given means something.

    Raises:
        ConfigError: One belongs to the other kind of manifests.
    """
    useless = OF_A_RUN if ray_job else OF_A_RAY_JOB
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in useless and source is not None and source.name == "COMMANDLINE":
            given = parameter.opts[0] if parameter.param_type_name == "option" else "RUN"
            raise ConfigError(
                f"{given} means nothing {'with' if ray_job else 'without'} --ray-job",
                remedy=f"Leave out {given}{'' if ray_job else ', or add --ray-job'}.",
            )


def _write_ray_job(options: RayJobOptions, config: Path | None, *, command: str, out: Path) -> None:
    from rich.console import Console

    from hcopt.cli.show.deployment import print_ray_job
    from hcopt.deploy.answers import write_profile_job

    plan, file = write_profile_job(options, config, command=command, out=out)
    print_ray_job(Console(soft_wrap=True, highlight=False), plan, file)


def _write_manifests(run: str, options: Options, *, command: str, strict: bool, out: Path, results: Path) -> None:
    from rich.console import Console

    from hcopt.cli.show.deployment import print_deployment
    from hcopt.deploy.answers import write_deployment
    from hcopt.store.run_folder import find_run

    folder = find_run(run, results=results)
    plan, files = write_deployment(folder, options, command=command, strict=strict, out=out)
    console = Console(soft_wrap=True, highlight=False)
    print_deployment(console, plan, files, autoscaler=options.autoscaler, golden=folder.golden)
