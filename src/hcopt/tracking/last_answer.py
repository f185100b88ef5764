"""What hcopt has said about a registered model version: the golden configuration and its load, out of MLflow.

A finished run leaves tags on the version and its files with an MLflow run; see `tracking`.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hcopt.config.sections import Config
from hcopt.errors import ModelSourceError
from hcopt.records.json import JsonObject
from hcopt.records.measurement import LoadPoint
from hcopt.records.model import RegisteredVersion
from hcopt.services.mlflow import error_code, mlflow_session
from hcopt.services.mlflow_artifacts import list_run_artifacts
from hcopt.system import finite_json
from hcopt.tracking.values import MLFLOW_RUN_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

_CONFIG = "golden/config.pbtxt"
_SUMMARY = "summary.json"
_REMEDY = "Log the run again (`hcopt log RUN`), profile the version again, or give a run as --baseline."


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionAnswer:
    """The answer of the last run that has profiled a version.

    Attributes:
        mlflow_run_id: Where MLflow keeps it.
        run_id: hcopt's own name of the run.
        verdict: What that run said of its best configuration.
        golden: The golden configuration; None where nothing met the limit.
    """

    mlflow_run_id: str
    run_id: str
    verdict: str
    golden: GoldenAnswer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenAnswer:
    """A golden configuration with its figures; those are of another machine, or of another day on this one.

    Attributes:
        config_pbtxt: Its text.
        config_name: The variant.
        load: Its best load.
        throughput_infer_per_s: Confirmed by the run, at that load; `latency_p99_ms` likewise.
        cpu_model: Of the machine.
        variant: The variant of the model whose file it serves; None where that is the version's own.
    """

    config_pbtxt: str
    config_name: str
    load: LoadPoint
    throughput_infer_per_s: float
    latency_p99_ms: float
    cpu_model: str
    variant: str | None = None


def read_answer(version: RegisteredVersion, *, tracking_uri: str, config: Config) -> VersionAnswer | None:
    """The answer that a version's tags name; None where no run of hcopt has left one.

    Raises:
        ModelSourceError: MLflow cannot be reached, or the tags name what is not there or is damaged.
    """
    with mlflow_session(tracking_uri, error=ModelSourceError, config=config) as client:
        run_id = client.get_model_version(version.name, version.version).tags.get(MLFLOW_RUN_TAG)
        if run_id is None:
            return None
        return _answer(client, run_id, f"version {version.version} of {version.name}")


def _answer(client: MlflowClient, run_id: str, whose: str) -> VersionAnswer:
    summary_text = _text(client, run_id, _SUMMARY, whose)
    try:
        summary = finite_json.loads(summary_text)
        found = summary["models"][0]
        golden = found["best"] and _golden(_text(client, run_id, _CONFIG, whose), summary, found["best"])
        return VersionAnswer(
            mlflow_run_id=run_id, run_id=summary["run_id"], verdict=found["verdict"], golden=golden or None
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ModelSourceError(
            f"the {_SUMMARY} of MLflow run {run_id}, which is to be the answer for {whose}, is damaged: {error!r}",
            remedy=_REMEDY,
        ) from error


def _golden(config_pbtxt: str, summary: JsonObject, best: JsonObject) -> GoldenAnswer:
    # Older runs know of no variants.
    variants, file = summary["models"][0]["model"].get("variants", ()), best.get("model_file")
    return GoldenAnswer(
        config_pbtxt=config_pbtxt,
        config_name=best["config_name"],
        load=LoadPoint(concurrency=best["concurrency"], client_batch_size=best["client_batch_size"]),
        throughput_infer_per_s=float(best["throughput_infer_per_s"]["estimate"]),
        latency_p99_ms=float(best["latency_p99_ms"]["estimate"]),
        cpu_model=summary["environment"]["cpu_model"],
        variant=next((one["name"] for one in variants if one["measured"] and one["model_file"] == file), None),
    )


def _text(client: MlflowClient, run_id: str, path: str, whose: str) -> str:
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    named = f"{whose} names MLflow run {run_id} as hcopt's answer ({MLFLOW_RUN_TAG})"
    try:
        there = {entry.path for entry in list_run_artifacts(client, run_id, posixpath.dirname(path) or None)}
    except MlflowException as error:
        if error_code(error) not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise ModelSourceError(f"{named}, and there is no such run", remedy=_REMEDY) from error
    if path not in there:
        raise ModelSourceError(f"{named}, and that has no {path}", remedy=_REMEDY)
    return str(mlflow.artifacts.load_text(f"runs:/{run_id}/{path}"))
