"""Finished runs with plausible figures, for everything that reports or logs one. All figures are made up; ranking,
confirmation and measurements of one run tell the same story."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hcopt.analysis.ranking import rank
from hcopt.records.measurement import (
    Backend,
    Environment,
    LatencySummary,
    LoadPoint,
    Measurement,
    ServerTimes,
    SweepPlan,
)
from hcopt.records.model import ModelArtifact, ModelConfigVariant, ModelSignature, RegisteredVersion, TensorSpec
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.records.verdict import (
    Capacity,
    Comparison,
    Confirmation,
    ConfirmedVariant,
    Estimate,
    Feasibility,
    ModelAlone,
    Noise,
    Ranking,
    RatePoint,
)

MODEL_NAME = "HomeCreditDefaultModel"
RUN_ID = "20261123T010203Z-3f9a"
STARTED_AT = "2026-11-23T01:02:03+00:00"
LATENCY_P99_LIMIT_MS = 50.0
LIGHT, HEAVY = LoadPoint(concurrency=8), LoadPoint(concurrency=32)

# Throughput in infer/s and p99 in ms, at concurrency 8 and 32, in Model Analyzer's numbering order.
_DEFAULT_FIGURES = ((3412.6, 3.94), (4980.3, 9.87))
_GRID_FIGURES: tuple[tuple[tuple[float, float], tuple[float, float] | None], ...] = (
    ((3388.1, 4.02), (4710.9, 10.41)),
    ((3425.0, 3.91), (5012.7, 9.72)),
    ((2975.4, 4.61), (4795.2, 10.22)),
    ((3001.8, 4.48), (5064.4, 9.65)),
    ((4533.9, 3.12), (6105.5, 8.41)),
    ((4498.2, 3.20), (6290.8, 8.17)),
    ((4210.7, 3.33), (6514.0, 7.88)),
    ((4187.3, 3.41), None),
)
_PERF_ANALYZER_HUNG = "perf_analyzer gave no result within 30 s, twice; its process group was killed"


def config_pbtxt(variant: ModelConfigVariant) -> str:
    """The variant's config.pbtxt as the sample model has it."""
    delay = f"max_queue_delay_microseconds: {variant.max_queue_delay_us}" if variant.max_queue_delay_us else ""
    return f"""name: "{MODEL_NAME}"
platform: "onnxruntime_onnx"
max_batch_size: {variant.max_batch_size}
input {{ name: "input" data_type: TYPE_FP32 dims: 10 }}
output {{ name: "output" data_type: TYPE_FP32 dims: 1 }}
instance_group {{ count: {variant.instance_count} kind: KIND_CPU }}
dynamic_batching {{ {delay} }}
"""


def default_variant() -> ModelConfigVariant:
    """The document's default configuration."""
    return ModelConfigVariant(
        config_name=f"{MODEL_NAME}_config_default",
        max_batch_size=16,
        instance_count=1,
        max_queue_delay_us=0,
    )


def grid_variants() -> tuple[ModelConfigVariant, ...]:
    """The eight variants of the default sweep."""
    settings = [
        (batch, count, delay) for count in (1, 2) for delay in (0, 500) for batch in (8, 16)
    ]  # Model Analyzer's order: instances outermost, batch size innermost
    return tuple(
        ModelConfigVariant(
            config_name=f"{MODEL_NAME}_config_{number}",
            max_batch_size=batch,
            instance_count=count,
            max_queue_delay_us=delay,
        )
        for number, (batch, count, delay) in enumerate(settings)
    )


def model_artifact(**changes: Any) -> ModelArtifact:
    """The sample model as it comes from a registry."""
    artifact = ModelArtifact(
        name=MODEL_NAME,
        source_uri=f"models:/{MODEL_NAME}@prod",
        version="1",
        sha256="5f1d3c6e" * 8,
        folder=Path("results/runs") / RUN_ID / "source",
        onnx_file="model.onnx",
        files=("model.onnx",),
        signature=ModelSignature(
            inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 10)),),
            outputs=(TensorSpec(name="output", datatype="FP32", shape=(-1, 1)),),
        ),
        config_pbtxt=config_pbtxt(default_variant()),
        registered_version=RegisteredVersion(name=MODEL_NAME, version="1"),
    )
    return replace(artifact, **changes)


