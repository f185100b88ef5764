"""A model whose variant is much faster and answers the same, measured by either profiler on the real server."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from hcopt.model.onnx_file import sha256_of
from hcopt.model.triton_config import parse_text
from hcopt.store.measurements import read_measurements
from tests.support import onnx_models as models
from tests.support.command import ADAPTIVE, TINY, Workplace, workplace

WIDTH, LAYERS = 1024, 4
NAME = "Busy"


def network(*, busy: bool) -> onnx.ModelProto:
    """output = input; a busy one adds nothing to it that takes a thousand times as long."""
    tensors = [models.tensor(name, shape=("N", 8)) for name in ("input", "output")]
    if not busy:
        return models.model([helper.make_node("Abs", ["input"], ["output"])], tensors[:1], tensors[1:])
    random = np.random.default_rng(0)
    shapes = [(8, WIDTH), *[(WIDTH, WIDTH)] * LAYERS, (WIDTH, 8)]
    weights = [random.standard_normal(shape).astype(np.float32) / WIDTH for shape in shapes]
    names = ["input", *(f"m{number}" for number in range(len(weights)))]
    nodes = [helper.make_node("MatMul", [names[n], f"w{n}"], [names[n + 1]]) for n in range(len(weights))]
    nodes += [
        helper.make_node("Mul", [names[-1], "zero"], ["nothing"]),
        helper.make_node("Abs", ["input"], ["size"]),
        helper.make_node("Add", ["size", "nothing"], ["output"]),
    ]
    arrays = [numpy_helper.from_array(values, f"w{number}") for number, values in enumerate(weights)]
    arrays.append(numpy_helper.from_array(np.zeros(1, np.float32), "zero"))
    return models.model(nodes, tensors[:1], tensors[1:], arrays)


@pytest.fixture(params=[(), ADAPTIVE], ids=["model-analyzer", "adaptive"])
def finished(request: pytest.FixtureRequest, tmp_path: Path) -> Workplace:
    place = workplace(tmp_path)
    busy = models.save(network(busy=True), tmp_path / "models" / "busy")
    quick = models.save(network(busy=False), tmp_path / "models" / "quick")
    wrong = models.save(models.linear_model(8, outputs=8), tmp_path / "models" / "wrong")
    variants = {"quick": {"uri": str(quick)}, "int8": {"quantize": "dynamic"}, "wrong": {"uri": str(wrong)}}
    answer = place.answer(
        *("profile", f"--model={busy}", f"--set=model.name={NAME}", f"--set=model.variants={json.dumps(variants)}"),
        *("--runtime=embedded", *TINY, *request.param),
    )
    assert answer.returncode == 0, answer.stderr
    assert "The variant wrong" in answer.stderr
    return place


def test_quick_variant_wins_and_is_what_is_handed_over(finished: Workplace) -> None:
    taken = [one for one in read_measurements(finished.runs[0]) if one.phase == "sweep"]
    assert not [one.error for one in taken if one.error]
    # A search may see that it need not measure a slow one.
    assert {"", "quick.onnx"} <= {one.variant.model_file for one in taken} <= {"", "quick.onnx", "int8.onnx"}
    [model] = json.loads((finished.results / "summary.json").read_text())["models"]
    assert model["best"]["model_file"] == "quick.onnx"
    assert "The variant quick" in model["reason"]["sentence"]
    assert [one["measured"] for one in model["model"]["variants"]] == [True, True, False]
    golden = finished.results / "golden" / NAME
    assert [path.name for path in (golden / "1").iterdir()] == ["quick.onnx"]
    assert parse_text((golden / "config.pbtxt").read_text()).default_model_filename == "quick.onnx"
    assert model["model"]["variants"][0]["sha256"] == sha256_of(golden / "1", ("quick.onnx",))
