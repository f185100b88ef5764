"""A finished run as its files: what `hcopt log`, `hcopt report` and all that reads a run go by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hcopt.config.sections import Config
from hcopt.job.summary import summarize
from hcopt.records.run import RunRecord
from hcopt.store.decisions import append_decision
from hcopt.store.measurements import append_measurement
from hcopt.store.run_folder import RunFolder, new_run, record_json
from tests.support.records import model_artifact, run_record


def write_finished_run(results: Path, config: Config, record: RunRecord | None = None) -> RunFolder:
    """Writes one under `results`, as the latest; without a record its model comes from no registry."""
    folder = new_run(results)
    given = record or run_record(model=model_artifact(registered_version=None))
    record = replace(given, run_id=folder.run_id, folder=folder.path)
    for measurement in record.measurements:
        append_measurement(folder.path, measurement)
    for decision in record.decisions:
        append_decision(folder.path, decision)
    state = {"config": config.model_dump(mode="json"), "record": record_json(record)}
    folder.write_state("finished", state)
    folder.write_summary(summarize(record, tracking=None))
    folder.show_as_latest()
    return folder
