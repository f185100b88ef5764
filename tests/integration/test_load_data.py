"""The rows as a real perf_analyzer sends them to a real Triton, which answers with what it got.

By the perf_analyzer of the installed tritonclient, whose export has the answers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from benchmarks.support.tools import installed_perf_analyzer
from hcopt.model.base_config import base_configuration
from hcopt.model.inputs.build import build_load
from hcopt.model.inputs.perf_analyzer_json import write_perf_analyzer_json
from hcopt.model.inputs.values import LoadData, LoadTensor
from hcopt.model.onnx_file import has_batch_dimension, inspect_onnx, sha256_of
from hcopt.model.repository import write_repository
from hcopt.model.triton_config import parse_text, to_json, variant_of
from hcopt.records.model import ModelArtifact
from hcopt.system import process
from hcopt.system.process import last_lines
from hcopt.triton.base import Server
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.runtime import EmbeddedRuntime
from tests.support import onnx_models as models

REQUEST_COUNT = 6
ROW_COUNT = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Triton:
    """A running server, and the repository that it serves."""

    server: Server
    control: ModelControl
    folder: Path

    def load(self, artifact: ModelArtifact) -> None:
        config = base_configuration(artifact, batchable=has_batch_dimension(artifact.signature)).config
        write_repository(self.folder / "repository", artifact, config)
        self.control.load(artifact.name, to_json(config))

    def send(self, artifact: ModelArtifact, load: LoadData, client_batch_size: int = 1) -> list[dict[str, Any]]:
        """Sends a load's rows, one request after the other; the outputs of those in the first window, in their order.

        The window does not begin with the first row: perf_analyzer sends before it measures.
        """
        self.load(artifact)
        rows, export = self.folder / f"{artifact.name}.json", self.folder / f"{artifact.name}_export.json"
        log = self.folder / f"{artifact.name}.log"
        write_perf_analyzer_json(load, rows)
        tools = self.server.tools
        arguments = ["-m", artifact.name, "-u", tools.endpoint.grpc, "-i", "grpc", "-b", str(client_batch_size)]
        arguments += ["--input-data", tools.path(rows), "--async", "--stability-percentage", "1e6"]
        # Not by --request-count: what is answered before it reads Triton's counters is lost, even all of it.
        arguments += ["--measurement-mode", "count_windows", "--measurement-request-count", str(REQUEST_COUNT)]
        arguments += ["--request-rate-range", "20", "--max-threads", "1"]
        arguments += ["--profile-export-file", tools.path(export)]
        finished = process.run(
            [str(installed_perf_analyzer(tools)), *arguments], log=log, timeout_s=300, env=dict(os.environ)
        )
        assert finished.returncode == 0, last_lines(log)
        self.control.unload(artifact.name)
        experiment = json.loads(export.read_text())["experiments"][0]
        begin, end = experiment["window_boundaries"][:2]
        requests = [request for request in experiment["requests"] if begin <= request["timestamp"] <= end]
        assert len(requests) >= REQUEST_COUNT
        return [request["response_outputs"][0] for request in requests]


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("served")
    repository = folder / "repository"
    repository.mkdir()
    with EmbeddedRuntime().serve(repository, folder) as server, ModelControl(server.endpoint) as control:
        yield Triton(server=server, control=control, folder=folder)


def saved(name: str, proto: onnx.ModelProto, folder: Path, config_pbtxt: str | None = None) -> ModelArtifact:
    file = models.save(proto, folder / name)
    return ModelArtifact(
        name=name,
        source_uri=str(file),
        version=None,
        sha256=sha256_of(file.parent, [file.name]),
        folder=file.parent,
        onnx_file=file.name,
        files=(file.name,),
        signature=inspect_onnx(file).signature,
        config_pbtxt=config_pbtxt,
    )


def first_row(values: np.ndarray[Any, Any], answered: Sequence[float]) -> int:
    """Whose answer the window begins with. values: [rows, elements of an answer]."""
    found = [row for row, value in enumerate(values) if np.allclose(value, answered, rtol=1e-6)]
    assert len(found) == 1
    return found[0]


def assert_answers_follow_the_rows(answers: list[dict[str, Any]], output: str, values: np.ndarray[Any, Any]) -> None:
    """values: what each row's answer is, [rows, elements of an answer]."""
    begin = first_row(values, answers[0][output])
    for index, answer in enumerate(answers):
        np.testing.assert_allclose(answer[output], values[(begin + index) % len(values)], rtol=1e-6, atol=1e-6)


def one_tensor(name: str, datatype: str, rows: np.ndarray[Any, Any]) -> LoadData:
    return LoadData(tensors=(LoadTensor(name=name, datatype=datatype, rows=rows),), origin="synthetic")


def cast_to_fp32_model(datatype: str, size: int) -> onnx.ModelProto:
    """perf_analyzer exports no FP16; as FP32 the answers show what arrived."""
    node = helper.make_node("Cast", ["input"], ["output"], to=onnx.TensorProto.FLOAT)
    return models.model(
        [node], [models.tensor("input", datatype, (-1, size))], [models.tensor("output", "FP32", (-1, size))]
    )


