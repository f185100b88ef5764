"""ONNX models that nobody here made, of different kinds, through the whole job from a local file."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx.backend.test
import pypdf
import pytest

from hcopt.store.measurements import read_measurements
from tests.support.command import TINY, Answer, Workplace, workplace
from tests.support.stores import with_store

NODES = Path(onnx.backend.test.__file__).parent / "data" / "node"


@dataclass(frozen=True)
class Foreign:
    """A model file, options for it, and why it cannot batch where it cannot."""

    file: Path
    options: tuple[str, ...] = ()
    not_batched: str | None = None


def ocr(name: str) -> Path:
    spec = find_spec("rapidocr_onnxruntime")
    assert spec is not None, "rapidocr-onnxruntime is not installed: ./run_tests.sh does"
    assert spec.origin is not None
    return Path(spec.origin).parent / "models" / name


MODELS = {
    # Finds text in an image of any height and width.
    "image": Foreign(ocr("ch_PP-OCRv4_det_infer.onnx"), ("--set=model.input_shapes={x: [3, 64, 96]}",)),
    # Rows of a tensor by their numbers: FP32 and INT64.
    "two inputs": Foreign(NODES / "test_gather_0" / "model.onnx", not_batched="batch"),
    "strings": Foreign(NODES / "test_string_concat" / "model.onnx", not_batched="batch"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Answer, Workplace]]:
    """At the same time, since they mostly wait."""

    places = [with_store(workplace(tmp_path_factory.mktemp("foreign"))) for _ in MODELS]

    def run(model: Foreign, place: Workplace) -> tuple[Answer, Workplace]:
        arguments = (f"--model={model.file}", *model.options, "--set=report.language=en")
        return place.run("profile", *TINY, "--set=sweep.concurrency=[2]", *arguments), place

    with ThreadPoolExecutor(len(MODELS)) as pool:
        return dict(zip(MODELS, pool.map(run, MODELS.values(), places), strict=True))


def found(place: Workplace) -> Any:
    return json.loads((place.results / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODELS)
def test_foreign_model_goes_through_the_whole_job(runs: dict[str, tuple[Answer, Workplace]], name: str) -> None:
    answer, place = runs[name]
    assert answer.returncode == 0, answer.stderr
    assert answer.left == ()
    summary = found(place)
    # On a busy machine a window may end without enough answers; a model that does not fit is refused.
    assert [one.error for one in read_measurements(place.results / "latest") if one.failure_cause == "refused"] == []
    (model,) = summary["models"]
    assert model["best"]["throughput_infer_per_s"]["estimate"] > 0
    assert model["best"]["max_batch_size"] == (0 if MODELS[name].not_batched else 16)
    golden = place.results / "golden" / model["model"]["name"]
    assert (golden / "1" / "model.onnx").read_bytes() == MODELS[name].file.read_bytes()


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.not_batched])
def test_model_that_cannot_batch_says_why(runs: dict[str, tuple[Answer, Workplace]], name: str) -> None:
    answer, place = runs[name]
    (model,) = found(place)["models"]
    why = str(MODELS[name].not_batched)
    assert any(why in note["sentence"] for note in model["notes"]), model["notes"]
    assert why in answer.stderr
    report = place.results / "reports" / "summaries" / model["model"]["name"] / "result_summary.pdf"
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(report).pages)
    assert why in " ".join(text.split())
