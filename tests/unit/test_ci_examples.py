"""The example workflows: they parse, fit their schemas, and run only commands that exist, with options that exist."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
from typer.testing import CliRunner

from hcopt.cli.app import app
from tests.support.examples import FOLDER, commands, documents, hcopt_arguments

FILES = ("github-actions.yml", "gitlab-ci.yml", "kubernetes-profile.yaml")


@pytest.mark.parametrize("name", FILES)
def test_every_command_exists(name: str) -> None:
    assert {words[0] for words in commands(name)} <= {"hcopt", "pip"}
    assert hcopt_arguments(name)


@pytest.mark.parametrize("arguments", [given for name in FILES for given in hcopt_arguments(name)], ids=" ".join)
def test_every_option_of_a_command_exists(arguments: list[str]) -> None:
    # With --help nothing runs, while an option that does not exist is refused all the same.
    assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "--no-such-option", "--help"]).exit_code == 2


@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_jobs_fit_the_schemas_of_kubernetes(version: str) -> None:
    found = documents("kubernetes-profile.yaml")
    for document in found:
        kubernetes_validate.validate(document, version, strict=True)
    assert [document["kind"] for document in found] == ["Job", "CronJob"]


def test_job_and_cron_job_run_the_same_pod_with_whole_cpus() -> None:
    job, cron_job = documents("kubernetes-profile.yaml")
    pod: dict[str, Any] = job["spec"]["template"]["spec"]
    assert cron_job["spec"]["jobTemplate"]["spec"] == job["spec"]
    for container in pod["containers"]:
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert container["resources"]["limits"]["cpu"].isdecimal()


def test_github_workflow_has_what_github_asks_for() -> None:
    (workflow,) = documents("github-actions.yml")
    # YAML 1.1 reads the key `on` as true.
    assert {"name", True, "permissions", "jobs"} == set(workflow)
    job = workflow["jobs"]["check"]
    assert job["runs-on"]
    assert all(("uses" in step) != ("run" in step) for step in job["steps"])


def test_gitlab_job_shows_the_report_that_the_command_writes() -> None:
    (pipeline,) = documents("gitlab-ci.yml")
    job = pipeline["hcopt check"]
    (arguments,) = hcopt_arguments("gitlab-ci.yml")
    assert arguments[arguments.index("--junit") + 1] == job["artifacts"]["reports"]["junit"]
    assert arguments[arguments.index("--markdown") + 1] in job["artifacts"]["paths"]


def test_readme_names_every_file() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in text for path in FOLDER.iterdir() if path.name != "README.md")
