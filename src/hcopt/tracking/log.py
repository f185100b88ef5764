"""Writes a finished run to MLflow: a parent run, a child run a variant, artifacts, and tags on the model version.

`tracking.values` says what MLflow keeps of a run. A run that is logged again is completed, and nothing is doubled.
"""

from __future__ import annotations

import shlex
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from hcopt.config.sections import Config
from hcopt.errors import OutputError
from hcopt.records.measurement import Measurement
from hcopt.records.model import ModelConfigVariant, RegisteredVersion
from hcopt.records.run import ModelOutcome, RunRecord
from hcopt.services.mlflow import mlflow_session
from hcopt.services.mlflow_artifacts import check_writable
from hcopt.system.redaction import without_credentials
from hcopt.tracking.charts import chart_images
from hcopt.tracking.registry import ensure_experiment
from hcopt.tracking.values import (
    MetricPoint,
    epoch_ms,
    failure_text,
    run_metrics,
    run_params,
    run_tags,
    span_ms,
    variant_metrics,
    variant_params,
    version_tags,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from hcopt.report.render.drawings import Drawing

_RUN_ID_TAG = "hcopt.run_id"
_PARENT_TAG = "mlflow.parentRunId"
_CONFIG_NAME_TAG = "hcopt.config_name"
# MLflow takes 1000 entries and 100 parameters in one request.
_METRICS_A_BATCH = 800
_PARAMS_A_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """Where a run stands in MLflow.

    Attributes:
        tracking_uri: Without a login.
        page_command: The address of the run's page, or the command that shows it where no server runs.
        promotion: What became of the alias that the model version was to get; None where none was asked for.
    """

    tracking_uri: str
    experiment_id: str
    run_id: str
    page_command: str
    promotion: str | None = None


def log_run(
    run: RunRecord,
    *,
    tracking_uri: str,
    experiment: str,
    artifacts: Path,
    config: Config | None = None,
    part_of: str | None = None,
    drawn: Mapping[str, Drawing] | None = None,
) -> TrackedRun:
    """Logs a finished run to MLflow; logged again, it completes what is missing and doubles nothing.

    Args:
        run: The run.
        tracking_uri: The MLflow.
        experiment: The experiment's name; it is made where there is none.
        artifacts: The run's folder with report, summary.json and measurements.jsonl; what is not there is left out.
        config: How MLflow, and S3 where it leaves its artifacts to that, are reached.
        part_of: The run of a batch of models that this one belongs to: it is put under that one's.
        drawn: Its charts, where they have been drawn before in the language of the configuration's report.

    Raises:
        OutputError: MLflow cannot be reached, or does not take it.
    """
    try:
        with mlflow_session(tracking_uri, error=OutputError, config=config, writes=True) as client:
            experiment_id = ensure_experiment(client, tracking_uri, experiment)
            language = (config or Config()).report.language
            whole = None if part_of is None else _parent(client, experiment_id, part_of, run.started_at)
            run_id = _log_parent(client, experiment_id, run, artifacts, language=language, whole=whole, drawn=drawn)
            if run.model.registered_version is not None:
                _tag_version(client, run.model.registered_version, version_tags(run, run_id))
    except OutputError as error:
        again = f"Then log this run with: hcopt log {run.run_id}"
        raise OutputError(error.message, remedy=f"{error.remedy} {again}" if error.remedy else again) from error
    return _tracked(tracking_uri, experiment_id, run_id)


def _tracked(tracking_uri: str, experiment_id: str, run_id: str) -> TrackedRun:
    uri = without_credentials(tracking_uri)
    page = _page_command(uri, experiment_id, run_id)
    return TrackedRun(tracking_uri=uri, experiment_id=experiment_id, run_id=run_id, page_command=page)


def promote(run: RunRecord, alias: str, *, tracking_uri: str, config: Config | None = None) -> str:
    """Gives the run's model version an alias, where the run has proven its best configuration better.

    Returns:
        What became of it: on every other verdict, or where the limit is not shown to hold, it does nothing.

    Raises:
        OutputError: The model came from no registry, or MLflow does not take it.
    """
    best = run.confirmation.best
    if run.confirmation.verdict != "better":
        return f"no version got the alias {alias}: the verdict is {run.confirmation.verdict.replace('_', ' ')}"
    if best is None or not best.feasible:
        return f"no version got the alias {alias}: the best is not shown to keep the latency limit"
    if (variant := run.model.variant_in(best.variant.model_file)) is not None:
        return f"no version got the alias {alias}: the best serves the variant {variant.name}, which is another file"
    version = run.model.registered_version
    if version is None:
        raise OutputError(
            f"{run.model.source_uri} is no version in a registry, so it cannot get the alias {alias!r}",
            remedy="Give model.uri as models:/NAME@alias or models:/NAME/VERSION.",
        )
    with mlflow_session(tracking_uri, error=OutputError, config=config, writes=True) as client:
        client.set_registered_model_alias(version.name, alias, version.version)
    return f"version {version.version} of {version.name} has the alias {alias} now"


def _log_parent(
    client: MlflowClient,
    experiment_id: str,
    run: RunRecord,
    artifacts: Path,
    *,
    language: Literal["ko", "en"],
    whole: Run | None,
    drawn: Mapping[str, Drawing] | None,
) -> str:
    parent = _parent(client, experiment_id, run.run_id, run.started_at)
    run_id = str(parent.info.run_id)
    check_writable(client, parent)
    # Among those of a batch a run is known by its model.
    under = {} if whole is None else {_PARENT_TAG: whole.info.run_id, "mlflow.runName": run.model.name}
    _log_values(client, parent, params=run_params(run), metrics=run_metrics(run), tags={**run_tags(run), **under})
    _log_variants(client, experiment_id, run_id, run)
    _log_artifacts(client, run_id, run, artifacts)
    _log_charts(client, run_id, chart_images(run, language, drawn))
    if parent.info.status == "RUNNING":
        end_ms = epoch_ms(run.started_at) + round(1000 * sum(run.elapsed_s.values()))
        client.set_terminated(run_id, end_time=end_ms)
    return run_id


def _parent(client: MlflowClient, experiment_id: str, hcopt_run_id: str, started_at: str) -> Run:
    """The run in MLflow, made where there is none."""
    found = client.search_runs([experiment_id], f"tags.`{_RUN_ID_TAG}` = '{hcopt_run_id}'", max_results=1)
    if found:
        return found[0]
    tags = {_RUN_ID_TAG: hcopt_run_id}
    return client.create_run(experiment_id, start_time=epoch_ms(started_at), tags=tags, run_name=hcopt_run_id)


def log_batch_run(
    outcomes: Sequence[ModelOutcome],
    *,
    run_id: str,
    started_at: str,
    tracking_uri: str,
    config: Config,
    artifacts: Sequence[Path],
) -> TrackedRun:
    """Logs the run of a batch of models, which those of the models are under; again, it completes what is missing.

    Args:
        outcomes: What became of each model.
        run_id: The whole run.
        started_at: UTC, ISO 8601.
        tracking_uri: The MLflow.
        config: Its experiment, and how it is reached.
        artifacts: Files; one that is not there is left out.

    Raises:
        OutputError: MLflow cannot be reached, or does not take it.
    """
    failed = [outcome.label for outcome in outcomes if outcome.failure is not None]
    with mlflow_session(tracking_uri, error=OutputError, config=config, writes=True) as client:
        experiment_id = ensure_experiment(client, tracking_uri, config.mlflow.experiment)
        parent = _parent(client, experiment_id, run_id, started_at)
        own_id = str(parent.info.run_id)
        check_writable(client, parent)
        metrics = [
            MetricPoint(key=key, value=value, timestamp_ms=epoch_ms(started_at), step=0)
            for key, value in (("models", len(outcomes)), ("models_failed", len(failed)))
        ]
        tags = {"mlflow.source.name": "hcopt", "hcopt.models": ", ".join(outcome.label for outcome in outcomes)}
        tags |= {"hcopt.failed_models": ", ".join(failed)} if failed else {}
        _log_values(client, parent, params={}, metrics=metrics, tags=tags)
        for file in artifacts:
            if file.is_file():
                client.log_artifact(own_id, str(file))
        client.set_terminated(own_id, status="FAILED" if failed else "FINISHED")
    return _tracked(tracking_uri, experiment_id, own_id)


def _log_variants(client: MlflowClient, experiment_id: str, parent_id: str, run: RunRecord) -> None:
    children = _find_children(client, experiment_id, parent_id)
    taken: dict[str, list[Measurement]] = defaultdict(list)
    for measurement in run.measurements:
        taken[measurement.variant.config_name].append(measurement)
    for variant in run.plan.all_variants:
        child, own = children.get(variant.config_name), taken[variant.config_name]
        span = span_ms(own, run.started_at)
        if child is None:
            tags = {_PARENT_TAG: parent_id, _CONFIG_NAME_TAG: variant.config_name}
            child = client.create_run(experiment_id, start_time=span[0], tags=tags, run_name=variant.config_name)
        if child.info.status == "RUNNING":
            metrics = variant_metrics(run.plan, own)
            _log_variant(client, child, variant, metrics, failure=failure_text(own), end_ms=span[1])


def _find_children(client: MlflowClient, experiment_id: str, parent_id: str) -> dict[str, Run]:
    """The child runs that are there already, by the variant's name."""
    children: dict[str, Run] = {}
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], f"tags.`{_PARENT_TAG}` = '{parent_id}'", page_token=token)
        children |= {child.data.tags.get(_CONFIG_NAME_TAG, ""): child for child in page}
        token = page.token
        if not token:
            return children


