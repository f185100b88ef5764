"""Downloads a registered model version, or an artifact of a run, from MLflow."""

from __future__ import annotations

import posixpath
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hcopt.config.sections import Config
from hcopt.errors import ModelSourceError
from hcopt.model.download import (
    Fetched,
    fetch_companions,
    fetch_config,
    fetch_examples,
    fetched_from,
)
from hcopt.model.triton_config import CONFIG_FILE
from hcopt.records.model import RegisteredVersion
from hcopt.records.note import Note
from hcopt.services.mlflow import error_code, is_refusal, mlflow_errors
from hcopt.services.mlflow_artifacts import check_readable, list_run_artifacts
from hcopt.services.s3 import open_bucket

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import FileInfo
    from mlflow.entities.model_registry import ModelVersion


def fetch_version(uri: str, root: Path, client: MlflowClient, config: Config) -> Fetched:
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
    location = client.get_model_version_download_uri(name, entry.version)
    check_readable(client, location, f"version {entry.version} of {name}")
    _fetch_location(uri, location, root, config)
    notes = () if (root / CONFIG_FILE).exists() else _fetch_config_of(client, entry, root)
    version = RegisteredVersion(name=name, version=str(entry.version))
    return Fetched(root=root, name=name, version=version.version, registered_version=version, notes=notes)


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


def _fetch_location(uri: str, location: str, root: Path, config: Config) -> None:
    """Fetches the folder in which MLflow keeps a version."""
    if location.startswith("s3://"):
        # A server that does not hand out artifacts itself.
        bucket_name, _, prefix = location.removeprefix("s3://").partition("/")
        from mlflow.environment_variables import MLFLOW_S3_IGNORE_TLS

        ignores: bool = MLFLOW_S3_IGNORE_TLS.get()  # type: ignore[no-untyped-call]
        with open_bucket(bucket_name, config, verifies=not ignores) as bucket:
            for name in bucket.sizes(prefix):
                bucket.fetch(posixpath.join(prefix, name), root / name)
        return
    import mlflow.artifacts

    def list_folder(path: str) -> Sequence[FileInfo]:
        return mlflow.artifacts.list_artifacts(artifact_uri=posixpath.join(location, path))

    _download_folder(uri, location, _sizes(list_folder, ""), root)


def _sizes(list_folder: Callable[[str], Sequence[FileInfo]], folder: str) -> dict[str, int]:
    """Size in bytes of every file below a folder, by its path relative to that."""
    sizes: dict[str, int] = {}
    for entry in list_folder(folder):
        # Only the last part: what its path is relative to differs between MLflow's stores.
        name = posixpath.basename(entry.path)
        if name in ("", ".", "..") or "\\" in name or "\0" in name:
            raise ModelSourceError(
                f"MLflow lists {entry.path!r}, which leads out of its folder: nothing of it is downloaded",
                remedy="Remove this artifact, or register the model again.",
            )
        if entry.is_dir:
            below = _sizes(list_folder, posixpath.join(folder, name))
            sizes |= {posixpath.join(name, path): size_bytes for path, size_bytes in below.items()}
        else:
            sizes[name] = entry.file_size or 0
    return sizes


def _download_folder(uri: str, artifact_uri: str, sizes: Mapping[str, int], target: Path) -> None:
    """Downloads a folder whole or not at all: of what it cannot get, MLflow says little or nothing."""
    needed_bytes, free_bytes = sum(sizes.values()), shutil.disk_usage(target).free
    if needed_bytes > free_bytes:
        raise ModelSourceError(
            f"no room on the disk for {uri}: it has {needed_bytes} bytes, and {free_bytes} are free in {target.parent}",
            remedy="Free some space.",
        )
    if sizes:
        _download(artifact_uri, target)
    for name, size_bytes in sizes.items():
        there_bytes = (target / name).stat().st_size if (target / name).is_file() else 0
        if there_bytes < size_bytes:
            raise ModelSourceError(
                f"{uri}: {name} did not come whole ({there_bytes} of {size_bytes} bytes)",
                remedy="Run again; where it stays so, the log of the MLflow server says why.",
            )


