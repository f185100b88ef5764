"""A finished run becomes summary.json, the file for machines. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from hcopt.schema import (
    ConfirmedVariant,
    Estimate,
    JsonObject,
    LoadPoint,
    ModelConfigVariant,
    RunRecord,
)

SCHEMA_VERSION = 1


def summarize(run: RunRecord, *, tracking: Mapping[str, str] | None) -> JsonObject:
    """The content of summary.json.

    Args:
        run: The run.
        tracking: `tracking_uri` and `run_id` of the MLflow run, or None where it has not been logged.
    """
    failed = sum(1 for measurement in run.measurements if measurement.error is not None)
    planned = run.plan.measurement_count + sum(1 for m in run.measurements if m.phase == "confirmation")
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.run_id,
        "started_at": run.started_at,
        "command": run.command,
        "environment": asdict(run.environment),
        "measurements": {"planned": planned, "done": len(run.measurements) - failed, "failed": failed},
        "elapsed_s": sum(run.elapsed_s.values()),
        "elapsed_phases_s": dict(run.elapsed_s),
        "mlflow": dict(tracking) if tracking else None,
        "models": [_model(run)],
    }


def _model(run: RunRecord) -> JsonObject:
    found = run.confirmation
    improvement = found.improvement
    return {
        "model": {
            "name": run.model.name,
            "source_uri": run.model.source_uri,
            "version": run.model.version,
            "sha256": run.model.sha256,
        },
        "latency_p99_limit_ms": run.ranking.latency_p99_limit_ms,
        "default": _confirmed(found.default) or _swept_default(run),
        "best": _confirmed(found.best),
        "runner_up": _confirmed(found.runner_up),
        "improvement": None
        if improvement is None or not _ratio_holds(run)
        else {
            "throughput_ratio": _estimate(improvement.throughput_ratio),
            "latency_p99_ratio": _estimate(improvement.latency_p99_ratio),
        },
        "verdict": found.verdict,
        "reason": found.reason,
        "runner_up_relation": None if found.runner_up_relation is None else found.runner_up_relation.verdict,
        "blocks": found.block_count,
        "notes": [note.en for note in run.notes],
        # Filled by the noise gate and the open-loop check, which this version does not have yet.
        "noise": None,
        "capacity": None,
    }


def _ratio_holds(run: RunRecord) -> bool:
    """A default that misses the limit has no throughput to compare with."""
    default = run.confirmation.default
    return default is not None and default.feasible


def _confirmed(confirmed: ConfirmedVariant | None) -> JsonObject | None:
    if confirmed is None:
        return None
    return {
        **_settings(confirmed.variant, confirmed.load),
        "throughput_infer_per_s": _estimate(confirmed.throughput_infer_per_s),
        "latency_p99_ms": _estimate(confirmed.latency_p99_ms),
        "feasible": confirmed.feasible,
    }


def _swept_default(run: RunRecord) -> JsonObject | None:
    """The default as the sweep saw it: single measurements have no interval."""
    settings = run.plan.default.settings
    entry = next((entry for entry in run.ranking.ranked if entry.variant.settings == settings), None)
    if entry is None:
        return None
    return {
        **_settings(run.plan.default, entry.load),
        "throughput_infer_per_s": _estimate(Estimate(estimate=entry.throughput_infer_per_s)),
        "latency_p99_ms": _estimate(Estimate(estimate=entry.latency_p99_ms)),
        "feasible": entry.feasible,
    }


def _settings(variant: ModelConfigVariant, load: LoadPoint) -> JsonObject:
    return {
        "config_name": variant.config_name,
        "max_batch_size": variant.max_batch_size,
        "instance_count": variant.instance_count,
        "max_queue_delay_us": variant.max_queue_delay_us,
        "intra_op_thread_count": _number(dict(variant.parameters).get("intra_op_thread_count")),
        "concurrency": load.concurrency,
        "client_batch_size": load.client_batch_size,
    }


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _estimate(value: Estimate) -> JsonObject:
    return {"estimate": value.estimate, "ci_low": value.ci_low, "ci_high": value.ci_high}
