from __future__ import annotations

import base64
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import serialize_bf16_tensor, serialize_byte_tensor

from hcopt.errors import ConfigError, ModelSourceError, OutputError
from hcopt.model.base_config import base_configuration
from hcopt.model.batch_check import check_servable
from hcopt.model.inputs.build import build_load
from hcopt.model.inputs.perf_analyzer_json import write_perf_analyzer_json
from hcopt.model.inputs.values import LoadData, LoadTensor
from hcopt.model.onnx_file import has_batch_dimension, inspect_onnx
from hcopt.records.model import ModelArtifact, ModelSignature, TensorSpec
from tests.support import onnx_models as models
from tests.support.notes import said

TABLE = [[1.5, 2.0, 3.0], [4.0, 5.0, 6.0]]
FLAT = [*TABLE[0], *TABLE[1]]


def spec(name: str, *shape: int, datatype: str = "FP32") -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=shape)


ONE = (spec("x", -1, 3),)
TWO = (spec("values", -1, 3), spec("ids", -1, 1, datatype="INT64"))


def load(
    inputs: tuple[TensorSpec, ...],
    *,
    batchable: bool = True,
    shapes: dict[str, tuple[int, ...]] | None = None,
    came_along: Path | None = None,
    example: str = "auto",
    seed: int = 0,
) -> LoadData:
    output = spec("y", -1, 1) if batchable else spec("y", 1)
    artifact = ModelArtifact(
        name="m",
        source_uri="file",
        version=None,
        sha256="0" * 64,
        folder=Path("unused"),
        onnx_file="model.onnx",
        files=("model.onnx",),
        signature=ModelSignature(inputs=inputs, outputs=(output,)),
        input_example=came_along,
    )
    config = base_configuration(artifact, batchable=batchable).config
    return build_load(artifact, config, input_shapes=shapes or {}, input_example=example, seed=seed)


def from_content(content: Any, inputs: tuple[TensorSpec, ...], folder: Path, **options: Any) -> LoadData:
    """A load from an example that the user named, so that what does not fit is an error."""
    file = folder / "example.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return load(inputs, example=str(file), **options)


# The forms of an example


@pytest.mark.parametrize(
    "content",
    [
        {"columns": ["a", "b", "c"], "data": TABLE},
        {"columns": ["a", "b", "c"], "index": [0, 1], "data": TABLE},
        {"dataframe_split": {"columns": ["a", "b", "c"], "data": TABLE}},
        {"dataframe_records": [dict(zip("abc", row, strict=True)) for row in TABLE]},
        [dict(zip("abc", row, strict=True)) for row in TABLE],
        {"a": [1.5, 4.0], "b": [2.0, 5.0], "c": [3.0, 6.0]},
        {"inputs": TABLE},
        {"instances": TABLE},
        {"instances": [{"x": row} for row in TABLE]},
        {"inputs": {"x": TABLE}},
        {"x": TABLE},
        {"columns": ["x"], "data": [[row] for row in TABLE]},
        TABLE,
    ],
)
def test_example_of_one_input_is_read_in_every_form_that_mlflow_writes(content: Any, tmp_path: Path) -> None:
    found = from_content(content, ONE, tmp_path)
    assert (found.origin, found.notes) == ("input example", ())
    np.testing.assert_array_equal(found.rows["x"], np.array(TABLE, np.float32))
    assert found.rows["x"].dtype == np.float32


@pytest.mark.parametrize(
    "content",
    [
        {"values": TABLE, "ids": [[7], [8]]},
        {"values": TABLE, "ids": [7, 8], "more": [0, 0]},
        {"inputs": {"values": TABLE, "ids": [7, 8]}},
        {"columns": ["ids", "values"], "data": [[7, TABLE[0]], [8, TABLE[1]]]},
        {"instances": [{"values": TABLE[0], "ids": 7}, {"values": TABLE[1], "ids": [8]}]},
        [{"values": TABLE[0], "ids": [7]}, {"values": TABLE[1], "ids": [8]}],
    ],
)
def test_example_of_several_inputs_is_read_by_name(content: Any, tmp_path: Path) -> None:
    if isinstance(content, dict) and content.get("instances"):
        content["instances"][0]["ids"] = [7]
    found = from_content(content, TWO, tmp_path)
    np.testing.assert_array_equal(found.rows["values"], np.array(TABLE, np.float32))
    np.testing.assert_array_equal(found.rows["ids"], np.array([[7], [8]], np.int64))


