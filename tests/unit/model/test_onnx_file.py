from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hcopt.errors import ModelSourceError
from hcopt.model.batch_check import BatchCheck, check_servable
from hcopt.model.onnx_file import has_batch_dimension, inspect_onnx, sha256_of
from hcopt.records.model import ModelSignature, TensorSpec
from tests.support import onnx_models as models
from tests.support.notes import said


def check(file: Path, **rows: np.ndarray) -> BatchCheck:
    return check_servable(file, inspect_onnx(file).signature, rows)


def normal_rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("datatype", models.ONNX_TYPES)
def test_signature_names_type_for_every_datatype(tmp_path: Path, datatype: str) -> None:
    signature = inspect_onnx(models.save(models.identity_model(datatype, (-1, 2)), tmp_path)).signature
    assert signature.inputs == (TensorSpec(name="input", datatype=datatype, shape=(-1, 2)),)
    assert signature.outputs == (TensorSpec(name="output", datatype=datatype, shape=(-1, 2)),)


def test_signature_keeps_order_and_shapes_of_several_tensors(tmp_path: Path) -> None:
    signature = inspect_onnx(models.save(models.two_inputs_model(), tmp_path)).signature
    assert [(spec.name, spec.datatype, spec.shape) for spec in signature.inputs] == [
        ("values", "FP32", (-1, 3)),
        ("ids", "INT64", (-1, 2)),
    ]
    assert [spec.name for spec in signature.outputs] == ["scaled", "next_ids"]


@pytest.mark.parametrize(("shape", "dims"), [((), ()), ((-1, 3, -1, -1), (-1, 3, -1, -1)), ((1, 10), (1, 10))])
def test_signature_has_minus_one_where_a_dimension_is_dynamic(
    tmp_path: Path, shape: tuple[int, ...], dims: tuple[int, ...]
) -> None:
    assert inspect_onnx(models.save(models.identity_model(shape=shape), tmp_path)).signature.inputs[0].shape == dims


def test_signature_leaves_out_initializers_that_are_graph_inputs(tmp_path: Path) -> None:
    file = models.save(models.linear_model(initializer_is_input=True), tmp_path)
    assert [spec.name for spec in inspect_onnx(file).signature.inputs] == ["input"]


def test_signature_infers_output_shape_that_the_graph_leaves_out(tmp_path: Path) -> None:
    proto = models.linear_model()
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    assert inspect_onnx(models.save(proto, tmp_path)).signature.outputs[0].shape == (-1, 1)


def test_inspect_refuses_output_whose_rank_nothing_tells(tmp_path: Path) -> None:
    proto = models.unregistered_operator_model()
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ModelSourceError, match="how many dimensions 'output' has"):
        inspect_onnx(models.save(proto, tmp_path))


def test_inspect_refuses_model_without_inputs(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["constant"], ["output"])
    constant = numpy_helper.from_array(np.ones(4, np.float32), "constant")
    proto = models.model([node], [], [models.tensor("output", shape=(4,))], [constant])
    with pytest.raises(ModelSourceError, match="no inputs"):
        inspect_onnx(models.save(proto, tmp_path))


@pytest.mark.parametrize("name", ["COMPLEX64", "FLOAT8E4M3FN", "INT4"])
def test_inspect_refuses_type_that_triton_has_no_name_for(tmp_path: Path, name: str) -> None:
    proto = models.identity_model()
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DataType.Value(name)
    with pytest.raises(ModelSourceError, match=f"'input' is of type {name}"):
        inspect_onnx(models.save(proto, tmp_path))


@pytest.mark.parametrize("side", ["input", "output"])
def test_inspect_refuses_dimension_that_is_fixed_at_zero(tmp_path: Path, side: str) -> None:
    proto = models.identity_model()
    (tensor,) = getattr(proto.graph, side)
    tensor.type.tensor_type.shape.dim[1].dim_value = 0
    with pytest.raises(ModelSourceError, match=f"'{side}' has a dimension that is fixed at 0") as caught:
        inspect_onnx(models.save(proto, tmp_path))
    assert "dynamic" in str(caught.value.remedy)


