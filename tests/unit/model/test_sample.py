from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from hcopt.model.base_config import base_configuration
from hcopt.model.batch_check import check_servable
from hcopt.model.inputs.build import build_load
from hcopt.model.onnx_file import inspect_onnx, sha256_of
from hcopt.model.triton_config import parse_text, to_text
from hcopt.records.model import ModelArtifact
from scripts import train_sample_model
from tests.unit.model.test_triton_config import DEFAULT_TEXT

FOLDER = Path(__file__).parents[3] / "model_repository" / "HomeCreditDefaultModel"


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(FOLDER / "1" / "model.onnx"), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def artifact() -> ModelArtifact:
    folder = FOLDER / "1"
    return ModelArtifact(
        name=FOLDER.name,
        source_uri=str(FOLDER),
        version=None,
        sha256=sha256_of(folder, ["model.onnx"]),
        folder=folder,
        onnx_file="model.onnx",
        files=("model.onnx",),
        signature=inspect_onnx(folder / "model.onnx").signature,
        config_pbtxt=(FOLDER / "config.pbtxt").read_text(encoding="utf-8"),
        input_example=FOLDER / "input_example.json",
    )


def run(session: onnxruntime.InferenceSession, rows: np.ndarray) -> np.ndarray:
    (output,) = session.run(["output"], {"input": rows.astype(np.float32)})
    return np.asarray(output)


def fresh_applicants(count: int) -> tuple[np.ndarray, np.ndarray]:
    return train_sample_model.labelled(count, np.random.default_rng(7))


def test_model_is_valid_and_old_enough_for_old_servers() -> None:
    model = onnx.load(FOLDER / "1" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 9
    assert [(imported.domain, imported.version) for imported in model.opset_import] == [("", 17)]


def test_configuration_is_the_documents_default() -> None:
    assert (FOLDER / "config.pbtxt").read_text(encoding="utf-8") == DEFAULT_TEXT


def test_configuration_is_served_untouched(artifact: ModelArtifact) -> None:
    base = base_configuration(artifact, batchable=True)
    assert (to_text(base.config), base.notes) == (DEFAULT_TEXT, ())


def test_model_batches_on_its_own_example(artifact: ModelArtifact) -> None:
    load = build_load(artifact, parse_text(DEFAULT_TEXT), input_shapes={})
    assert (load.origin, load.row_count, load.notes) == ("input example", train_sample_model.EXAMPLE_COUNT, ())
    check = check_servable(artifact.folder / artifact.onnx_file, artifact.signature, load.rows)
    assert (check.batchable, check.reason, check.signature) == (True, None, artifact.signature)


def test_outputs_are_probabilities_and_vary(session: onnxruntime.InferenceSession) -> None:
    scores = run(session, fresh_applicants(2000)[0])
    assert scores.shape == (2000, 1)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert scores.max() - scores.min() > 0.3


def test_seven_rows_together_equal_each_alone(session: onnxruntime.InferenceSession) -> None:
    rows, _ = fresh_applicants(7)
    alone = np.concatenate([run(session, row[None]) for row in rows])
    np.testing.assert_allclose(run(session, rows), alone, rtol=1e-5)


def test_model_tells_defaulters_apart_and_knows_how_many_there_are(session: onnxruntime.InferenceSession) -> None:
    rows, labels = fresh_applicants(20_000)
    scores = run(session, rows)[:, 0]
    assert train_sample_model.auc(scores, labels) > 0.7
    assert labels.mean() == pytest.approx(train_sample_model.DEFAULT_RATE, abs=0.01)
    assert scores.mean() == pytest.approx(train_sample_model.DEFAULT_RATE, abs=0.02)


@pytest.mark.parametrize(
    ("feature", "change"), [("DAYS_BIRTH", 8_000), ("DAYS_EMPLOYED", 1_500), ("bureau_credit_active_count", 4)]
)
def test_risk_rises_with_youth_short_employment_and_open_loans(
    session: onnxruntime.InferenceSession, feature: str, change: float
) -> None:
    rows, _ = fresh_applicants(2000)
    riskier = rows.copy()
    column = train_sample_model.FEATURES.index(feature)
    riskier[:, column] += change
    assert run(session, riskier).mean() > run(session, rows).mean()


def test_applicants_have_the_units_of_the_data() -> None:
    rows, _ = fresh_applicants(5000)
    by_name = dict(zip(train_sample_model.FEATURES, rows.T, strict=True))
    assert (by_name["DAYS_BIRTH"] <= -18 * 365).all()
    assert (by_name["DAYS_EMPLOYED"] <= 0).all()
    assert (by_name["DAYS_EMPLOYED"] >= by_name["DAYS_BIRTH"]).all()
    assert (by_name["bureau_credit_active_count"] <= by_name["bureau_credit_count"]).all()
    assert (by_name["bureau_amt_credit_sum_overdue"] > 0).mean() == pytest.approx(0.04, abs=0.02)


def test_example_has_the_features_in_the_models_order() -> None:
    example = json.loads((FOLDER / "input_example.json").read_text(encoding="utf-8"))
    assert tuple(example["columns"]) == train_sample_model.FEATURES
    assert len({tuple(row) for row in example["data"]}) == train_sample_model.EXAMPLE_COUNT


def test_training_again_gives_the_same_bytes() -> None:
    """On any processor: the weights are rounded to a grid, and so are the applicants."""
    model, example, auc = train_sample_model.build()
    assert model == (FOLDER / "1" / "model.onnx").read_bytes()
    assert example == (FOLDER / "input_example.json").read_text(encoding="utf-8")
    assert auc > 0.7
