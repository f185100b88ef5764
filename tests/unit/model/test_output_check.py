"""How far the answers of two ONNX files are from each other: every figure is computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from hcopt.model.onnx_file import inspect_onnx
from hcopt.model.output_check import beyond, compare_outputs
from hcopt.records.model import OutputDifference
from tests.support import onnx_models as models

ROWS = np.array([[0.0, 1.0], [2.0, 10.0]], dtype=np.float32)


def shifted(by: float | list[float], folder: Path, *, kind: str = "FP32") -> Path:
    """output = input + by."""
    value = helper.make_tensor("by", models.ONNX_TYPES[kind], np.shape(by), np.ravel(by).tolist())
    constant = helper.make_node("Constant", [], ["by"], value=value)
    nodes = [constant, helper.make_node("Add", ["input", "by"], ["output"])]
    tensors = [models.tensor("input", kind, ("N", 2)), models.tensor("output", kind, ("N", 2))]
    return models.save(models.model(nodes, tensors[:1], tensors[1:]), folder)


def compared(own: Path, other: Path, rows: NDArray[Any] = ROWS) -> OutputDifference:
    signature = inspect_onnx(own).signature
    found = compare_outputs(own, other, signature, {"input": rows})
    assert found.row_count == len(rows)
    (output,) = found.outputs
    return output


def test_numbers_differ_by_their_largest_and_mean_difference_against_the_spread(tmp_path: Path) -> None:
    found = compared(shifted(0.0, tmp_path / "a"), shifted([0.0, 0.5], tmp_path / "b"))
    assert found == OutputDifference(output="output", max_difference=0.5, mean_difference=0.25, spread=10.0)
    assert (found.max_ratio, found.mean_ratio) == (0.05, 0.025)


def test_one_value_is_seen_against_its_size_and_zero_against_one(tmp_path: Path) -> None:
    own, other = shifted(0.0, tmp_path / "a"), shifted(0.5, tmp_path / "b")
    assert compared(own, other, np.full((1, 2), -4.0, np.float32)).max_ratio == 0.125
    assert compared(own, other, np.zeros((1, 2), np.float32)).max_ratio == 0.5


def test_labels_agree_in_a_share(tmp_path: Path) -> None:
    rows = np.array([[0, 1], [2, 3]], dtype=np.int64)
    found = compared(shifted([0, 0], tmp_path / "a", kind="INT64"), shifted([0, 1], tmp_path / "b", kind="INT64"), rows)
    assert found == OutputDifference(output="output", agreement_ratio=0.5)


def of_two(own: list[Any], other: list[Any], kind: str, folder: Path) -> OutputDifference:
    """Both files answer with constants, whatever the input."""
    files = []
    for name, values in (("a", own), ("b", other)):
        data = [value.encode() for value in values] if kind == "BYTES" else values
        tensor = helper.make_tensor("c", models.ONNX_TYPES[kind], [1, len(values)], data)
        nodes = [helper.make_node("Constant", [], ["output"], value=tensor)]
        nodes.append(helper.make_node("Identity", ["input"], ["unused"]))
        inputs = [models.tensor("input", "FP32", ("N", 2))]
        outputs = [models.tensor("output", kind, ("N", len(values)))]
        files.append(models.save(models.model(nodes, inputs, outputs), folder / name))
    return compared(*files)


def test_strings_and_booleans_are_labels(tmp_path: Path) -> None:
    found = of_two(["yes", "no", "", "maybe"], ["yes", "no", "", "no"], "BYTES", tmp_path / "text")
    assert found.agreement_ratio == 0.75
    assert of_two([True, False], [True, True], "BOOL", tmp_path / "truth").agreement_ratio == 0.5


def test_not_a_number_is_equal_to_itself_alone(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    alike = of_two([nan, inf, -inf, 1.0], [nan, inf, -inf, 1.0], "FP32", tmp_path / "alike")
    assert (alike.incomparable, alike.max_difference) == (0, 0.0)
    unlike = of_two([nan, inf, 1.0, 1.0], [1.0, -inf, nan, 1.0], "FP32", tmp_path / "unlike")
    assert (unlike.incomparable, unlike.max_difference) == (6, 0.0)  # three in each of the two rows


def test_largest_doubles_have_finite_figures(tmp_path: Path) -> None:
    most = np.finfo(np.float64).max
    found = of_two([most, -most], [-most, most], "FP64", tmp_path)
    assert np.isfinite([found.max_difference, found.mean_difference, found.spread, found.max_ratio]).all()


@pytest.mark.parametrize(
    ("found", "is_beyond"),
    [
        (OutputDifference(output="o", max_difference=0.5, mean_difference=0.1, spread=10.0), False),
        (OutputDifference(output="o", max_difference=0.51, mean_difference=0.0, spread=10.0), True),
        (OutputDifference(output="o", agreement_ratio=0.99), False),
        (OutputDifference(output="o", agreement_ratio=0.989), True),
        (OutputDifference(output="o", agreement_ratio=1.0, incomparable=1), True),
    ],
)
def test_tolerance_is_kept_to_its_bound(found: OutputDifference, is_beyond: bool) -> None:
    assert bool(beyond([found], max_difference_ratio=0.05, min_agreement_ratio=0.99)) is is_beyond


def test_output_of_another_shape_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    own = models.save(_cut(2), tmp_path / "a")
    assert compared(own, models.save(_cut(1), tmp_path / "b")).incomparable == 4


def _cut(columns: int) -> onnx.ModelProto:
    bounds = {"from": 0, "to": columns, "axis": 1}
    constants = [numpy_helper.from_array(np.array([value], np.int64), name) for name, value in bounds.items()]
    nodes = [helper.make_node("Slice", ["input", *bounds], ["output"])]
    tensors = [models.tensor("input", shape=("N", 2)), models.tensor("output", shape=("N", "M"))]
    return models.model(nodes, tensors[:1], tensors[1:], constants)


def test_no_further_row_is_run_when_the_time_is_up(tmp_path: Path) -> None:
    file = shifted(0.0, tmp_path)
    found = compare_outputs(file, file, inspect_onnx(file).signature, {"input": ROWS}, limit_s=0)
    assert found.row_count == 1
