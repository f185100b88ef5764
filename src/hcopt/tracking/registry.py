"""Which MLflow a job uses, the experiment in it, and the sample model that a job without any configuration pulls."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from hcopt.config.sections import Config
from hcopt.errors import OutputError
from hcopt.services.mlflow import asks_server, error_code, lacks_endpoint, mlflow_errors, mlflow_session
from hcopt.services.mlflow_artifacts import check_library, check_writable, local_folder
from hcopt.services.mlflow_database import sqlite_file
from hcopt.services.mlflow_moved import artifacts_beside

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from pandas import DataFrame  # type: ignore[import-untyped]

SAMPLE_MODEL = "HomeCreditDefaultModel"
SAMPLE_ALIAS = "prod"
SAMPLE_URI = f"models:/{SAMPLE_MODEL}@{SAMPLE_ALIAS}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingStore:
    """The MLflow of a job.

    Attributes:
        tracking_uri: As MLflow takes it; may hold a login.
        configured: False where nobody configured one, and it is hcopt's own under `results/`.
    """

    tracking_uri: str
    configured: bool


def default_tracking_uri(results: Path) -> str:
    """SQLite under `results/mlflow`, for where no MLflow is configured."""
    return f"sqlite:///{results.absolute() / 'mlflow' / 'mlflow.db'}"


def resolve_tracking(config: Config, results: Path) -> TrackingStore:
    """The configured MLflow, else the default one under `results`."""
    if config.mlflow.tracking_uri:
        return TrackingStore(tracking_uri=config.mlflow.tracking_uri, configured=True)
    return TrackingStore(tracking_uri=default_tracking_uri(results), configured=False)


def looking_only(config: Config, tracking_uri: str) -> Config:
    """For a command that promises to write nothing: no database is made or migrated, not even hcopt's own."""
    mlflow = config.mlflow.model_copy(update={"tracking_uri": tracking_uri, "migrate_database": False})
    return config.model_copy(update={"mlflow": mlflow})


def ensure_experiment(client: MlflowClient, tracking_uri: str, name: str) -> str:
    """The id of an experiment, which is made where there is none.

    Raises:
        OutputError: It was deleted, and MLflow keeps the name.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=_artifact_location(tracking_uri)))
        except MlflowException as error:
            if error_code(error) != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # somebody else was quicker
    if found is None or found.lifecycle_stage != "active":
        raise OutputError(
            f"MLflow's experiment {name!r} was deleted, and its name is still taken",
            remedy="Restore it in MLflow, or give another one as mlflow.experiment.",
        )
    return str(found.experiment_id)


def check_tracking(tracking_uri: str, *, config: Config) -> None:
    """Before anything is measured: tells where nobody would find what is logged to a server in the end.

    Makes the experiment, since that has the place; and in a folder, for a moment, a run (see `check_writable`).

    Raises:
        OutputError: The server is too old, what lies there is not seen by others, the library for such a place is not
            installed here, or the experiment was deleted.
    """
    if not asks_server(tracking_uri):
        return
    try:
        with mlflow_session(tracking_uri, error=OutputError, config=config, writes=True) as client:
            experiment_id = ensure_experiment(client, tracking_uri, config.mlflow.experiment)
            location = client.get_experiment(experiment_id).artifact_location
            check_library(client, location)
            if local_folder(location) is not None:
                _try_with_a_run(client, experiment_id)
    except OutputError as failure:
        # Who does not answer now may do so when there is something to log.
        if not isinstance(failure.__cause__, mlflow_errors()):
            raise


def _try_with_a_run(client: MlflowClient, experiment_id: str) -> None:
    run = client.create_run(experiment_id, run_name="hcopt probe", tags={"mlflow.source.name": "hcopt"})
    try:
        check_writable(client, run)
    finally:
        client.delete_run(run.info.run_id)


def artifact_location(client: MlflowClient, experiment: str) -> str | None:
    """Where what is logged to an experiment goes; before there is one, where the default experiment's goes."""
    for name in (experiment, "Default"):
        if (found := client.get_experiment_by_name(name)) is not None:
            return str(found.artifact_location)
    return None


def _artifact_location(tracking_uri: str) -> str | None:
    """Beside an SQLite database, where MLflow's own default is ./mlruns of whoever runs; servers have their own."""
    database = sqlite_file(tracking_uri)
    return str(artifacts_beside(database)) if database else None


