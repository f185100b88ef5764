"""What the user says of a cluster becomes a RayJob of KubeRay that runs `hcopt profile` on it, as YAML with comments.

The model travels through Ray's object store, so that only the head needs logins, configuration and results.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from hcopt.deploy.kubernetes.plan import Sourced
from hcopt.deploy.kubernetes.ray_job_options import RayJobOptions, WorkerGroup
from hcopt.deploy.kubernetes.rendering import environment, write_files

RAY_JOB_FILE = "rayjob.yaml"
_CONFIG_PATH = "/etc/hcopt/config.yaml"
_RESULTS_PATH = "/results"


@dataclass(frozen=True, slots=True, kw_only=True)
class RayJobPlan:
    """What the template fills in.

    Attributes:
        command: The command line that made the file.
        entrypoint: What the head runs.
    """

    name: str
    namespace: str
    command: str
    image: str
    entrypoint: str
    config_text: str | None
    results_claim: str | None
    groups: tuple[WorkerGroup, ...]
    workers: Sourced
    cpus: Sourced
    memory: Sourced


def plan_ray_job(options: RayJobOptions, *, command: str) -> RayJobPlan:
    """Lays out the job.

    Args:
        options: What the user says.
        command: The command line, for the file.
    """
    return RayJobPlan(
        name=options.name,
        namespace=options.namespace,
        command=command,
        image=options.image,
        entrypoint=_entrypoint(options),
        config_text=options.config_text,
        results_claim=options.results_claim,
        groups=options.groups,
        workers=Sourced(value=options.workers, source="--workers"),
        cpus=Sourced(value=options.cpus, source="--cpus"),
        memory=Sourced(value=f"{options.memory_mb}Mi", source="--memory; not measured"),
    )


def render_ray_job(plan: RayJobPlan) -> str:
    """The file."""
    return environment().get_template(f"{RAY_JOB_FILE}.j2").render(plan=plan)


def write_ray_job(plan: RayJobPlan, folder: Path) -> Path:
    """Writes the file.

    Raises:
        OutputError: The folder cannot be written, or has such a file from elsewhere.
    """
    (path,) = write_files({RAY_JOB_FILE: render_ray_job(plan)}, folder)
    return path


def _entrypoint(options: RayJobOptions) -> str:
    """For a shell.

    KubeRay's submitter hands it to bash, whose words `ray job submit` quotes again for the head's shell.
    Source: BuildJobSubmitCommand in KubeRay 1.7.0; ray/dashboard/modules/job/cli.py in Ray 2.60, which joins the words
    with shlex (older ones with list2cmdline, which leaves $ and ; to that shell).
    """
    words = ["hcopt", "profile", "--executor", "ray", "--address", "auto", "--output", _RESULTS_PATH]
    if options.config_text is not None:
        words += ["--config", _CONFIG_PATH]
    for model in options.models:
        words += ["--model", model]
    for override in options.overrides:
        words += ["--set", override]
    return shlex.join(words)
