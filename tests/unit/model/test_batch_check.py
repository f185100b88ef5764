from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hcopt.errors import ModelSourceError
from hcopt.model.batch_check import BatchCheck, check_servable
from hcopt.model.onnx_file import inspect_onnx
from tests.support import onnx_models as models
from tests.support.notes import said

LONG_ENOUGH_S = 600.0


def check(proto: onnx.ModelProto, folder: Path, row_check_s: float | None = None, **rows: np.ndarray) -> BatchCheck:
    file = models.save(proto, folder)
    return check_servable(file, inspect_onnx(file).signature, rows, row_check_s=row_check_s)


def words_model() -> onnx.ModelProto:
    """`number` is what a word is as a number; others than numbers it does not take."""
    node = helper.make_node("Cast", ["word"], ["number"], to=TensorProto.FLOAT)
    return models.model([node], [models.tensor("word", "BYTES", (-1, 1))], [models.tensor("number", "FP32", (-1, 1))])


def weighed_ids_model() -> onnx.ModelProto:
    """`output` = `weight` × the entry of `id` in a table of four."""
    nodes = [
        helper.make_node("Gather", ["table", "id"], ["entry"]),
        helper.make_node("Mul", ["entry", "weight"], ["output"]),
    ]
    table = numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")
    inputs = [models.tensor("id", "INT64", (-1, 1)), models.tensor("weight", "FP32", (-1, 1))]
    return models.model(nodes, inputs, [models.tensor("output", "FP32", (-1, 1))], [table])


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.int64)[:, None]


# Every row of an example


def test_bad_row_is_named_with_what_onnx_runtime_says(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).integers(0, 8, (600, 3))
    rows[500, 1] = 8
    with pytest.raises(ModelSourceError, match=r"row 500 \(counted from 0\) of its 600 input rows: .*idx=8") as caught:
        check(models.embedding_model(), tmp_path, LONG_ENOUGH_S, ids=rows)
    assert "model.input_example" in str(caught.value.remedy)


def test_bad_rows_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    weight = np.ones((6, 1), np.float32)
    with pytest.raises(ModelSourceError, match=r"row 3 \(counted from 0\) and on 1 more of its 6 input rows"):
        check(weighed_ids_model(), tmp_path, LONG_ENOUGH_S, id=ids(0, 1, 2, 4, 3, -5), weight=weight)


def test_bad_row_of_texts_is_named(tmp_path: Path) -> None:
    words = np.array([["1"], ["2"], ["three"]], dtype=object)
    with pytest.raises(ModelSourceError, match=r"row 2 \(counted from 0\)"):
        check(words_model(), tmp_path, LONG_ENOUGH_S, word=words)


def test_bad_row_of_a_model_that_cannot_batch_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Gather", ["table", "id"], ["entry"])
    table = numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")
    proto = models.model([node], [models.tensor("id", "INT64", (2,))], [models.tensor("entry", "FP32", (2,))], [table])
    with pytest.raises(ModelSourceError, match=r"row 1 \(counted from 0\) of its 2 input rows"):
        check(proto, tmp_path, LONG_ENOUGH_S, id=np.array([[0, 1], [2, 9]]))


def test_rows_of_which_the_model_takes_none_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"cannot run on its input rows: .*idx=9"):
        check(weighed_ids_model(), tmp_path, LONG_ENOUGH_S, id=ids(9, 9), weight=np.ones((2, 1), np.float32))


def test_rows_with_missing_values_are_rows(tmp_path: Path) -> None:
    rows = np.full((3, 10), np.nan, np.float32)
    found = check(models.linear_model(), tmp_path, LONG_ENOUGH_S, input=rows)
    assert found.batchable
    assert (found.reason, found.sampled) == (None, None)


def test_rows_for_which_the_time_is_up_are_said(tmp_path: Path) -> None:
    found = check(models.linear_model(), tmp_path, 0.0, input=np.ones((50, 10), np.float32))
    assert found.sampled is not None
    assert "1 of 50" in said(found.sampled)
    assert check(models.linear_model(), tmp_path, None, input=np.ones((50, 10), np.float32)).sampled is None


def test_single_row_is_taken_where_its_rearranged_copy_is_not(tmp_path: Path) -> None:
    """`input` = index, number: the other way round they are out of the table."""
    nodes = [
        helper.make_node("Split", ["input"], ["index", "number"], axis=1),
        helper.make_node("Cast", ["index"], ["id"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "id"], ["entry"]),
        helper.make_node("Add", ["entry", "number"], ["output"]),
    ]
    table = numpy_helper.from_array(np.arange(4, dtype=np.float32), "table")
    proto = models.model(
        nodes, [models.tensor("input", "FP32", (-1, 2))], [models.tensor("output", "FP32", (-1, 1))], [table]
    )
    for row_check_s in (LONG_ENOUGH_S, None):
        found = check(proto, tmp_path, row_check_s, input=np.array([[3, 99]], np.float32))
        assert found.batchable
        assert (found.reason, found.sampled) == (None, None)


