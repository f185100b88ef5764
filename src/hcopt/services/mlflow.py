"""A connection to MLflow: silent, quick to notice that nobody answers, with errors of hcopt's own.

What is stored there is the business of `model/from_mlflow.py` and `tracking/`.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from hcopt.config.sections import Config
from hcopt.errors import HcoptError, OutputError
from hcopt.records.json import JsonObject
from hcopt.services.mlflow_database import Allowed, is_database, open_databases
from hcopt.services.refused import RefusedError
from hcopt.services.s3 import explain_s3_error, is_s3_refusal, s3_errors
from hcopt.system.environ import environment_variable, temporary_environ
from hcopt.system.process import temporary_folder
from hcopt.system.redaction import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from requests import Response

# The first that has aliases, and whose model registry and runs are those of today.
_OLDEST_SERVER = (2, 3)
# MLflow's own are 7 retries with growing pauses and 120 s each: minutes before it says that nobody answers.
_PROBE_SETTINGS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
_WORK_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    # A server with artifacts in S3 sends clients there by signed URLs. Those name S3 as that server reaches it, in
    # containers by a name that nobody else knows, and the client tries each file for six minutes. So: by the server.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}
_SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@contextmanager
def mlflow_session(
    tracking_uri: str, *, error: type[HcoptError], config: Config | None = None, writes: bool = False
) -> Iterator[MlflowClient]:
    """A client of an MLflow that answers; what MLflow raises inside the context is raised as an `error`.

    While the context lasts, the process's environment points at this MLflow, because parts of MLflow's client look
    there and nowhere else.

    Args:
        tracking_uri: A server's URL, perhaps with user name and password, or a database URI.
        error: What failures are raised as.
        config: How to log in, whom to trust, and how S3 is reached where MLflow leaves its artifacts to that.
        writes: Whether the caller writes to it. Who only reads makes no database where there is none.

    Raises:
        HcoptError: As `error`: unreachable, refused, a database of another MLflow's schema, or whatever fails inside
            the context.
    """
    uri, _ = _without_login(tracking_uri)
    settings = _environ_of(tracking_uri, config or Config())
    with _own_temporary_files(), temporary_environ(settings, defaults={**_SILENCE, **_WORK_SETTINGS}), _silence():
        try:
            yield _connect(uri, config, writes=writes)
        except HcoptError:
            raise
        except RefusedError as refused:
            raise error(refused.message, remedy=refused.remedy) from refused
        except mlflow_errors() as failure:
            message, remedy = _explain(failure, uri)
            raise error(message, remedy=remedy) from failure


def ready_database(tracking_uri: str, *, config: Config) -> None:
    """Before anything is measured: tells where a database would be refused in the end, and migrates what may be.

    Raises:
        OutputError: Its schema is that of another MLflow, and hcopt is not to change it.
    """
    with temporary_environ(_environ_of(tracking_uri, config)):
        allowed = _allowed(tracking_uri, config, writes=True)
        if not allowed:
            return
        try:
            # Who does not answer now may do so when there is something to log.
            with _silence(), suppress(OSError, *_database_errors()):
                open_databases(allowed, makes=False)
        except RefusedError as refused:
            raise OutputError(refused.message, remedy=refused.remedy) from refused


def _databases(tracking_uri: str) -> tuple[str, ...]:
    """What a client would open itself: the registry's is another where MLFLOW_REGISTRY_URI says so."""
    registry_uri = environment_variable("MLFLOW_REGISTRY_URI") or tracking_uri
    return tuple(filter(is_database, dict.fromkeys((tracking_uri, registry_uri))))


def _environ_of(tracking_uri: str, config: Config) -> dict[str, str | SecretStr]:
    """What the process's environment says while MLflow is used."""
    uri, login = _without_login(tracking_uri)
    return {**config.dotenv, **_settings(config), "MLFLOW_TRACKING_URI": uri, **login}


@contextmanager
def _own_temporary_files() -> Iterator[None]:
    """MLflow's temporary files go into a folder that even a kill does not leave behind."""
    with temporary_folder() as folder:
        before = tempfile.tempdir
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before


def _without_login(tracking_uri: str) -> tuple[str, dict[str, str]]:
    """A server's URL without its login, and the login as MLflow's variables: so it never gets into messages."""
    parts = urlsplit(tracking_uri)
    if parts.scheme not in ("http", "https") or parts.username is None:
        return tracking_uri, {}
    login = {
        "MLFLOW_TRACKING_USERNAME": unquote(parts.username),
        "MLFLOW_TRACKING_PASSWORD": unquote(parts.password or ""),
    }
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), login


