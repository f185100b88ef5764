"""The RayJob of KubeRay that runs `hcopt profile` on a cluster, as YAML with comments.

The model travels through Ray's object store, so that only the head needs logins, configuration and results.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from hcopt.deploy.kubernetes.ray_job_options import RayJobOptions
from hcopt.deploy.kubernetes.rendering import environment, write_files

RAY_JOB_FILE = "rayjob.yaml"
_CONFIG_PATH = "/etc/hcopt/config.yaml"
_RESULTS_PATH = "/results"


def render_ray_job(options: RayJobOptions, *, command: str) -> str:
    """The file.

    Args:
        options: What the user says.
        command: The command line, for the file.
    """
    template = environment().get_template(f"{RAY_JOB_FILE}.j2")
    return template.render(options=options, command=command, entrypoint=_entrypoint(options))


def write_ray_job(options: RayJobOptions, folder: Path, *, command: str) -> Path:
    """Writes the file.

    Raises:
        OutputError: The folder cannot be written, or has such a file from elsewhere.
    """
    (path,) = write_files({RAY_JOB_FILE: render_ray_job(options, command=command)}, folder)
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