def measurement(
    variant: ModelConfigVariant,
    load: LoadPoint,
    figures: tuple[float, float] | None,
    **changes: Any,
) -> Measurement:
    """One window with (infer/s, p99 in ms), or a failed one where `figures` is None."""
    if figures is None:
        failed = Measurement(
            phase="sweep",
            profiler="model-analyzer",
            variant=variant,
            load=load,
            started_at=STARTED_AT,
            error=_PERF_ANALYZER_HUNG,
        )
        return replace(failed, **changes)
    throughput, p99 = figures
    mean_ms = 1000 * load.concurrency / throughput
    done = Measurement(
        phase="sweep",
        profiler="model-analyzer",
        variant=variant,
        load=load,
        started_at=STARTED_AT,
        duration_s=1.0,
        throughput_infer_per_s=throughput,
        latency=LatencySummary(
            avg_ms=mean_ms,
            p50_ms=0.96 * mean_ms,
            p90_ms=mean_ms + 0.5 * (p99 - mean_ms),
            p95_ms=mean_ms + 0.7 * (p99 - mean_ms),
            p99_ms=p99,
        ),
        request_count=round(throughput),
        server=ServerTimes(
            queue_us=400 * mean_ms,
            compute_input_us=20.0,
            compute_infer_us=300 * mean_ms,
            compute_output_us=15.0,
        ),
        steal_ratio=0.004,
        client_cpu_ratio=0.27,
    )
    return replace(done, **changes)


def _without_median(done: Measurement) -> Measurement:
    """Model Analyzer does not say the median."""
    return replace(done, latency=replace(done.latency, p50_ms=None)) if done.latency else done


def _sweep_measurements() -> tuple[Measurement, ...]:
    rows = (
        (default_variant(), _DEFAULT_FIGURES),
        *zip(grid_variants(), _GRID_FIGURES, strict=True),
    )
    return tuple(
        _without_median(measurement(variant, load, figures))
        for variant, pair in rows
        for load, figures in zip((LIGHT, HEAVY), pair, strict=True)
    )


def _confirmation_measurements(
    best_figures: tuple[float, float] = (6438.0, 7.96), *, swing: float = 0.012
) -> tuple[Measurement, ...]:
    """Eight blocks of best, runner-up and default; `swing` is how far blocks lie apart."""
    finalists = (
        (grid_variants()[6], best_figures),
        (grid_variants()[5], (6249.0, 8.21)),
        (default_variant(), (4951.0, 9.93)),
    )
    return tuple(
        measurement(
            variant,
            HEAVY,
            (
                throughput * (1 + swing * (block % 4 - 1.5)),
                p99 / (1 + swing * (block % 4 - 1.5)),
            ),
            phase="confirmation",
            profiler="perf_analyzer",
            block=block,
            samples_file=f"samples/{variant.config_name}-{block}.npz",
        )
        for block in range(8)
        for variant, (throughput, p99) in finalists
    )


def _plan() -> SweepPlan:
    return SweepPlan(model_name=MODEL_NAME, default=default_variant(), variants=grid_variants(), loads=(LIGHT, HEAVY))


def _confirmed(variant: ModelConfigVariant, throughput: Estimate, p99: Estimate) -> ConfirmedVariant:
    return ConfirmedVariant(
        variant=variant,
        load=HEAVY,
        throughput_infer_per_s=throughput,
        latency_p99_ms=p99,
        feasibility="feasible" if p99.estimate <= LATENCY_P99_LIMIT_MS else "infeasible",
        miss_ratio=Estimate(estimate=0.001, ci_low=0.0005, ci_high=0.002),
        block_count=8,
    )


def _confirmation() -> Confirmation:
    best, default, runner_up = grid_variants()[6], default_variant(), grid_variants()[5]
    figures = Note.of("ratio_interval", ratio=1.302, low=1.254, high=1.352, p="p = 0.0078")
    reason = Note.of("ratio_better", figures=figures, alpha=0.01)
    return Confirmation(
        verdict="better",
        reason=reason,
        best=_confirmed(
            best,
            Estimate(estimate=6438.0, ci_low=6352.1, ci_high=6523.9),
            Estimate(estimate=7.96, ci_low=7.81, ci_high=8.12),
        ),
        default=_confirmed(
            default,
            Estimate(estimate=4951.0, ci_low=4884.9, ci_high=5017.1),
            Estimate(estimate=9.93, ci_low=9.77, ci_high=10.10),
        ),
        runner_up=_confirmed(
            runner_up,
            Estimate(estimate=6249.0, ci_low=6160.0, ci_high=6338.0),
            Estimate(estimate=8.21, ci_low=8.04, ci_high=8.38),
        ),
        improvement=Comparison(
            candidate=best.config_name,
            baseline=default.config_name,
            throughput_ratio=Estimate(estimate=1.300, ci_low=1.276, ci_high=1.325),
            latency_p99_ratio=Estimate(estimate=0.802, ci_low=0.784, ci_high=0.820),
            p_value=0.0078,
            verdict="better",
            reason=reason,
        ),
        runner_up_relation=Comparison(
            candidate=best.config_name,
            baseline=runner_up.config_name,
            throughput_ratio=Estimate(estimate=1.030, ci_low=0.998, ci_high=1.063),
            latency_p99_ratio=Estimate(estimate=0.970, ci_low=0.935, ci_high=1.006),
            p_value=0.031,
            verdict="undecided",
            reason=Note.of("ratio_undecided", figures=Note.of("ratio", ratio=1.03), alpha=0.01, zone=0.02),
            blocks_to_decide=22,
        ),
        block_count=8,
    )


