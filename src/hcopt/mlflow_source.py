"""A registered model version, or an artifact of a run, out of MLflow into a local folder."""

from __future__ import annotations

import posixpath
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hcopt.config import S3Section
from hcopt.errors import ModelSourceError
from hcopt.fetched import CONFIG, Arrival, Fetched, fetch_companions, name_of
from hcopt.mlflow_session import error_code
from hcopt.s3 import open_bucket
from hcopt.schema import RegisteredVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

_FULL_DISK_BYTES = 1 << 20


def fetch_version(uri: str, arrival: Arrival, client: MlflowClient, s3: S3Section) -> Fetched:
    """Fetches `models:/NAME@alias` or `models:/NAME/VERSION`.

    Raises:
        ModelSourceError: Not such a URI, or no such model, alias or version.
    """
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/([0-9]+))", uri)
    if match is None:
        raise ModelSourceError(
            f"{uri!r} names no version of a registered model", remedy="Give models:/NAME@alias or models:/NAME/VERSION."
        )
    name, alias, number = match.groups()
    entry = _find_version(client, name, alias=alias, number=number)
    _fetch_location(client.get_model_version_download_uri(name, entry.version), arrival, s3)
    if entry.run_id and not (arrival.root / CONFIG).exists():
        _fetch_config(client, entry.run_id, _logged_name(client, entry.source or ""), arrival)
    version = RegisteredVersion(name=name, version=str(entry.version))
    return Fetched(root=arrival.root, name=name, version=version.version, registered_version=version)


def _find_version(client: MlflowClient, name: str, *, alias: str | None, number: str | None) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        _pass_unless_absent(error)
        others = ", ".join(other.name for other in client.search_registered_models(max_results=10)) or "none"
        raise ModelSourceError(
            f"MLflow has no registered model {name!r}; there are: {others}",
            remedy="Register it, or correct model.uri (`hcopt seed` registers the sample model).",
        ) from error
    if alias is not None and alias not in model.aliases:
        aliases = ", ".join(sorted(model.aliases)) or "none"
        raise ModelSourceError(
            f"the registered model {name!r} has no alias {alias!r}; it has: {aliases}",
            remedy=f"Set the alias in MLflow, or give models:/{name}/VERSION.",
        )
    wanted = str(number if alias is None else model.aliases[alias])
    try:
        return client.get_model_version(name, wanted)
    except MlflowException as error:
        _pass_unless_absent(error)
        versions = sorted(int(entry.version) for entry in client.search_model_versions(f"name = '{name}'"))
        raise ModelSourceError(
            f"the registered model {name!r} has no version {wanted}; it has: {', '.join(map(str, versions)) or 'none'}",
            remedy="Correct model.uri.",
        ) from error


def _pass_unless_absent(error: Exception) -> None:
    """Raises every error again but those that say that there is no such thing; a malformed name is none either."""
    if error_code(error) not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
        raise error


def _fetch_location(location: str, arrival: Arrival, s3: S3Section) -> None:
    """Fetches the folder in which MLflow keeps a version."""
    if not location.startswith("s3://"):
        _download(location, arrival.root)
        return
    # A server that does not hand out artifacts itself.
    bucket_name, _, prefix = location.removeprefix("s3://").partition("/")
    with open_bucket(bucket_name, s3) as bucket:
        for name, size_bytes in bucket.sizes(prefix).items():
            bucket.fetch(posixpath.join(prefix, name), arrival.root / name, size_bytes=size_bytes)


def _download(artifact_uri: str, target: Path) -> None:
    """Downloads a file or folder to `target`, which may be an empty folder."""
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        try:
            arrived = Path(mlflow.artifacts.download_artifacts(artifact_uri=artifact_uri, dst_path=scratch))
        except MlflowException as error:
            # The threads that download in pieces keep the reason to themselves.
            free_bytes = shutil.disk_usage(scratch).free
            if free_bytes < _FULL_DISK_BYTES:
                raise ModelSourceError(
                    f"no room on the disk for {artifact_uri}: {free_bytes} bytes are free", remedy="Free some space."
                ) from error
            raise
        if arrived.exists():  # MLflow makes nothing of an empty folder
            arrived.rename(target)


