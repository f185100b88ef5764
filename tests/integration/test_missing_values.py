"""NaN in the rows, NaN and infinity in the answers, caches that are empty: everyday data, measured like any other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from hcopt.store.measurements import read_measurements
from tests.support.command import TINY, workplace
from tests.support.onnx_models import model, save, tensor
from tests.support.stores import with_store


def logarithm() -> onnx.ModelProto:
    """`output` = ln `input`: of 0 it is −infinity, of −1 NaN, and NaN of NaN."""
    return model([helper.make_node("Log", ["input"], ["output"])], [tensor("input")], [tensor("output")])


def step_with_cache() -> onnx.ModelProto:
    """`present` = `past` and `input` behind it."""
    inputs = [tensor("input", "FP32", (-1, 1, 4)), tensor("past", "FP32", (-1, -1, 4))]
    node = helper.make_node("Concat", ["past", "input"], ["present"], axis=1)
    return model([node], inputs, [tensor("present", "FP32", (-1, -1, 4))])


def assert_measured(proto: onnx.ModelProto, rows: Any, folder: Path, *options: str) -> None:
    """A whole job takes these rows: each phase has measurements, and none failed by what was sent."""
    save(proto, folder / "Scorer" / "1")
    example = folder / "rows.json"
    example.write_text(json.dumps(rows), encoding="utf-8")
    place = with_store(workplace(folder))
    given = (f"--model={folder / 'Scorer'}", f"--set=model.input_example={example}")
    answer = place.run("profile", *given, *TINY, "--runtime=embedded", *options)
    assert answer.returncode == 0, answer.stderr
    taken = read_measurements(place.results / "latest")
    assert {one.phase for one in taken if one.error is None} == {"sweep", "memory", "confirmation"}
    assert [one.error for one in taken if one.failure_cause is not None] == []


def test_model_of_missing_values_goes_through_the_whole_job(tmp_path: Path) -> None:
    assert_measured(logarithm(), {"input": [[math.nan, 0.0, -1.0, 2.0], [math.nan] * 4]}, tmp_path)


@pytest.mark.parametrize(
    "options", [(), ("--profiler=adaptive", "--max-minutes=0.2")], ids=["model-analyzer", "adaptive"]
)
def test_model_with_an_empty_cache_goes_through_the_whole_job(options: tuple[str, ...], tmp_path: Path) -> None:
    inputs = [
        {"name": "input", "shape": [2, 1, 4], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6, 7, 8]},
        {"name": "past", "shape": [2, 0, 4], "datatype": "FP32", "data": []},
    ]
    assert_measured(step_with_cache(), {"inputs": inputs}, tmp_path, *options)