def noise(**changes: Any) -> Noise:
    """A quiet machine: six blocks of the default against itself, differences from 6 % on can be told apart."""
    found = Noise(
        load=HEAVY,
        block_count=6,
        window_s=1.0,
        block_sd_ratio=0.021,
        pair_sd_ratio=0.015,
        resolvable_ratio=0.06,
        planned_blocks=12,
        max_steal_ratio=0.004,
    )
    return replace(found, **changes)


def rate_point(
    rate: float, miss: tuple[float, float, float], p99_ms: float, verdict: Feasibility, *, windows: int = 8
) -> RatePoint:
    """One rate of the open-loop check; `miss` is estimate, lower and upper bound."""
    estimate, low, high = miss
    return RatePoint(
        rate_infer_per_s=rate,
        window_count=windows,
        miss_ratio=Estimate(estimate=estimate, ci_low=low, ci_high=high),
        latency_p99_ms=p99_ms,
        verdict=verdict,
    )


def capacity(**changes: Any) -> Capacity:
    """config_6 sustains at least 4,800 infer/s; at 5,760 it is shown not to keep the limit."""
    found = Capacity(
        config_name=f"{MODEL_NAME}_config_6",
        sustainable_rate_infer_per_s=Estimate(estimate=4800.0, ci_low=4800.0, ci_high=5760.0),
        latency_p99_limit_ms=LATENCY_P99_LIMIT_MS,
        boundary_infer_per_s=Estimate(estimate=5310.0, ci_low=5010.0, ci_high=5560.0),
        client_batch_size=1,
        seed=7,
        points=(
            rate_point(3200.0, (0.0004, 0.0001, 0.0011), 11.2, "feasible"),
            rate_point(4800.0, (0.0027, 0.0014, 0.0058), 24.6, "feasible"),
            rate_point(5280.0, (0.0089, 0.0052, 0.0153), 47.1, "undecided"),
            rate_point(5760.0, (0.0412, 0.0287, 0.0590), 118.3, "infeasible"),
        ),
    )
    return replace(found, **changes)


def model_alone(**changes: Any) -> ModelAlone:
    """Of 2.1 ms a request to config_6 takes, 0.6 are the model's, and a wait of 0.5 in the queue is Triton's."""
    found = ModelAlone(
        config_name=f"{MODEL_NAME}_config_6",
        client_batch_size=1,
        block_count=6,
        request_ms=Estimate(estimate=2.1, ci_low=2.0, ci_high=2.3),
        model_ms=Estimate(estimate=0.6, ci_low=0.58, ci_high=0.63),
        model_ratio=Estimate(estimate=0.286, ci_low=0.27, ci_high=0.31),
        queue_ms=0.51,
    )
    return replace(found, **changes)


def _environment() -> Environment:
    return Environment(
        runtime="embedded",
        backend=Backend(name="onnxruntime", implementation="python"),
        triton_version="2.51.0",
        onnxruntime_version="1.20.1",
        perf_analyzer_version="2.51.0",
        cpu_model="Intel(R) Xeon(R) Processor @ 2.60GHz",
        cpu_count=2,
        cpuset="0-1",
        memory_mb=23904,
        governor=None,
        onnxruntime_thread_count=2,
        client_cpuset="0-1",
        numa_nodes="0",
        hcopt_version="0.1.0",
    )


