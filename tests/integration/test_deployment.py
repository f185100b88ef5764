"""`hcopt kubernetes` and `hcopt capacity` as a user runs them, and the configuration of a pod on a real Triton."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from hcopt.deploy.kubernetes.deployed_model import deployed_config
from hcopt.deploy.scaling import Scaling, write_scaling
from hcopt.model.triton_config import parse_text
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.runtime import EmbeddedRuntime
from tests.support.command import SAMPLE_FOLDER, SAMPLE_MODEL, Workplace, workplace
from tests.support.planned_run import planned_record, write_planned_run

LOAD = ("--peak", "500000", "--base", "60000")


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A folder with a finished run in it."""
    found = workplace(tmp_path, COLUMNS="80")
    write_planned_run(found.results)
    return found


def test_manifests_are_written_and_the_next_steps_said(place: Workplace) -> None:
    answer = place.run("kubernetes", "results", *LOAD)
    assert answer.returncode == 0, answer.stderr
    files = {path.name: yaml.safe_load(path.read_text()) for path in (place.folder / "deploy").iterdir()}
    assert files["hpa.yaml"]["spec"]["minReplicas"] == 16
    assert set(files["kustomization.yaml"]["resources"]) < set(files)
    assert "16 to 120, 2 CPUs each" in answer.stdout
    assert "assumed" in answer.stdout
    assert "kubectl apply -k deploy" in answer.stdout
    assert "hcopt kubernetes results --peak 500000 --base 60000" in (place.folder / "deploy/hpa.yaml").read_text()


def test_strict_refuses_and_writes_nothing(place: Workplace) -> None:
    answer = place.run("kubernetes", "results", *LOAD, "--strict")
    assert answer.returncode == 7
    assert "native backend" in answer.stderr
    assert not (place.folder / "deploy").exists()


def test_measured_scaling_is_in_the_manifests(place: Workplace) -> None:
    scaling = Scaling(servers=2, cpus_per_server=2, block_count=8, ratio=0.98, ci_low=0.95, ci_high=1.01)
    write_scaling(place.runs[0], scaling)
    assert place.run("kubernetes", "results", *LOAD, "--keda", "--out", "keda").returncode == 0
    deployment = (place.folder / "keda" / "deployment.yaml").read_text()
    assert yaml.safe_load(deployment)["metadata"]["annotations"]["hcopt/linearity"] == "measured"
    assert "2 isolated servers carry 0.980 [0.950, 1.010]" in deployment


@pytest.mark.parametrize("arguments", [("kubernetes", "results", *LOAD), ("capacity", "results", "--rate", "1000")])
def test_run_without_capacity_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    place = workplace(tmp_path)
    write_planned_run(place.results, capacity=None)
    answer = place.run(*arguments)
    assert answer.returncode == 2
    assert "no sustainable rate" in answer.stderr
    assert "hcopt profile" in answer.stderr


def test_capacity_answers_and_draws(place: Workplace) -> None:
    (place.folder / "load.csv").write_text("t_s,infer_per_s\n0,60000\n300,60000\n900,120000\n1200,120000\n")
    arguments = ("--rate", "500000", "--replicas", "10", "--trace", "load.csv", "--price-per-hour", "0.2")
    answer = place.run("capacity", "results", *arguments, "--chart", "load.svg")
    assert answer.returncode == 0, answer.stderr
    assert "120, one of them to spare" in answer.stdout
    assert "points held" in answer.stdout
    assert (place.folder / "load.svg").read_text().startswith("<svg")


def test_capacity_answers_as_json(place: Workplace) -> None:
    answer = place.run("capacity", "results", "--rate", "500000", "--json")
    found = json.loads(answer.stdout)
    assert (found["replicas"], found["linearity"], found["simulation"]) == (120, "assumed", None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "1e30"), "at most 150,000"),
        (("--replicas", "99999999999999999999"), "at most 150,000"),
        (("--trace", "huge.csv"), "at most 150,000"),
        (("--rate", "inf"), "no load"),
        (("--rate", "nan"), "--rate"),
        (("--rate", "5", "--scrape-interval", "100"), "two scrapes"),
    ],
)
def test_capacity_refuses_what_no_cluster_could_do(place: Workplace, arguments: tuple[str, ...], said: str) -> None:
    (place.folder / "huge.csv").write_text("t_s,infer_per_s\n0,1e20\n10,1e20\n", encoding="utf-8")
    answer = place.run("capacity", "results", *arguments)
    assert answer.returncode == 2
    assert said in answer.stderr


def test_smallest_load_has_as_many_pods_as_in_the_manifests_and_a_free_pod_costs_nothing(place: Workplace) -> None:
    found = json.loads(place.run("capacity", "results", "--rate", "0", "--price-per-hour", "0", "--json").stdout)
    assert (found["replicas"], found["cost_per_million"]) == (2, 0)


def test_next_steps_can_be_copied_into_a_shell(place: Workplace) -> None:
    answer = place.run("kubernetes", "results", *LOAD, "--model-uri", "s3://bucket/a folder", "--out", "a 'deploy'")
    assert answer.returncode == 0, answer.stderr
    steps = [line.partition(":")[2] for line in answer.stdout.splitlines() if line.startswith("next:")]
    assert [shlex.split(step)[-1] for step in steps] == [
        "s3://bucket/a folder/",
        "a 'deploy'/prometheus-adapter-values.yaml",
        "a 'deploy'",
    ]


def test_chart_without_a_trace_is_refused(place: Workplace) -> None:
    answer = place.run("capacity", "results", "--chart", "load.svg")
    assert answer.returncode == 2
    assert "--trace" in answer.stderr


def test_triton_serves_the_configuration_of_a_pod_and_warms_it_up(tmp_path: Path) -> None:
    record = planned_record()
    text = deployed_config(record)
    folder = tmp_path / "repository" / SAMPLE_MODEL
    shutil.copytree(SAMPLE_FOLDER, folder)
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    assert parse_text(text).model_warmup
    with EmbeddedRuntime().serve(folder.parent, tmp_path) as server, ModelControl(server.endpoint) as control:
        control.load(SAMPLE_MODEL)
        assert control.is_ready(SAMPLE_MODEL)
        active = json.loads(control.active_config(SAMPLE_MODEL))
        with urlopen(server.endpoint.metrics_url, timeout=60) as answer:
            metrics = answer.read().decode()
    assert [sample["batch_size"] for sample in active["model_warmup"]] == [1, 8]
    # What the autoscaler asks for.
    for name in ("nv_inference_count", "nv_inference_pending_request_count"):
        assert f'{name}{{model="{SAMPLE_MODEL}"' in metrics
    assert active["parameters"]["intra_op_thread_count"]["string_value"] == "2"
