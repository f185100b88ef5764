"""A sweep over execution accelerators with the real Triton and Model Analyzer, with and without OpenVINO."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from hcopt.analysis.plan import plan_sweep
from hcopt.config.sections import SweepSection
from hcopt.errors import RuntimeStartError
from hcopt.measure.context import RunContext
from hcopt.measure.model_analyzer.profiler import ModelAnalyzer
from hcopt.measure.profiler import ProfileJob
from hcopt.model.triton_config import apply_variant, parse_text, to_json, variant_of
from hcopt.records.measurement import Measurement
from hcopt.triton.openvino import check_openvino
from tests.support import onnx_models as models
from tests.support.command import SAMPLE_FOLDER, TINY, workplace
from tests.support.triton import Triton, input_and_output

CONFIG = f"{input_and_output()}instance_group {{ count: 1 kind: KIND_CPU }}\ndynamic_batching {{ }}\n"
SWEEP = (*TINY, f"--model={SAMPLE_FOLDER}", "--set=sweep.execution_accelerator=[none,openvino]")
NOT_INSTALLED = find_spec("onnxruntime_ep_openvino") is None


def why_without_openvino() -> str | None:
    try:
        check_openvino()
    except RuntimeStartError as error:
        return error.message
    return None


@pytest.mark.skipif(not NOT_INSTALLED, reason="OpenVINO's plugin is installed here")
def test_openvino_that_is_not_there_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    answer = place.answer("profile", "--runtime=embedded", *SWEEP)
    assert answer.returncode == 4, answer.stderr
    assert "sweep.execution_accelerator lists openvino" in answer.stderr
    assert "openvino needs the package onnxruntime-ep-openvino" in answer.stderr
    assert "-m pip install onnxruntime-ep-openvino" in answer.stderr
    assert not [*place.results.rglob("measurements.jsonl")]
    doctor = place.answer("doctor", "--set=sweep.execution_accelerator=[openvino]")
    assert "onnxruntime-ep-openvino is not installed" in doctor.stdout


def test_model_analyzer_sweeps_accelerators_by_the_plan_s_names(triton: Triton, tmp_path: Path) -> None:
    name = triton.add(CONFIG, models.identity_model())
    base = parse_text((triton.repository / name / "config.pbtxt").read_text())
    plan = plan_sweep(
        SweepSection(
            max_batch_size=(8,),
            instance_count=(1, 2),
            intra_op_thread_count=(1,),
            max_queue_delay_us=(0,),
            execution_accelerator=("none", "openvino"),
            concurrency=(2,),
        ),
        variant_of(base, f"{name}_config_default"),
        model_name=name,
        instance_kind="KIND_CPU",
    )
    recorded = list[Measurement]()
    job = ProfileJob(
        plan=plan,
        server=triton.server,
        repository=triton.repository,
        folder=tmp_path,
        input_arguments=("--input-data", "zero"),
        context=RunContext(record=recorded.append),
        # It compares each configuration that Model Analyzer has written with this one.
        config_of=lambda v: to_json(base if v == plan.default else apply_variant(base, v, "KIND_CPU")),
    )
    (tmp_path / "logs").mkdir()
    ModelAnalyzer(interval_ms=200, latency_p99_limit_ms=100_000.0).profile(job)
    assert [one.variant for one in recorded] == list(plan.all_variants)
    with_figures = [one.variant.execution_accelerator for one in recorded if one.error is None]
    if why_without_openvino() is None:
        assert with_figures == ["none", "none", "openvino", "none", "openvino"]
        return
    assert with_figures == ["none"] * 3
    refused = [one for one in recorded if one.variant.execution_accelerator == "openvino"]
    assert {one.failure_cause for one in refused} == {"refused"}
    assert all("openvino" in str(one.error) for one in refused)


@pytest.mark.skipif(why_without_openvino() is not None, reason=f"no OpenVINO here: {why_without_openvino()}")
@pytest.mark.parametrize("profiler", ["model-analyzer", "adaptive"])
def test_run_with_openvino_says_how_far_its_answers_are_and_who_had_how_many_threads(
    profiler: str, tmp_path: Path
) -> None:
    place = workplace(tmp_path)
    threads = "--set=sweep.intra_op_thread_count=[1]"
    answer = place.answer("profile", "--runtime=embedded", f"--profiler={profiler}", *SWEEP, threads)
    assert answer.returncode == 0, answer.stderr
    [model] = json.loads((place.results / "summary.json").read_text())["models"]
    notes = {note["code"]: note["sentence"] for note in model["notes"]}
    assert "output differs by at most" in notes["openvino_answers"]
    assert notes["openvino_precision"] == "OpenVINO computes in f32."
    assert "equal threads" in notes["openvino_threads"]
    [run] = place.runs
    rows = map(json.loads, (run / "measurements.jsonl").read_text().splitlines())
    swept = {row["variant"]["execution_accelerator"] for row in rows if row["phase"] == "sweep" and not row["error"]}
    assert swept == {"none", "openvino"}
