"""Outputs that the file declares with a fixed number of rows, and the corrected copy."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from hcopt.config.sections import Config
from hcopt.errors import ConfigError
from hcopt.model.prepare import Prepared, prepare
from hcopt.model.repository import write_repository
from tests.support import onnx_models as models
from tests.support.notes import said


def classifier(*, label: tuple[int, ...] = (1,), rows: str | None = "N") -> onnx.ModelProto:
    """Labels as LightGBM's exporter declares them: one, whatever the number of rows."""
    nodes = [
        helper.make_node("ArgMax", ["input"], ["label"], axis=1, keepdims=0),
        helper.make_node("Softmax", ["input"], ["probabilities"]),
    ]
    outputs = [models.tensor("label", "INT64", label), models.tensor("probabilities")]
    proto = models.model(nodes, [models.tensor("input")], outputs)
    first = proto.graph.input[0].type.tensor_type.shape.dim[0]
    first.Clear()
    if rows is not None:
        first.dim_param = rows
    return proto


def prepared(folder: Path, proto: onnx.ModelProto, **model: object) -> Prepared:
    file = models.save(proto, folder / "M")
    config = Config.model_validate({"model": {"uri": str(file), "name": "M", **model}})
    return prepare(config, into=folder / "into", tracking_uri="")


def test_wrongly_declared_output_is_named_with_its_cure(tmp_path: Path) -> None:
    found = prepared(tmp_path, classifier())
    assert found.base.config.max_batch_size == 0
    (cure,) = [said(note) for note in found.notes if note.code == "outputs_declared_wrongly"]
    assert "first dimension of 'label' as 1" in cure
    assert "model.correct_outputs: true" in cure


@pytest.mark.parametrize("rows", ["N", None])
def test_corrected_copy_is_what_is_measured_and_delivered(tmp_path: Path, rows: str | None) -> None:
    source = tmp_path / "M" / "model.onnx"
    original = models.save(classifier(rows=rows), tmp_path / "M").read_bytes()
    found = prepared(tmp_path, classifier(rows=rows), correct_outputs=True)
    assert source.read_bytes() == original
    assert found.base.config.max_batch_size == 16
    assert [list(tensor.dims) for tensor in found.base.config.output] == [[1], [4]]
    written = write_repository(tmp_path / "to", found.artifact, found.base.config) / "1" / "model.onnx"
    dims = [output.type.tensor_type.shape.dim[0] for output in onnx.load(written).graph.output]
    assert (dims[0].dim_param, dims[0].dim_value) == (rows or "rows", 0)
    (note,) = [note for note in found.notes if note.code == "outputs_corrected"]
    assert found.artifact.sha256 in said(note)
    assert found.artifact.sha256 != note.values["source_sha256"]


def test_corrected_copy_has_its_external_data_beside_it(tmp_path: Path) -> None:
    file = models.save_with_external_data(tmp_path / "M", "data/weights.bin")
    proto = onnx.load(file, load_external_data=False)
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    file.write_bytes(proto.SerializeToString())
    config = Config.model_validate({"model": {"uri": str(file), "name": "M", "correct_outputs": True}})
    found = prepare(config, into=tmp_path / "into", tracking_uri="")
    assert found.base.config.max_batch_size == 16
    written = write_repository(tmp_path / "to", found.artifact, found.base.config)
    assert (written / "1" / "data" / "weights.bin").read_bytes() == (tmp_path / "M" / "data/weights.bin").read_bytes()


def test_configuration_that_batches_is_taken_with_the_corrected_copy(tmp_path: Path) -> None:
    (tmp_path / "M").mkdir()
    (tmp_path / "M" / "config.pbtxt").write_text("max_batch_size: 4")
    found = prepared(tmp_path, classifier(), correct_outputs=True)
    assert found.base.config.max_batch_size == 4
    assert found.base.config.output[0].HasField("reshape")


def test_output_that_has_a_fixed_number_of_rows_is_not_corrected(tmp_path: Path) -> None:
    proto = models.reducing_model()
    proto.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    assert "is fixed at 1" in " ".join(map(said, prepared(tmp_path, proto).notes))
    with pytest.raises(ConfigError, match=r"model\.correct_outputs: the outputs of .* do not have one row"):
        prepared(tmp_path, proto, correct_outputs=True)


def test_model_with_nothing_to_correct_is_served_as_it_is(tmp_path: Path) -> None:
    for proto in (models.linear_model(), models.linear_model(fixed_batch=1)):
        found = prepared(tmp_path, proto, correct_outputs=True)
        assert found.artifact.folder == tmp_path / "M"