def floats(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    "content",
    [
        {"data": [{"x": row} for row in TABLE]},
        {"data": [{"x": {"content": row, "shape": [3]}} for row in TABLE], "validation_data": [{"y": [0]}] * 2},
        {"data": [{"x": {"content": row, "shape": [1, 3]}} for row in TABLE]},
        {"data": [{"x": {"content": FLAT, "shape": [2, 3]}}]},
        {"data": [{"x": {"content": row}} for row in TABLE]},
        {"data": [{"x": {"b64": floats(*row)}} for row in TABLE]},
        {"data": [{"x": {"content": {"b64": floats(*row)}, "shape": [3]}, "model": ["m"]} for row in TABLE]},
        {"data": [[{"x": TABLE[0]}], [{"x": TABLE[1]}]]},
        {"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": FLAT}]},
        {
            "id": "7",
            "parameters": {"priority": 1},
            "inputs": [
                {"name": "other", "shape": [1], "datatype": "BYTES", "data": ["a"]},
                {"name": "x", "shape": [2, 3], "datatype": "FP32", "parameters": {"a": 1}, "data": TABLE},
            ],
            "outputs": [{"name": "y", "parameters": {"binary_data": False}}],
        },
    ],
)
def test_example_may_be_the_requests_of_perf_analyzer_or_of_kserve(content: Any, tmp_path: Path) -> None:
    found = from_content(content, ONE, tmp_path)
    assert (found.origin, found.notes) == ("input example", ())
    np.testing.assert_array_equal(found.rows["x"], np.array(TABLE, np.float32))


@pytest.mark.parametrize(
    "content",
    [
        {"data": [{"ids": [7], "values": TABLE[0]}, {"values": {"content": TABLE[1], "shape": [3]}, "ids": [8]}]},
        {
            "inputs": [
                {"name": "ids", "shape": [2, 1], "datatype": "INT64", "data": [7, 8]},
                {"name": "values", "shape": [2, 3], "datatype": "FP32", "data": FLAT},
            ]
        },
    ],
)
def test_requests_carry_the_names_of_several_inputs(content: Any, tmp_path: Path) -> None:
    found = from_content(content, TWO, tmp_path)
    np.testing.assert_array_equal(found.rows["values"], np.array(TABLE, np.float32))
    np.testing.assert_array_equal(found.rows["ids"], np.array([[7], [8]], np.int64))


@pytest.mark.parametrize("name", ["data", "inputs"])
def test_requests_are_told_from_an_input_that_is_called_like_their_key(name: str, tmp_path: Path) -> None:
    inputs = (spec(name, -1, 3),)
    for content in (
        {name: TABLE},
        {"data": [{name: row} for row in TABLE]},
        {"inputs": [{"name": name, "shape": [2, 3], "datatype": "FP32", "data": FLAT}]},
    ):
        np.testing.assert_array_equal(from_content(content, inputs, tmp_path).rows[name], np.array(TABLE, np.float32))


def test_flat_values_of_a_request_get_the_shape_beside_them_or_the_models(tmp_path: Path) -> None:
    flat, open_shape = list(range(6)), (spec("x", -1, -1, 2),)
    with_shape = {"data": [{"x": {"content": flat, "shape": [3, 2]}}]}
    for content, inputs in ((with_shape, open_shape), ({"data": [{"x": flat}]}, (spec("x", -1, 3, 2),))):
        assert from_content(content, inputs, tmp_path).rows["x"].tolist() == [[[0, 1], [2, 3], [4, 5]]]
    v2 = {"inputs": [{"name": "x", "shape": [1, 3, 2], "datatype": "FP32", "data": flat}]}
    assert from_content(v2, open_shape, tmp_path).rows["x"].shape == (1, 3, 2)


