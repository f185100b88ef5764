"""Answers with and without OpenVINO are compared before anything is measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hcopt.config.sections import ToleranceSection
from hcopt.errors import ModelLoadError, ProfileError, RuntimeStartError
from hcopt.measure.accelerator_check import check_accelerators
from hcopt.measure.served_model import ServedModel
from hcopt.model.base_config import BaseConfiguration
from hcopt.model.inputs.values import LoadData, LoadTensor
from hcopt.model.prepare import Prepared, config_json
from hcopt.model.triton_config import parse_text, variant_of
from hcopt.records.measurement import Backend, Environment, SweepPlan
from hcopt.records.note import Note
from tests.support.fakes import FakeControl
from tests.support.notes import said
from tests.support.pbtxt import DEFAULT_TEXT
from tests.support.records import MODEL_NAME, model_artifact, run_record

ROWS = np.arange(20, dtype=np.float32).reshape(2, 10)
PRECISION = 'parameters { key: "precision" value: "bf16" }'
WITH_OPENVINO = (
    f'optimization {{ execution_accelerators {{ cpu_execution_accelerator {{ name: "openvino" {PRECISION}}}}}}}'
)


def prepared(*accelerators: str, more: str = "", threads: str | None = None, file: str = "") -> Prepared:
    """The sample model, with a variant for each accelerator beside its default; the last one has `file`."""
    base = parse_text(DEFAULT_TEXT + more)
    default = variant_of(base, f"{MODEL_NAME}_config_default")
    own = () if threads is None else (("intra_op_thread_count", threads),)
    variants = tuple(
        replace(default, config_name=f"{MODEL_NAME}_config_{i}", execution_accelerator=one, parameters=own)  # type: ignore[arg-type]
        for i, one in enumerate(accelerators)
    )
    variants = (*variants[:-1], replace(variants[-1], model_file=file))
    return Prepared(
        artifact=model_artifact(),
        base=BaseConfiguration(config=base),
        load=LoadData(tensors=(LoadTensor(name="input", datatype="FP32", rows=ROWS),), origin="synthetic"),
        plan=SweepPlan(model_name=MODEL_NAME, default=default, variants=variants, loads=()),
        notes=(),
    )


def environment(implementation: Any = "hcopt-native", runtime: str = "embedded") -> Environment:
    backend = Backend(name="onnxruntime", implementation=implementation)
    return replace(run_record().environment, backend=backend, runtime=runtime, cpu_count=2)


@dataclass
class AnsweringControl(FakeControl):
    """Answers with the sum of a row, and with `error` more where OpenVINO computes."""

    error: float = 0.0
    asked: list[tuple[int, ...]] = field(default_factory=list)
    without: str | None = None

    def load(self, name: str, config_json: str | None = None) -> None:
        self.openvino = "openvino" in (config_json or "")
        if self.openvino and self.without is not None:
            raise ModelLoadError(
                f"Triton cannot load the model {name}: version 1 is at UNAVAILABLE state: {self.without};\n"
            )
        super().load(name, config_json)

    def answers(self, name: str, tensors: Sequence[LoadTensor]) -> dict[str, NDArray[Any]]:
        assert name == MODEL_NAME
        self.asked.append(tensors[0].rows.shape)
        return {"output": tensors[0].rows.sum(axis=-1, keepdims=True) + (self.error if self.openvino else 0.0)}


def check(control: AnsweringControl, found: Prepared, here: Environment | None = None) -> list[Note]:
    served = ServedModel(control, MODEL_NAME, lambda variant: config_json(found, variant))  # type: ignore[arg-type]
    return [*check_accelerators(served, found, here or environment(), ToleranceSection(max_difference_ratio=1e-3))]


def test_answers_threads_and_precision_are_said_of_a_sweep_with_openvino() -> None:
    control = AnsweringControl(error=0.0625)
    answers, precision, threads = check(control, prepared("none", "openvino"))
    # The rows' sums are 45 and 145.
    assert said(answers) == (
        "OpenVINO on model.onnx against ONNX Runtime on the model: on 2 of the 2 synthetic rows, which tell less than "
        "real ones, the output 'output' differs by at most 0.06% of its spread (0.0625), on average by 0.06% (0.0625)."
    )
    assert said(precision) == "OpenVINO computes in f32."
    assert threads.code == "openvino_threads"
    assert control.asked == [(1, 10)] * 4
    assert control.loaded[-1] == f"{MODEL_NAME} unloaded"


def test_answers_on_each_file_are_compared_with_the_model_s_own() -> None:
    control = AnsweringControl()
    first, second, *_ = check(control, prepared("openvino", "none", "openvino", file="int8.onnx"))
    assert (first.values["file"], second.values["file"]) == ("model.onnx", "int8.onnx")
    files = [json.loads(one).get("default_model_filename", "") for one in control.loaded if one.startswith("{")]
    assert files == ["", "", "int8.onnx"]


def test_what_is_loaded_differs_in_the_accelerator_alone() -> None:
    control = AnsweringControl()
    check(control, prepared("openvino"))
    without, with_openvino = map(json.loads, control.loaded[:2])
    accelerators = with_openvino.pop("optimization")
    assert accelerators == {"execution_accelerators": {"cpu_execution_accelerator": [{"name": "openvino"}]}}
    assert {**with_openvino, "instance_group": without["instance_group"]} == without


@pytest.mark.parametrize(("accelerators", "more"), [(("none", "none"), ""), (("openvino",), WITH_OPENVINO)])
def test_nothing_is_loaded_where_all_configurations_have_the_same(accelerators: tuple[str, ...], more: str) -> None:
    control = AnsweringControl()
    assert check(control, prepared(*accelerators, more=more)) == []
    assert control.loaded == []


def test_answers_that_are_too_far_apart_are_refused_with_figures() -> None:
    with pytest.raises(ProfileError, match=r"'output' differs by at most 0\.50% of its spread \(0\.5\)") as caught:
        check(AnsweringControl(error=0.5), prepared("openvino"))
    assert "model.tolerance allows 0.10% of the spread" in caught.value.message


def test_server_without_openvino_is_refused_with_its_words_and_the_cure() -> None:
    with pytest.raises(RuntimeStartError, match=r"does not serve model.onnx here: no plugin$") as caught:
        check(AnsweringControl(without="no plugin"), prepared("openvino"))
    assert str(caught.value.remedy).endswith("-m pip install onnxruntime-ep-openvino")
    with pytest.raises(RuntimeStartError) as caught:
        check(AnsweringControl(without="unknown"), prepared("openvino"), environment("native", "docker"))
    assert "--runtime embedded" in str(caught.value.remedy)


def test_model_that_cannot_be_served_at_all_is_no_matter_of_openvino() -> None:
    found = prepared("openvino")
    with pytest.raises(RuntimeStartError, match=f"cannot load the model {MODEL_NAME}: refused"):
        check(AnsweringControl(refused={config_json(found, replace(found.plan.default, instance_count=1))}), found)


def test_large_answers_are_compared_on_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hcopt.measure.accelerator_check._MAX_BYTES", 1)
    control = AnsweringControl()
    answers, *_ = check(control, prepared("openvino"))
    assert len(control.asked) == 2
    assert "on 1 of the 2 synthetic rows" in said(answers)


def test_precision_of_the_default_s_own_accelerator_is_said() -> None:
    _, precision, _ = check(AnsweringControl(), prepared("none", more=WITH_OPENVINO))
    assert said(precision) == "OpenVINO computes in bf16."
    # NVIDIA's backend ignores the parameter.
    _, precision, threads = check(AnsweringControl(), prepared("none", more=WITH_OPENVINO), environment("native"))
    assert (said(precision), threads.code) == ("OpenVINO computes in f32.", "openvino_threads_own")


def test_threads_that_nvidia_s_backend_cannot_set_are_no_equal_terms() -> None:
    with pytest.raises(ProfileError, match="gives ONNX Runtime 1") as caught:
        check(AnsweringControl(), prepared("openvino", threads="1"), environment("native"))
    assert "Add 2 to sweep.intra_op_thread_count" in str(caught.value.remedy)
    check(AnsweringControl(), prepared("openvino", threads="2"), environment("native"))
