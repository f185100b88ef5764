from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hcopt.config.sections import Config
from hcopt.errors import OutputError
from hcopt.records.model import ModelArtifact, RegisteredVersion
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Feasibility
from hcopt.report.charts import all_charts
from hcopt.services.mlflow import mlflow_session
from hcopt.tracking.charts import chart_images
from hcopt.tracking.log import TrackedRun, log_run, promote
from hcopt.tracking.registry import default_tracking_uri, ensure_experiment
from hcopt.words import Language
from tests.support.records import MODEL_NAME, model_artifact, no_feasible_config_record, run_record, tied_record
from tests.support.services import free_ports

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "tracking tests"
BEST = f"{MODEL_NAME}_config_6"
HALF_FAILED = f"{MODEL_NAME}_config_7"
IMAGES: dict[str, Mapping[str, bytes]] = {}


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """A run's folder with what a run leaves."""
    folder = tmp_path / "run"
    report = folder / "reports" / "summaries" / MODEL_NAME
    report.mkdir(parents=True)
    (report / "result_summary.pdf").write_bytes(b"%PDF-1.7")
    (folder / "summary.json").write_text("{}", encoding="utf-8")
    (folder / "measurements.jsonl").write_text("{}\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def _charts_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts show neither a run's name nor its model."""

    def images(run: RunRecord, language: Language, _: object) -> Mapping[str, bytes]:
        key = f"{language} {replace(run, run_id='', model=model_artifact())}"
        if key not in IMAGES:
            IMAGES[key] = chart_images(run, language)
        return IMAGES[key]

    monkeypatch.setattr("hcopt.tracking.log.chart_images", images)


@pytest.fixture
def client(mlflow_server: str) -> Iterator[MlflowClient]:
    with mlflow_session(mlflow_server, error=OutputError) as opened:
        yield opened


@pytest.fixture
def version(client: MlflowClient, mlflow_server: str, request: pytest.FixtureRequest) -> RegisteredVersion:
    """A model version of this test's own."""
    name = request.node.name
    client.create_registered_model(name)
    run = client.create_run(ensure_experiment(client, mlflow_server, EXPERIMENT))
    source = f"{run.info.artifact_uri}/model"
    entry = client.create_model_version(name, source=source, run_id=run.info.run_id)
    return RegisteredVersion(name=name, version=str(entry.version))


def log(run: RunRecord, tracking_uri: str, artifacts: Path) -> TrackedRun:
    return log_run(run, tracking_uri=tracking_uri, experiment=EXPERIMENT, artifacts=artifacts)


def run_with_best(feasibility: Feasibility, model: ModelArtifact) -> RunRecord:
    """Better, with a limit that the best configuration may not keep."""
    run = run_record(model=model)
    assert run.confirmation.best is not None
    best = replace(run.confirmation.best, feasibility=feasibility)
    return replace(run, confirmation=replace(run.confirmation, best=best))


def unregistered(run_id: str) -> RunRecord:
    return run_record(run_id=run_id, model=model_artifact(registered_version=None))


def children(client: MlflowClient, tracked: TrackedRun) -> dict[str, Run]:
    found = client.search_runs([tracked.experiment_id], f"tags.`mlflow.parentRunId` = '{tracked.run_id}'")
    by_name = {child.info.run_name: child for child in found}
    assert len(by_name) == len(found), "no variant twice"
    return by_name


def history(client: MlflowClient, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, key))