def test_requests_of_a_model_that_cannot_batch_have_their_first_dimension_in_each_row(tmp_path: Path) -> None:
    for step in (TABLE[0], {"content": TABLE[0], "shape": [3]}, {"content": TABLE[0], "shape": [1, 3]}):
        assert from_content({"data": [{"x": step}] * 2}, ONE, tmp_path, batchable=False).rows["x"].shape == (2, 1, 3)
    two_rows = {"content": FLAT, "shape": [2, 3]}
    assert from_content({"data": [{"x": two_rows}]}, ONE, tmp_path, batchable=False).rows["x"].shape == (1, 2, 3)


@pytest.mark.parametrize("datatype", models.ONNX_TYPES)
@pytest.mark.parametrize("size", [0, 3, 100])
def test_file_for_perf_analyzer_is_an_example_itself(datatype: str, size: int, tmp_path: Path) -> None:
    """Lists and base64, of every type, and of nothing."""
    inputs = (spec("x", -1, -1, datatype=datatype),)
    values = load(inputs, shapes={"x": (max(1, size),)}).rows["x"][:5, :size]
    if datatype == "BYTES" and size:
        values[0, 0] = "모델\0"
    write_perf_analyzer_json(one_tensor(datatype, values), tmp_path / "rows.json")
    found = load(inputs, example=str(tmp_path / "rows.json")).rows["x"]
    assert found.dtype == values.dtype
    expected = values
    if datatype == "BF16":
        expected = (values.view("<u4") >> 16 << 16).view("<f4") if size else values
    np.testing.assert_array_equal(found, expected)


