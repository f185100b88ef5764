"""A finished run as its files: what `hcopt log`, `hcopt report` and all that reads a run go by."""

from __future__ import annotations

from pathlib import Path

from hcopt.config import Config
from hcopt.measurements import MeasurementLog
from hcopt.run_folder import RunFolder, new_run, record_json
from hcopt.summary import summarize
from tests.records import model_artifact, run_record


def write_finished_run(results: Path, config: Config) -> RunFolder:
    """Writes one under `results`, as the latest; its model comes from no registry."""
    folder = new_run(results)
    record = run_record(run_id=folder.run_id, folder=folder.path, model=model_artifact(registered_version=None))
    log = MeasurementLog(folder.path)
    for measurement in record.measurements:
        log.append(measurement)
    state = {"config": config.model_dump(mode="json"), "record": record_json(record)}
    folder.write_state("finished", state)
    folder.write_summary(summarize(record, tracking=None))
    folder.show_as_latest()
    return folder
