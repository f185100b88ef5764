from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml

from hcopt.config.sections import Config, S3Section
from hcopt.errors import ModelSourceError
from hcopt.model.fetch import fetch_model
from hcopt.model.onnx_file import sha256_of
from hcopt.records.model import ModelArtifact
from hcopt.services.mlflow import mlflow_session
from hcopt.tracking.registry import (
    SAMPLE_MODEL,
    SAMPLE_URI,
    default_tracking_uri,
    ensure_experiment,
    seed_sample_model,
)
from tests.support.onnx_models import linear_model, save, save_with_external_data
from tests.support.services import S3Server, free_ports
from tests.support.serving import serving

CONFIG_TEXT = 'name: "HomeCreditDefaultModel"\nmax_batch_size: 16\n'


@pytest.fixture(autouse=True)
def s3_credentials(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    # Nothing of the machine's own configuration, and no question to a cloud about it.
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # What MLflow 3 keeps with a logged model it looks for in the run first, which its server answers with 500.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository as that of the sample model."""
    folder = tmp_path_factory.mktemp("repository")
    save(linear_model(), folder / SAMPLE_MODEL / "1")
    (folder / SAMPLE_MODEL / "config.pbtxt").write_text(CONFIG_TEXT, encoding="utf-8")
    example = {"columns": [f"feature_{number}" for number in range(10)], "data": [[0.5] * 10] * 3}
    (folder / SAMPLE_MODEL / "input_example.json").write_text(json.dumps(example), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def seeded(mlflow_server: str, repository: Path) -> str:
    """The MLflow server with the sample model in it."""
    assert seed_sample_model(mlflow_server, repository, "samples") is True
    return mlflow_server


@pytest.fixture(scope="module")
def sample_run(seeded: str) -> str:
    """The id of the run that logged the sample model."""
    with mlflow_session(seeded, error=ModelSourceError) as client:
        return str(client.get_model_version(SAMPLE_MODEL, "1").run_id)


def fetch(
    uri: str, into: Path, *, tracking_uri: str = "http://127.0.0.1:1", s3: dict[str, Any] | None = None
) -> ModelArtifact:
    config = Config.model_validate(
        {"model": {"uri": uri}, "s3": s3 or {"endpoint_url": os.environ["MLFLOW_S3_ENDPOINT_URL"]}}
    )
    return fetch_model(config, into=into, tracking_uri=tracking_uri)


def refused(uri: str, into: Path, **settings: Any) -> ModelSourceError:
    """The error of a fetch, after a look that nothing of it stayed."""
    with pytest.raises(ModelSourceError) as caught:
        fetch(uri, into, **settings)
    assert not into.exists() or list(into.iterdir()) == []
    assert "test-secret" not in f"{caught.value.message} {caught.value.remedy}"
    return caught.value


def predicted(onnx_file: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": np.ones((2, 10), np.float32)})[0])


def assert_is_sample(artifact: ModelArtifact, repository: Path) -> None:
    assert artifact.sha256 == sha256_of(repository / SAMPLE_MODEL / "1", ["model.onnx"])
    assert (artifact.folder / artifact.onnx_file).is_file()
    assert artifact.config_pbtxt == CONFIG_TEXT
    assert artifact.input_example is not None
    assert artifact.input_example.is_file()


# --- the registry ----------------------------------------------------------------------------------------------------


def test_seeding_again_does_nothing(seeded: str, repository: Path) -> None:
    assert seed_sample_model(seeded, repository, "samples") is False
    with mlflow_session(seeded, error=ModelSourceError) as client:
        assert len(client.search_model_versions(f"name = '{SAMPLE_MODEL}'")) == 1


@pytest.mark.parametrize("uri", [SAMPLE_URI, f"models:/{SAMPLE_MODEL}/1"])
def test_registered_version_comes_whole_by_alias_and_by_number(
    seeded: str, repository: Path, tmp_path: Path, uri: str
) -> None:
    artifact = fetch(uri, tmp_path / "into", tracking_uri=seeded)
    assert_is_sample(artifact, repository)
    assert (artifact.name, artifact.version, artifact.source_uri) == (SAMPLE_MODEL, "1", uri)
    assert artifact.registered_version is not None
    assert artifact.registered_version.version == "1"
    assert [path.name for path in (tmp_path / "into").iterdir()] == [SAMPLE_MODEL]


def test_fetching_again_replaces_the_folder(seeded: str, repository: Path, tmp_path: Path) -> None:
    fetch(SAMPLE_URI, tmp_path, tracking_uri=seeded)
    (tmp_path / SAMPLE_MODEL / "stale.onnx").touch()
    assert_is_sample(fetch(SAMPLE_URI, tmp_path, tracking_uri=seeded), repository)
    assert not (tmp_path / SAMPLE_MODEL / "stale.onnx").exists()


@pytest.mark.parametrize("path", ["model", "model/", "model/model.onnx"])
def test_run_artifact_comes_with_weights_config_and_example(
    seeded: str, sample_run: str, repository: Path, tmp_path: Path, path: str
) -> None:
    artifact = fetch(f"runs:/{sample_run}/{path}", tmp_path, tracking_uri=seeded)
    assert_is_sample(artifact, repository)
    assert (artifact.name, artifact.version, artifact.registered_version) == ("model", sample_run, None)


def test_weights_that_mlflow_put_into_a_file_of_their_own_come_along(mlflow_server: str, tmp_path: Path) -> None:
    original = save(linear_model(outputs=64), tmp_path / "original")
    with mlflow_session(mlflow_server, error=ModelSourceError) as client:
        import mlflow.onnx

        mlflow.onnx.save_model(onnx.load(original), str(tmp_path / "saved"), pip_requirements=["onnxruntime"])
        run = client.create_run(ensure_experiment(client, mlflow_server, "classic"))
        client.log_artifacts(run.info.run_id, str(tmp_path / "saved"), "heavy")
    for path in ("heavy", "heavy/model.onnx"):
        artifact = fetch(f"runs:/{run.info.run_id}/{path}", tmp_path / "into", tracking_uri=mlflow_server)
        assert artifact.files[0] == "model.onnx"
        assert [Path(name).suffix for name in artifact.files[1:]] == [".data"]
        assert np.array_equal(predicted(artifact.folder / "model.onnx"), predicted(original))


def log_classic_run(tracking_uri: str, folder: Path, *, config_at: str | None) -> str:
    """A run whose model and config.pbtxt are plain artifacts, as MLflow 2 and hand-made jobs log them."""
    save_with_external_data(folder / "network")
    (folder / "network" / "MLmodel").write_text(
        yaml.safe_dump({"flavors": {"onnx": {"data": "model.onnx"}}}), encoding="utf-8"
    )
    (folder / "config.pbtxt").write_text(CONFIG_TEXT, encoding="utf-8")
    with mlflow_session(tracking_uri, error=ModelSourceError) as client:
        run = client.create_run(ensure_experiment(client, tracking_uri, "classic"))
        client.log_artifacts(run.info.run_id, str(folder / "network"), "network")
        client.log_artifact(run.info.run_id, str(folder / "config.pbtxt"), config_at)
        client.set_terminated(run.info.run_id)
        return str(run.info.run_id)


@pytest.mark.parametrize("config_at", [None, "network"])
def test_config_that_the_run_logged_beside_a_plain_model_artifact_is_found(
    mlflow_server: str, tmp_path: Path, config_at: str | None
) -> None:
    run_id = log_classic_run(mlflow_server, tmp_path / "logged", config_at=config_at)
    for path in ("network", "network/model.onnx"):
        artifact = fetch(f"runs:/{run_id}/{path}", tmp_path / "into", tracking_uri=mlflow_server)
        assert (artifact.config_pbtxt, artifact.files) == (CONFIG_TEXT, ("model.onnx", "weights.data"))


def test_config_that_the_run_of_a_version_logged_is_found(mlflow_server: str, tmp_path: Path) -> None:
    run_id = log_classic_run(mlflow_server, tmp_path / "logged", config_at=None)
    with mlflow_session(mlflow_server, error=ModelSourceError) as client:
        client.create_registered_model("Classic")
        source = f"{client.get_run(run_id).info.artifact_uri}/network"
        client.create_model_version("Classic", source, run_id=run_id)
    artifact = fetch("models:/Classic/1", tmp_path / "into", tracking_uri=mlflow_server)
    assert (artifact.config_pbtxt, artifact.files) == (CONFIG_TEXT, ("model.onnx", "weights.data"))


def test_version_without_onnx_flavour_is_refused(mlflow_server: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(
        yaml.safe_dump({"flavors": {"python_function": {}, "sklearn": {}}}), encoding="utf-8"
    )
    with mlflow_session(mlflow_server, error=ModelSourceError) as client:
        run = client.create_run(ensure_experiment(client, mlflow_server, "classic"))
        client.log_artifacts(run.info.run_id, str(tmp_path), "forest")
        client.create_registered_model("Forest")
        client.create_model_version("Forest", f"{run.info.artifact_uri}/forest", run_id=run.info.run_id)
    error = refused("models:/Forest/1", tmp_path / "into", tracking_uri=mlflow_server)
    assert "models:/Forest/1 is an MLflow model without the flavour onnx" in error.message


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("models:/NoSuchModel@prod", f"no registered model 'NoSuchModel'; there are: .*{SAMPLE_MODEL}"),
        (f"models:/{SAMPLE_MODEL}@nope", "has no alias 'nope'; it has: prod"),
        (f"models:/{SAMPLE_MODEL}/7", "has no version 7; it has: 1"),
        (f"models:/{SAMPLE_MODEL}", "names no version of a registered model"),
        (f"models:/{SAMPLE_MODEL}/latest", "names no version of a registered model"),
        ("runs:/0123456789abcdef0123456789abcdef/model", "no run '0123456789abcdef0123456789abcdef'"),
        ("runs:/RUN/nope", "there is no artifact runs:/.*/nope"),
        ("runs:/RUN/model/nope.onnx", r"there is no artifact runs:/.*/model/nope\.onnx"),
        ("runs:/RUN", "names no artifact of a run"),
    ],
)
def test_uri_of_nothing_in_mlflow_is_refused(seeded: str, sample_run: str, tmp_path: Path, uri: str, said: str) -> None:
    error = refused(uri.replace("RUN", sample_run), tmp_path / "into", tracking_uri=seeded)
    assert pytest.raises(ModelSourceError, match=said).matches(error)
    assert error.remedy


def test_unreachable_mlflow_is_refused(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    error = refused(SAMPLE_URI, tmp_path / "into", tracking_uri=f"http://user:test-secret@127.0.0.1:{port}")
    assert f"cannot reach MLflow at http://127.0.0.1:{port}: " in error.message
    assert "MLFLOW_TRACKING_URI" in str(error.remedy)


class Answer(BaseHTTPRequestHandler):
    """Answers everything alike, and keeps the last login that it was shown."""

    status: int
    body: bytes
    seen_login: str | None = None

    def do_POST(self) -> None:
        type(self).seen_login = self.headers.get("Authorization")
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def answering(status: int, body: bytes) -> Iterator[tuple[str, type[Answer]]]:
    handler = type("Handler", (Answer,), {"status": status, "body": body})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with serving(server):
        yield f"127.0.0.1:{server.server_port}", handler


# The bodies are those of MLflow's authentication app and of its security middleware.
@pytest.mark.parametrize(
    ("status", "body", "said", "remedy"),
    [
        (401, b"You are not authenticated.", "refuses access", "MLFLOW_TRACKING_USERNAME"),
        (403, b"Permission denied", "refuses access", "MLFLOW_TRACKING_USERNAME"),
        (403, b"Invalid Host header - possible DNS rebinding attack detected", "refuses the host", "--allowed-hosts"),
        (404, b"<html>nginx</html>", "does not speak", "MLFLOW_TRACKING_URI"),
        (200, b"<html>login</html>", "does not speak", "MLFLOW_TRACKING_URI"),
        (503, b"starting", "cannot reach MLflow", "MLFLOW_TRACKING_URI"),
    ],
)
def test_server_that_refuses_or_is_no_mlflow_is_told_apart(
    tmp_path: Path, status: int, body: bytes, said: str, remedy: str
) -> None:
    with answering(status, body) as (address, handler):
        error = refused(SAMPLE_URI, tmp_path / "into", tracking_uri=f"http://me:test-secret@{address}")
    assert said in error.message
    assert remedy in str(error.remedy)
    assert str(handler.seen_login).startswith("Basic "), "the login of the URL is used"


# --- S3 --------------------------------------------------------------------------------------------------------------


def test_s3_prefix_comes_with_its_newest_version_only(s3_server: S3Server, tmp_path: Path) -> None:
    model = tmp_path / "credit"
    save(linear_model(features=2), model / "2")
    save_with_external_data(model / "10")
    (model / "config.pbtxt").write_text(CONFIG_TEXT, encoding="utf-8")
    uri = s3_server.upload(model, "prefix/credit")
    for form in (uri, f"{uri}/"):
        artifact = fetch(form, tmp_path / "into")
        assert (artifact.name, artifact.version, artifact.config_pbtxt) == ("credit", None, CONFIG_TEXT)
        assert artifact.folder == tmp_path / "into" / "credit" / "10"
        assert artifact.files == ("model.onnx", "weights.data")
        assert not (tmp_path / "into" / "credit" / "2").exists()


@pytest.mark.parametrize("key", ["1/model.onnx", "1"])
@pytest.mark.parametrize("beside", ["1", "."])
def test_s3_key_comes_with_what_belongs_to_it(s3_server: S3Server, tmp_path: Path, key: str, beside: str) -> None:
    model = tmp_path / "scoring"
    save_with_external_data(model / "1", "weights.data")
    (model / beside / "input_example.json").write_text("[]", encoding="utf-8")
    (model / "config.pbtxt").write_text(CONFIG_TEXT, encoding="utf-8")
    uri = s3_server.upload(model, f"keys/{tmp_path.name}/scoring")
    artifact = fetch(f"{uri}/{key}", tmp_path / "into")
    assert (artifact.name, artifact.version, artifact.config_pbtxt) == ("scoring", "1", CONFIG_TEXT)
    assert artifact.files == ("model.onnx", "weights.data")
    assert artifact.input_example == artifact.folder / "input_example.json"
    predicted(artifact.folder / artifact.onnx_file)


def test_s3_key_leaves_its_neighbours_alone(s3_server: S3Server, tmp_path: Path) -> None:
    save(linear_model(), tmp_path / "many", "a.onnx")
    save(linear_model(), tmp_path / "many", "b.onnx")
    uri = s3_server.upload(tmp_path / "many", "many")
    artifact = fetch(f"{uri}/a.onnx", tmp_path / "into")
    assert artifact.name == "a"
    assert [path.name for path in artifact.folder.iterdir()] == ["a.onnx"]
    assert "several ONNX files: a.onnx, b.onnx" in refused(uri, tmp_path / "other").message


def test_s3_object_that_is_not_onnx_is_refused_by_its_uri(s3_server: S3Server, tmp_path: Path) -> None:
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "model.onnx").write_text("<html>", encoding="utf-8")
    uri = s3_server.upload(tmp_path / "page", "page")
    error = refused(uri, tmp_path / "into")
    assert f"{uri}/model.onnx is not an ONNX model" in error.message


def test_s3_external_data_that_leaves_the_folder_is_refused(s3_server: S3Server, tmp_path: Path) -> None:
    save_with_external_data(tmp_path / "model", "../secret", write_data=False)
    (tmp_path / "secret").write_bytes(b"0" * 40)
    uri = f"{s3_server.upload(tmp_path, 'escape')}/model"
    for form in (uri, f"{uri}/model.onnx"):
        assert "not inside the model's folder" in refused(form, tmp_path / "into").message


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, ("SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY")),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, ("InvalidAccessKeyId", "AWS_ACCESS_KEY_ID")),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, ("no credentials", "AWS_ACCESS_KEY_ID")),
        ({"AWS_SECRET_ACCESS_KEY": None}, ("no credentials", "AWS_SECRET_ACCESS_KEY")),
    ],
)
@pytest.mark.parametrize("key", ["prefix", "prefix/model.onnx"])
def test_s3_that_refuses_the_credentials_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str | None],
    expected: tuple[str, str],
    key: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.delenv(name)
        if value is not None:
            monkeypatch.setenv(name, value)
    error = refused(f"s3://models/{key}", tmp_path / "into")
    assert expected[0] in error.message
    assert expected[1] in str(error.remedy)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://no-such-bucket/prefix", "no bucket s3://no-such-bucket"),
        ("s3://no-such-bucket/model.onnx", "no bucket s3://no-such-bucket"),
        ("s3://models/nothing-here", "no object s3://models/nothing-here, and nothing under"),
        ("s3://models/nothing-here/", "no object s3://models/nothing-here/, and nothing under"),
        ("s3://models/nothing-here.onnx", "no object s3://models/nothing-here.onnx"),
    ],
)
def test_s3_uri_of_nothing_is_refused(tmp_path: Path, uri: str, said: str) -> None:
    assert said in refused(uri, tmp_path / "into").message


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:{port}", "not a url"])
def test_s3_that_is_not_there_is_refused(tmp_path: Path, endpoint: str) -> None:
    (port,) = free_ports(1)
    settings = {"endpoint_url": endpoint.format(port=port)}
    assert settings["endpoint_url"] in refused("s3://models/prefix", tmp_path / "into", s3=settings).message


