"""Where MLflow keeps artifacts: among a run's in MLflow 2 and 3 alike, and in folders that not everybody sees.

A server that does not hand out artifacts itself names their place, and each client goes there on its own. Where that is
a folder, it is one of the server's machine: read from elsewhere it is empty, and what is written there nobody finds.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from hcopt.services.mlflow import asks_server, explain_missing_library, get_json, is_disk_full, lacks_endpoint
from hcopt.services.refused import RefusedError
from hcopt.system.files import write_whole_bytes
from hcopt.system.redaction import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import FileInfo, Run
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

_HAND_OUT = (
    "let the server hand out artifacts itself (`mlflow server --artifacts-destination FOLDER`, without "
    "--default-artifact-root)"
)


def local_folder(location: str) -> Path | None:
    """The folder that a location is on some machine; None where it is an address (`s3:`, `mlflow-artifacts:` …)."""
    scheme = urlsplit(location).scheme
    # One letter is a drive of Windows.
    if scheme == "file":
        return Path(url2pathname(urlsplit(location).path))
    return Path(location) if len(scheme) < 2 else None


def is_elsewhere(location: str, tracking_uri: str) -> bool:
    """Whether it is a folder that this machine does not have; a relative one is a server's, where one is asked."""
    folder = local_folder(location)
    if folder is None:
        return False
    return not _exists(folder) or (asks_server(tracking_uri) and not folder.is_absolute())


def _exists(path: Path) -> bool:
    """Whether it is there, as far as this user may see; /root may well be another machine's."""
    try:
        return path.exists()
    except OSError:
        return False


def check_readable(client: MlflowClient, location: str, what: str) -> None:
    """Does nothing where artifacts can be looked for.

    Args:
        client: The MLflow that names the location.
        location: As it names it.
        what: What lies there, for the message.

    Raises:
        RefusedError: It is a folder that this machine does not have.
    """
    if not is_elsewhere(location, client.tracking_uri):
        return
    remedy = "Run hcopt where that folder is, or mount it here under the same path"
    if asks_server(client.tracking_uri):
        remedy += f"; or {_HAND_OUT}, and log it again in a new experiment"
    raise RefusedError(
        f"MLflow at {without_credentials(client.tracking_uri)} keeps {what} in the folder {location}, "
        "which this machine does not have",
        f"{remedy}.",
    )


def list_run_artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> Sequence[FileInfo]:
    """What lies in a folder of a run's artifacts, by its path in them; of MLflow 3 with the models that the run logged.

    Raises:
        RefusedError: There is nothing here, because it is in a folder that this machine does not have.
    """
    from mlflow.exceptions import MlflowException

    run = client.get_run(run_id)
    try:
        found = client.list_artifacts(run_id, folder)
    except MlflowException as error:
        if not lacks_endpoint(error):
            raise
        # The client of MLflow 3 asks for logged models, which MLflow 2 has not.
        found = _repository(client, run.info.artifact_uri).list_artifacts(folder)
    if not found:
        _check_run_readable(client, run)
    return found


def _check_run_readable(client: MlflowClient, run: Run) -> None:
    for output in run.outputs.model_outputs if run.outputs else ():
        check_readable(client, client.get_logged_model(output.model_id).artifact_location, "the run's model")
    root = run.info.artifact_uri
    # A run that has logged nothing has no folder anywhere.
    if asks_server(client.tracking_uri) and is_elsewhere(root, client.tracking_uri) and _seen_by_server(client, run):
        check_readable(client, root, "the run's artifacts")


def check_writable(client: MlflowClient, run: Run) -> None:
    """Does nothing where others will find what this machine logs to a run.

    A folder is looked at through the server, which may be on this machine or share it: a file that is written here has
    to be seen there. The file does not stay.

    Raises:
        RefusedError: Nobody would find it, or the library for such a place is not installed here.
    """
    location = run.info.artifact_uri
    check_library(client, location)
    if local_folder(location) is None or not asks_server(client.tracking_uri) or _is_shared(client, run):
        return
    raise RefusedError(
        f"MLflow at {without_credentials(client.tracking_uri)} keeps artifacts in the folder {location} of its own "
        "machine, and does not see what this machine writes there",
        f"Better {_HAND_OUT}, and give a new experiment as mlflow.experiment, since those that exist keep their "
        "folder; or mount that folder here under the same path.",
    )


def check_library(client: MlflowClient, location: str) -> None:
    """Does nothing where the library that reaches such a location is installed.

    Raises:
        RefusedError: It is not, or MLflow knows no such scheme.
    """
    from mlflow.exceptions import MlflowException

    where = without_credentials(client.tracking_uri)
    try:
        _repository(client, location)
    except ImportError as failure:
        raise RefusedError(*explain_missing_library(failure, where)) from failure
    except MlflowException as failure:
        if "registered artifact repository" not in str(failure):
            raise
        raise RefusedError(
            f"MLflow at {where} keeps artifacts in {without_credentials(location)}, and the MLflow that is installed "
            "here knows no such place",
            f"Install MLflow's plugin for it; or {_HAND_OUT}, and give a new experiment as mlflow.experiment.",
        ) from failure


def _is_shared(client: MlflowClient, run: Run) -> bool:
    folder = local_folder(run.info.artifact_uri)
    if folder is None or not folder.is_absolute():
        return False
    missing = [path for path in (folder, *folder.parents) if not _exists(path)]
    probe = folder / f"hcopt-probe-{secrets.token_hex(4)}"
    try:
        write_whole_bytes(probe, b"")
        return probe.name in _seen_by_server(client, run)
    except OSError as error:
        if is_disk_full(error):
            raise
        return False
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def _seen_by_server(client: MlflowClient, run: Run) -> frozenset[str]:
    """What the server itself finds among a run's artifacts, at their top."""
    answer = get_json(client.tracking_uri, "/api/2.0/mlflow/artifacts/list", run_id=run.info.run_id)
    return frozenset(entry["path"] for entry in answer.get("files", ()))


def _repository(client: MlflowClient, location: str) -> ArtifactRepository:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(location, tracking_uri=client.tracking_uri)