def test_request_with_client_batch_takes_the_next_rows_and_begins_again(triton: Triton, tmp_path: Path) -> None:
    artifact = saved("two", models.two_inputs_model(), tmp_path)
    config = base_configuration(artifact, batchable=True).config
    drawn = build_load(artifact, config, input_shapes={})
    values, ids = drawn.rows["values"][:ROW_COUNT], drawn.rows["ids"][:ROW_COUNT]
    load = LoadData(
        tensors=(
            LoadTensor(name="values", datatype="FP32", rows=values),
            LoadTensor(name="ids", datatype="INT64", rows=ids),
        ),
        origin="synthetic",
    )
    answers = triton.send(artifact, load, client_batch_size=3)
    batches = [[(row + offset) % ROW_COUNT for offset in range(3)] for row in range(ROW_COUNT)]
    begin = first_row(np.stack([2 * values[rows].ravel() for rows in batches]), answers[0]["scaled"])
    for index, answer in enumerate(answers):
        rows = batches[(begin + 3 * index) % ROW_COUNT]
        np.testing.assert_allclose(answer["scaled"], 2 * values[rows].ravel(), rtol=1e-6)
        assert answer["next_ids"] == (ids[rows] + 1).ravel().tolist()


@pytest.mark.parametrize(
    ("datatype", "size"), [("FP16", 3), ("FP64", 100), ("INT8", 3), ("UINT64", 100), ("BOOL", 3), ("BOOL", 100)]
)
def test_values_arrive_as_they_are(triton: Triton, tmp_path: Path, datatype: str, size: int) -> None:
    """Three elements go as a list where JSON has a form for them, a hundred in base64."""
    artifact = saved(f"cast_{datatype}_{size}", cast_to_fp32_model(datatype, size), tmp_path)
    drawn = build_load(artifact, base_configuration(artifact, batchable=True).config, input_shapes={})
    # Each once: three small values may be those of another row.
    rows = np.unique(drawn.rows["input"][:ROW_COUNT], axis=0)
    answers = triton.send(artifact, one_tensor("input", datatype, rows))
    assert_answers_follow_the_rows(answers, "output", rows.astype(np.float32))


@pytest.mark.parametrize("texts", [["a", "모델"], ["é", "x"] * 50], ids=["list", "base64"])
def test_strings_arrive_as_they_are(triton: Triton, tmp_path: Path, texts: list[str]) -> None:
    artifact = saved(f"texts_{len(texts)}", models.identity_model("BYTES", (-1, len(texts))), tmp_path)
    answers = triton.send(artifact, one_tensor("input", "BYTES", np.array([texts], dtype=object)))
    # The export leaves out the first length and has the others among the texts.
    assert all(text in answers[0]["output"] for text in texts)


def test_dynamic_dimensions_get_the_shape_of_the_rows(triton: Triton, tmp_path: Path) -> None:
    artifact = saved("image", models.image_model(), tmp_path)
    config = base_configuration(artifact, batchable=True).config
    images = build_load(artifact, config, input_shapes={"image": (3, 8, 9)}).rows["image"][:ROW_COUNT]
    answers = triton.send(artifact, one_tensor("image", "FP32", images))
    assert_answers_follow_the_rows(answers, "means", images.mean(axis=(2, 3)))


@pytest.mark.parametrize("datatype", ["FP32", "FP16", "INT64", "BOOL", "BYTES"])
def test_dimensions_of_length_zero_are_sent_as_they_are(triton: Triton, tmp_path: Path, datatype: str) -> None:
    """The cache of a first step is empty: `output` = `input` + how many entries the cache has."""
    nodes = [
        helper.make_node("Shape", ["past"], ["length"], start=2, end=3),
        helper.make_node("Cast", ["length"], ["added"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Add", ["input", "added"], ["output"]),
        helper.make_node("Identity", ["past"], ["present"]),
    ]
    inputs = [models.tensor("input", "FP32", (-1, 2)), models.tensor("past", datatype, (-1, 2, -1, 3))]
    outputs = [models.tensor("output", "FP32", (-1, 2)), models.tensor("present", datatype, (-1, 2, -1, 3))]
    artifact = saved(f"empty_{datatype}", models.model(nodes, inputs, outputs), tmp_path)
    example = tmp_path / "rows.npz"
    values = np.arange(14, dtype=np.float32).reshape(ROW_COUNT, 2)
    np.savez(example, input=values, past=np.empty((ROW_COUNT, 2, 0, 3), "U1" if datatype == "BYTES" else np.float32))
    config = base_configuration(artifact, batchable=True).config
    load = build_load(artifact, config, input_shapes={}, input_example=str(example))
    assert_answers_follow_the_rows(triton.send(artifact, load), "output", values)


@pytest.mark.parametrize("proto", [models.scalar_model(), models.per_row_scalar_model()], ids=["whole", "per_row"])
def test_scalars_are_sent_as_one_element(
    triton: Triton, tmp_path: Path, proto: onnx.ModelProto, request: pytest.FixtureRequest
) -> None:
    artifact = saved(f"scalar_{request.node.callspec.id}", proto, tmp_path)
    config = base_configuration(artifact, batchable=has_batch_dimension(artifact.signature)).config
    rows = build_load(artifact, config, input_shapes={}).rows["input"][:ROW_COUNT]
    answers = triton.send(artifact, one_tensor("input", "FP32", rows))
    assert_answers_follow_the_rows([{"output": [answer["output"]]} for answer in answers], "output", 2 * rows[:, :1])


def test_server_starts_as_many_instances_as_the_variant_says_where_the_user_gives_none(
    triton: Triton, tmp_path: Path
) -> None:
    """The number is Triton's own default for this backend; here is the proof."""
    text = """
    max_batch_size: 4
    input { name: "input" data_type: TYPE_FP32 dims: 10 }
    output { name: "output" data_type: TYPE_FP32 dims: 1 }
    """
    artifact = saved("plain", models.linear_model(), tmp_path, config_pbtxt=text)
    triton.load(artifact)
    active = json.loads(triton.control.active_config("plain"))
    triton.control.unload("plain")
    assert sum(group["count"] for group in active["instance_group"]) == 2
    assert variant_of(parse_text(text), "plain_config_default").instance_count == 2
