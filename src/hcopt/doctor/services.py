"""Probes of services: the Docker Engine with its images and what killed runs left in it, MLflow, and S3."""

from __future__ import annotations

import secrets
from pathlib import Path

from hcopt.config.sections import Config
from hcopt.doctor.findings import Finding, fault, ok, warn
from hcopt.errors import HcoptError, ModelSourceError, RuntimeStartError
from hcopt.services.mlflow import asks_server, mlflow_session, server_version
from hcopt.services.mlflow_artifacts import check_library, is_elsewhere
from hcopt.services.mlflow_database import sqlite_file
from hcopt.services.s3 import Bucket, open_bucket
from hcopt.system.redaction import without_credentials
from hcopt.tracking.registry import artifact_location, looking_only, resolve_tracking
from hcopt.triton.docker.engine import docker_client, docker_errors
from hcopt.triton.docker.images import image_names, missing_images, pull_commands
from hcopt.triton.docker.leftovers import Leftover, find_leftovers, remove_leftovers

_ENGINE_TIMEOUT_S = 5
_PROBE = b"hcopt doctor"


def look_at_docker(config: Config) -> Finding:
    """The Docker Engine."""
    try:
        with (
            docker_client(timeout_s=_ENGINE_TIMEOUT_S) as client,
            docker_errors("the Docker Engine does not say its version"),
        ):
            return ok(f"{client.version()['Version']}, which the runtime docker uses")
    except RuntimeStartError as error:
        return fault(error, "error" if config.runtime.kind == "docker" else "warning")


def look_at_images(config: Config) -> Finding:
    """NVIDIA's images of the configured release."""
    names = image_names(config.runtime.docker.release).both
    with docker_client(timeout_s=_ENGINE_TIMEOUT_S) as client:
        missing = missing_images(client, names)
    if not missing:
        return ok(f"both of release {config.runtime.docker.release}")
    return warn(
        f"the engine lacks {' and '.join(missing)} (over 10 GB)",
        f"{pull_commands(missing)}, or go on with --runtime embedded",
    )


def look_at_leftovers(*, fix: bool) -> Finding:
    """Containers and networks of runs that were killed."""
    with docker_client(timeout_s=_ENGINE_TIMEOUT_S) as client:
        found = remove_leftovers(client) if fix else find_leftovers(client)
    if not found:
        return ok("none of killed runs")
    if fix:
        return ok(f"removed: {_names(found)}")
    return warn(f"of killed runs: {_names(found)}", "hcopt doctor --fix")


def _names(found: tuple[Leftover, ...]) -> str:
    return ", ".join(f"{one.kind} {one.name}" for one in found)


def look_at_mlflow(config: Config, results: Path) -> Finding:
    """The MLflow that a run would read from and log to."""
    store = resolve_tracking(config, results)
    if not store.configured:
        return ok(f"none is configured: a run has its own, in SQLite under {results / 'mlflow'}")
    file = sqlite_file(store.tracking_uri)
    if file is not None and not file.exists():
        return ok(f"{without_credentials(store.tracking_uri)} is not there yet: the first run makes it")
    # The session asks once, before anything else, whether somebody answers and lets us in.
    uri = store.tracking_uri
    with mlflow_session(uri, error=HcoptError, config=looking_only(config, uri)) as client:
        version = server_version(uri) if asks_server(uri) else None
        answers = f"answers at {without_credentials(uri)}{f' (MLflow {version})' if version else ''}"
        location = artifact_location(client, config.mlflow.experiment)
        if location is None or not asks_server(uri):
            return ok(answers)
        check_library(client, location)
        if is_elsewhere(location, uri):
            return warn(
                f"{answers}, and keeps artifacts in the folder {location}, which this machine does not have",
                "Unless the server is this machine: start it with --artifacts-destination and without "
                "--default-artifact-root, and give a new experiment.",
            )
        return ok(answers)


def look_at_s3(config: Config) -> Finding:
    """S3, by an object that is written, read and removed again."""
    wanted = _bucket_of(config.model.uri)
    if wanted is None and config.s3.endpoint_url is None:
        return ok("none is configured, and the model comes from elsewhere")
    where = without_credentials(config.s3.endpoint_url or "AWS")
    with open_bucket(wanted or "", config) as bucket:
        if wanted is not None:
            return _tried(bucket, where)
        names = [entry["Name"] for entry in bucket.client.list_buckets().get("Buckets", ())]
    if not names:
        return warn(f"{where} answers, and has no bucket", "Make one.")
    with open_bucket(names[0], config) as bucket:
        return _tried(bucket, where)


def _bucket_of(uri: str) -> str | None:
    return uri.removeprefix("s3://").partition("/")[0] if uri.startswith("s3://") else None


def _tried(bucket: Bucket, where: str) -> Finding:
    # The listing is what tells a wrong login and a wrong name apart, and what pulling a model needs.
    bucket.client.list_objects_v2(Bucket=bucket.name, MaxKeys=1)
    key = f"hcopt-doctor-{secrets.token_hex(4)}"
    if refusal := bucket.put(key, _PROBE):
        return warn(
            f"s3://{bucket.name} at {where} can be read, not written ({refusal})",
            "That is enough to pull models. MLflow with direct access to its artifacts has to write.",
        )
    try:
        read = bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read()
    finally:
        bucket.client.delete_object(Bucket=bucket.name, Key=key)
    if read != _PROBE:
        raise ModelSourceError(f"s3://{bucket.name} at {where} gives back something else than was written")
    return ok(f"wrote, read and removed an object in s3://{bucket.name} at {where}")
