"""NaN in the rows, NaN and infinity in the answers: everyday data of tabular models, measured like any other."""

from __future__ import annotations

import json
import math
from pathlib import Path

import onnx
from onnx import helper

from hcopt.store.measurements import read_measurements
from tests.support.command import TINY, workplace
from tests.support.onnx_models import model, save, tensor
from tests.support.stores import with_store


def logarithm() -> onnx.ModelProto:
    """`output` = ln `input`: of 0 it is −infinity, of −1 NaN, and NaN of NaN."""
    return model([helper.make_node("Log", ["input"], ["output"])], [tensor("input")], [tensor("output")])


def test_model_of_missing_values_goes_through_the_whole_job(tmp_path: Path) -> None:
    save(logarithm(), tmp_path / "Scorer" / "1")
    rows = {"input": [[math.nan, 0.0, -1.0, 2.0], [math.nan] * 4]}
    example = tmp_path / "rows.json"
    example.write_text(json.dumps(rows), encoding="utf-8")
    place = with_store(workplace(tmp_path))
    answer = place.run(
        "profile", f"--model={tmp_path / 'Scorer'}", *TINY, "--runtime=embedded", f"--set=model.input_example={example}"
    )
    assert answer.returncode == 0, answer.stderr
    taken = read_measurements(place.results / "latest")
    assert {one.phase for one in taken if one.error is None} == {"sweep", "confirmation"}
    assert [one.error for one in taken if one.failure_cause is not None] == []