def test_mlflow_that_leaves_artifacts_to_s3_works_both_ways(
    s3_server: S3Server, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = default_tracking_uri(tmp_path / "results")
    with mlflow_session(uri, error=ModelSourceError, writes=True) as client:
        client.create_experiment("direct", artifact_location=f"s3://{s3_server.bucket}/direct")
    # From config.yaml only, so that what is tested is that it gets to MLflow.
    monkeypatch.delenv("MLFLOW_S3_ENDPOINT_URL")
    s3 = {"endpoint_url": s3_server.endpoint_url}
    assert seed_sample_model(uri, repository, "direct", config=Config(s3=S3Section(**s3))) is True
    assert_is_sample(fetch(SAMPLE_URI, tmp_path / "into", tracking_uri=uri, s3=s3), repository)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    assert "SignatureDoesNotMatch" in refused(SAMPLE_URI, tmp_path / "no", tracking_uri=uri, s3=s3).message


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1.5 MB, more than what counts as full."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run([mount, "-t", "tmpfs", "-o", "size=1500k", "none", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine does not allow to mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def abandoned_downloads() -> Iterator[None]:
    """boto3 leaves open what it was reading when it cannot write: cleared away here, not in some later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.usefixtures("abandoned_downloads")
@pytest.mark.parametrize("source", ["s3", "mlflow"])
def test_disk_without_room_is_told(
    s3_server: S3Server, mlflow_server: str, small_disk: Path, tmp_path: Path, source: str
) -> None:
    folder = tmp_path / "large"
    save(linear_model(features=10, outputs=80_000), folder)
    if source == "s3":
        error = refused(s3_server.upload(folder, "large"), small_disk / "into")
    else:
        with mlflow_session(mlflow_server, error=ModelSourceError) as client:
            run = client.create_run(ensure_experiment(client, mlflow_server, "classic"))
            client.log_artifacts(run.info.run_id, str(folder), "large")
            client.create_registered_model("Large")
            client.create_model_version("Large", f"{run.info.artifact_uri}/large", run_id=run.info.run_id)
        error = refused("models:/Large/1", small_disk / "into", tracking_uri=mlflow_server)
    assert "no room on the disk" in error.message