def paths(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    entries = client.list_artifacts(run_id, folder)
    files = {entry.path for entry in entries if not entry.is_dir}
    return files.union(*(paths(client, run_id, entry.path) for entry in entries if entry.is_dir))


def assert_logged_once(client: MlflowClient, tracked: TrackedRun) -> None:
    parent = client.get_run(tracked.run_id)
    assert parent.info.status == "FINISHED"
    assert history(client, tracked.run_id, "best.throughput_infer_per_s") == [(0, 6438.0)]
    variants = children(client, tracked)
    assert len(variants) == 9
    assert history(client, variants[BEST].info.run_id, "throughput_infer_per_s") == [(8, 4210.7), (32, 6514.0)]
    assert len(history(client, variants[BEST].info.run_id, "confirmation.latency_p99_ms")) == 8
    assert {name for name, child in variants.items() if child.info.status == "FAILED"} == {HALF_FAILED}
    assert {child.info.status for child in variants.values()} == {"FAILED", "FINISHED"}


def test_run_is_logged_with_variants_figures_and_artifacts(
    client: MlflowClient, mlflow_server: str, artifacts: Path
) -> None:
    tracked = log(unregistered("logged"), mlflow_server, artifacts)
    assert_logged_once(client, tracked)
    parent = client.get_run(tracked.run_id)
    assert parent.info.run_name == "logged"
    assert parent.info.end_time - parent.info.start_time == 230900
    assert parent.data.params["sweep.concurrency"] == "8, 32"
    assert parent.data.metrics["best.latency_p99_ms.ci_high"] == 8.12
    assert parent.data.tags["hcopt.verdict"] == "better"
    assert paths(client, tracked.run_id) == {
        "report/result_summary.pdf",
        "golden/config.pbtxt",
        "default/config.pbtxt",
        *(f"charts/{name}.png" for name in all_charts(unregistered("logged"), language="ko")),
        "summary.json",
        "measurements.jsonl",
    }
    half_failed = children(client, tracked)[HALF_FAILED]
    assert half_failed.data.params["instance_count"] == "2"
    assert half_failed.data.tags["hcopt.error"].startswith("concurrency 32: perf_analyzer gave no result")
    assert history(client, half_failed.info.run_id, "latency_p99_ms") == [(8, 3.41)]
    page = f"{mlflow_server}/#/experiments/{tracked.experiment_id}/runs/{tracked.run_id}"
    assert tracked.page_command.partition("?")[0] == page


def test_run_logged_again_is_the_same_and_takes_new_artifacts(
    client: MlflowClient, mlflow_server: str, artifacts: Path
) -> None:
    run = unregistered("again")
    first = log(run, mlflow_server, artifacts)
    (artifacts / "reports" / "summaries" / MODEL_NAME / "result_summary.html").write_text("<html>", encoding="utf-8")
    assert log(run, mlflow_server, artifacts) == first
    assert_logged_once(client, first)
    before = paths(client, first.run_id)
    assert {"report/result_summary.html", "charts/pair.png"} <= before
    log(run, mlflow_server, artifacts)
    assert paths(client, first.run_id) == before


def test_run_whose_logging_was_interrupted_is_completed(
    client: MlflowClient, mlflow_server: str, artifacts: Path
) -> None:
    run = unregistered("interrupted")
    tracked = log(run, mlflow_server, artifacts)
    variants = children(client, tracked)
    client.delete_run(variants[HALF_FAILED].info.run_id)
    client.update_run(variants[BEST].info.run_id, status="RUNNING")
    client.update_run(tracked.run_id, status="RUNNING")
    assert log(run, mlflow_server, artifacts) == tracked
    assert_logged_once(client, tracked)


def test_run_without_feasible_configuration_is_logged_whole(
    client: MlflowClient, mlflow_server: str, artifacts: Path
) -> None:
    run = no_feasible_config_record(run_id="infeasible", model=model_artifact(registered_version=None))
    tracked = log(run, mlflow_server, artifacts)
    parent = client.get_run(tracked.run_id)
    assert (parent.info.status, parent.data.tags["hcopt.verdict"]) == ("FINISHED", "no_feasible_config")
    assert "golden/config.pbtxt" not in paths(client, tracked.run_id)
    assert len(children(client, tracked)) == 9


def test_version_has_the_tags_of_its_last_run_only(
    client: MlflowClient, mlflow_server: str, artifacts: Path, version: RegisteredVersion
) -> None:
    client.set_model_version_tag(version.name, version.version, "owner", "somebody")
    model = model_artifact(registered_version=version)
    tracked = log(run_record(run_id="tags-1", model=model), mlflow_server, artifacts)
    tags = client.get_model_version(version.name, version.version).tags
    assert tags["hcopt.mlflow_run_id"] == tracked.run_id
    assert (tags["hcopt.verdict"], tags["hcopt.best_config_name"]) == ("better", BEST)
    log(no_feasible_config_record(run_id="tags-2", model=model), mlflow_server, artifacts)
    tags = client.get_model_version(version.name, version.version).tags
    assert (tags["hcopt.run_id"], tags["hcopt.verdict"]) == ("tags-2", "no_feasible_config")
    assert "hcopt.best_config_name" not in tags
    assert tags["owner"] == "somebody"


def test_version_is_promoted_on_the_verdict_better_only(
    client: MlflowClient, mlflow_server: str, version: RegisteredVersion
) -> None:
    model = model_artifact(registered_version=version)
    said = promote(tied_record(model=model), "prod", tracking_uri=mlflow_server)
    assert said == "no version got the alias prod: the verdict is tied"
    assert client.get_registered_model(version.name).aliases == {}
    assert "not shown to keep" in promote(run_with_best("undecided", model), "prod", tracking_uri=mlflow_server)
    assert client.get_registered_model(version.name).aliases == {}
    said = promote(run_record(model=model), "prod", tracking_uri=mlflow_server)
    assert said == f"version {version.version} of {version.name} has the alias prod now"
    assert client.get_registered_model(version.name).aliases == {"prod": version.version}


def test_version_that_is_gone_is_told_and_the_run_stays(
    client: MlflowClient, mlflow_server: str, artifacts: Path
) -> None:
    model = model_artifact(registered_version=RegisteredVersion(name="gone", version="3"))
    with pytest.raises(OutputError, match="gone") as caught:
        log(run_record(run_id="version-gone", model=model), mlflow_server, artifacts)
    assert "hcopt log version-gone" in str(caught.value.remedy)
    assert (
        len(
            client.search_runs(
                [ensure_experiment(client, mlflow_server, EXPERIMENT)], "tags.`hcopt.run_id` = 'version-gone'"
            )
        )
        == 1
    )


def test_logging_prints_nothing(mlflow_server: str, artifacts: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log(unregistered("silent"), mlflow_server, artifacts)
    assert capfd.readouterr() == ("", "")


def test_first_use_in_a_process_prints_nothing_and_leaves_nothing_elsewhere(tmp_path: Path, artifacts: Path) -> None:
    code = f"""
from pathlib import Path
from tests.integration.test_tracking import log, unregistered
from hcopt.tracking.registry import default_tracking_uri
log(unregistered("first"), default_tracking_uri(Path("results")), Path({str(artifacts)!r}))
"""
    before = set(tmp_path.iterdir())
    script = tmp_path / "first.py"
    script.write_text(code, encoding="utf-8")
    root = Path(__file__).parents[2]
    finished = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": ":".join([str(root), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"results", "first.py"}


def test_default_store_keeps_everything_under_results(tmp_path: Path, artifacts: Path) -> None:
    uri = default_tracking_uri(tmp_path / "results")
    tracked = log(unregistered("local"), uri, artifacts)
    with mlflow_session(uri, error=OutputError) as client:
        assert_logged_once(client, tracked)
        location = client.get_run(tracked.run_id).info.artifact_uri
    assert location.startswith(str(tmp_path / "results" / "mlflow" / "artifacts"))
    program, *arguments = tracked.page_command.split()
    assert Path(program).name == "mlflow"
    assert arguments == ["ui", "--backend-store-uri", uri, "--port", "5000"]


def test_results_that_were_copied_are_logged_beside_the_copy(tmp_path: Path, artifacts: Path) -> None:
    """And those that were logged before are read there: the place that they were copied from is not needed."""
    there = tmp_path / "there" / "results"
    before = log_own(unregistered("before"), tmp_path / "here" / "results", artifacts)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    shutil.rmtree(tmp_path / "here")
    after = log_own(unregistered("after"), there, artifacts)
    assert after.experiment_id == before.experiment_id
    with mlflow_session(default_tracking_uri(there), error=OutputError) as client:
        for tracked in (before, after):
            assert_logged_once(client, tracked)
            location = client.get_run(tracked.run_id).info.artifact_uri
            assert location.startswith(str(there / "mlflow" / "artifacts"))
            assert "report/result_summary.pdf" in paths(client, tracked.run_id)
    assert not (tmp_path / "here").exists()


def log_own(run: RunRecord, results: Path, artifacts: Path) -> TrackedRun:
    """To the MLflow that hcopt has where none is configured."""
    uri = default_tracking_uri(results)
    return log_run(run, tracking_uri=uri, experiment=EXPERIMENT, artifacts=artifacts, config=Config())


def test_deleted_experiment_is_told(client: MlflowClient, mlflow_server: str, artifacts: Path) -> None:
    client.delete_experiment(client.create_experiment("deleted"))
    with pytest.raises(OutputError, match="experiment 'deleted' was deleted"):
        log_run(unregistered("nowhere"), tracking_uri=mlflow_server, experiment="deleted", artifacts=artifacts)


def test_unreachable_server_is_told_with_how_to_log_later(artifacts: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(OutputError, match=f"cannot reach MLflow at http://127.0.0.1:{port}: ") as caught:
        log(unregistered("later"), f"http://127.0.0.1:{port}", artifacts)
    assert "hcopt log later" in str(caught.value.remedy)


def test_experiment_of_any_name_is_text_and_nothing_else(mlflow_server: str, client: MlflowClient) -> None:
    name = "</script>{{7*7}} $(touch x) '; DROP TABLE runs; -- %s {0} [a](b) ../../x"
    made = ensure_experiment(client, mlflow_server, name)
    assert client.get_experiment(made).name == name
    # Addresses and commands name it by its number.
    assert made.isdecimal()
    assert ensure_experiment(client, mlflow_server, name) == made