def _logged_name(client: MlflowClient, source: str) -> str:
    """The name under which the run logged the model that a version was made from."""
    if source.startswith("models:/m-"):
        return str(client.get_logged_model(source.removeprefix("models:/")).name)
    return PurePosixPath(source).name


def _fetch_config(client: MlflowClient, run_id: str, folder: str, arrival: Arrival) -> None:
    """Fetches the config.pbtxt that a run logged beside the model: under the same name, or one folder up."""
    from mlflow.exceptions import MlflowException

    for parent in (folder, posixpath.dirname(folder)):
        try:
            there = {entry.path for entry in client.list_artifacts(run_id, parent or None)}
        except MlflowException as error:
            _pass_unless_absent(error)
            return  # the run was deleted, its model was not
        path = posixpath.join(parent, CONFIG)
        if path in there:
            _download(f"runs:/{run_id}/{path}", arrival.beside / CONFIG)
            return


def fetch_run_path(uri: str, arrival: Arrival, client: MlflowClient) -> Fetched:
    """Fetches `runs:/ID/path`, where the path is a model's folder or an ONNX file.

    Raises:
        ModelSourceError: Not such a URI, no such run or artifact, or not all of it came.
    """
    match = re.fullmatch(r"runs:/([^/]+)/(.+?)/*", uri)
    if match is None:
        raise ModelSourceError(f"{uri!r} names no artifact of a run", remedy="Give runs:/RUN_ID/path.")
    run_id, path = match.groups()
    _check_run(client, run_id)
    sizes = _sizes(client, run_id, path)
    if not sizes:
        return _fetch_run_file(uri, run_id, path, arrival, client)
    _download(f"runs:/{run_id}/{path}", arrival.root)
    _check_sizes(uri, arrival.root, sizes)
    if CONFIG not in sizes:
        _fetch_config(client, run_id, path, arrival)
    return Fetched(root=arrival.root, name=name_of(PurePosixPath(path)), version=run_id)


def _check_run(client: MlflowClient, run_id: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_run(run_id)
    except MlflowException as error:
        _pass_unless_absent(error)
        raise ModelSourceError(f"MLflow has no run {run_id!r}", remedy="Correct model.uri.") from error


def _sizes(client: MlflowClient, run_id: str, folder: str) -> dict[str, int | None]:
    """Size in bytes, where MLflow knows it, of every file under a run's folder, by name relative to that."""
    sizes: dict[str, int | None] = {}
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            below = _sizes(client, run_id, entry.path)
            sizes |= {posixpath.relpath(posixpath.join(entry.path, name), folder): size for name, size in below.items()}
        else:
            sizes[posixpath.relpath(entry.path, folder)] = entry.file_size
    return sizes


def _check_sizes(uri: str, root: Path, sizes: Mapping[str, int | None]) -> None:
    """MLflow's download of a run's artifacts passes over what it cannot get."""
    for name, size_bytes in sizes.items():
        there = (root / name).stat().st_size if (root / name).is_file() else None
        if there is None or size_bytes not in (None, there):
            raise ModelSourceError(
                f"{uri}: {name} did not come whole ({there or 0} of {size_bytes or 'unknown'} bytes)",
                remedy="Run again; where it stays so, the log of the MLflow server says why.",
            )


def _fetch_run_file(uri: str, run_id: str, path: str, arrival: Arrival, client: MlflowClient) -> Fetched:
    def fetch_if_there(wanted: str, target: Path) -> bool:
        folder = posixpath.dirname(wanted)
        there = any(entry.path == wanted for entry in client.list_artifacts(run_id, folder or None))
        if there:
            _download(f"runs:/{run_id}/{wanted}", target)
        return there

    name = posixpath.basename(path)
    if not fetch_if_there(path, arrival.root / name):
        top = ", ".join(entry.path for entry in client.list_artifacts(run_id)) or "nothing"
        raise ModelSourceError(f"there is no artifact {uri}; the run has: {top}", remedy="Correct model.uri.")
    fetch_companions(path, arrival, fetch_if_there)
    return Fetched(root=arrival.root, onnx_name=name, name=name_of(PurePosixPath(path)), version=run_id)
