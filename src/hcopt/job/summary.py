"""summary.json of a finished run, the file for machines. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from hcopt.analysis.memory import needed_memory_mb
from hcopt.analysis.node_effects import effects_taken_out
from hcopt.analysis.plan import THREADS
from hcopt.analysis.view import deployed, improvement
from hcopt.deploy.capacity import PriceOf, sustained_cost
from hcopt.records.json import JsonObject
from hcopt.records.measurement import LoadPoint
from hcopt.records.model import ModelConfigVariant, ModelVariant
from hcopt.records.run import ModelOutcome, RunRecord
from hcopt.records.verdict import (
    Capacity,
    Comparison,
    Confirmation,
    ConfirmedVariant,
    Estimate,
    FailedWindows,
    Feasibility,
    Noise,
    RatePoint,
)
from hcopt.words.notes import worded

SCHEMA_VERSION = 1


def summarize(run: RunRecord, *, tracking: Mapping[str, str] | None) -> JsonObject:
    """The content of summary.json.

    Args:
        run: The run.
        tracking: `tracking_uri` and `run_id` of the MLflow run, or None where it has not been logged.
    """
    return {
        **_whole([run], run_id=run.run_id, started_at=run.started_at, command=run.command, tracking=tracking),
        "models": [_model(run)],
    }


def summarize_batch(
    outcomes: Sequence[ModelOutcome],
    *,
    run_id: str,
    started_at: str,
    command: str,
    tracking: Mapping[str, str] | None,
    price_of: PriceOf,
) -> JsonObject:
    """The content of summary.json of a batch of models: an entry each, in order, whatever became of it.

    Args:
        outcomes: What became of them, as far as the run is.
        run_id: The whole run.
        started_at: UTC, ISO 8601.
        command: The command line.
        tracking: As in `summarize`.
        price_of: As in `sustained_cost`.
    """
    runs = [outcome.record for outcome in outcomes if outcome.record is not None]
    return {
        **_whole(runs, run_id=run_id, started_at=started_at, command=command, tracking=tracking),
        "models": [_outcome(outcome, price_of) for outcome in outcomes],
    }


def _whole(
    runs: Sequence[RunRecord],
    *,
    run_id: str,
    started_at: str,
    command: str,
    tracking: Mapping[str, str] | None,
) -> JsonObject:
    """What is said of all models together."""
    elapsed_s: Counter[str] = Counter()
    for run in runs:
        elapsed_s.update(run.elapsed_s)
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "started_at": started_at,
        "command": command,
        "environment": asdict(runs[0].environment) if runs else None,
        "measurements": _counts(runs),
        "elapsed_s": sum(elapsed_s.values()),
        "elapsed_phases_s": dict(elapsed_s),
        "mlflow": dict(tracking) if tracking else None,
    }


def _counts(runs: Sequence[RunRecord]) -> JsonObject:
    measured = [measurement for run in runs for measurement in run.measurements]
    failed = sum(1 for measurement in measured if measurement.error is not None)
    return {"planned": sum(map(_planned, runs)), "done": len(measured) - failed, "failed": failed}


def _planned(run: RunRecord) -> int:
    swept = [m for m in run.measurements if m.phase == "sweep"]
    # An adaptive search, whose windows have blocks, plans as it goes.
    planned = len(swept) if any(m.block is not None for m in swept) else run.plan.measurement_count
    return planned + len(run.measurements) - len(swept)


def _outcome(outcome: ModelOutcome, price_of: PriceOf) -> JsonObject:
    failure, record = None if outcome.failure is None else asdict(outcome.failure), outcome.record
    own: JsonObject = {
        "label": outcome.label,
        "hardware": outcome.hardware,
        "run_id": outcome.run_id,
        "failure": failure,
    }
    if record is None:
        return {"model": {"source_uri": outcome.source_uri}, **own}
    if price_of(record.environment.cpu_model) is not None:
        own["cost_per_million"] = sustained_cost(record, price_of)
    return {**_model(record), **own}


def _model(run: RunRecord) -> JsonObject:
    found = run.confirmation
    return {
        "model": {
            "name": run.model.name,
            "source_uri": run.model.source_uri,
            "version": run.model.version,
            "sha256": run.model.sha256,
            "variants": [*map(_variant, run.model.variants)],
        },
        "latency_p99_limit_ms": run.ranking.latency_p99_limit_ms,
        "memory_limit_mb": run.memory_limit_mb,
        "default": _confirmed(found.default) or _swept_default(run),
        "best": _confirmed(found.best),
        "runner_up": _runner_up(found),
        "improvement": _ratios(improvement(found)),
        "equal_load": _equal_load(found),
        "verdict": found.verdict,
        "reason": worded(found.reason),
        "blocks": found.block_count,
        "looks": found.look_count,
        "failed_windows": [_failed(failed) for failed in found.failures],
        "notes": [*map(worded, run.notes)],
        "noise": _noise(run.noise),
        "capacity": _capacity(run.capacity),
        "onnxruntime_alone": None if run.alone is None else asdict(run.alone),
        "nodes": _nodes(run),
    }


def _variant(variant: ModelVariant) -> JsonObject:
    return {
        "name": variant.name,
        "origin": variant.origin,
        "model_file": variant.model_file,
        "sha256": variant.sha256 or None,
        "measured": variant.refused is None,
        "refused": None if variant.refused is None else worded(variant.refused),
        "outputs": [
            {
                **asdict(found),
                "max_difference_ratio": found.max_ratio,
                "mean_difference_ratio": found.mean_ratio,
            }
            for found in variant.outputs
        ],
    }


def _failed(failed: FailedWindows) -> JsonObject:
    return {
        "config_name": failed.config_name,
        "concurrency": failed.load.concurrency,
        "client_batch_size": failed.load.client_batch_size,
        "windows": failed.window_count,
        "failed_on_own_account": failed.variant_count,
        "failed_otherwise": failed.other_count,
        "reason": failed.reason,
    }


def _ratios(comparison: Comparison | None) -> JsonObject | None:
    if comparison is None:
        return None
    return {
        "throughput_ratio": asdict(comparison.throughput_ratio),
        "latency_p99_ratio": asdict(comparison.latency_p99_ratio),
    }


def _runner_up(found: Confirmation) -> JsonObject | None:
    confirmed = _confirmed(found.runner_up)
    if confirmed is None:
        return None
    relation = found.runner_up_relation
    return {**confirmed, "relation": None if relation is None else relation.verdict}


def _equal_load(found: Confirmation) -> JsonObject | None:
    """Best against default, both at the load of the best; None where `improvement` says that already."""
    ratios = _ratios(found.equal_load)
    if ratios is None or found.equal_load is None or found.best is None:
        return None
    load = found.best.load
    return {
        "concurrency": load.concurrency,
        "client_batch_size": load.client_batch_size,
        **ratios,
        "verdict": found.equal_load.verdict,
        "default": _confirmed(found.default_at_best_load),
    }


def _noise(noise: Noise | None) -> JsonObject | None:
    if noise is None:
        return None
    figures = asdict(noise)
    del figures["load"]
    return {
        "concurrency": noise.load.concurrency,
        "client_batch_size": noise.load.client_batch_size,
        **figures,
        "exceeded": list(noise.exceeded),
    }


def _nodes(run: RunRecord) -> list[JsonObject]:
    """The nodes of a cluster that measured, and what was taken out of the sweep's figures for each."""
    counts = Counter(measurement.node for measurement in run.measurements)
    return [
        {
            "name": effect.node,
            "measurements": counts[effect.node],
            "throughput_ratio": effect.throughput_ratio,
            "latency_p99_ratio": effect.latency_p99_ratio,
            "linked": effect.linked,
        }
        for effect in effects_taken_out(run)
    ]