def _settings(config: Config) -> dict[str, str]:
    """The configuration as the variables of MLflow and boto3."""
    settings = {
        "MLFLOW_TRACKING_SERVER_CERT_PATH": config.mlflow.ca_bundle,
        "MLFLOW_S3_ENDPOINT_URL": config.s3.endpoint_url,
        "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path" if config.s3.path_style else "virtual",
        "AWS_DEFAULT_REGION": config.s3.region,
        "AWS_CA_BUNDLE": config.s3.ca_bundle,
    }
    return {name: value for name, value in settings.items() if value is not None}


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps warnings and log lines of MLflow and what it stands on from the terminal; failures come as exceptions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


def _allowed(tracking_uri: str, config: Config | None, *, writes: bool) -> dict[str, Allowed]:
    """What may be done to each database: hcopt's own is made and migrated as it needs to be, others where asked."""
    asked = config is not None and config.mlflow.migrate_database
    allowed = {}
    for database in _databases(tracking_uri):
        is_it = database == tracking_uri
        own = is_it and config is not None and config.mlflow.tracking_uri is None
        allowed[database] = Allowed(creates=writes and is_it, migrates=asked or own, follows=own)
    return allowed


def _connect(uri: str, config: Config | None, *, writes: bool) -> MlflowClient:
    """Asks once, with little patience, whether anybody is there, before real work begins with more of it."""
    from mlflow import MlflowClient

    open_databases(_allowed(uri, config, writes=writes))
    client = MlflowClient(tracking_uri=uri)
    if asks_server(uri):
        with temporary_environ(_PROBE_SETTINGS):
            _refuse_too_old(uri)
            client.search_experiments(max_results=1)
    return client


def asks_server(tracking_uri: str) -> bool:
    """Whether a client asks a server, and opens no database itself."""
    return urlsplit(tracking_uri).scheme in ("http", "https")


def _refuse_too_old(uri: str) -> None:
    version = server_version(uri)
    if version is not None and tuple(map(int, re.findall("[0-9]+", version)[:2])) < _OLDEST_SERVER:
        oldest = ".".join(map(str, _OLDEST_SERVER))
        raise RefusedError(
            f"MLflow at {without_credentials(uri)} is version {version}, and hcopt needs {oldest} or newer",
            f"Update it to MLflow {oldest} or newer, or give another one as mlflow.tracking_uri or "
            "MLFLOW_TRACKING_URI.",
        )


def server_version(uri: str) -> str | None:
    """The version of the MLflow that serves at an address; None where what answers does not say.

    Raises:
        MlflowException: Nobody answers.
    """
    said = _request(uri, "/version").text.strip()
    return said if re.fullmatch(r"[0-9]+\.[0-9]+[0-9A-Za-z.+-]*", said) else None


def get_json(uri: str, endpoint: str, **params: str) -> JsonObject:
    """What a server answers to a question that MLflow's client does not ask.

    Raises:
        MlflowException: It refuses.
    """
    from mlflow.utils.rest_utils import verify_rest_response

    answer: JsonObject = verify_rest_response(_request(uri, endpoint, **params), endpoint).json()
    return answer


def _request(uri: str, endpoint: str, **params: str) -> Response:
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    creds = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
    answer: Response = http_request(creds, endpoint, "GET", params=params, raise_on_status=False)  # type: ignore[no-untyped-call]
    return answer


def mlflow_errors() -> tuple[type[Exception], ...]:
    """What MLflow's client and what it stands on raise, for an `except`."""
    from mlflow.exceptions import MlflowException

    # OSError includes everything of `requests`.
    return (MlflowException, OSError, *_database_errors(), *s3_errors(), *_store_errors())


def _store_errors() -> tuple[type[Exception], ...]:
    """What the libraries of other places for artifacts raise, of those that are in use."""
    roots = (
        ("google.auth.exceptions", "GoogleAuthError"),
        ("google.api_core.exceptions", "GoogleAPIError"),
        ("azure.core.exceptions", "AzureError"),
        ("paramiko.ssh_exception", "SSHException"),
    )
    return tuple(getattr(sys.modules[module], name) for module, name in roots if module in sys.modules)


def _database_errors() -> tuple[type[Exception], ...]:
    from sqlalchemy.exc import SQLAlchemyError

    return (SQLAlchemyError, ImportError)  # or a database driver that is not installed


def _explain(failure: Exception, uri: str) -> tuple[str, str | None]:
    """What failed, and what to do about it."""
    import sqlalchemy.exc

    where = without_credentials(uri)
    said = _first_line(failure)
    if isinstance(failure, s3_errors()):
        return explain_s3_error(failure, f"the artifacts of MLflow at {where}")
    if is_disk_full(failure):
        return f"no room on the disk: {said}", "Free some space, and run again."
    if isinstance(failure, ImportError):
        return explain_missing_library(failure, where)
    if isinstance(failure, sqlalchemy.exc.SQLAlchemyError):
        return f"MLflow's database {where} fails: {said}", _CORRECT_THE_URI
    return _explain_answer(failure, where, said)


