"""What is done with finished runs, from their files: report, comparison, MLflow that goes away and comes back."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pypdf
import pytest

from hcopt.config.sections import Config, MlflowSection, ReportSection
from hcopt.deploy.scaling import Scaling, write_scaling
from hcopt.errors import OutputError
from hcopt.services.mlflow import mlflow_session
from hcopt.store.run_folder import RunFolder
from hcopt.tracking.registry import default_tracking_uri
from tests.support.command import Answer, Workplace, workplace
from tests.support.finished_run import write_finished_run
from tests.support.records import undecided_record
from tests.support.relay import port_relay
from tests.support.search_records import searched_record
from tests.support.services import free_ports

EXPERIMENT = "of the run itself"
VARIANTS = 9


def log_while_mlflow_goes_away(place: Workplace, port: int, server_port: int) -> Answer:
    """Runs `hcopt log results`; MLflow is gone after some of its requests."""
    seen = 0

    def passes(sent: bytes) -> bool:
        nonlocal seen
        seen += sent.count(b"/mlflow/runs/log-batch")
        return seen < 8

    with port_relay(port, server_port, passes):
        return place.answer("log", "results")


def tracked(folder: RunFolder) -> dict[str, str] | None:
    where: dict[str, str] | None = json.loads(folder.summary.read_text(encoding="utf-8"))["mlflow"]
    return where


def test_log_completes_what_an_outage_left_and_doubles_nothing(tmp_path: Path, mlflow_server: str) -> None:
    (port,), server_port = free_ports(1), urlsplit(mlflow_server).port or 0
    url = f"http://127.0.0.1:{port}"
    place = workplace(tmp_path)
    run = write_finished_run(place.results, Config(mlflow=MlflowSection(tracking_uri=url, experiment=EXPERIMENT)))
    # The configuration of today is another one.
    (place.folder / "config.yaml").write_text("mlflow: {experiment: another}\n", encoding="utf-8")

    outage = log_while_mlflow_goes_away(place, port, server_port)
    assert (outage.returncode, outage.stdout, outage.left) == (7, "", ())
    assert f"hcopt log {run.run_id}" in outage.stderr
    assert tracked(run) is None

    with port_relay(port, server_port):
        first, second = place.answer("log", "results"), place.answer("log", run.run_id)
        assert (first.returncode, first.stderr) == (0, "")
        assert second == first
        where = tracked(run)
        assert where is not None
        assert f"/runs/{where['run_id']}?" in first.stdout
        with mlflow_session(url, error=OutputError) as client:
            parents = [
                parent
                for experiment in client.search_experiments()
                for parent in client.search_runs([experiment.experiment_id], f"tags.hcopt.run_id = '{run.run_id}'")
            ]
            assert [parent.info.run_id for parent in parents] == [where["run_id"]]
            assert client.get_experiment(parents[0].info.experiment_id).name == EXPERIMENT
            children = client.search_runs(
                [parents[0].info.experiment_id], f"tags.`mlflow.parentRunId` = '{where['run_id']}'"
            )
            assert len(children) == VARIANTS
            assert {child.info.status for child in (*parents, *children)} == {"FINISHED", "FAILED"}
            points = client.get_metric_history(parents[0].info.run_id, "best.throughput_infer_per_s")
            assert len(points) == 1


def test_run_without_configured_mlflow_is_logged_beside_its_results(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    run = write_finished_run(tmp_path / "elsewhere" / "results", Config())
    answer = place.run("log", str(run.path))
    assert answer.returncode == 0, answer.stderr
    assert tracked(run) == {
        "tracking_uri": default_tracking_uri(run.results),
        "run_id": json.loads(run.summary.read_text(encoding="utf-8"))["mlflow"]["run_id"],
    }
    assert list(place.folder.iterdir()) == []


def test_report_is_made_again_from_the_files_alone(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    run = write_finished_run(place.results, Config(report=ReportSection(language="en")), searched_record())
    scaling = Scaling(servers=2, cpus_per_server=2, block_count=8, ratio=0.968, ci_low=0.941, ci_high=0.995)
    write_scaling(run.path, scaling)
    path = run.report_folder("HomeCreditDefaultModel") / "result_summary.pdf"
    answer = place.run("report", "results")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"{path}\n", "")
    # The search from its decisions, the scaling from what was measured after the run.
    assert "what became of each configuration" in pages(path) and "carried 0.968" in pages(path)
    assert place.answer("report", run.run_id, "--set=report.language=ko").returncode == 0
    assert "처리량" in pages(path)


def pages(path: Path) -> str:
    return "".join(page.extract_text() for page in pypdf.PdfReader(path).pages)


def test_two_runs_are_compared_from_their_files_alone(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    first = write_finished_run(place.results, Config())
    second = write_finished_run(place.results, Config(), undecided_record())
    before = sorted(place.folder.rglob("*"))
    table = place.run("compare", first.run_id, "results")
    assert (table.returncode, table.stderr, table.left) == (0, "", ())
    assert "Repeatability check" in table.stdout
    assert max(map(len, table.stdout.partition("Repeatability")[0].splitlines())) <= 80
    assert "\x1b" not in table.stdout
    found = json.loads(place.answer("compare", str(first.path), second.run_id, "--json").stdout)
    assert (found["a"]["run_id"], found["b"]["run_id"]) == (first.run_id, second.run_id)
    markdown = place.answer("compare", first.run_id, second.run_id, "--markdown").stdout
    assert "| throughput (infer/s) |" in markdown
    assert sorted(place.folder.rglob("*")) == before


def test_comparison_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    first = write_finished_run(place.results, Config())
    same = place.answer("compare", "results", first.run_id)
    assert same.returncode == 2
    assert f"are the same run, {first.run_id}" in same.stderr
    second = write_finished_run(place.results, Config())
    both = place.answer("compare", first.run_id, second.run_id, "--json", "--markdown")
    assert (both.returncode, both.stdout) == (2, "")
    second.write_state("measuring", {})
    unfinished = place.answer("compare", first.run_id, second.run_id)
    assert unfinished.returncode == 2
    assert f"run {second.run_id} is not finished (state: measuring)" in unfinished.stderr


@pytest.mark.parametrize("command", ["log", "report"])
def test_run_that_is_not_there_or_not_finished_is_told(tmp_path: Path, command: str) -> None:
    place = workplace(tmp_path)
    missing = place.answer(command, "20261123T010203Z-0000")
    assert missing.returncode == 2
    assert "no run 20261123T010203Z-0000" in missing.stderr
    run = write_finished_run(place.results, Config())
    run.write_state("measuring", {})
    unfinished = place.answer(command, run.run_id)
    assert unfinished.returncode == 2
    assert "is not finished (state: measuring)" in unfinished.stderr
