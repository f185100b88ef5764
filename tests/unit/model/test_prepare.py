"""What is found out before anything is measured, and what a run says of it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from hcopt.config.sections import Config
from hcopt.errors import ConfigError, ModelSourceError
from hcopt.model.prepare import Prepared, prepare
from hcopt.model.triton_config import CONFIG_FILE
from tests.support import onnx_models as models

GROUP = "instance_group [{ count: 2 kind: KIND_CPU }]"
CONFIG = """platform: "onnxruntime_onnx"
max_batch_size: 8
input { name: "input" data_type: TYPE_FP32 dims: [4] }
output { name: "output" data_type: TYPE_FP32 dims: [1] }
"""


def positions_model() -> onnx.ModelProto:
    """A table's entry at a position that comes as a number: those of a normal distribution are beyond it soon."""
    proto = models.embedding_model(vocabulary=2)
    proto.graph.input[0].CopyFrom(models.tensor("position", "FP32", (-1, 3)))
    cast = helper.make_node("Cast", ["position"], [proto.graph.node[0].input[1]], to=TensorProto.INT64)
    proto.graph.node.insert(0, cast)
    return proto


def prepared(proto: onnx.ModelProto, folder: Path, example: str) -> Prepared:
    file = models.save(proto, folder / "M")
    config = Config.model_validate({"model": {"uri": str(file), "name": "M", "input_example": example}})
    return prepare(config, into=folder / "into", tracking_uri="")


def test_synthetic_rows_that_the_model_does_not_take_are_an_error_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"of its 256 input rows: .*must be within") as caught:
        prepared(positions_model(), tmp_path, "none")
    assert "model.input_example" in str(caught.value.remedy)


@pytest.mark.parametrize("is_example", [True, False])
def test_rows_for_which_the_time_is_up_are_said_of_an_example_alone(
    is_example: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_EXAMPLE_CHECK_S", "_SYNTHETIC_CHECK_S"):
        monkeypatch.setattr(f"hcopt.model.prepare.{name}", 0.0)
    example = tmp_path / "rows.json"
    example.write_text(json.dumps([[0.5] * 10] * 50), encoding="utf-8")
    found = prepared(models.linear_model(), tmp_path, str(example) if is_example else "none")
    assert ("rows_sampled" in [note.code for note in found.notes]) == is_example


def configured(tmp_path: Path, more: str) -> Prepared:
    folder = tmp_path / "M"
    models.save(models.linear_model(4), folder / "1")
    (folder / CONFIG_FILE).write_text(CONFIG + more, encoding="utf-8")
    config = Config.model_validate({"model": {"uri": str(folder), "name": "M"}})
    return prepare(config, into=tmp_path / "into", tracking_uri="")


@pytest.mark.parametrize(
    ("batching", "stalls"),
    [
        ("dynamic_batching { }", False),
        ("dynamic_batching { max_queue_delay_microseconds: 100 preserve_ordering: true }", False),
        ("dynamic_batching { default_queue_policy { max_queue_size: 4 } }", True),
        ("dynamic_batching { priority_levels: 2 default_priority_level: 1 }", True),
    ],
)
def test_queue_whose_requests_the_server_leaves_is_told_of(tmp_path: Path, batching: str, stalls: bool) -> None:
    assert ("queue_stalls" in [note.code for note in configured(tmp_path, GROUP + batching).notes]) == stalls


@pytest.mark.parametrize(("more", "told"), [("", False), ("rate_limiter { priority: 2 }", True)])
def test_rate_limiter_is_told_of_as_no_server_says_whether_it_heeds_it(tmp_path: Path, more: str, told: bool) -> None:
    group = f"instance_group [{{ count: 2 kind: KIND_CPU {more} }}]"
    assert ("rate_limiter_unheeded" in [note.code for note in configured(tmp_path, group).notes]) == told


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"runtime": {"kind": "remote"}}, "equal terms"), ({"instance_kind": "KIND_GPU"}, "for CPUs")],
)
def test_openvino_is_refused_where_it_cannot_compete_on_equal_terms(
    changes: dict[str, object], why: str, tmp_path: Path
) -> None:
    def refuse(*accelerators: str) -> None:
        sweep = {"execution_accelerator": accelerators}
        prepare(Config.model_validate({**changes, "sweep": sweep}), into=tmp_path, tracking_uri="")

    with pytest.raises(ConfigError, match=why):
        refuse("none", "openvino")
