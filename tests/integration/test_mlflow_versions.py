"""The whole way of a model through a real server of MLflow 2 and of MLflow 3, and artifacts that not everybody sees."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from hcopt.config.sections import Config
from hcopt.doctor.services import look_at_mlflow
from hcopt.errors import HcoptError, ModelSourceError, OutputError
from hcopt.job.plan import seed
from hcopt.model.fetch import fetch_model
from hcopt.records.model import ModelArtifact
from hcopt.services.mlflow import mlflow_session
from hcopt.tracking import log as tracking_log
from hcopt.tracking.last_answer import read_answer
from hcopt.tracking.log import log_run, promote
from hcopt.tracking.registry import SAMPLE_MODEL, SAMPLE_URI, check_tracking
from tests.support.finished_run import write_finished_run
from tests.support.records import model_artifact, run_record
from tests.support.services import MLFLOW_2
from tests.support.serving import serving

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Another folder to each process: it stands for a folder of another machine.
ELSEWHERE = "/proc/self/cwd/artifacts"

LOGGED = Path(__file__).parents[1] / "data" / "mlflow_2.22.1" / "model"


@pytest.fixture(params=["2", "3"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    # They are drawn elsewhere.
    monkeypatch.setattr(tracking_log, "chart_images", lambda *_: {"drawn": b"PNG"})
    return str(request.getfixturevalue("mlflow2_server" if request.param == "2" else "mlflow_server"))


def config_of(server: str, *, model: str = SAMPLE_URI, experiment: str = "hcopt") -> Config:
    return Config.model_validate(
        {"mlflow": {"tracking_uri": server, "experiment": experiment}, "model": {"uri": model}}
    )


def fetch(server: str, uri: str, into: Path) -> ModelArtifact:
    return fetch_model(config_of(server, model=uri), into=into, tracking_uri=server)


@contextmanager
def client_of(server: str) -> Iterator[MlflowClient]:
    with mlflow_session(server, error=OutputError) as client:
        yield client


@pytest.fixture
def bare_server(server: str) -> Iterator[str]:
    """Without the sample model, which other files have too."""
    _remove_sample(server)
    yield server
    _remove_sample(server)


def _remove_sample(server: str) -> None:
    with client_of(server) as client:
        if client.search_registered_models(f"name = '{SAMPLE_MODEL}'"):
            client.delete_registered_model(SAMPLE_MODEL)


def test_server_serves_the_whole_way(bare_server: str, tmp_path: Path) -> None:
    server, config = bare_server, config_of(bare_server, experiment="versions")
    assert seed(config, results=tmp_path) == f"{SAMPLE_URI} in {server}: registered"
    assert seed(config, results=tmp_path).endswith("is there already; nothing was done")
    artifact = fetch(server, SAMPLE_URI, tmp_path / "by-alias")
    assert artifact.config_pbtxt is not None
    assert artifact.input_example is not None
    version = artifact.registered_version
    assert version is not None
    with client_of(server) as client:
        run_id = client.get_model_version(version.name, version.version).run_id
    again = fetch(server, f"runs:/{run_id}/model", tmp_path / "by-run")
    assert (again.sha256, again.config_pbtxt) == (artifact.sha256, artifact.config_pbtxt)

    run = run_record(model=model_artifact(registered_version=version))
    folder = write_finished_run(tmp_path / "results", config, run).path
    check_tracking(server, config=config)
    tracked = log_run(run, tracking_uri=server, experiment="versions", artifacts=folder, config=config)
    assert log_run(run, tracking_uri=server, experiment="versions", artifacts=folder, config=config) == tracked
    said = promote(run, "champion", tracking_uri=server)
    assert said == f"version 1 of {SAMPLE_MODEL} has the alias champion now"
    with client_of(server) as client:
        assert client.get_registered_model(SAMPLE_MODEL).aliases == {"prod": "1", "champion": "1"}
        assert client.get_run(tracked.run_id).info.status == "FINISHED"
    answer = read_answer(version, tracking_uri=server, config=config)
    assert answer is not None
    assert (answer.mlflow_run_id, answer.verdict) == (tracked.run_id, "better")
    assert answer.golden is not None


def test_file_of_a_run_of_mlflow_2_comes_with_what_belongs_to_it(mlflow2_server: str, tmp_path: Path) -> None:
    with client_of(mlflow2_server) as client:
        run_id = client.create_run("0").info.run_id
        client.log_artifacts(run_id, str(LOGGED), "model")
    artifact = fetch(mlflow2_server, f"runs:/{run_id}/model/model.onnx", tmp_path / "into")
    assert len(artifact.files) == 2
    assert artifact.config_pbtxt == (LOGGED / "config.pbtxt").read_text(encoding="utf-8")


def test_uri_of_nothing_is_told(server: str, tmp_path: Path) -> None:
    with client_of(server) as client:
        run_id = client.create_run("0").info.run_id
        client.log_text(run_id, "x", "notes.txt")
    with pytest.raises(ModelSourceError, match="the run has: notes"):
        fetch(server, f"runs:/{run_id}/model", tmp_path / "into")


def test_doctor_names_the_version(server: str, tmp_path: Path) -> None:
    found = look_at_mlflow(config_of(server), tmp_path)
    assert found.status == "ok"
    assert found.said.startswith(f"answers at {server} (MLflow ")


def test_doctor_names_that_of_mlflow_2(mlflow2_server: str, tmp_path: Path) -> None:
    assert look_at_mlflow(config_of(mlflow2_server), tmp_path).said.endswith(f"(MLflow {MLFLOW_2})")


# --- Places that not everybody reaches -------------------------------------------------------------------------------


def experiment_in(server: str, location: str) -> str:
    """The name of a new experiment whose artifacts lie there."""
    with client_of(server) as client:
        client.create_experiment(f"in {location}", artifact_location=location)
    return f"in {location}"


def run_in(client: MlflowClient, experiment: str) -> Run:
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return client.create_run(found.experiment_id)


def test_model_in_a_folder_of_the_server_alone_is_told(server: str, tmp_path: Path) -> None:
    experiment = experiment_in(server, ELSEWHERE)
    with client_of(server) as client:
        run = run_in(client, experiment)
        empty = run_in(client, experiment)
        client.create_registered_model("Elsewhere")
        client.create_model_version("Elsewhere", f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    # What the page of a run does, so that the server writes it.
    upload = f"{server}/ajax-api/2.0/mlflow/upload-artifact"
    sent = requests.post(
        upload, params={"run_uuid": run.info.run_id, "path": "model/model.onnx"}, data=b"x", timeout=60
    )
    assert sent.status_code == 200, sent.text
    for uri in ("models:/Elsewhere/1", f"runs:/{run.info.run_id}/model"):
        with pytest.raises(ModelSourceError, match=f"in the folder {ELSEWHERE}.*which this machine does not") as caught:
            fetch(server, uri, tmp_path / "into")
        assert "--artifacts-destination" in str(caught.value.remedy)
    with pytest.raises(ModelSourceError, match="the run has: nothing"):
        fetch(server, f"runs:/{empty.info.run_id}/model", tmp_path / "into")
    found = look_at_mlflow(config_of(server, experiment=experiment), tmp_path)
    assert (found.status, ELSEWHERE in found.said) == ("warning", True)


@pytest.mark.parametrize(
    "location", [ELSEWHERE, "/proc/hcopt/not/writable", "file:///proc/self/cwd/artifacts", "c:/runs"]
)
def test_folder_of_the_server_alone_is_told_before_anything_is_measured_or_logged(
    server: str, tmp_path: Path, location: str
) -> None:
    location = f"{location}/{tmp_path.name}"
    experiment = experiment_in(server, location)
    config, run = config_of(server, experiment=experiment), run_record(model=model_artifact(registered_version=None))
    for act in (
        lambda: check_tracking(server, config=config),
        lambda: log_run(run, tracking_uri=server, experiment=experiment, artifacts=tmp_path, config=config),
    ):
        with pytest.raises(OutputError, match=f"in the folder {location}.* of its own machine"):
            act()
    assert list(tmp_path.iterdir()) == [], "nothing is left in a folder of the same name"


def test_folder_that_the_server_shares_is_logged_to(server: str, tmp_path: Path) -> None:
    experiment = experiment_in(server, str(tmp_path / "shared"))
    config, run = config_of(server, experiment=experiment), run_record(model=model_artifact(registered_version=None))
    check_tracking(server, config=config)
    assert list(tmp_path.iterdir()) == [], "what was tried does not stay"
    tracked = log_run(run, tracking_uri=server, experiment=experiment, artifacts=tmp_path, config=config)
    folder = tmp_path / "shared" / tracked.run_id / "artifacts"
    assert {path.name for path in folder.iterdir()} == {"charts", "default", "golden"}
    with client_of(server) as client:
        assert "hcopt probe" not in {one.info.run_name for one in client.search_runs([tracked.experiment_id])}
    assert look_at_mlflow(config, tmp_path).status == "ok"


@pytest.mark.parametrize(
    ("location", "library"),
    [
        ("gs://bucket/runs", "google-cloud-storage"),
        ("wasbs://box@account.blob.core.windows.net/runs", "azure-storage-blob"),
        ("abfss://box@account.dfs.core.windows.net/runs", "azure-storage-file-datalake"),
        ("sftp://host/runs", "paramiko"),
        ("oss://bucket/runs", "plugin"),
    ],
)
def test_library_that_a_place_needs_is_named(mlflow2_server: str, tmp_path: Path, location: str, library: str) -> None:
    experiment = experiment_in(mlflow2_server, location)
    config = config_of(mlflow2_server, experiment=experiment)
    with client_of(mlflow2_server) as client:
        run = run_in(client, experiment)
    with pytest.raises(OutputError, match=location.partition(":")[0]) as caught:
        check_tracking(mlflow2_server, config=config)
    assert library in str(caught.value.remedy)
    with pytest.raises(ModelSourceError) as read:
        fetch(mlflow2_server, f"runs:/{run.info.run_id}/model", tmp_path / "into")
    assert "driver" not in read.value.message
    assert library == "plugin" or library in str(read.value.remedy)
    with pytest.raises(HcoptError, match=location.partition(":")[0]):
        look_at_mlflow(config, tmp_path)


@contextmanager
def old_mlflow(version: str) -> Iterator[str]:
    """Answers as a server of that version does to what it does not know."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = version.encode() if self.path == "/version" else b"<!doctype html>"
            self.send_response(200 if self.path == "/version" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("version", ["1.30.1", "2.2.2", "2.0.0rc0"])
def test_server_that_is_too_old_is_named_with_its_version(tmp_path: Path, version: str) -> None:
    with old_mlflow(version) as url:
        for act in (
            lambda: fetch(url, SAMPLE_URI, tmp_path / "into"),
            lambda: seed(config_of(url), results=tmp_path),
            lambda: look_at_mlflow(config_of(url), tmp_path),
            lambda: check_tracking(url, config=config_of(url)),
        ):
            with pytest.raises(HcoptError, match=f"{url} is version {version}, and hcopt needs 2.3 or newer"):
                act()


def test_run_does_not_wait_for_a_server_that_is_not_there_yet() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        check_tracking(url, config=config_of(url))