def seed_sample_model(tracking_uri: str, repository: Path, experiment: str, *, config: Config | None = None) -> bool:
    """Registers the sample model as a training job would, where MLflow has none with its alias yet.

    Args:
        tracking_uri: The MLflow.
        repository: The Triton model repository with the sample model.
        experiment: The experiment that its run belongs to.
        config: How MLflow, and S3 where it leaves its artifacts to that, are reached.

    Returns:
        Whether it was registered now.

    Raises:
        OutputError: MLflow cannot be reached, or does not take it.
    """
    with mlflow_session(tracking_uri, error=OutputError, config=config, writes=True) as client:
        if _has_sample(client):
            return False
        run = _seeding_run(client, ensure_experiment(client, tracking_uri, experiment))
        number = _registered_by(client, run.info.run_id)
        if number is None:
            check_writable(client, run)
            with tempfile.TemporaryDirectory() as scratch:
                saved = _saved_model(repository / SAMPLE_MODEL, Path(scratch) / "model")
                source, model_id = _log_model(client, run, saved)
            number = _register(client, source, run.info.run_id, model_id)
        client.set_terminated(run.info.run_id)
        # Last, so that an interrupted seeding is not taken for a whole one.
        client.set_registered_model_alias(SAMPLE_MODEL, SAMPLE_ALIAS, number)
        return True


def _seeding_run(client: MlflowClient, experiment_id: str) -> Run:
    """That of a seeding that was interrupted, else a new one."""
    name = f"{SAMPLE_MODEL} sample"
    found = client.search_runs([experiment_id], f"attributes.run_name = '{name}'", max_results=1)
    return found[0] if found else client.create_run(experiment_id, run_name=name, tags={"mlflow.source.name": "hcopt"})


def _registered_by(client: MlflowClient, run_id: str) -> str | None:
    """The version that an interrupted seeding had come to register: then its files are whole."""
    versions = client.search_model_versions(f"name = '{SAMPLE_MODEL}'")
    return next((str(version.version) for version in versions if version.run_id == run_id), None)


def _has_sample(client: MlflowClient) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        client.get_model_version_by_alias(SAMPLE_MODEL, SAMPLE_ALIAS)
    except MlflowException as error:
        if error_code(error) not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return False
    return True


def _saved_model(model: Path, target: Path) -> Path:
    """The model as MLflow saves one, with its config.pbtxt beside it."""
    import mlflow.onnx
    import onnx
    from mlflow.models import infer_signature

    example = _example_rows(model)
    mlflow.onnx.save_model(
        onnx.load(model / "1" / "model.onnx"),
        str(target),
        # In one file, so that its hash is that of the file in the repository; MLflow names others at random.
        save_as_external_data=False,
        # Else MLflow loads the model in a process of its own to find them out, which takes half a minute.
        pip_requirements=[f"{name}=={version(name)}" for name in ("onnx", "onnxruntime")],
        input_example=example,
        signature=infer_signature(example),
    )
    shutil.copy(model / "config.pbtxt", target)
    return target


def _example_rows(model: Path) -> DataFrame:
    """The rows beside the sample model: columns and data, as pandas and MLflow write a table."""
    import pandas as pd

    content = json.loads((model / "input_example.json").read_text(encoding="utf-8"))
    return pd.DataFrame(content["data"], columns=content["columns"], dtype="float32")


def _log_model(client: MlflowClient, run: Run, saved: Path) -> tuple[str, str | None]:
    """Logs a saved model; gives the source for a version, and the model's id."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.exceptions import MlflowException

    run_id = run.info.run_id
    try:
        model = client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run_id)
    except MlflowException as error:
        if not lacks_endpoint(error):
            raise
        # MLflow 2 has a model among its run's artifacts.
        client.log_artifacts(run_id, str(saved), "model")
        return f"{run.info.artifact_uri}/model", None
    client.log_model_artifacts(model.model_id, str(saved))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return str(model.model_uri), str(model.model_id)


def _register(client: MlflowClient, source: str, run_id: str, model_id: str | None) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(SAMPLE_MODEL, description="The sample model of hcopt.")
    except MlflowException as error:
        if error_code(error) != "RESOURCE_ALREADY_EXISTS":
            raise
    return str(client.create_model_version(SAMPLE_MODEL, source, run_id=run_id, model_id=model_id).version)