def test_nan_of_a_request_stays_nan(tmp_path: Path) -> None:
    steps = {"data": [{"x": [1.0, math.nan, None]}, {"x": {"b64": floats(math.nan, 2, 3)}}]}
    v2 = {"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, None, math.nan, math.nan, 2, 3]}]}
    assert np.isnan(from_content(steps, ONE, tmp_path).rows["x"]).sum() == 3
    assert np.isnan(from_content(v2, ONE, tmp_path).rows["x"]).sum() == 3


def test_example_with_dimensions_of_length_zero_keeps_them(tmp_path: Path) -> None:
    """Lists end at the empty one, so that what is behind it comes from the model or stands beside it."""
    inputs = (spec("x", -1, 3), spec("past", -1, 2, -1, 4))
    empty = np.zeros((2, 2, 0, 4))
    examples = (
        {"x": TABLE, "past": empty.tolist()},
        {"data": [{"x": row, "past": {"content": [], "shape": [2, 0, 4]}} for row in TABLE]},
        {"data": [{"x": row, "past": []} for row in TABLE]},
        {
            "inputs": [
                {"name": "x", "shape": [2, 3], "datatype": "FP32", "data": FLAT},
                {"name": "past", "shape": [2, 2, 0, 4], "datatype": "FP32", "data": []},
            ]
        },
    )
    for content in examples:
        assert from_content(content, inputs, tmp_path).rows["past"].shape == (2, 2, 0, 4)
    np.savez(tmp_path / "rows.npz", x=TABLE, past=empty)
    assert load(inputs, example=str(tmp_path / "rows.npz")).rows["past"].shape == (2, 2, 0, 4)


@pytest.mark.parametrize("content", [[1, 2, 3], {"a": 1, "b": 2, "c": 3}, {"x": [1, 2, 3]}])
def test_example_may_be_a_single_row(content: Any, tmp_path: Path) -> None:
    assert from_content(content, ONE, tmp_path).rows["x"].tolist() == [[1.0, 2.0, 3.0]]


def test_example_of_scalar_rows_is_a_column(tmp_path: Path) -> None:
    assert from_content([1, 2, 3], (spec("x", -1),), tmp_path).rows["x"].tolist() == [[1.0], [2.0], [3.0]]
    assert from_content({"x": 5}, (spec("x", -1),), tmp_path).rows["x"].tolist() == [[5.0]]


def test_example_fills_dynamic_dimensions(tmp_path: Path) -> None:
    inputs = (spec("ids", -1, -1, datatype="INT64"),)
    assert from_content([[1, 2, 3, 4], [5, 6, 7, 8]], inputs, tmp_path).rows["ids"].shape == (2, 4)


def test_example_rows_become_requests_of_one_row_when_the_model_cannot_batch(tmp_path: Path) -> None:
    assert from_content(TABLE, ONE, tmp_path, batchable=False).rows["x"].shape == (2, 1, 3)
    fixed = (spec("x", 1, 3),)
    assert from_content(TABLE, fixed, tmp_path, batchable=False).rows["x"].shape == (2, 1, 3)


def test_example_is_one_request_when_the_model_has_no_row_dimension(tmp_path: Path) -> None:
    audio = (spec("samples", -1), spec("rate"))
    found = from_content({"samples": [0.1, 0.2, 0.3], "rate": 16000}, audio, tmp_path, batchable=False)
    assert found.rows["samples"].shape == (1, 3)
    assert found.rows["rate"].tolist() == [[16000.0]]


def test_example_may_be_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", values=np.ones((4, 3)), ids=np.arange(4))
    found = load(TWO, example=str(tmp_path / "rows.npz"))
    assert found.rows["values"].dtype == np.float32
    assert found.rows["ids"].tolist() == [[0], [1], [2], [3]]


def test_example_that_came_along_is_used_only_when_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "input_example.json"
    file.write_text(json.dumps(TABLE))
    assert load(ONE, came_along=file).origin == "input example"
    assert load(ONE, came_along=file, example="none").origin == "synthetic"


def test_example_of_many_rows_is_cut_and_the_user_is_told(tmp_path: Path) -> None:
    found = from_content([[1, 2, 3]] * 1500, ONE, tmp_path)
    assert found.row_count == 1024
    assert "first 1024 of the 1500 rows" in said(found.notes[0])


def test_example_of_large_rows_is_cut_by_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.zeros((5, 3_000_000), np.float32))
    assert load((spec("x", -1, -1),), example=str(tmp_path / "rows.npz")).row_count == 2


# Types


@pytest.mark.parametrize(
    ("datatype", "values", "expected"),
    [
        ("BOOL", [[True, False], [0, 1]], [[True, False], [False, True]]),
        ("UINT8", [[0, 255]], [[0, 255]]),
        ("INT8", [[-128, 127.0]], [[-128, 127]]),
        ("UINT64", [[0, 2**64 - 1]], [[0, 2**64 - 1]]),
        ("INT64", [[-(2**63), 2**63 - 1]], [[-(2**63), 2**63 - 1]]),
        ("FP16", [[0.5, 65504]], [[0.5, 65504.0]]),
        ("FP64", [[0.1, None]], [[0.1, float("nan")]]),
        ("BF16", [[0.5, 1e30]], [[0.5, np.float32(1e30)]]),
        ("BYTES", [["a", ""], ["é", "모델"]], [["a", ""], ["é", "모델"]]),
    ],
)
def test_example_is_converted_to_the_inputs_type(
    datatype: str, values: list[Any], expected: list[Any], tmp_path: Path
) -> None:
    found = from_content(values, (spec("x", -1, 2, datatype=datatype),), tmp_path)
    np.testing.assert_array_equal(found.rows["x"], np.array(expected, found.rows["x"].dtype))
    assert found.tensors[0].datatype == datatype