def test_inspect_refuses_sequence_output(tmp_path: Path) -> None:
    proto = models.identity_model()
    proto.graph.output[0].type.CopyFrom(helper.make_sequence_type_proto(proto.graph.input[0].type))
    with pytest.raises(ModelSourceError, match="'output' is a sequence"):
        inspect_onnx(models.save(proto, tmp_path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\x93NUMPY garbage that is no protobuf", "is not an ONNX model"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (models.linear_model().SerializeToString()[:-40], "is not an ONNX model"),
    ],
    ids=["empty", "garbage", "html", "lfs-pointer", "truncated"],
)
def test_inspect_refuses_file_that_is_not_onnx(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(ModelSourceError, match=said):
        inspect_onnx(file)


@pytest.mark.parametrize("name", ["missing.onnx", "."])
def test_inspect_refuses_path_that_is_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelSourceError, match="cannot read the model"):
        inspect_onnx(tmp_path / name)


@pytest.mark.parametrize("location", ["weights.data", "deep/er/weights.data", "./weights.data", "a b=c.data"])
def test_external_files_are_relative_to_the_model(tmp_path: Path, location: str) -> None:
    file = models.save_with_external_data(tmp_path, location)
    assert inspect_onnx(file).external_files == (location.removeprefix("./"),)
    assert check(file, input=normal_rows(2, 10)).batchable


def test_external_files_are_listed_once_and_not_read(tmp_path: Path) -> None:
    file = models.save_with_external_data(tmp_path)
    proto = onnx.load(file, load_external_data=False)
    proto.graph.initializer.add().CopyFrom(proto.graph.initializer[0])
    proto.graph.initializer[-1].name = "weight_again"
    models.save(proto, tmp_path)
    (tmp_path / "weights.data").write_bytes(b"")
    assert inspect_onnx(file).external_files == ("weights.data",)


def test_external_files_of_constants_and_subgraphs_are_found(tmp_path: Path) -> None:
    """A path that is checked only for the main graph's initializers would be a way out of the folder."""
    constant = numpy_helper.from_array(np.ones(4, np.float32), "inner")
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="../inner.data")
    node = helper.make_node("Constant", [], ["one"], value=constant)
    branch = helper.make_graph([node], "branch", [], [models.tensor("one", shape=(4,))])
    choice = helper.make_node("If", ["condition"], ["output"], then_branch=branch, else_branch=branch)
    proto = models.model([choice], [models.tensor("condition", "BOOL", ())], [models.tensor("output", shape=(4,))])
    with pytest.raises(ModelSourceError, match=r"\.\./inner\.data"):
        inspect_onnx(models.save(proto, tmp_path))