# Neighbours


def scaled_by_row_count(percent: float) -> onnx.ModelProto:
    """`output` = `input` × (1 + `percent` / 100 × (rows − 1)): the number of rows matters, other rows do not."""
    nodes = [
        helper.make_node("Shape", ["input"], ["count"], start=0, end=1),
        helper.make_node("Cast", ["count"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["rows", "percent"], ["more"]),
        helper.make_node("Add", ["more", "rest"], ["factor"]),
        helper.make_node("Mul", ["input", "factor"], ["output"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([percent / 100], np.float32), "percent"),
        numpy_helper.from_array(np.array([1 - percent / 100], np.float32), "rest"),
    ]
    return models.model(nodes, [models.tensor("input")], [models.tensor("output")], constants)


def test_small_difference_that_no_neighbour_makes_is_rounding(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).integers(0, 2, (8, 4)).astype(np.float32)
    found = check(scaled_by_row_count(1.6), tmp_path, input=rows)
    assert found.batchable
    assert found.reason is not None
    assert "by 1.6% of its largest value" in said(found.reason)
    assert "rounding" in said(found.reason)
    assert "neighbour" not in said(found.reason)


def test_large_difference_that_no_neighbour_makes_is_one_by_the_number_of_rows(tmp_path: Path) -> None:
    found = check(scaled_by_row_count(50), tmp_path, input=np.ones((8, 4), np.float32))
    assert not found.batchable
    assert found.reason is not None
    assert "number of rows goes into the answer" in said(found.reason)


def test_small_difference_that_a_neighbour_makes_is_a_dependence_also_where_all_rows_are_alike(tmp_path: Path) -> None:
    """`output` = `input` + 1 % of the sum over the batch."""
    nodes = [
        helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "hundredth"], ["more"]),
        helper.make_node("Add", ["input", "more"], ["output"]),
    ]
    hundredth = numpy_helper.from_array(np.array(0.01, np.float32), "hundredth")
    proto = models.model(
        nodes, [models.tensor("input", "FP32", (-1, 1))], [models.tensor("output", "FP32", (-1, 1))], [hundredth]
    )
    for rows in (np.ones((8, 1), np.float32), np.ones((1, 1), np.float32)):
        found = check(proto, tmp_path, input=rows)
        assert found.reason is not None
        assert "depends on its neighbours" in said(found.reason)


def test_bytes_that_differ_by_one_step_are_nearly_alike(tmp_path: Path) -> None:
    """`output` = 64 alone and 65 in two rows, as bytes: what a sum that is rounded otherwise does."""
    proto = scaled_by_row_count(1.6)
    proto.graph.node[-1].output[0] = "scaled"
    proto.graph.node.append(helper.make_node("Cast", ["scaled"], ["output"], to=TensorProto.UINT8))
    proto.graph.output[0].CopyFrom(models.tensor("output", "UINT8"))
    found = check(proto, tmp_path, input=np.full((2, 4), 64.5, np.float32))
    assert found.batchable
    assert found.reason is not None
    assert "rounding" in said(found.reason)


def test_dynamic_quantization_of_bytes_depends_on_neighbours_though_all_rows_have_one_range(tmp_path: Path) -> None:
    """Rows of zeros and ones say nothing of the bytes that may stand beside them."""
    nodes = [
        helper.make_node("Cast", ["input"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["whole", "third"], ["float"]),
        helper.make_node("DynamicQuantizeLinear", ["float"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["back"]),
        helper.make_node("Shape", ["input"], ["count"], start=0, end=1),
        helper.make_node("Cast", ["count"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["rows", "percent"], ["more"]),
        helper.make_node("Add", ["back", "more"], ["output"]),
    ]
    percent = numpy_helper.from_array(np.array([0.016], np.float32), "percent")
    third = numpy_helper.from_array(np.array([0.3], np.float32), "third")
    inputs = [models.tensor("input", "UINT8", (-1, 4))]
    found = check(
        models.model(nodes, inputs, [models.tensor("output")], [percent, third]),
        tmp_path,
        input=np.random.default_rng(1).integers(0, 2, (8, 4)).astype(np.uint8),
    )
    assert found.reason is not None
    assert "depends on its neighbours" in said(found.reason)