def run_record(**changes: Any) -> RunRecord:
    """A complete run with the verdict `better`: default and eight variants at two loads, one measurement failed."""
    best = grid_variants()[6]
    record = RunRecord(
        run_id=RUN_ID,
        folder=Path("results/runs") / RUN_ID,
        started_at=STARTED_AT,
        command="hcopt profile --config config.yaml",
        model=model_artifact(),
        plan=_plan(),
        environment=_environment(),
        measurements=(*_sweep_measurements(), *_confirmation_measurements()),
        ranking=rank(_plan(), _sweep_measurements(), latency_p99_limit_ms=LATENCY_P99_LIMIT_MS),
        confirmation=_confirmation(),
        alpha=0.01,
        indifference_ratio=0.02,
        default_config_pbtxt=config_pbtxt(default_variant()),
        best_config_pbtxt=config_pbtxt(best),
        noise=noise(),
        capacity=capacity(),
        elapsed_s={"fetch": 4.2, "serve": 6.9, "sweep": 148.3, "confirmation": 71.5},
        notes=(Note.of("another_run_measures", whose="process 7"),),
    )
    return replace(record, **changes)


def tied_record(**changes: Any) -> RunRecord:
    """A run whose default is as good as the best variant: the interval lies within 2 %."""
    confirmed = _confirmation()
    assert confirmed.improvement is not None and confirmed.default is not None
    reason = Note.of("ratio_tied", figures=Note.of("ratio", ratio=1.002), zone=0.02)
    best = _confirmed(
        grid_variants()[6],
        Estimate(estimate=4961.0, ci_low=4904.0, ci_high=5018.0),
        Estimate(estimate=9.89, ci_low=9.74, ci_high=10.05),
    )
    improvement = replace(
        confirmed.improvement,
        throughput_ratio=Estimate(estimate=1.002, ci_low=0.989, ci_high=1.016),
        latency_p99_ratio=Estimate(estimate=0.996, ci_low=0.978, ci_high=1.014),
        p_value=0.42,
        verdict="tied",
        reason=reason,
    )
    confirmation = replace(confirmed, verdict="tied", reason=reason, best=best, improvement=improvement)
    measurements = (*_sweep_measurements(), *_confirmation_measurements((4961.0, 9.89)))
    return run_record(**{"confirmation": confirmation, "measurements": measurements, **changes})


def undecided_record(**changes: Any) -> RunRecord:
    """A run on a machine too noisy to tell the best variant from the default."""
    confirmed = _confirmation()
    assert confirmed.improvement is not None
    reason = Note.of("ratio_undecided", figures=Note.of("ratio", ratio=1.053), alpha=0.01, zone=0.02)
    best = _confirmed(
        grid_variants()[6],
        Estimate(estimate=5214.0, ci_low=4690.0, ci_high=5738.0),
        Estimate(estimate=9.42, ci_low=8.31, ci_high=10.53),
    )
    improvement = replace(
        confirmed.improvement,
        throughput_ratio=Estimate(estimate=1.053, ci_low=0.941, ci_high=1.178),
        latency_p99_ratio=Estimate(estimate=0.949, ci_low=0.831, ci_high=1.084),
        p_value=0.19,
        verdict="undecided",
        reason=reason,
        blocks_to_decide=36,
    )
    confirmation = replace(
        confirmed,
        verdict="undecided",
        reason=reason,
        best=best,
        improvement=improvement,
    )
    measurements = (
        *_sweep_measurements(),
        *_confirmation_measurements((5214.0, 9.42), swing=0.12),
    )
    return run_record(**{"confirmation": confirmation, "measurements": measurements, **changes})


def default_first(ranking: Ranking) -> Ranking:
    """The same sweep with the default in the first place."""
    ours = default_variant().settings
    ranked = sorted(ranking.ranked, key=lambda entry: entry.variant.settings != ours)
    return replace(ranking, ranked=tuple(ranked))


def no_feasible_config_record(**changes: Any) -> RunRecord:
    """A complete run in which nothing meets a p99 limit of 2 ms: the fastest variant's p99 is 3.12 ms."""
    record = run_record(
        measurements=_sweep_measurements(),
        ranking=rank(_plan(), _sweep_measurements(), latency_p99_limit_ms=2.0),
        confirmation=Confirmation(
            verdict="no_feasible_config",
            reason=Note.of(
                "nothing_keeps_limit",
                limit_ms=2.0,
                name=f"{MODEL_NAME}_config_4",
                concurrency=8,
                p99_ms=3.12,
                times=1.56,
            ),
            best=None,
            default=None,
        ),
        best_config_pbtxt=None,
        capacity=None,
    )
    return replace(record, **changes)
