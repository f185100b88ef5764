"""What a node does with a task that comes to no server."""

from __future__ import annotations

import os
import pickle
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcopt.config.sections import Config
from hcopt.errors import ModelSourceError
from hcopt.job.cluster import tasks
from hcopt.job.cluster.tasks import Probe, StageTask, model_files
from hcopt.job.cluster.values import Files, Outcome
from hcopt.model.inputs.values import LoadData, LoadTensor
from hcopt.model.onnx_file import sha256_of
from hcopt.records.json import JsonObject
from hcopt.records.measurement import SweepPlan
from hcopt.records.model import ModelArtifact
from hcopt.system.machine_lock import measuring_alone
from tests.support.records import LIGHT, MODEL_NAME, config_pbtxt, default_variant, grid_variants, model_artifact
from tests.support.variant_records import variants

CONTENTS = {"model.onnx": b"a model", "weights/part 1.data": bytes(range(256)), "empty.data": b""}
LOAD = LoadData(
    tensors=(LoadTensor(name="input", datatype="FP32", rows=np.zeros((2, 10), np.float32)),), origin="synthetic"
)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the node makes its folders and its lock; there is nothing to wait for on it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(tasks, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(tasks, "_BETWEEN_TRIES_S", 0.001)
    return folder


@pytest.fixture
def artifact(tmp_path: Path) -> ModelArtifact:
    folder = tmp_path / "source"
    for name, content in CONTENTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    named = tmp_path / "beside"
    named.mkdir()
    (named / "labels.txt").write_bytes(b"yes")
    return model_artifact(
        folder=folder,
        files=tuple(CONTENTS),
        sha256=sha256_of(folder, tuple(CONTENTS)),
        named_files=("labels.txt",),
        named_folder=named,
    )


def config(**sections: object) -> JsonObject:
    found: JsonObject = Config.model_validate(sections).model_dump(mode="json")
    return found


def task(artifact: ModelArtifact, **changes: Any) -> StageTask:
    found = StageTask(
        stage="sweep",
        config=config(),
        artifact=artifact,
        config_pbtxt=config_pbtxt(default_variant()),
        load=LOAD,
        plan=SweepPlan(model_name=MODEL_NAME, default=default_variant(), variants=grid_variants(), loads=(LIGHT,)),
        node="w1",
    )
    return replace(found, **changes)


SENT = {**{f"model/{name}": content for name, content in CONTENTS.items()}, "named/labels.txt": b"yes"}


def failed(task: StageTask | Probe, files: Files) -> tuple[int, str]:
    """What it says; all else is empty."""
    outcome = task.perform(files)
    assert outcome.failure is not None
    assert (outcome.environment, outcome.measurements, outcome.found, outcome.files) == (None, (), None, {})
    return outcome.failure.exit_code, outcome.failure.message


# --- the model's files -----------------------------------------------------------------------------------------------


def test_model_arrives_as_it_was_sent(artifact: ModelArtifact, tmp_path: Path) -> None:
    files = pickle.loads(pickle.dumps(model_files(artifact)))
    assert files == SENT
    there = tasks._unpacked(artifact, files, tmp_path)
    assert there == replace(artifact, folder=tmp_path / "model", named_folder=tmp_path / "named")
    assert model_files(there) == SENT
    assert sha256_of(there.folder, there.files) == artifact.sha256


@pytest.mark.parametrize("name", CONTENTS)
def test_every_file_counts(artifact: ModelArtifact, tmp_path: Path, name: str) -> None:
    files = {**SENT, f"model/{name}": b"other bytes"}
    with pytest.raises(ModelSourceError, match="SHA-256"):
        tasks._unpacked(artifact, files, tmp_path)


def test_variants_that_are_measured_travel_too_and_count(artifact: ModelArtifact, tmp_path: Path) -> None:
    for name in ("here", "node", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "here" / "int8.onnx").write_bytes(b"smaller")
    int8, refused = variants()
    int8 = replace(int8, folder=tmp_path / "here", sha256=sha256_of(tmp_path / "here", int8.files))
    artifact = replace(artifact, variants=(int8, refused))
    files = model_files(artifact)
    assert files == {**SENT, "variants/int8/int8.onnx": b"smaller"}
    (there,) = tasks._unpacked(artifact, files, tmp_path / "node").variants
    assert there == replace(int8, folder=tmp_path / "node" / "variants" / "int8")
    assert (there.folder / "int8.onnx").read_bytes() == b"smaller"
    with pytest.raises(ModelSourceError, match="variant int8, came to the node with SHA-256"):
        tasks._unpacked(artifact, {**files, "variants/int8/int8.onnx": b"other"}, tmp_path / "other")


def test_task_with_wrong_bytes_fails_and_leaves_nothing(artifact: ModelArtifact, temporary: Path) -> None:
    exit_code, message = failed(task(artifact), {**SENT, "model/model.onnx": b"another model"})
    assert exit_code == 3
    assert f"{MODEL_NAME} came to the node with SHA-256 " in message
    assert f"{artifact.sha256} was sent" in message
    assert list(temporary.iterdir()) == []


# --- what stops a task before there is a server ----------------------------------------------------------------------


def both_tasks(artifact: ModelArtifact, found: JsonObject) -> list[StageTask | Probe]:
    return [Probe(config=found), task(artifact, config=found)]


@pytest.mark.parametrize("place", [0, 1], ids=["probe", "task"])
def test_runtime_that_cannot_be_had_is_a_failure_and_no_exception(
    artifact: ModelArtifact, temporary: Path, place: int
) -> None:
    task = both_tasks(artifact, config(runtime={"kind": "embedded"}, instance_kind="KIND_GPU"))[place]
    exit_code, message = failed(task, SENT)
    assert exit_code == 2
    assert "the embedded runtime has no GPU" in message
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("place", [0, 1], ids=["probe", "task"])
def test_cpus_that_the_node_does_not_have_are_a_failure(artifact: ModelArtifact, temporary: Path, place: int) -> None:
    task = both_tasks(artifact, config(runtime={"kind": "embedded", "cpuset": {"server": "4000"}}))[place]
    exit_code, message = failed(task, SENT)
    assert (exit_code, "runtime.cpuset.server" in message) == (4, True)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("place", [0, 1], ids=["probe", "task"])
def test_node_on_which_somebody_measures_is_busy(artifact: ModelArtifact, temporary: Path, place: int) -> None:
    task = both_tasks(artifact, config(runtime={"kind": "embedded"}))[place]
    with measuring_alone("hcopt profile", force=False, note=lambda _: None):
        exit_code, message = failed(task, SENT)
        assert [path.name for path in temporary.iterdir()] == ["hcopt.lock"]
    assert exit_code == 9
    assert "`hcopt profile`" in message


def test_task_leaves_servers_the_threads_of_the_machine(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    Probe(config=config(runtime={"kind": "embedded"}, instance_kind="KIND_GPU")).perform({})
    assert "OMP_NUM_THREADS" not in os.environ


# --- what travels ----------------------------------------------------------------------------------------------------


def test_task_and_outcome_are_values_that_can_be_sent(artifact: ModelArtifact) -> None:
    sent = task(artifact)
    found: StageTask = pickle.loads(pickle.dumps(sent))
    assert replace(found, load=sent.load) == sent
    np.testing.assert_array_equal(found.load.rows["input"], sent.load.rows["input"])
    outcome = Outcome(files={"logs/a.log": b"text"}, elapsed_s={"serve": 1.0})
    assert pickle.loads(pickle.dumps(outcome)) == outcome


def test_what_only_the_task_s_work_needed_stays_there(tmp_path: Path) -> None:
    for name in (
        "logs/tritonserver.log",
        "samples/sweep/1.npz",
        "reports/table.csv",
        "decisions.jsonl",
        "measurements.jsonl",
        "input.json",
        "repository/model/config.pbtxt",
        "work/answers/1",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "logs" / "link").symlink_to("/etc/passwd")
    found = dict(tasks._left_in(tmp_path))
    assert sorted(found) == ["decisions.jsonl", "logs/tritonserver.log", "reports/table.csv", "samples/sweep/1.npz"]
    assert all(content == name.encode() for name, content in found.items())