def _download(artifact_uri: str, target: Path) -> None:
    """Downloads a file or folder to `target`, which may be an empty folder."""
    import mlflow.artifacts

    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        arrived = Path(mlflow.artifacts.download_artifacts(artifact_uri=artifact_uri, dst_path=scratch))
        arrived.rename(target)


def _fetch_config_of(client: MlflowClient, entry: ModelVersion, root: Path) -> tuple[Note, ...]:
    """Fetches the config.pbtxt that lies with a version's run; says so where that may not be read."""
    if not entry.run_id:
        return ()
    try:
        _fetch_config(client, entry.run_id, _logged_name(client, entry.source or ""), root)
    except mlflow_errors() as error:
        if not is_refusal(error):
            raise
        return (Note.of("run_not_readable", run_id=entry.run_id),)
    return ()


def _logged_name(client: MlflowClient, source: str) -> str:
    """The name under which the run logged the model that a version was made from."""
    if source.startswith("models:/m-"):
        return str(client.get_logged_model(source.removeprefix("models:/")).name)
    return PurePosixPath(source).name


def _fetch_config(client: MlflowClient, run_id: str, folder: str, root: Path) -> None:
    """Fetches the config.pbtxt that a run logged beside the model: under the same name, or one folder up."""
    from mlflow.exceptions import MlflowException

    fetch_if_there = _fetcher(client, run_id)
    try:
        if not fetch_config(folder, root.parent, fetch_if_there):
            fetch_config(posixpath.dirname(folder), root.parent, fetch_if_there)
    except MlflowException as error:
        _pass_unless_absent(error)  # the run was deleted, its model was not


def _fetcher(client: MlflowClient, run_id: str) -> Callable[[str, Path], bool]:
    """Gets one artifact of a run by its path; False where there is none."""

    def fetch_if_there(wanted: str, target: Path) -> bool:
        folder = posixpath.dirname(wanted)
        there = any(entry.path == wanted for entry in list_run_artifacts(client, run_id, folder or None))
        if there:
            target.parent.mkdir(parents=True, exist_ok=True)
            _download(f"runs:/{run_id}/{wanted}", target)
        return there

    return fetch_if_there


def fetch_run_path(uri: str, root: Path, client: MlflowClient) -> Fetched:
    """Fetches `runs:/ID/path`, where the path is a model's folder or an ONNX file.

    Raises:
        ModelSourceError: Not such a URI, no such run or artifact, or not all of it came.
    """
    from mlflow.exceptions import MlflowException

    match = re.fullmatch(r"runs:/([^/]+)/(.+?)/*", uri)
    if match is None:
        raise ModelSourceError(f"{uri!r} names no artifact of a run", remedy="Give runs:/RUN_ID/path.")
    run_id, path = match.groups()
    try:
        client.get_run(run_id)
    except MlflowException as error:
        _pass_unless_absent(error)
        raise ModelSourceError(f"MLflow has no run {run_id!r}", remedy="Correct model.uri.") from error
    sizes = _sizes(lambda folder: list_run_artifacts(client, run_id, posixpath.join(path, folder).rstrip("/")), "")
    if not sizes:
        return _fetch_run_file(uri, run_id, path, root, client)
    _download_folder(uri, f"runs:/{run_id}/{path}", sizes, root)
    if CONFIG_FILE not in sizes:
        _fetch_config(client, run_id, path, root)
    fetch_examples(path, root, _fetcher(client, run_id))
    return fetched_from(PurePosixPath(path), root, is_file=False, version=run_id)


def _fetch_run_file(uri: str, run_id: str, path: str, root: Path, client: MlflowClient) -> Fetched:
    fetch_if_there = _fetcher(client, run_id)
    name = posixpath.basename(path)
    if not fetch_if_there(path, root / name):
        top = ", ".join(entry.path for entry in list_run_artifacts(client, run_id)) or "nothing"
        raise ModelSourceError(f"there is no artifact {uri}; the run has: {top}", remedy="Correct model.uri.")
    fetch_companions(path, root, fetch_if_there)
    return fetched_from(PurePosixPath(path), root, is_file=True, version=run_id)
