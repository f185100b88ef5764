"""The run of `records`, whose best configuration serves a quantized variant of the model; another was refused."""

from __future__ import annotations

from dataclasses import replace

from hcopt.analysis.confirmation import with_outputs
from hcopt.records.model import ModelVariant, OutputDifference
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from tests.support.records import model_artifact, run_record

INT8_SHA256 = "0f59cefc" * 8
_ROWS = Note.of("variant_rows_example", checked=200, count=200)


def _outputs(largest: float) -> tuple[OutputDifference, ...]:
    return (
        OutputDifference(output="output", max_difference=largest, mean_difference=0.004, spread=0.8),
        OutputDifference(output="label", agreement_ratio=0.995),
    )


def _said(largest: float) -> tuple[Note, ...]:
    numbers, labels = _outputs(largest)
    return (
        Note.of(
            "variant_numbers",
            output="output",
            largest=largest,
            largest_ratio=numbers.max_ratio or 0.0,
            mean=0.004,
            mean_ratio=numbers.mean_ratio or 0.0,
        ),
        Note.of("variant_labels", output="label", agreement=labels.agreement_ratio or 0.0),
    )


def variants() -> tuple[ModelVariant, ModelVariant]:
    """int8, which is measured, and far, which differs too much."""
    origin = "quantize: dynamic"
    int8 = ModelVariant(
        name="int8",
        origin=origin,
        sha256=INT8_SHA256,
        onnx_file="int8.onnx",
        files=("int8.onnx",),
        outputs=_outputs(0.02),
        outputs_note=Note.of("variant_outputs", name="int8", origin=origin, rows=_ROWS, outputs=_said(0.02)),
    )
    beyond = Note.of("variant_beyond", rows=_ROWS, outputs=_said(0.4)[:1], difference=0.05, agreement=0.99)
    far = ModelVariant(
        name="far",
        origin="far.onnx",
        sha256="1" * 64,
        onnx_file="far.onnx",
        files=("far.onnx",),
        outputs=_outputs(0.4),
        refused=Note.of("variant_refused", name="far", origin="far.onnx", why=beyond),
    )
    return int8, far


def variant_record() -> RunRecord:
    """Proven better, and feasible."""
    run = run_record(model=model_artifact(variants=variants()))
    found = run.confirmation
    assert found.best is not None
    best = replace(found.best, variant=replace(found.best.variant, model_file="int8.onnx"))
    grid = (*run.plan.variants, *(replace(one, model_file="int8.onnx") for one in run.plan.variants))
    return replace(
        run,
        plan=replace(run.plan, variants=grid),
        confirmation=with_outputs(replace(found, best=best), run.model),
        best_config_pbtxt=f'{run.best_config_pbtxt}default_model_filename: "int8.onnx"\n',
    )