@pytest.mark.parametrize(
    ("datatype", "values", "said"),
    [
        ("INT64", [[1, 2.5]], "2.5 is no INT64"),
        ("UINT8", [[0, 256]], "256 is no UINT8"),
        ("UINT8", [[0, -1]], "-1 is no UINT8"),
        ("INT32", [[0, None]], "nan is no INT32"),
        ("BOOL", [[0, 2]], "2 is no BOOL"),
        ("FP16", [[0, 1e6]], "1000000.0 is no FP16"),
        ("FP32", [["a", "b"]], "expected float32"),
        ("INT64", [["a", "b"]], "input 'x': invalid literal"),
        ("INT64", [[0, None]], "input 'x'"),
        ("UINT64", [[0, 2**64]], "input 'x'"),
        ("BYTES", [[1, 2]], "expected strings"),
    ],
)
def test_example_of_another_type_is_refused(datatype: str, values: list[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=said):
        from_content(values, (spec("x", -1, 2, datatype=datatype),), tmp_path)


# Examples that do not fit


MISFITS = [
    ([[1, 2], [3, 4]], ONE, r"input 'x': expected \[rows, 3\], found \[2, 2\]"),
    ([[1, 2, 3], [4, 5]], ONE, r"input 'x': expected \[3\], found \[2\], in row 1"),
    ({"values": TABLE}, TWO, "has values, but the model has the inputs values, ids"),
    ({"values": TABLE, "ids": [1, 2, 3]}, TWO, "different numbers of rows.*'values': 2, 'ids': 3"),
    (TABLE, TWO, "one array, but the model has the inputs values, ids"),
    ({"columns": ["a"], "data": TABLE}, ONE, "not 1 long"),
    ({"columns": ["a", "b", "c"], "data": TABLE}, TWO, "columns a, b, c"),
    ([{"a": 1}, {"b": 2}], ONE, "different keys"),
    ([], ONE, "has no rows"),
    ({"data": []}, ONE, "has no rows"),
    ({"columns": ["a", "b", "c"], "data": [*TABLE, [1, 2]]}, ONE, "not 3 long, as its columns are, in row 2"),
    ([*TABLE, [1, 2, "3"]], ONE, "expected float32, found .*, in row 2"),
    ([*TABLE, [1, 2, [3]]], ONE, "input 'x': setting an array element.*, in row 2"),
    ({"values": TABLE, "ids": [7, 8.5]}, TWO, "8.5 is no INT64, in row 1"),
    ([["a"], [5]], (spec("x", -1, 1, datatype="BYTES"),), "expected strings, found int, in row 1"),
    ({"data": [{"x": TABLE[0]}, {"x": [1, 2]}]}, ONE, r"expected \[3\], found \[2\], in row 1"),
    ({"data": [{"x": TABLE[0]}, 7]}, ONE, "different keys, in row 1"),
    ({"data": [{"values": TABLE[0], "ids": [1]}, {"values": TABLE[0]}]}, TWO, "has values, but .*, in row 1"),
    ({"data": [{"x": {"content": [1, 2, 3], "shape": [4]}}]}, ONE, r"has 3 values, and its shape is \[4\], in row 0"),
    ({"data": [{"x": {"content": [1, 2, 3], "shape": "3"}}]}, ONE, r"expected \[3\], found 3, in row 0"),
    ({"data": [{"x": {"shape": [3]}}]}, ONE, "no values of the input 'x'.*, in row 0"),
    ({"data": [{"x": {"b64": "AAA"}}]}, ONE, "input 'x': .*, in row 0"),
    ({"data": [{"x": {"b64": "AACAPw=="}}]}, ONE, r"expected \[3\], found \[1\], in row 0"),
    ({"data": [{"x": {"b64": "YWE="}}]}, (spec("x", -1, 1, datatype="BYTES"),), "length in 4 bytes, in row 0"),
    ({"data": [{"x": {"b64": "AQAAAP8="}}]}, (spec("x", -1, 1, datatype="BYTES"),), "utf-8.*, in row 0"),
    (
        {"inputs": [{"name": "y", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]},
        ONE,
        "has y, but .* inputs x",
    ),
    ({"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1]}]}, ONE, r"1 values.*\[2, 3\]"),
    ({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}, ONE, r"found \[1, 2\]"),
    ({"inputs": [{"name": "x", "shape": [0, 3], "datatype": "FP32", "data": []}]}, ONE, "has no rows"),
    (
        {"inputs": [{"name": "x", "shape": [2, 3], "datatype": "FP32", "data": [1, 2, 3, 4, 5, "6"]}]},
        ONE,
        "could not convert|expected float32, found .*, in row 1",
    ),
    (
        {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}]},
        ONE,
        "no values of the input 'x'",
    ),
    ({}, ONE, "has nothing"),
    ({"inputs": []}, (spec("x", -1),), "has no rows"),
]


@pytest.mark.parametrize(("content", "inputs", "message"), MISFITS)
def test_example_that_the_user_named_and_that_does_not_fit_is_an_error(
    content: Any, inputs: tuple[TensorSpec, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelSourceError, match=message) as caught:
        from_content(content, inputs, tmp_path)
    assert "example.json" in str(caught.value)


def test_example_that_the_user_named_and_that_is_no_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text("{")
    with pytest.raises(ModelSourceError, match="neither JSON nor"):
        load(ONE, example=str(tmp_path / "e.json"))
    with pytest.raises(ModelSourceError, match="cannot be read"):
        load(ONE, example=str(tmp_path / "missing.json"))
    (tmp_path / "e.npz").write_bytes(b"garbage")
    with pytest.raises(ModelSourceError, match="neither JSON nor"):
        load(ONE, example=str(tmp_path / "e.npz"))


@pytest.mark.parametrize(
    "content",
    [
        [[1, 2], [1, 2, 3]],
        {"data": [{"x": {"content": [1, 2], "shape": [2]}}, {"x": {"content": [1, 2, 3], "shape": [3]}}]},
    ],
)
def test_row_of_another_shape_than_those_before_it_is_named(content: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"expected \[2\], found \[3\], in row 1 \(counted from 0\)"):
        from_content(content, (spec("x", -1, -1),), tmp_path)


@pytest.mark.parametrize(("content", "inputs", "message"), MISFITS)
def test_example_that_came_along_and_does_not_fit_is_a_note_and_synthetic_rows(
    content: Any, inputs: tuple[TensorSpec, ...], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "input_example.json"
    file.write_text(json.dumps(content))
    found = load(inputs, came_along=file)
    assert found.origin == "synthetic"
    assert re.search(message, said(found.notes[0]))


# Synthetic rows


@pytest.mark.parametrize("datatype", models.ONNX_TYPES)
def test_synthetic_rows_have_sensible_values_of_every_type(datatype: str, tmp_path: Path) -> None:
    found = load((spec("x", -1, 3, datatype=datatype),))
    values = found.rows["x"]
    assert values.shape == (256, 3)
    if datatype in {"FP16", "FP32", "FP64", "BF16"}:
        assert abs(float(values.astype(np.float64).mean())) < 0.2
        assert 0.8 < float(values.astype(np.float64).std()) < 1.2
    else:
        assert set(values.ravel().tolist()) == ({"a", "b"} if datatype == "BYTES" else {0, 1})
    write_perf_analyzer_json(found, tmp_path / "rows.json")


def test_synthetic_rows_are_the_same_for_the_same_seed() -> None:
    np.testing.assert_array_equal(load(ONE, seed=1).rows["x"], load(ONE, seed=1).rows["x"])
    assert (load(ONE, seed=1).rows["x"] != load(ONE, seed=2).rows["x"]).any()


def test_synthetic_rows_are_few_when_they_are_large() -> None:
    assert load((spec("x", -1, 3, 1024, 1024),)).row_count == 2
    assert load((spec("x", -1, 256, 1024),)).row_count == 32


def test_synthetic_rows_take_dynamic_dimensions_from_the_configuration() -> None:
    inputs = (spec("image", -1, 3, -1, -1),)
    assert load(inputs, shapes={"image": (3, 8, 9)}).rows["image"].shape == (256, 3, 8, 9)


def test_synthetic_rows_may_have_a_dimension_of_length_zero() -> None:
    found = load((spec("x", -1, 3), spec("past", -1, 2, -1, 4)), shapes={"past": (2, 0, 4)})
    assert {name: rows.shape for name, rows in found.rows.items()} == {"x": (256, 3), "past": (256, 2, 0, 4)}


def test_open_dynamic_dimension_is_an_error_that_names_input_and_key() -> None:
    with pytest.raises(ConfigError, match="'image'") as caught:
        load((spec("image", -1, 3, -1, -1),))
    assert "model.input_shapes: {image: [...]}" in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"y": (3,)}, "no input 'y'; its inputs are x"),
        ({"x": (4,)}, r"model\.input_shapes\.x: .*\[4\].*\[3\]"),
        ({"x": (1, 3)}, r"\[1, 3\]"),
    ],
)
def test_shape_that_does_not_fit_the_model_is_an_error(shapes: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(ONE, shapes=shapes)


def test_shape_from_the_configuration_wins_over_the_example(tmp_path: Path) -> None:
    inputs = (spec("x", -1, -1),)
    with pytest.raises(ModelSourceError, match=r"expected \[rows, 2\], found \[2, 3\]"):
        from_content(TABLE, inputs, tmp_path, shapes={"x": (2,)})


def test_dynamic_first_dimension_of_a_model_that_cannot_batch_is_one_and_the_user_is_told() -> None:
    found = load(ONE, batchable=False)
    assert found.rows["x"].shape == (256, 1, 3)
    assert any("1 in every request" in said(note) for note in found.notes)
    assert load(ONE, batchable=False, shapes={"x": (3,)}).rows["x"].shape == (256, 1, 3)
    assert load(ONE, batchable=False, shapes={"x": (5, 3)}).rows["x"].shape == (256, 5, 3)


# What perf_analyzer reads


def written(found: LoadData, folder: Path) -> list[dict[str, Any]]:
    write_perf_analyzer_json(found, folder / "rows.json")
    content = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    assert list(content) == ["data"]
    steps: list[dict[str, Any]] = content["data"]
    return steps


def one_tensor(datatype: str, rows: np.ndarray) -> LoadData:
    return LoadData(tensors=(LoadTensor(name="x", datatype=datatype, rows=rows),), origin="synthetic")


def test_file_has_a_step_for_each_row_with_all_inputs(tmp_path: Path) -> None:
    steps = written(from_content({"values": TABLE, "ids": [7, 8]}, TWO, tmp_path), tmp_path)
    assert steps == [
        {"values": {"content": [1.5, 2.0, 3.0], "shape": [3]}, "ids": {"content": [7], "shape": [1]}},
        {"values": {"content": [4.0, 5.0, 6.0], "shape": [3]}, "ids": {"content": [8], "shape": [1]}},
    ]


def test_file_has_whole_floats_with_a_decimal_point(tmp_path: Path) -> None:
    """perf_analyzer refuses `1` for a float."""
    write_perf_analyzer_json(one_tensor("FP32", np.array([[1, 2]], np.float32)), tmp_path / "rows.json")
    assert "[1.0, 2.0]" in (tmp_path / "rows.json").read_text()


def test_file_has_truth_values_for_bools(tmp_path: Path) -> None:
    write_perf_analyzer_json(one_tensor("BOOL", np.array([[True, False]])), tmp_path / "rows.json")
    assert "[true, false]" in (tmp_path / "rows.json").read_text()


@pytest.mark.parametrize(
    ("datatype", "row"),
    [
        ("FP16", np.array([[0.5, -2.0]], np.float16)),
        ("FP32", np.array([np.nan, np.inf], np.float32)),
        ("FP32", np.arange(100, dtype=np.float32)),
        ("FP64", np.arange(100, dtype=np.float64).reshape(10, 10)),
        ("INT64", np.arange(-50, 50)),
        ("UINT8", np.arange(100, dtype=np.uint8)),
        ("BOOL", np.arange(100) % 2 == 0),
    ],
)
def test_file_has_base64_where_lists_are_long_or_cannot_say_it(datatype: str, row: np.ndarray, tmp_path: Path) -> None:
    (step,) = written(one_tensor(datatype, row[None]), tmp_path)
    assert step["x"]["shape"] == list(row.shape)
    decoded = np.frombuffer(base64.b64decode(step["x"]["content"]["b64"]), row.dtype).reshape(row.shape)
    np.testing.assert_array_equal(decoded, row)


def test_file_has_bf16_as_tritons_client_sends_it(tmp_path: Path) -> None:
    row = np.array([[1.5, -3.25e10], [0.1, 0.0]], np.float32)
    (step,) = written(one_tensor("BF16", row[None]), tmp_path)
    assert base64.b64decode(step["x"]["content"]["b64"]) == serialize_bf16_tensor(row).item()


def test_file_has_long_strings_as_tritons_client_sends_them(tmp_path: Path) -> None:
    row = np.array(["a", "모델", ""] * 30, dtype=object)
    (step,) = written(one_tensor("BYTES", row[None]), tmp_path)
    assert base64.b64decode(step["x"]["content"]["b64"]) == serialize_byte_tensor(row).item()


def test_file_has_strings_with_a_null_in_base64(tmp_path: Path) -> None:
    """perf_analyzer reads a listed string up to its first null."""
    steps = written(one_tensor("BYTES", np.array([["a\0b"], ["é"]], dtype=object)), tmp_path)
    assert base64.b64decode(steps[0]["x"]["content"]["b64"]) == b"\3\0\0\0a\0b"
    assert steps[1]["x"]["content"] == ["é"]


def test_file_is_not_there_when_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="rows of the load"):
        write_perf_analyzer_json(load(ONE), tmp_path / "file" / "rows.json")


