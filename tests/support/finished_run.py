"""A finished run as its files: what `hcopt log`, `hcopt report` and all that reads a run go by."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hcopt.config.sections import Config
from hcopt.job.summary import summarize
from hcopt.records.run import RunRecord
from hcopt.store.decisions import DecisionLog
from hcopt.store.measurements import MeasurementLog
from hcopt.store.run_folder import RunFolder, new_run, record_json
from tests.support.records import model_artifact, run_record


def write_finished_run(results: Path, config: Config, record: RunRecord | None = None) -> RunFolder:
    """Writes one under `results`, as the latest; without a record its model comes from no registry."""
    folder = new_run(results)
    given = record or run_record(model=model_artifact(registered_version=None))
    record = replace(given, run_id=folder.run_id, folder=folder.path)
    log = MeasurementLog(folder.path)
    for measurement in record.measurements:
        log.append(measurement)
    decisions = DecisionLog(folder.path)
    for decision in record.decisions:
        decisions.append(decision)
    state = {"config": config.model_dump(mode="json"), "record": record_json(record)}
    folder.write_state("finished", state)
    folder.write_summary(summarize(record, tracking=None))
    folder.show_as_latest()
    return folder


def make_older(folder: RunFolder) -> None:
    """Rewrites a run's record as hcopt wrote it before it judged the limit by the share of slow requests."""
    state = json.loads((folder.path / "run.json").read_text(encoding="utf-8"))
    record = state.pop("record")
    for key in ("noise", "capacity"):
        del record[key]
    found = record["confirmation"]
    for key in ("look_count", "equal_load", "default_at_best_load"):
        del found[key]
    for side in (found["best"], found["default"], found["runner_up"]):
        side["feasible"] = side.pop("feasibility") == "feasible"
        del side["miss_ratio"]
    folder.write_state("finished", {"config": state["config"], "record": record})