@pytest.mark.parametrize(
    "location", ["../secret.data", "/etc/passwd", "sub/../../secret.data", "", "..", "link.data", "out/secret.data"]
)
def test_inspect_refuses_external_data_outside_the_folder(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    outside = tmp_path / "secret.data"
    outside.write_bytes(bytes(400))
    file = models.save_with_external_data(folder, location, write_data=False)
    (folder / "link.data").symlink_to(outside)
    (folder / "out").symlink_to(tmp_path)
    with pytest.raises(ModelSourceError, match="not inside the model's folder"):
        inspect_onnx(file)


def test_inspect_refuses_external_data_behind_a_loop_of_links(tmp_path: Path) -> None:
    file = models.save_with_external_data(tmp_path, "loop.data", write_data=False)
    (tmp_path / "loop.data").symlink_to("loop.data")
    with pytest.raises(ModelSourceError, match="is missing"):
        inspect_onnx(file)


def test_inspect_refuses_missing_external_data(tmp_path: Path) -> None:
    file = models.save_with_external_data(tmp_path, write_data=False)
    with pytest.raises(ModelSourceError, match=r"'weights\.data' with the weights of 'weight' is missing"):
        inspect_onnx(file)


def test_check_refuses_external_data_that_is_too_short(tmp_path: Path) -> None:
    file = models.save_with_external_data(tmp_path)
    (tmp_path / "weights.data").write_bytes(bytes(8))
    with pytest.raises(ModelSourceError, match="cannot open"):
        check(file, input=normal_rows(2, 10))


def test_batch_dimension_needs_every_input_and_output_to_have_one() -> None:
    spec = TensorSpec(name="a", datatype="FP32", shape=(-1, 2))
    fixed = TensorSpec(name="b", datatype="FP32", shape=(1, 2))
    scalar = TensorSpec(name="c", datatype="FP32", shape=())
    assert has_batch_dimension(ModelSignature(inputs=(spec,), outputs=(spec,)))
    for other in (fixed, scalar):
        assert not has_batch_dimension(ModelSignature(inputs=(spec, other), outputs=(spec,)))
        assert not has_batch_dimension(ModelSignature(inputs=(spec,), outputs=(other,)))


@pytest.mark.parametrize("row_count", [1, 2, 5])
def test_check_finds_model_batchable_when_rows_do_not_change_each_other(tmp_path: Path, row_count: int) -> None:
    file = models.save(models.linear_model(), tmp_path)
    result = check(file, input=normal_rows(row_count, 10))
    assert (result.batchable, result.reason) == (True, None)


def test_check_finds_images_with_dynamic_size_batchable(tmp_path: Path) -> None:
    assert check(models.save(models.image_model(), tmp_path), image=normal_rows(2, 3, 5, 7)).batchable


def test_check_finds_several_inputs_batchable(tmp_path: Path) -> None:
    rows = {"values": normal_rows(3, 3), "ids": np.arange(6).reshape(3, 2)}
    assert check(models.save(models.two_inputs_model(), tmp_path), **rows).batchable


@pytest.mark.parametrize("datatype", models.ONNX_TYPES)
def test_check_runs_every_datatype(tmp_path: Path, datatype: str) -> None:
    kinds = {"BF16": np.float32, "BYTES": object, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64}
    kind = kinds.get(datatype) or np.dtype(datatype.lower())
    rows = np.array([["a", "é"], ["", "b"]] if datatype == "BYTES" else [[1, 0], [0, 1]]).astype(kind)
    result = check(models.save(models.identity_model(datatype, (-1, 2)), tmp_path), input=rows)
    assert (result.batchable, result.reason) == (True, None)


@pytest.mark.parametrize("row_count", [1, 2])
def test_check_finds_model_not_batchable_when_a_row_depends_on_its_neighbours(tmp_path: Path, row_count: int) -> None:
    """The shapes fit; only the numbers show it."""
    result = check(models.save(models.centering_model(), tmp_path), input=normal_rows(row_count, 4))
    assert not result.batchable
    assert "depends on its neighbours" in said(result.reason)


def test_check_finds_model_not_batchable_when_the_runtime_sees_one_row_only(tmp_path: Path) -> None:
    """The file says that the output's first dimension is dynamic; ONNX Runtime knows that it is 1."""
    result = check(models.save(models.reducing_model(), tmp_path), input=normal_rows(2, 4))
    assert not result.batchable
    assert "output 'output' is fixed at 1" in said(result.reason)


def test_check_finds_model_not_batchable_when_rows_multiply(tmp_path: Path) -> None:
    result = check(models.save(models.doubling_model(), tmp_path), input=normal_rows(2, 4))
    assert not result.batchable
    assert "shape [2, 4], two rows one of [4, 4]" in said(result.reason)


def test_check_gives_output_dimensions_that_only_the_runtime_knows(tmp_path: Path) -> None:
    proto = models.linear_model()
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "who_knows"
    file = models.save(proto, tmp_path)
    assert inspect_onnx(file).signature.outputs[0].shape == (-1, -1)
    assert check(file, input=normal_rows(2, 10)).signature.outputs[0].shape == (-1, 1)


@pytest.mark.parametrize(
    ("proto", "row_shape"),
    [(models.per_row_scalar_model(), (1,)), (models.linear_model(), (1, 10)), (models.linear_model(), (5, 2))],
    ids=["scalar sent as [1]", "batch dimension in each row", "reshaped by config.pbtxt"],
)
def test_check_takes_rows_as_a_client_sends_them(
    tmp_path: Path, proto: onnx.ModelProto, row_shape: tuple[int, ...]
) -> None:
    assert check(models.save(proto, tmp_path), input=normal_rows(2, *row_shape)).batchable


def test_check_refuses_rows_that_no_reshape_makes_fit(tmp_path: Path) -> None:
    with pytest.raises(
        ModelSourceError, match=r"rows of shape \[11\] do not fit the input 'input' of shape \[-1, 10\]"
    ):
        check(models.save(models.linear_model(), tmp_path), input=normal_rows(2, 11))


def test_check_finds_model_not_batchable_when_two_rows_fail(tmp_path: Path) -> None:
    result = check(models.save(models.one_row_only_model(), tmp_path), input=normal_rows(2, 4))
    assert not result.batchable
    assert "fails on two rows" in said(result.reason)
    assert "onnxruntime_src" not in said(result.reason)


def test_check_says_which_tensor_is_fixed_when_there_is_no_batch_dimension(tmp_path: Path) -> None:
    result = check(models.save(models.linear_model(fixed_batch=1), tmp_path), input=normal_rows(2, 1, 10))
    assert not result.batchable
    assert said(result.reason) == (
        "The first dimension of the input 'input' is fixed at 1, so requests cannot be put into one batch."
    )


def test_check_says_scalar_when_there_is_no_dimension(tmp_path: Path) -> None:
    result = check(models.save(models.scalar_model(), tmp_path), input=normal_rows(2))
    assert not result.batchable
    assert "scalar" in said(result.reason)


def test_check_lets_dynamically_quantized_model_batch_and_says_what_to_know(tmp_path: Path) -> None:
    """Its scale spans the whole batch, so that rows differ by a rounding step; people do batch such models."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["input"], ["quantized", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["quantized", "scale", "zero"], ["output"]),
    ]
    file = models.save(models.model(nodes, [models.tensor("input")], [models.tensor("output")]), tmp_path)
    result = check(file, input=np.array([[0.11, 0.2, 0.3, 0.41], [0.5, -0.33, 0.77, 1.9]], np.float32))
    assert result.batchable
    assert "depends on its neighbours" in said(result.reason)


def test_check_lets_random_model_batch_when_it_differs_from_itself(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["input"], ["noise"]),
        helper.make_node("Add", ["input", "noise"], ["output"]),
    ]
    file = models.save(models.model(nodes, [models.tensor("input")], [models.tensor("output")]), tmp_path)
    assert check(file, input=normal_rows(2, 4)).batchable


def test_check_names_operator_that_the_runtime_lacks(tmp_path: Path) -> None:
    file = models.save(models.unregistered_operator_model(), tmp_path)
    with pytest.raises(ModelSourceError, match=r"no operator com\.example:Frobnicate") as caught:
        check(file, input=normal_rows(2, 4))
    assert "custom operator" in str(caught.value.remedy)


def test_check_names_opset_that_the_runtime_lacks(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"opset 999 of ai\.onnx, the last one known is \d+") as caught:
        check(models.save(models.future_opset_model(), tmp_path), input=normal_rows(2, 4))
    assert "older opset" in str(caught.value.remedy)


def test_check_names_operator_that_its_opset_lacks(tmp_path: Path) -> None:
    proto = models.model(
        [helper.make_node("Gelu", ["input"], ["output"])], [models.tensor("input")], [models.tensor("output")]
    )
    with pytest.raises(ModelSourceError, match="no operator Gelu in opset 17"):
        check(models.save(proto, tmp_path), input=normal_rows(2, 4))


def test_check_names_operator_that_the_runtime_has_for_other_types_only(tmp_path: Path) -> None:
    node = helper.make_node("Max", ["input", "input"], ["output"])
    proto = models.model([node], [models.tensor("input", "INT16")], [models.tensor("output", "INT16")])
    with pytest.raises(ModelSourceError, match=r"no CPU implementation of the operator Max\(13\) for these types"):
        check(models.save(proto, tmp_path), input=np.ones((2, 4), np.int16))


def test_check_names_ir_version_that_the_runtime_lacks(tmp_path: Path) -> None:
    proto = models.linear_model()
    proto.ir_version = 99
    with pytest.raises(ModelSourceError, match="IR version 99"):
        check(models.save(proto, tmp_path), input=normal_rows(2, 10))


def test_check_refuses_rows_that_the_model_cannot_take(tmp_path: Path) -> None:
    file = models.save(models.embedding_model(vocabulary=8), tmp_path)
    with pytest.raises(ModelSourceError, match="cannot run on its input rows") as caught:
        check(file, ids=np.full((2, 3), 8))
    assert "model.input_example" in str(caught.value.remedy)


def test_check_writes_nothing_to_stderr_when_a_run_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check(models.save(models.one_row_only_model(), tmp_path), input=normal_rows(2, 4))
    assert capfd.readouterr().err == ""


def test_sha256_of_one_file_is_that_of_its_content(tmp_path: Path) -> None:
    file = models.save(models.linear_model(), tmp_path)
    assert sha256_of(tmp_path, ["model.onnx"]) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_sha256_covers_external_data_in_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    assert sha256_of(tmp_path, ["a", "b"]) == hashlib.sha256(b"onetwo").hexdigest()
    assert sha256_of(tmp_path, ["b", "a"]) == hashlib.sha256(b"twoone").hexdigest()
