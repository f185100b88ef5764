"""MLflow and S3 behind logins and TLS, found through .env; S3 that fails now and then; what MLflow 2 has logged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnxruntime
import pytest

from hcopt.config.load import load_config
from hcopt.config.sections import Config
from hcopt.errors import HcoptError, ModelSourceError, OutputError
from hcopt.job.plan import seed
from hcopt.model.fetch import fetch_model
from hcopt.records.model import ModelArtifact
from hcopt.records.note import Note
from hcopt.services.mlflow import mlflow_session
from hcopt.tracking.registry import SAMPLE_MODEL, SAMPLE_URI, ensure_experiment, resolve_tracking
from tests.support.onnx_models import linear_model, save
from tests.support.services import BIN, S3Server, answers, free_ports, running
from tests.support.serving import serving
from tests.support.tls import Certificate, tls_front

PASSWORD = "planted-password-of-mlflow"
MLFLOW_2 = Path(__file__).parents[1] / "data" / "mlflow_2.22.1" / "model"
Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """The configuration that a folder with this .env gives, in an environment that says nothing."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def load_with(*overrides: str, **dotenv: str) -> Config:
        lines = [f"{name}='{value}'\n" for name, value in dotenv.items()]
        (tmp_path / ".env").write_text("".join(lines), encoding="utf-8")
        return load_config(overrides=overrides)

    return load_with


def fetch(config: Config, into: Path) -> ModelArtifact:
    return fetch_model(config, into=into, tracking_uri=resolve_tracking(config, Path("results")).tracking_uri)


def told(error: pytest.ExceptionInfo[HcoptError], *secrets: str) -> str:
    """Everything that an error says, after a look that it keeps secrets."""
    text = f"{error.value.message} {error.value.remedy} {error.value.__cause__}"
    assert not [secret for secret in secrets if secret in text]
    return text


# --- MLflow ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server that wants a login."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "auth.ini").write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{folder}/auth.db\n"
        "admin_username = admin\n"
        f"admin_password = {PASSWORD}\n"
        # To compare a password with its hash takes a tenth of a second, for each request.
        "auth_cache_ttl_seconds = 600\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [str(BIN / "mlflow"), "server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "only for the tests",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with running(command, lambda: answers(f"{url}/health"), log=folder / "mlflow.log", environment=environment):
        yield url


@pytest.fixture
def tls_mlflow(guarded_mlflow: str, certificate: Certificate) -> Iterator[str]:
    """The same behind TLS."""
    with tls_front(urlsplit(guarded_mlflow).port or 0, certificate) as url:
        yield url


def login(url: str, password: str = PASSWORD) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": url,
        "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": password,
    }


def test_mlflow_with_login_and_tls_serves_the_whole_way(
    tls_mlflow: str, certificate: Certificate, load: Load, tmp_path: Path
) -> None:
    config = load(**login(tls_mlflow), MLFLOW_TRACKING_SERVER_CERT_PATH=str(certificate.file))
    before = dict(os.environ)
    assert seed(config, results=tmp_path / "results") == f"{SAMPLE_URI} in {tls_mlflow}: registered"
    artifact = fetch(config, tmp_path / "into")
    assert (artifact.name, artifact.version) == (SAMPLE_MODEL, "1")
    assert dict(os.environ) == before


def test_mlflow_with_an_unknown_certificate_is_told_with_where_to_name_it(
    tls_mlflow: str, load: Load, tmp_path: Path
) -> None:
    with pytest.raises(ModelSourceError) as caught:
        fetch(load(**login(tls_mlflow)), tmp_path / "into")
    text = told(caught, PASSWORD)
    assert f"cannot reach MLflow at {tls_mlflow}" in text
    assert "mlflow.ca_bundle or MLFLOW_TRACKING_SERVER_CERT_PATH" in text


