from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from hcopt.config.sections import Config
from hcopt.errors import ModelSourceError
from hcopt.model.prepare import Prepared, prepare
from tests.support import onnx_models as models


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
