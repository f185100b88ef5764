"""What MLflow keeps of a run: parameters, metrics and tags of the run, its variants and the model version.

Pure. Figures that are no numbers are left out, because MLflow's stores disagree about them.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from textwrap import shorten

from hcopt.analysis.view import ACCELERATOR, SETTINGS, deployed, improvement
from hcopt.records.measurement import LoadPoint, Measurement, SweepPlan
from hcopt.records.model import MODEL_FILE, ModelConfigVariant, ModelVariant
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Comparison, ConfirmedVariant, Estimate
from hcopt.system.clock import read_time
from hcopt.tracking.note import run_note
from hcopt.words.notes import sentence

# On a model version: where its last answer is.
MLFLOW_RUN_TAG = "hcopt.mlflow_run_id"
_NOISE_FIGURES = (
    "block_sd_ratio",
    "pair_sd_ratio",
    "resolvable_ratio",
    "window_s",
    "block_count",
    "max_steal_ratio",
    "max_throttled_ratio",
)
# A parameter of MLflow 2.3 has 500.
_MAX_LETTERS = 450


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPoint:
    """One value of a metric.

    Attributes:
        step: The concurrency in the sweep, the arrival rate in the open-loop check, the block elsewhere.
    """

    key: str
    value: float
    step: int
    timestamp_ms: int


def epoch_ms(timestamp: str) -> int:
    """An ISO 8601 time as milliseconds since 1970."""
    return round(read_time(timestamp).timestamp() * 1000)


def run_params(run: RunRecord) -> dict[str, str]:
    """The settings that were found, what was asked for, and under which conditions; MLflow keeps the order."""
    params: dict[str, object] = {}
    for role, confirmed in (("best", run.confirmation.best), ("default", run.confirmation.default)):
        if confirmed is not None:
            params |= {f"{role}.{key}": value for key, value in _deployed(confirmed).items()}
    params |= {
        "model.name": run.model.name,
        "model.source_uri": run.model.source_uri,
        "model.version": run.model.version,
        "model.sha256": run.model.sha256,
        **{f"model.variants.{variant.name}": _said_of(variant) for variant in run.model.variants},
        "load.rows": run.rows,
        "constraints.latency_p99_ms": run.ranking.latency_p99_limit_ms,
        "constraints.memory_mb": run.memory_limit_mb,
        **{f"sweep.{key}": values for key, values in _swept(run.plan).items()},
        **{f"environment.{one.name}": getattr(run.environment, one.name) for one in fields(run.environment)},
    }
    return _texts(params)


def _said_of(variant: ModelVariant) -> str:
    if variant.refused is not None:
        return shorten(sentence(variant.refused), _MAX_LETTERS, placeholder=" …")
    return f"{variant.origin}, sha256 {variant.sha256}"


def _swept(plan: SweepPlan) -> dict[str, str]:
    variants, loads = plan.variants, plan.loads
    dimensions: dict[str, Iterable[object]] = {
        "model_file": (variant.model_file or MODEL_FILE for variant in variants),
        "max_batch_size": (variant.max_batch_size for variant in variants),
        "instance_count": (variant.instance_count for variant in variants),
        "max_queue_delay_us": (variant.max_queue_delay_us for variant in variants),
        "execution_accelerator": (variant.execution_accelerator for variant in variants),
        "concurrency": (load.concurrency for load in loads),
        "client_batch_size": (load.client_batch_size for load in loads),
    }
    for key in sorted({key for variant in variants for key, _ in variant.parameters}):
        dimensions[f"parameters.{key}"] = (dict(variant.parameters).get(key) for variant in variants)
    return {key: ", ".join(str(value) for value in dict.fromkeys(values)) for key, values in dimensions.items()}


def _deployed(confirmed: ConfirmedVariant) -> dict[str, object]:
    return {**deployed(confirmed.variant, confirmed.load), **_batching_and_parameters(confirmed.variant)}


def _batching_and_parameters(variant: ModelConfigVariant) -> dict[str, object]:
    batching = str(variant.dynamic_batching).lower()
    return {"dynamic_batching": batching, **{f"parameters.{key}": value for key, value in variant.parameters}}


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    """What MLflow takes as parameters: texts, under keys without special characters; None is left out."""
    return {_key(key): str(value) for key, value in values.items() if value is not None}


def _key(text: str) -> str:
    return re.sub(r"[^\w./ -]", "_", text, flags=re.ASCII)


def run_metrics(run: RunRecord) -> list[MetricPoint]:
    """What was found, most important first since MLflow keeps the order: improvement, confirmed figures with their
    intervals, capacity, what Triton costs, noise, counts, and seconds a phase.
    """
    found = run.confirmation
    values: dict[str, float | None] = {}
    for name, comparison in (("improvement", improvement(found)), ("equal_load", found.equal_load)):
        if comparison is not None:
            values |= _ratios(name, comparison)
    for role, confirmed in (
        ("best", found.best),
        ("default", found.default),
        ("default_at_best_load", found.default_at_best_load),
        ("runner_up", found.runner_up),
    ):
        if confirmed is not None:
            values |= _confirmed_figures(role, confirmed)
    if run.capacity is not None:
        # Under the plain name the rate that is promised, as in the tag of the model version.
        key, rate = "capacity.sustainable_rate_infer_per_s", run.capacity.sustainable_rate_infer_per_s
        values |= {**_bounds(key, rate), key: rate.ci_low, f"{key}.estimate": rate.estimate}
        if run.capacity.boundary_infer_per_s is not None:
            values |= _bounds("capacity.boundary_infer_per_s", run.capacity.boundary_infer_per_s)
    if (alone := run.alone) is not None:
        for name, figure in (("request_ms", alone.request_ms), ("model_ms", alone.model_ms)):
            values |= _bounds(f"onnxruntime_alone.{name}", figure)
        values |= {
            **_bounds("onnxruntime_alone.model_ratio", alone.model_ratio),
            "onnxruntime_alone.queue_ms": alone.queue_ms,
        }
    if run.noise is not None:
        values |= {f"noise.{key}": getattr(run.noise, key) for key in _NOISE_FIGURES}
    failed = sum(1 for measurement in run.measurements if measurement.error is not None)
    values |= {
        "measurements.sweep_planned": run.plan.measurement_count,
        "measurements.done": len(run.measurements) - failed,
        "measurements.failed": failed,
        "confirmation.block_count": found.block_count,
        **_outputs_figures(run.model.variants),
        "elapsed_s": sum(run.elapsed_s.values()),
        **{f"elapsed_s.{_key(phase)}": seconds for phase, seconds in run.elapsed_s.items()},
    }
    return list(_points(values, step=0, timestamp_ms=epoch_ms(run.started_at)))


def _outputs_figures(variants: Iterable[ModelVariant]) -> dict[str, float | None]:
    """How far the answers of each variant are from the model's, by its name and the output's."""
    figures: dict[str, float | None] = {}
    for name, found in ((variant.name, found) for variant in variants for found in variant.outputs):
        # An output may have any name, and MLflow takes no a//b, and 250 letters in all.
        key = f"variants.{name}." + _key(found.output).replace("/", "_")[:100]
        figures |= {
            f"{key}.max_difference": found.max_difference,
            f"{key}.max_difference_ratio": found.max_ratio,
            f"{key}.mean_difference": found.mean_difference,
            f"{key}.mean_difference_ratio": found.mean_ratio,
            f"{key}.agreement_ratio": found.agreement_ratio,
        }
    return figures


def _confirmed_figures(role: str, confirmed: ConfirmedVariant) -> dict[str, float | None]:
    return {
        **_bounds(f"{role}.throughput_infer_per_s", confirmed.throughput_infer_per_s),
        **_bounds(f"{role}.latency_p99_ms", confirmed.latency_p99_ms),
        **({} if confirmed.miss_ratio is None else _bounds(f"{role}.miss_ratio", confirmed.miss_ratio)),
        f"{role}.memory_mb": confirmed.memory_mb,
    }


def _ratios(name: str, comparison: Comparison) -> dict[str, float | None]:
    return {
        **_bounds(f"{name}.throughput_ratio", comparison.throughput_ratio),
        **_bounds(f"{name}.latency_p99_ratio", comparison.latency_p99_ratio),
        f"{name}.p_value": comparison.p_value,
    }


def _bounds(key: str, figure: Estimate) -> dict[str, float | None]:
    return {key: figure.estimate, f"{key}.ci_low": figure.ci_low, f"{key}.ci_high": figure.ci_high}


def _points(values: Mapping[str, float | None], *, step: int, timestamp_ms: int) -> Iterator[MetricPoint]:
    for key, value in values.items():
        if value is not None and math.isfinite(value):
            yield MetricPoint(key=key, value=float(value), step=step, timestamp_ms=timestamp_ms)


def variant_params(variant: ModelConfigVariant) -> dict[str, str]:
    """A variant's settings."""
    settings: dict[str, object] = {"config_name": variant.config_name}
    settings |= {setting: getattr(variant, setting) for setting in SETTINGS}
    settings["model_file"] = variant.model_file or MODEL_FILE
    settings[ACCELERATOR] = variant.execution_accelerator
    return _texts({**settings, **_batching_and_parameters(variant)})


