"""Variants of a model: made or fetched, compared with it, and refused with the reason where they answer otherwise."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from hcopt.config.sections import Config
from hcopt.errors import ConfigError, ModelSourceError
from hcopt.measure.side_by_side import prepare_side
from hcopt.model import triton_config
from hcopt.model.prepare import Prepared, config_json, delivered_config, prepare
from hcopt.model.repository import write_repository
from hcopt.records.model import ModelVariant
from tests.support import onnx_models as models
from tests.support.notes import said


def prepared(folder: Path, proto: onnx.ModelProto, variants: dict[str, Any], **model: object) -> Prepared:
    """The model with 20 rows as an example, and its variants."""
    file = models.save(proto, folder / "M")
    features = proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    rows = np.random.default_rng(1).standard_normal((20, features)).round(3)
    (folder / "M" / "input_example.json").write_text(json.dumps({"input": rows.tolist()}))
    section = {"uri": str(file), "name": "M", "variants": variants, **model}
    config = Config.model_validate({"model": section, "sweep": {"instance_count": [1], "concurrency": [8]}})
    return prepare(config, into=folder / "into", tracking_uri="")


def only(found: Prepared) -> ModelVariant:
    (variant,) = found.artifact.variants
    return variant


def network(*, scale: float = 1.0, labels: bool = False) -> onnx.ModelProto:
    """Two layers, and their class where `labels`; `scale` makes another network of it."""
    random = np.random.default_rng(0)
    weights = [scale * random.standard_normal(shape).astype(np.float32) for shape in ((8, 32), (32, 3))]
    nodes = [
        helper.make_node("MatMul", ["input", "w0"], ["m0"]),
        helper.make_node("Relu", ["m0"], ["r0"]),
        helper.make_node("MatMul", ["r0", "w1"], ["scores"]),
    ]
    outputs = [models.tensor("scores", shape=("N", 3))]
    if labels:
        nodes.append(helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0))
        outputs.append(models.tensor("label", "INT64", ("N",)))
    initializers = [numpy_helper.from_array(values, f"w{n}") for n, values in enumerate(weights)]
    return models.model(nodes, [models.tensor("input", shape=("N", 8))], outputs, initializers)


def test_quantized_copy_is_swept_beside_the_model_at_every_setting(tmp_path: Path) -> None:
    found = prepared(tmp_path, network(), {"int8": {"quantize": "dynamic"}})
    variant = only(found)
    assert variant.refused is None
    operators = {node.op_type for node in onnx.load(variant.folder / variant.onnx_file).graph.node}
    assert "MatMulInteger" in operators or "DynamicQuantizeMatMul" in operators
    (output,) = variant.outputs
    assert output.max_ratio is not None
    assert 0 < output.max_ratio < 0.05
    alone = prepared(tmp_path / "alone", network(), {}).plan
    own = [one for one in found.plan.variants if one.model_file == ""]
    assert [*own] == [*alone.variants]  # by the same names, too
    others = [one for one in found.plan.variants if one.model_file == "int8.onnx"]
    assert [replace(one, model_file="").settings for one in others] == [one.settings for one in own]
    assert found.plan.default == alone.default
    # Its scale spans the batch, which the model's own rows know nothing of.
    assert "a row depends on its neighbours" in said(variant.batch_note)
    assert variant.batch_note in found.notes
    assert any(note.code == "variant_outputs" and "20 of the 20 rows" in said(note) for note in found.notes)


@pytest.mark.parametrize("asked", [{"quantize": "dynamic"}, {"optimize": True}])
def test_weights_beside_the_model_are_in_the_file_that_is_made(tmp_path: Path, asked: dict[str, Any]) -> None:
    proto = network()
    proto.graph.node[2].output[0] = "same"
    proto.graph.node.append(helper.make_node("Identity", ["same"], ["scores"]))
    (tmp_path / "M").mkdir()
    file = tmp_path / "M" / "model.onnx"
    onnx.save_model(proto, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    section = {"uri": str(file), "name": "M", "variants": {"v": asked}}
    found = prepare(Config.model_validate({"model": section}), into=tmp_path / "into", tracking_uri="")
    variant = only(found)
    assert (variant.refused, variant.files) == (None, ("v.onnx",))
    assert sorted(path.name for path in variant.folder.iterdir()) == ["v.onnx"]
    served = write_repository(tmp_path / "served", found.artifact, found.base.config)
    assert sorted(path.name for path in (served / "1").iterdir()) == ["model.onnx", "v.onnx", "weights.bin"]


def test_quantizing_twice_gives_the_same_file(tmp_path: Path) -> None:
    made = [only(prepared(tmp_path / name, network(), {"int8": {"quantize": "dynamic"}})).sha256 for name in ("a", "b")]
    assert made[0] == made[1]


def test_optimized_copy_answers_as_the_model(tmp_path: Path) -> None:
    # Identity goes, and with it a node.
    proto = network()
    proto.graph.node[2].output[0] = "same"
    proto.graph.node.append(helper.make_node("Identity", ["same"], ["scores"]))
    variant = only(prepared(tmp_path, proto, {"opt": {"optimize": True}}))
    assert (variant.refused, variant.outputs[0].max_difference) == (None, 0.0)
    assert len(onnx.load(variant.folder / "opt.onnx").graph.node) < len(proto.graph.node)


@pytest.mark.parametrize("asked", [{"quantize": "dynamic"}, {"optimize": True}])
def test_model_in_which_there_is_nothing_to_change_is_not_measured_twice(tmp_path: Path, asked: dict[str, Any]) -> None:
    nodes = [helper.make_node("Relu", ["input"], ["output"])]
    tensors = [models.tensor(name, shape=("N", 4)) for name in ("input", "output")]
    found = prepared(tmp_path, models.model(nodes, tensors[:1], tensors[1:]), {"v": asked})
    assert said(only(found).refused).endswith("finds nothing to change in this model.")
    assert {one.model_file for one in found.plan.variants} == {""}


def test_other_network_is_refused_with_how_far_it_is_and_the_run_goes_on(tmp_path: Path) -> None:
    other = models.save(network(scale=1.5, labels=True), tmp_path / "other")
    proto = network(labels=True)
    proto.producer_name = "another exporter"
    same = models.save(proto, tmp_path / "same")
    found = prepared(tmp_path, network(labels=True), {"other": {"uri": str(other)}, "same": {"uri": str(same)}})
    refused, measured = found.artifact.variants
    assert measured.refused is None
    words = said(refused.refused)
    assert words.startswith(f"The variant other ({other}) is not measured: on 20 of the 20 rows")
    assert "'scores' differs by at most" in words
    assert "allows 5.00% of the spread" in words
    assert refused.outputs[1].agreement_ratio == 1.0  # a scaled network has the same classes
    assert found.artifact.measured_variants == (measured,)
    assert {one.model_file for one in found.plan.variants} == {"", "same.onnx"}
    assert refused.refused in found.notes
    wider = prepared(
        tmp_path, network(labels=True), {"other": {"uri": str(other)}}, tolerance={"max_difference_ratio": 2}
    )
    assert only(wider).refused is None


def test_same_file_once_more_is_not_measured(tmp_path: Path) -> None:
    same = models.save(network(), tmp_path / "same")
    found = prepared(tmp_path, network(), {"same": {"uri": str(same)}})
    assert said(only(found).refused).endswith("its file is that of the model.")


def test_file_with_other_tensors_is_refused_by_their_names(tmp_path: Path) -> None:
    other = models.save(models.linear_model(8, outputs=3), tmp_path / "other")
    found = prepared(tmp_path, network(), {"other": {"uri": str(other)}})
    assert "not those of the model, in name, type or shape ('output', 'scores')" in said(only(found).refused)


def test_file_whose_rows_depend_on_their_neighbours_is_refused_where_the_model_batches(tmp_path: Path) -> None:
    proto = network()
    proto.graph.node.insert(0, helper.make_node("ReduceMean", ["input"], ["mean"], axes=[0], keepdims=1))
    proto.graph.node.insert(1, helper.make_node("Sub", ["input", "mean"], ["centred"]))
    proto.graph.node[2].input[0] = "centred"
    other = models.save(proto, tmp_path / "other")
    refused = said(only(prepared(tmp_path, network(), {"other": {"uri": str(other)}})).refused)
    assert "it does not batch as the model does" in refused


def test_tool_that_fails_is_a_note_and_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_sympy(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'sympy'")

    monkeypatch.setattr("onnxruntime.quantization.quantize_dynamic", without_sympy)
    found = prepared(tmp_path, network(), {"int8": {"quantize": "dynamic"}})
    assert said(only(found).refused).endswith("tool of ONNX Runtime fails on this model (No module named 'sympy').")
    assert logging.root.manager.disable == 0


def test_missing_file_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="nowhere"):
        prepared(tmp_path, network(), {"v": {"uri": str(tmp_path / "nowhere.onnx")}})


def test_variant_cannot_have_the_name_of_the_models_own_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.variants\.model: the model has a file model\.onnx of its own"):
        prepared(tmp_path, network(), {"model": {"optimize": True}})


def test_variants_with_weights_of_one_name_do_not_overwrite_one_another(tmp_path: Path) -> None:
    """Both have weights.bin beside them, and would share one folder."""
    other = models.save_with_external_data(tmp_path / "other", "weights.bin")
    file = models.save_with_external_data(tmp_path / "M", "weights.bin")
    section = {"uri": str(file), "name": "M", "variants": {"v": {"uri": str(other)}}}
    found = prepare(Config.model_validate({"model": section}), into=tmp_path / "into", tracking_uri="")
    assert "'weights.bin' would lie on another one" in said(only(found).refused)


def test_served_repository_has_all_files_and_the_golden_one_the_winner_alone(tmp_path: Path) -> None:
    found = prepared(tmp_path, network(), {"int8": {"quantize": "dynamic"}})
    served = write_repository(tmp_path / "served", found.artifact, found.base.config)
    assert sorted(path.name for path in (served / "1").iterdir()) == ["int8.onnx", "model.onnx"]
    best = next(one for one in found.plan.variants if one.model_file)
    assert json.loads(config_json(found, best))["default_model_filename"] == "int8.onnx"
    artifact = found.artifact.served_from(best.model_file)
    golden = write_repository(tmp_path / "golden", artifact, delivered_config(found, best))
    assert [path.name for path in (golden / "1").iterdir()] == ["int8.onnx"]
    config = triton_config.parse_text((golden / "config.pbtxt").read_text())
    assert config.default_model_filename == "int8.onnx"
    assert artifact.sha256 == only(found).sha256
    assert artifact.registered_version is None
    # `hcopt check` and `scale-check` serve that folder under the run's own configuration.
    asked = Config.model_validate({"model": {"variants": {"int8": {"quantize": "dynamic"}}}})
    side = prepare_side(asked, str(golden), name="M", label="M", into=tmp_path / "side", tracking_uri="")
    assert (side.artifact.sha256, side.artifact.variants) == (artifact.sha256, ())
    assert side.plan.default.model_file == "int8.onnx"


@pytest.mark.parametrize(
    ("variants", "fault"),
    [
        ({"v": {}}, "expected one of uri, quantize: dynamic, optimize: true"),
        ({"v": {"quantize": "dynamic", "optimize": True}}, "expected one of"),
        ({"../v": {"optimize": True}}, "pattern"),
        ({"v": {"quantize": "static"}}, "'dynamic'"),
    ],
)
def test_variant_is_asked_for_in_one_way(variants: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Config.model_validate({"model": {"variants": variants}})
