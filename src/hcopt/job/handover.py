"""A run's report and its entry in MLflow; also again, from its files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hcopt.config.load import load_config
from hcopt.config.sections import Config
from hcopt.deploy.scaling import read_scaling
from hcopt.job.summary import summarize
from hcopt.records.run import RunRecord
from hcopt.report.pages.content import build
from hcopt.report.render.drawings import Drawing, drawn_charts
from hcopt.report.render.html import write_html
from hcopt.report.render.pdf import write_pdf
from hcopt.store.run_folder import RunFolder, read_record, recorded_config
from hcopt.tracking.log import TrackedRun, log_run, promote
from hcopt.tracking.registry import resolve_tracking


def write_report(config: Config, folder: RunFolder, record: RunRecord) -> Mapping[str, Drawing]:
    """Makes a finished run's PDF and its interactive page, or makes them again; returns the charts that they show.

    Raises:
        ConfigError: What `hcopt scale-check` has left in the folder is damaged.
        OutputError: They cannot be made or written.
    """
    language, price = config.report.language, config.report.price_of(record.environment.cpu_model)
    path = _report_path(folder, record)
    drawn, scaling = drawn_charts(record, language=language, in_worker=True), read_scaling(folder.path)
    content = build(record, language=language, price_per_hour=price, scaling=scaling)
    write_pdf(content, drawn, path, in_worker=True)
    write_html(content, drawn, path.with_suffix(".html"))
    return drawn


def _report_path(folder: RunFolder, record: RunRecord) -> Path:
    return folder.report_folder(record.model.name) / "result_summary.pdf"


def log_finished_run(
    config: Config,
    folder: RunFolder,
    record: RunRecord,
    *,
    tracking_uri: str,
    drawn: Mapping[str, Drawing] | None = None,
) -> TrackedRun:
    """Logs a finished run to MLflow and notes in summary.json where it is; again completes what is missing.

    Args:
        config: Of the run.
        folder: Of the run.
        record: The run.
        tracking_uri: The MLflow.
        drawn: Its charts, where its report was written just now.

    Raises:
        OutputError: MLflow does not take it; the results on disk are complete all the same.
    """
    tracked = log_run(
        record,
        tracking_uri=tracking_uri,
        experiment=config.mlflow.experiment,
        artifacts=folder.path,
        config=config,
        part_of=folder.part_of,
        drawn=drawn,
    )
    where = {"tracking_uri": tracked.tracking_uri, "run_id": tracked.run_id}
    folder.write_summary(summarize(record, tracking=where))
    if config.mlflow.promote_alias is None:
        return tracked
    promotion = promote(record, config.mlflow.promote_alias, tracking_uri=tracking_uri, config=config)
    return replace(tracked, promotion=promotion)


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
    record = read_record(folder)
    write_report(_config(folder, overrides), folder, record)
    return _report_path(folder, record)


def _config(folder: RunFolder, overrides: Sequence[str]) -> Config:
    return load_config(overrides=overrides, recorded=recorded_config(folder))