# Together with the model


@pytest.mark.parametrize(
    ("proto", "shapes", "batchable"),
    [
        (models.linear_model(), {}, True),
        (models.two_inputs_model(), {}, True),
        (models.image_model(), {"image": (3, 4, 5)}, True),
        (models.embedding_model(), {"ids": (6,)}, True),
        (models.per_row_scalar_model(), {}, True),
        (models.identity_model("BYTES"), {}, True),
        (models.identity_model("BF16"), {}, True),
        (models.scalar_model(), {}, False),
        (models.centering_model(), {}, False),
        (models.reducing_model(), {}, False),
        (models.doubling_model(), {}, False),
        (models.one_row_only_model(), {}, False),
        (models.linear_model(fixed_batch=1), {}, False),
        (models.linear_model(fixed_batch=4), {}, False),
    ],
)
def test_rows_run_through_the_model_whatever_it_is(
    proto: Any, shapes: dict[str, tuple[int, ...]], batchable: bool, tmp_path: Path
) -> None:
    """The order of the stages: what is declared gives rows, the rows show what is true, that gives the rows to send."""
    file = models.save(proto, tmp_path)
    signature = inspect_onnx(file).signature
    artifact = ModelArtifact(
        name="m",
        source_uri=str(file),
        version=None,
        sha256="0" * 64,
        folder=tmp_path,
        onnx_file=file.name,
        files=(file.name,),
        signature=signature,
    )
    declared = base_configuration(artifact, batchable=has_batch_dimension(signature))
    check = check_servable(file, signature, build_load(artifact, declared.config, input_shapes=shapes).rows)
    assert check.batchable == batchable
    base = base_configuration(artifact, batchable=check.batchable)
    found = build_load(artifact, base.config, input_shapes=shapes)
    for tensor in base.config.input:
        dims = found.rows[tensor.name].shape[1:]
        assert len(dims) == len(tensor.dims)
        assert all(dim in (-1, size) for dim, size in zip(tensor.dims, dims, strict=True))
    assert check_servable(file, signature, found.rows).batchable == batchable