def _capacity(capacity: Capacity | None) -> JsonObject | None:
    if capacity is None:
        return None
    return {
        "config_name": capacity.config_name,
        "latency_p99_limit_ms": capacity.latency_p99_limit_ms,
        "sustainable_rate_infer_per_s": asdict(capacity.sustainable_rate_infer_per_s),
        "boundary_infer_per_s": None
        if capacity.boundary_infer_per_s is None
        else asdict(capacity.boundary_infer_per_s),
        "client_batch_size": capacity.client_batch_size,
        "arrival_process": "poisson",
        "seed": capacity.seed,
        "points": [_point(point) for point in capacity.points],
    }


def _point(point: RatePoint) -> JsonObject:
    return {
        "rate_infer_per_s": point.rate_infer_per_s,
        "window_count": point.window_count,
        "miss_ratio": asdict(point.miss_ratio),
        "latency_p99_ms": point.latency_p99_ms,
        "feasibility": point.verdict,
    }


def _confirmed(confirmed: ConfirmedVariant | None) -> JsonObject | None:
    if confirmed is None:
        return None
    return {
        **_settings(confirmed.variant, confirmed.load),
        "throughput_infer_per_s": asdict(confirmed.throughput_infer_per_s),
        "latency_p99_ms": asdict(confirmed.latency_p99_ms),
        **_limit(confirmed.feasibility, confirmed.miss_ratio),
        "memory_mb": confirmed.memory_mb,
    }


def _swept_default(run: RunRecord) -> JsonObject | None:
    """The default as the sweep saw it: single measurements have no interval."""
    settings = run.plan.default.settings
    entry = next((entry for entry in run.ranking.ranked if entry.variant.settings == settings), None)
    if entry is None:
        return None
    return {
        **_settings(run.plan.default, entry.load),
        "throughput_infer_per_s": asdict(Estimate(estimate=entry.throughput_infer_per_s)),
        "latency_p99_ms": asdict(Estimate(estimate=entry.latency_p99_ms)),
        **_limit("feasible" if entry.feasible else "infeasible", None),
        "memory_mb": needed_memory_mb(run.measurements, run.plan.default),
    }


def _limit(feasibility: Feasibility, miss_ratio: Estimate | None) -> JsonObject:
    """What is known of the p99 limit; `feasible` is null where it is not decided."""
    return {
        "feasible": None if feasibility == "undecided" else feasibility == "feasible",
        "feasibility": feasibility,
        "miss_ratio": None if miss_ratio is None else asdict(miss_ratio),
    }


def _settings(variant: ModelConfigVariant, load: LoadPoint) -> JsonObject:
    threads = dict(variant.parameters).get(THREADS, "")
    return {**deployed(variant, load), THREADS: int(threads) if threads.isdecimal() else None}