def test_certificate_can_stand_in_the_configuration(tls_mlflow: str, certificate: Certificate, load: Load) -> None:
    config = load(f"mlflow.ca_bundle={certificate.file}", **login(tls_mlflow))
    with mlflow_session(tls_mlflow, error=OutputError, config=config) as client:
        assert client.get_experiment("0").name == "Default"


@pytest.mark.parametrize("wrong", [{"MLFLOW_TRACKING_PASSWORD": "wrong-password"}, {"MLFLOW_TRACKING_USERNAME": ""}])
def test_wrong_or_missing_login_is_told(guarded_mlflow: str, load: Load, tmp_path: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(OutputError) as caught:
        seed(load(**{**login(guarded_mlflow), **wrong}), results=tmp_path)
    text = told(caught, PASSWORD, "wrong-password")
    assert f"MLflow at {guarded_mlflow} refuses access" in text
    assert "MLFLOW_TRACKING_USERNAME" in text


def test_version_whose_run_may_not_be_read_comes_without_its_config_and_says_so(
    guarded_mlflow: str, load: Load, tmp_path: Path
) -> None:
    admin = load(**login(guarded_mlflow))
    with mlflow_session(guarded_mlflow, error=OutputError, config=admin) as client:
        from mlflow.server.auth.client import AuthServiceClient

        experiment = client.create_experiment("closed", artifact_location=str(tmp_path / "artifacts"))
        run_id = client.create_run(experiment).info.run_id
        save(linear_model(), tmp_path / "logged")
        client.log_artifacts(run_id, str(tmp_path / "logged"), "model")
        client.log_artifact(run_id, str(MLFLOW_2 / "config.pbtxt"))
        client.create_registered_model("Closed")
        client.create_model_version("Closed", f"{client.get_run(run_id).info.artifact_uri}/model", run_id=run_id)
        users = AuthServiceClient(guarded_mlflow)
        users.create_user("reader", PASSWORD)
        users.grant_user_permission("reader", "experiment", experiment, "DENY")
    own = {**login(guarded_mlflow), "MLFLOW_TRACKING_USERNAME": "reader"}
    artifact = fetch(load("model.uri=models:/Closed/1", **own), tmp_path / "into")
    assert (artifact.config_pbtxt, artifact.notes) == (None, (Note.of("run_not_readable", run_id=run_id),))
    artifact = fetch(load("model.uri=models:/Closed/1", **login(guarded_mlflow)), tmp_path / "into")
    assert (artifact.config_pbtxt is None, artifact.notes) == (False, ())


def test_login_of_the_environment_wins_over_that_of_dotenv(
    guarded_mlflow: str, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    config = load(**login(guarded_mlflow, "wrong-password"))
    with mlflow_session(guarded_mlflow, error=OutputError, config=config) as client:
        assert client.get_experiment("0").name == "Default"


def test_token_is_sent(load: Load) -> None:
    with http_server(OneModel()) as (url, server):
        config = load(MLFLOW_TRACKING_URI=url, MLFLOW_TRACKING_TOKEN="planted-token")
        with (
            pytest.raises(OutputError) as caught,
            mlflow_session(url, error=OutputError, config=config),
        ):
            pytest.fail("this is no MLflow")
    told(caught, "planted-token")
    assert server.authorizations == {"Bearer planted-token"}


@pytest.mark.parametrize("source", ["models:/{name}/1", "runs:/{run_id}/model", "runs:/{run_id}/model/model.onnx"])
def test_model_that_mlflow_2_has_logged_comes_whole(
    mlflow_server: str, load: Load, tmp_path: Path, source: str, request: pytest.FixtureRequest
) -> None:
    """Its weights are in a file without a suffix, its config.pbtxt beside the model."""
    config, name = load(MLFLOW_TRACKING_URI=mlflow_server), f"MlflowTwo-{abs(hash(request.node.name))}"
    with mlflow_session(mlflow_server, error=OutputError) as client:
        run = client.create_run(ensure_experiment(client, mlflow_server, "mlflow 2"))
        client.log_artifacts(run.info.run_id, str(MLFLOW_2), "model")
        client.create_registered_model(name)
        # MLflow 2 registers the artifact's address; there are no logged models yet.
        client.create_model_version(name, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    uri = source.format(name=name, run_id=run.info.run_id)
    config = config.model_copy(update={"model": config.model.model_copy(update={"uri": uri})})
    artifact = fetch(config, tmp_path / "into")
    assert artifact.config_pbtxt == (MLFLOW_2 / "config.pbtxt").read_text(encoding="utf-8")
    assert artifact.input_example == artifact.folder / "input_example.json"
    assert len(artifact.files) == 2
    original = save(linear_model(outputs=64), tmp_path / "original")
    assert np.array_equal(predicted(artifact.folder / "model.onnx"), predicted(original))


def predicted(onnx_file: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": np.ones((2, 10), np.float32)})[0])


# --- S3 --------------------------------------------------------------------------------------------------------------


def s3_login(server: S3Server, **changes: str) -> dict[str, str]:
    return {
        "MLFLOW_S3_ENDPOINT_URL": server.endpoint_url,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        **changes,
    }


@pytest.fixture(scope="module")
def s3_model(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("secured")
    save(linear_model(), folder / "1")
    return s3_server.upload(folder, "secured/credit")


def test_s3_with_login_of_dotenv_and_tls_gives_the_model(
    s3_server: S3Server, s3_model: str, certificate: Certificate, load: Load, tmp_path: Path
) -> None:
    with tls_front(urlsplit(s3_server.endpoint_url).port or 0, certificate) as url:
        secured = s3_login(s3_server, MLFLOW_S3_ENDPOINT_URL=url)
        with pytest.raises(ModelSourceError) as caught:
            fetch(load(f"model.uri={s3_model}", **secured), tmp_path / "into")
        assert "s3.ca_bundle in config.yaml or AWS_CA_BUNDLE" in told(caught, s3_server.secret_key)
        config = load(f"model.uri={s3_model}", **secured, AWS_CA_BUNDLE=str(certificate.file))
        assert fetch(config, tmp_path / "into").name == "credit"
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ


def test_s3_login_may_stand_in_the_profile_that_dotenv_names(
    s3_server: S3Server, s3_model: str, load: Load, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        f"[team]\naws_access_key_id = {s3_server.access_key}\naws_secret_access_key = {s3_server.secret_key}\n",
        encoding="utf-8",
    )
    config = load(
        f"model.uri={s3_model}",
        AWS_PROFILE="team",
        AWS_SHARED_CREDENTIALS_FILE=str(file),
        MLFLOW_S3_ENDPOINT_URL=s3_server.endpoint_url,
    )
    assert fetch(config, tmp_path / "into").name == "credit"


def test_mlflow_with_direct_artifacts_takes_the_login_of_dotenv(
    s3_server: S3Server, load: Load, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    config = load(**s3_login(s3_server))
    uri = resolve_tracking(config, results).tracking_uri
    with mlflow_session(uri, error=OutputError, writes=True) as client:
        client.create_experiment("hcopt", artifact_location=f"s3://{s3_server.bucket}/by-dotenv")
    assert seed(config, results=results).endswith("registered")
    assert fetch(config, tmp_path / "into").version == "1"
    refused = load(**s3_login(s3_server, AWS_SECRET_ACCESS_KEY="wrong-secret"))
    with pytest.raises(ModelSourceError, match="SignatureDoesNotMatch") as caught:
        fetch(refused, tmp_path / "into")
    told(caught, "wrong-secret", s3_server.secret_key)


def test_s3_that_mlflow_points_to_is_trusted_without_its_certificate_where_mlflow_trusts_it(
    s3_server: S3Server, certificate: Certificate, load: Load, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    with tls_front(urlsplit(s3_server.endpoint_url).port or 0, certificate) as url:
        secured = s3_login(s3_server, MLFLOW_S3_ENDPOINT_URL=url)
        config = load(**secured, MLFLOW_S3_IGNORE_TLS="true")
        uri = resolve_tracking(config, results).tracking_uri
        with mlflow_session(uri, error=OutputError, writes=True) as client:
            client.create_experiment("hcopt", artifact_location=f"s3://{s3_server.bucket}/not-verified")
        assert seed(config, results=results).endswith("registered")
        assert fetch(config, tmp_path / "into").version == "1"
        with pytest.raises(ModelSourceError, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(load(**secured), tmp_path / "into")


@dataclass(kw_only=True)
class OneModel:
    """An S3 server with one object; it fails and lies as it is told to."""

    body: bytes = b""
    failures: int = 0
    sent: bytes | None = None
    changes: bool = False
    authorizations: set[str | None] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.authorizations.add(handler.headers.get("Authorization"))
        self.requests.append(f"{handler.command} {handler.path}")
        status, body = self._content(handler.path)
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("ETag", f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"')
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def _content(self, path: str) -> tuple[int, bytes]:
        if self.failures > 0:
            self.failures -= 1
            return 503, b"<Error><Code>SlowDown</Code></Error>"
        if not path.startswith("/bucket/model.onnx"):
            return 404, b"<Error><Code>NoSuchKey</Code></Error>"
        if self.changes:
            return 200, os.urandom(len(self.body))
        return 200, self.body if self.sent is None else self.sent


@contextmanager
def http_server(model: OneModel) -> Iterator[tuple[str, OneModel]]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            model.answer(self)

        def do_HEAD(self) -> None:
            model.answer(self)

        def do_POST(self) -> None:
            model.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}", model


def from_one_model(load: Load, url: str, *overrides: str) -> Config:
    return load(
        "model.uri=s3://bucket/model.onnx",
        "model.name=m",
        *overrides,
        MLFLOW_S3_ENDPOINT_URL=url,
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="planted-secret",
    )


def test_s3_that_is_busy_is_asked_again(load: Load, tmp_path: Path) -> None:
    body = linear_model().SerializeToString()
    with http_server(OneModel(body=body, failures=2)) as (url, server):
        artifact = fetch(from_one_model(load, url), tmp_path / "into")
    assert (artifact.folder / artifact.onnx_file).read_bytes() == body
    assert server.failures == 0


def test_s3_that_stays_busy_is_given_up(load: Load, tmp_path: Path) -> None:
    with http_server(OneModel(failures=1000)) as (url, server), pytest.raises(ModelSourceError) as caught:
        fetch(from_one_model(load, url), tmp_path / "into")
    assert f"{url} refuses s3://bucket (SlowDown)" in told(caught, "planted-secret")
    assert len(server.requests) == 3


def test_object_that_changed_on_the_way_is_refused_and_nothing_of_it_stays(load: Load, tmp_path: Path) -> None:
    body = linear_model().SerializeToString()
    with (
        http_server(OneModel(body=body, changes=True)) as (url, _),
        pytest.raises(ModelSourceError, match="does not have its ETag's MD5") as caught,
    ):
        fetch(from_one_model(load, url), tmp_path / "into")
    told(caught, "planted-secret")
    assert list((tmp_path / "into").iterdir()) == []


def test_object_that_always_comes_the_same_is_taken_whatever_its_etag_says(load: Load, tmp_path: Path) -> None:
    """To some services an ETag is any 32 digits."""
    model = linear_model().SerializeToString()
    with http_server(OneModel(body=bytes(len(model)), sent=model)) as (url, _):
        artifact = fetch(from_one_model(load, url), tmp_path / "into")
    assert (artifact.folder / artifact.onnx_file).read_bytes() == model


def test_download_over_its_limit_is_given_up(load: Load, tmp_path: Path) -> None:
    body = linear_model().SerializeToString()
    with http_server(OneModel(body=body)) as (url, _), pytest.raises(ModelSourceError, match="longer than 1e-06 s"):
        fetch(from_one_model(load, url, "s3.timeout_s=0.000001"), tmp_path / "into")
    assert list((tmp_path / "into").iterdir()) == []
