"""A finished run that capacity can be planned with; its figures are made up and fit those of `records`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hcopt.config.sections import Config
from hcopt.job.summary import summarize
from hcopt.records.measurement import Backend, Environment
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Capacity, Estimate, Feasibility
from hcopt.store.measurements import append_measurement
from hcopt.store.run_folder import RunFolder, new_run, record_json
from tests.support import records
from tests.support.records import rate_point, run_record

# Rate in infer/s, p99 in ms, share of the requests over 50 ms with the bounds of the verdict.
_POINTS: tuple[tuple[float, float, tuple[float, float, float], Feasibility], ...] = (
    (2000.0, 5.6, (0.0, 0.0, 0.0004), "feasible"),
    (3500.0, 8.4, (0.0001, 0.0, 0.0006), "feasible"),
    (4500.0, 13.0, (0.0004, 0.0001, 0.0011), "feasible"),
    (5250.0, 24.0, (0.0018, 0.0009, 0.0033), "feasible"),
    (5800.0, 44.0, (0.0062, 0.0041, 0.0090), "feasible"),
    (6100.0, 83.0, (0.041, 0.029, 0.056), "infeasible"),
)


def capacity(**changes: Any) -> Capacity:
    """Holds at 5,800 infer/s, no longer at 6,100."""
    points = tuple(rate_point(rate, share, p99, verdict, windows=20) for rate, p99, share, verdict in _POINTS)
    found = records.capacity(
        sustainable_rate_infer_per_s=Estimate(estimate=5950.0, ci_low=5800.0, ci_high=6100.0), seed=0, points=points
    )
    return replace(found, **changes)


def planned_record(**changes: Any) -> RunRecord:
    """A run on the embedded server with a capacity; `changes` are those of the record."""
    return run_record(**{"capacity": capacity(), "elapsed_s": {"serve": 6.5, "load": 0.4, "sweep": 148.3}, **changes})


def native_environment() -> Environment:
    """The machine of `planned_record`, with NVIDIA's own backend in Docker."""
    return replace(
        planned_record().environment,
        runtime="docker",
        backend=Backend(name="onnxruntime", implementation="native"),
        triton_version="2.73.0",
        server_image="nvcr.io/nvidia/tritonserver@sha256:" + "ab" * 32,
    )


def write_planned_run(results: Path, **changes: Any) -> RunFolder:
    """Writes it under `results`, as the latest; `changes` are those of the record."""
    folder = new_run(results)
    record = planned_record(run_id=folder.run_id, folder=folder.path, **changes)
    for measurement in record.measurements:
        append_measurement(folder.path, measurement)
    folder.write_state("finished", {"config": Config().model_dump(mode="json"), "record": record_json(record)})
    folder.write_summary(summarize(record, tracking=None))
    folder.show_as_latest()
    return folder