def _log_variant(
    client: MlflowClient,
    child: Run,
    variant: ModelConfigVariant,
    metrics: Sequence[MetricPoint],
    *,
    failure: str | None,
    end_ms: int,
) -> None:
    """Logs a variant and ends its run: one that has ended is known to be whole."""
    tags = {"mlflow.source.name": "hcopt", **({"hcopt.error": failure} if failure else {})}
    _log_values(client, child, params=variant_params(variant), metrics=metrics, tags=tags)
    client.set_terminated(child.info.run_id, status="FAILED" if failure else "FINISHED", end_time=end_ms)


def _log_values(
    client: MlflowClient,
    target: Run,
    *,
    params: Mapping[str, str],
    metrics: Sequence[MetricPoint],
    tags: Mapping[str, str],
) -> None:
    """Logs in as few requests as MLflow allows; a parameter that is there cannot be set again, and is left."""
    from mlflow.entities import Metric, Param, RunTag

    new_params = [Param(key, value) for key, value in params.items() if key not in target.data.params]
    # The same point twice is one to MLflow, because its time is the measurement's and not the logging's.
    points = [Metric(point.key, point.value, point.timestamp_ms, point.step) for point in metrics]
    client.log_batch(target.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    for start in range(0, len(points), _METRICS_A_BATCH):
        client.log_batch(target.info.run_id, metrics=points[start : start + _METRICS_A_BATCH])
    for start in range(0, len(new_params), _PARAMS_A_BATCH):
        client.log_batch(target.info.run_id, params=new_params[start : start + _PARAMS_A_BATCH])


def _log_artifacts(client: MlflowClient, run_id: str, run: RunRecord, folder: Path) -> None:
    report = folder / "reports" / "summaries" / run.model.name
    for file, place in (
        (report / "result_summary.pdf", "report"),
        (report / "result_summary.html", "report"),
        (folder / "summary.json", None),
        (folder / "measurements.jsonl", None),
    ):
        if file.is_file():
            client.log_artifact(run_id, str(file), place)
    client.log_text(run_id, run.default_config_pbtxt, "default/config.pbtxt")
    if run.best_config_pbtxt is not None:
        client.log_text(run_id, run.best_config_pbtxt, "golden/config.pbtxt")


def _log_charts(client: MlflowClient, run_id: str, images: Mapping[str, bytes]) -> None:
    with TemporaryDirectory() as scratch:
        for name, image in images.items():
            (Path(scratch) / f"{name}.png").write_bytes(image)
        client.log_artifacts(run_id, scratch, "charts")


def _tag_version(client: MlflowClient, version: RegisteredVersion, tags: Mapping[str, str]) -> None:
    """Sets the tags, and takes away those that only an earlier run had (a best configuration that is none now)."""
    before = client.get_model_version(version.name, version.version).tags
    for key, value in tags.items():
        client.set_model_version_tag(version.name, version.version, key, value)
    for key in before:
        if key.startswith("hcopt.") and key not in tags:
            client.delete_model_version_tag(version.name, version.version, key)


def _page_command(uri: str, experiment_id: str, run_id: str) -> str:
    if urlsplit(uri).scheme in ("http", "https"):
        # Without the type, MLflow 3 opens on its pages for language models, where there is no model registry.
        return f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"
    beside_python = Path(sys.executable).parent / "mlflow"
    program = str(beside_python) if beside_python.exists() else "mlflow"
    return shlex.join([program, "ui", "--backend-store-uri", uri, "--port", "5000"])
