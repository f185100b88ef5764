"""What can be done again with a finished run, from its files alone: its report, and its entry in MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hcopt.config.load import load_config
from hcopt.config.sections import Config
from hcopt.job.run import log_finished_run, write_report
from hcopt.store.run_folder import RunFolder, read_record, recorded_config
from hcopt.tracking.log import TrackedRun
from hcopt.tracking.registry import resolve_tracking


def log_again(folder: RunFolder, overrides: Sequence[str] = ()) -> TrackedRun:
    """Logs a run to the MLflow of its own configuration; what is missing there is completed, and nothing doubled.

    Args:
        folder: The run.
        overrides: `section.key=value` each; they win over what the run was made with.

    Raises:
        ConfigError: The run is not finished, or its files are damaged.
        OutputError: MLflow cannot be reached, or does not take it.
    """
    config = _config(folder, overrides)
    store = resolve_tracking(config, folder.output)
    return log_finished_run(config, folder, read_record(folder), tracking_uri=store.tracking_uri)


def report_again(folder: RunFolder, overrides: Sequence[str] = ()) -> Path:
    """Makes a run's report again; returns where it is.

    Args:
        folder: The run.
        overrides: `section.key=value` each; they win over what the run was made with.

    Raises:
        ConfigError: The run is not finished, or its files are damaged.
        OutputError: The report cannot be made or written.
    """
    return write_report(_config(folder, overrides), folder, read_record(folder))


def _config(folder: RunFolder, overrides: Sequence[str]) -> Config:
    return load_config(overrides=overrides, recorded=recorded_config(folder))
