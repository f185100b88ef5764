"""What the terminal shows of a deployment: the plan, what is assumed, the files, and answers about capacity."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hcopt.analysis.p99_limit import ALLOWED_MISS_RATIO
from hcopt.cli.progress_bar import printable
from hcopt.deploy.answers import Answer
from hcopt.deploy.kubernetes.options import Autoscaler
from hcopt.deploy.kubernetes.plan import Plan
from hcopt.deploy.kubernetes.ray_job_options import RayJobOptions
from hcopt.deploy.simulation import Simulation
from hcopt.model.named_files import NAMED_FOLDER
from hcopt.report import figures
from hcopt.words.digits import rounded_down

_CLAIMS = ("golden", "capacity", "linearity")


def print_deployment(
    console: Console, plan: Plan, files: Iterable[Path], *, autoscaler: Autoscaler, golden: Path
) -> None:
    """The figures, what is assumed and why, where the files are, and what to do next."""
    table = Table(show_header=False)
    scale, cpus = plan.scale, plan.record.environment.cpu_count
    rows = {
        "pods": f"{scale.min_replicas.value} to {scale.max_replicas.value}, {cpus} CPUs each",
        "target": f"{scale.target.value} infer/s a pod; guard: {scale.pending.value} pending requests",
        **{claim: plan.stands(claim) for claim in _CLAIMS},  # type: ignore[arg-type]
    }
    for label, value in rows.items():
        table.add_row(label, Text(value, "bold yellow" if value == "assumed" else ""))
    console.print(table)
    for found in plan.assumptions:
        # Between words on a terminal; in a file a sentence stays one line.
        line = Text.assemble(("  assumed: ", "yellow"), printable(found.said))
        console.print(line, soft_wrap=not console.is_terminal)
    written = tuple(files)
    folder = written[0].parent
    names = ", ".join(path.name for path in written)
    console.print(Text(f"manifests:  {folder}/ ({names})"), soft_wrap=not console.is_terminal)
    _print_steps(console, _next_steps(plan, folder, autoscaler=autoscaler, golden=golden))


def print_ray_job(console: Console, options: RayJobOptions, file: Path) -> None:
    """What measures, where the file is, and what to do next."""
    groups = ", ".join(f"{options.workers} × {group.name}" for group in options.groups)
    console.print(Text(f"workers:    {groups}, {options.cpus} CPUs each"), soft_wrap=not console.is_terminal)
    console.print(Text(f"manifest:   {file}"), soft_wrap=not console.is_terminal)
    namespace = ("--namespace", options.namespace)
    logins = ("kubectl", "create", "secret", "generic", f"{options.name}-logins", *namespace, "--from-env-file=.env")
    apply = ("kubectl", "apply", "--filename", str(file))
    follow = ("kubectl", "logs", *namespace, "--follow", f"job/{options.name}")
    _print_steps(console, (logins, apply, follow))


def _print_steps(console: Console, steps: Iterable[Sequence[str]]) -> None:
    # Each on one line, however long, to be copied.
    for step in steps:
        console.print(Text.assemble(("next:       ", "bold"), shlex.join(step)))


def _next_steps(plan: Plan, folder: Path, *, autoscaler: Autoscaler, golden: Path) -> Iterator[Sequence[str]]:
    model, endpoint = plan.record.model, plan.options.s3_endpoint_url
    copy = ("aws", *(("--endpoint-url", endpoint) if endpoint else ()), "s3", "cp")
    yield (*copy, "--recursive", f"{golden / model.name / model.version_folder}/", plan.model.uri)
    for name in model.named_files:
        yield (*copy, str(golden / model.name / name), f"{plan.model.uri}{NAMED_FOLDER}/{name}")
    if autoscaler == "hpa":
        chart = "prometheus-community/prometheus-adapter"
        values = str(folder / "prometheus-adapter-values.yaml")
        yield ("helm", "upgrade", "--install", "prometheus-adapter", chart, "--values", values)
    yield ("kubectl", "apply", "-k", str(folder))


def print_answer(console: Console, found: Answer) -> None:
    """C, T and what was asked."""
    table = Table(show_header=False)
    reaction = found.reaction
    rows = {
        "C, what one pod sustains": figures.rate(found.capacity_infer_per_s),
        "T, what one pod is given": f"{figures.rate(found.target_infer_per_s)} = C / {reaction.headroom_ratio:.3f}",
        "reaction time τ": f"{reaction.total_s:,.0f} s",
        **_asked(found),
        "queue model": _queue_model(found),
        "N pods carry N · C": "assumed" if found.scaling is None else _scaling(found),
    }
    for label, value in rows.items():
        table.add_row(label, Text(value, "yellow" if value.startswith("assumed") else ""))
    console.print(table)


def _asked(found: Answer) -> dict[str, str]:
    rows = {}
    if found.replicas is not None:
        rows["replicas for that load"] = f"{found.replicas:,}, one of them to spare"
    if found.load_at_target_infer_per_s is not None and found.load_at_capacity_infer_per_s is not None:
        # Rounded down: the figure is to be typed as --rate, which asks for these replicas again.
        planned, most = map(rounded_down, (found.load_at_target_infer_per_s, found.load_at_capacity_infer_per_s))
        rows["load of these replicas"] = f"{planned} infer/s at T, one of them to spare; {most} at C, none to spare"
    if found.cost_per_million is not None and found.planned_cost_per_million is not None:
        rows["a million inferences"] = (
            f"{figures.cost(found.cost_per_million)} at C; {figures.cost(found.planned_cost_per_million)} with "
            f"{figures.rate(found.planned_infer_per_s_per_pod)} a pod, as planned; in the currency of the pod's price"
        )
    if found.simulated is not None:
        rows |= _simulation(found.simulated, found.manifests)
    return rows


def _simulation(found: Simulation, manifests: Path | None) -> dict[str, str]:
    autoscaler = found.autoscaler
    whose = "for the lowest and highest load of the trace (--manifests: those that were written)"
    return {
        "simulated autoscaler": f"{autoscaler.min_replicas} to {autoscaler.max_replicas} pods, "
        + (whose if manifests is None else f"of {printable(str(manifests))}"),
        "requests over the limit": f"{100 * found.miss_ratio:.3f} %, worst minute "
        f"{100 * found.worst_minute_miss_ratio:.3f} %; allowed: {100 * ALLOWED_MISS_RATIO:g} %",
        "pod hours": f"{found.pod_hours:,.2f}; had one known the load, {found.needed_pod_hours:,.2f} at C "
        f"({100 * found.over_provisioning_ratio:+.0f} %)",
    }


def _queue_model(found: Answer) -> str:
    pod = found.pod
    if pod.held_out_error_ratio is None:
        return f"{pod.point_count} rates are too few to fit one and check it: the worst that the run allows"
    error = f"p99 off by {100 * pod.held_out_error_ratio:.0f} % at points held out"
    if not pod.fitted:
        return f"a fit to {pod.point_count} rates has {error}: the worst that the run allows"
    return f"fitted to {pod.point_count} rates; {error}"


def _scaling(found: Answer) -> str:
    scaling = found.scaling
    if scaling is None:
        return "assumed"
    return f"measured for {scaling.servers}: {scaling.ratio:.3f} [{scaling.ci_low:.3f}, {scaling.ci_high:.3f}]"