# What has to be imported, what it is for, and what to install.
_LIBRARIES = (
    ("google", "keeps artifacts in Google Cloud Storage (gs://)", "google-cloud-storage"),
    (
        "azure",
        "keeps artifacts in Azure (wasbs://, abfss://)",
        "azure-identity azure-storage-blob azure-storage-file-datalake",
    ),
    ("paramiko", "keeps artifacts on an SFTP server (sftp://)", "paramiko"),
    ("pysftp", "keeps artifacts on an SFTP server (sftp://)", "pysftp"),
    ("psycopg2", "is a PostgreSQL database", "psycopg2-binary"),
    ("MySQLdb", "is a MySQL database", "mysqlclient"),
)


def explain_missing_library(failure: ImportError, where: str) -> tuple[str, str]:
    """Which library is not installed here, as MLflow imports it when it is needed; and how to install it."""
    module = failure.name or ""
    known = (entry for entry in _LIBRARIES if entry[0] == module.partition(".")[0])
    _, what, package = next(known, ("", "needs a library", module or "it"))
    return f"MLflow at {where} {what}, and its library is not installed here: {failure}", f"pip install {package}"


_CORRECT_THE_URI = "Start it, or correct mlflow.tracking_uri in config.yaml or MLFLOW_TRACKING_URI."

_TRUST_IT = "Give the file of its certificate as mlflow.ca_bundle or MLFLOW_TRACKING_SERVER_CERT_PATH."


def _explain_answer(failure: Exception, where: str, said: str) -> tuple[str, str | None]:
    """Tells apart no answer, a refusal, an answer by something else, and an error of MLflow's own."""
    if reason := _unreachable_reason(failure):
        untrusted = "CERTIFICATE_VERIFY_FAILED" in reason
        return f"cannot reach MLflow at {where}: {reason}", _TRUST_IT if untrusted else _CORRECT_THE_URI
    if "Invalid Host header" in said:
        host = urlsplit(where).netloc
        return (
            f"MLflow at {where} refuses the host name {host}",
            f"Start it with --allowed-hosts {host} (or MLFLOW_SERVER_ALLOWED_HOSTS).",
        )
    code = error_code(failure)
    if code in _REFUSALS:
        return (
            f"MLflow at {where} refuses access: {said}",
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.",
        )
    if lacks_endpoint(failure) or "not in a valid JSON format" in said:
        return f"what answers at {where} does not speak this version of MLflow's API: {said}", _CORRECT_THE_URI
    return f"MLflow at {where} failed: {said}", None


def _unreachable_reason(failure: Exception) -> str | None:
    import requests

    causes = [cause for cause in _chain(failure) if isinstance(cause, requests.RequestException)]
    if not causes:
        return None
    if isinstance(causes[0], requests.exceptions.InvalidURL):
        return "this is not a URL"
    reason = re.search(r"\(Caused by (.*)\)", str(causes[0]))
    return without_credentials(reason.group(1) if reason else str(causes[0]))


def _chain(failure: BaseException | None) -> Iterator[BaseException]:
    while failure is not None:
        yield failure
        failure = failure.__cause__ or failure.__context__


def is_disk_full(failure: BaseException) -> bool:
    """Whether it came from a full disk; MLflow's download threads hand that on as text only."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return any(
        (isinstance(cause, OSError) and cause.errno in full) or os.strerror(errno.ENOSPC) in str(cause)
        for cause in _chain(failure)
    )


_REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED")


def is_refusal(failure: Exception) -> bool:
    """Whether MLflow, or S3 behind it, does not let this user do it."""
    return error_code(failure) in _REFUSALS or is_s3_refusal(failure)


def lacks_endpoint(failure: Exception) -> bool:
    """Whether the server does not know what the client asks: it is of an older MLflow, or none."""
    return error_code(failure) == "ENDPOINT_NOT_FOUND"


def error_code(failure: Exception) -> str:
    """MLflow's name of an error, such as RESOURCE_DOES_NOT_EXIST; empty where it has none."""
    return str(getattr(failure, "error_code", ""))


def _first_line(failure: Exception) -> str:
    lines = without_credentials(str(failure)).strip().splitlines() or [type(failure).__name__]
    # MLflow lists failed downloads under a heading.
    return " ".join(lines[:3] if lines[0].endswith(":") else lines[:1])[:400]