def variant_metrics(plan: SweepPlan, taken: Sequence[Measurement]) -> list[MetricPoint]:
    """One variant's figures: of the sweep by concurrency, of the open-loop check by rate, of the rest by block."""
    return [
        point
        for measurement in taken
        if (step := _step(measurement)) is not None
        for point in _points(
            {f"{_prefix(measurement, plan, taken)}{key}": value for key, value in _figures(measurement).items()},
            step=step,
            timestamp_ms=epoch_ms(measurement.started_at),
        )
    ]


def _step(measurement: Measurement) -> int | None:
    """None for a window that only warms up, before the first block."""
    if measurement.load.request_rate_per_s is not None:
        return round(measurement.load.request_rate_per_s)
    return measurement.load.concurrency if measurement.phase == "sweep" else measurement.block


def span_ms(taken: Sequence[Measurement], started_at: str) -> tuple[int, int]:
    """When the first measurement began and the last one ended; `started_at` where there is none."""
    started_ms = [epoch_ms(one.started_at) for one in taken] or [epoch_ms(started_at)]
    lengths_ms = [round(1000 * (one.duration_s or 0.0)) for one in taken] or [0]
    return min(started_ms), max(map(operator.add, started_ms, lengths_ms))


def failure_text(taken: Sequence[Measurement]) -> str | None:
    """Why measurements failed, with their loads; None where none did."""
    failures = (
        f"{_load_text(measurement.load)}: {measurement.error}" for measurement in taken if measurement.error is not None
    )
    return "\n".join(failures) or None


def _load_text(load: LoadPoint) -> str:
    rows = f", {load.client_batch_size} rows a request" if load.client_batch_size > 1 else ""
    rate = load.request_rate_per_s
    return f"concurrency {load.concurrency}{rows}" if rate is None else f"{rate:g} requests/s{rows}"


def _prefix(measurement: Measurement, plan: SweepPlan, taken: Sequence[Measurement]) -> str:
    """The phase; then the loads that its blocks would mix (the default, at its own load and at the best one's)."""
    phase = "" if measurement.phase == "sweep" else f"{measurement.phase}."
    if measurement.phase == "onnxruntime_alone":
        # Both sides have the same variant, load and blocks.
        phase += f"{measurement.profiler}."
    if len({load.client_batch_size for load in plan.loads}) > 1:
        phase += f"client_batch_{measurement.load.client_batch_size}."
    loads = {other.load.concurrency for other in taken if other.phase == measurement.phase}
    if measurement.phase in ("noise", "confirmation") and len(loads) > 1:
        phase += f"concurrency_{measurement.load.concurrency}."
    return phase


def _figures(measurement: Measurement) -> dict[str, float | None]:
    figures: dict[str, float | None] = {
        "throughput_infer_per_s": measurement.throughput_infer_per_s,
        "request_count": measurement.request_count,
        "error_count": measurement.error_count if measurement.error is None else None,
        "miss_count": measurement.miss_count,
        "late_ratio": measurement.late_ratio,
        "steal_ratio": measurement.steal_ratio,
        "throttled_ratio": measurement.throttled_ratio,
        "client_cpu_ratio": measurement.client_cpu_ratio,
        "server_memory_mb": measurement.server_memory_mb,
    }
    if measurement.latency is not None:
        figures |= {f"latency_{key}": value for key, value in asdict(measurement.latency).items()}
    if measurement.server is not None:
        figures |= {f"server_{key}": value for key, value in asdict(measurement.server).items()}
    return figures


def run_tags(run: RunRecord) -> dict[str, str]:
    """What the run's page shows beside its figures."""
    best = run.confirmation.best
    return _texts(
        {
            "hcopt.verdict": run.confirmation.verdict,
            "hcopt.best_config_name": best.variant.config_name if best else None,
            "hcopt.feasibility": best.feasibility if best else None,
            "hcopt.noise_exceeded": ", ".join(run.noise.exceeded) or "no" if run.noise else None,
            "hcopt.run_id": run.run_id,
            "hcopt.version": run.environment.hcopt_version,
            "hcopt.model_sha256": run.model.sha256,
            "mlflow.source.name": "hcopt",
            "mlflow.note.content": run_note(run),
        }
    )


def version_tags(run: RunRecord, mlflow_run_id: str) -> dict[str, str]:
    """What the model version has to say about itself: how to serve it, and how sure that is."""
    found = run.confirmation
    tags: dict[str, object] = {
        "run_id": run.run_id,
        "verdict": found.verdict,
        "runtime": run.environment.runtime,
        "cpu_model": run.environment.cpu_model,
        "latency_p99_limit_ms": run.ranking.latency_p99_limit_ms,
    }
    if found.best is not None:
        deployed = _deployed(found.best)
        tags |= {"best_config_name": deployed.pop("config_name"), "feasibility": found.best.feasibility, **deployed}
        tags["throughput_infer_per_s"] = f"{found.best.throughput_infer_per_s.estimate:.6g}"
        tags["latency_p99_ms"] = f"{found.best.latency_p99_ms.estimate:.4g}"
    if (gain := improvement(found)) is not None:
        tags["throughput_ratio"] = f"{gain.throughput_ratio.estimate:.4g}"
    if run.capacity is not None and (lowest := run.capacity.sustainable_rate_infer_per_s.ci_low) is not None:
        tags["sustainable_rate_infer_per_s"] = f"{lowest:.6g}"
    return {MLFLOW_RUN_TAG: mlflow_run_id, **{f"hcopt.{key}": value for key, value in _texts(tags).items()}}
