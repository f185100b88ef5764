"""`hcopt doctor` as a command, and its probes of S3 and the Docker Engine against real ones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hcopt.config.sections import Config, ModelSection, S3Section
from hcopt.doctor.findings import Probe, find
from hcopt.doctor.services import look_at_s3
from hcopt.triton.docker.leftovers import run_labels
from tests.support.command import workplace
from tests.support.services import S3Server, free_ports
from tests.support.serving import serving

if TYPE_CHECKING:
    from docker import DockerClient

NAMES = [
    "Python",
    "platform",
    "CPUs",
    "cores",
    "governor",
    "steal",
    "cgroup",
    "disk",
    "Triton",
    "OpenVINO",
    "perf_analyzer",
    "Model Analyzer",
    "wkhtmltopdf",
    "Docker",
    "MLflow",
    "S3",
]


def test_doctor_says_one_line_each_and_ends_with_1_on_an_error(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    place = workplace(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/docker.sock")
    answer = place.run("doctor", f"--set=mlflow.tracking_uri=http://127.0.0.1:{port}")
    assert (answer.returncode, answer.stderr, answer.left) == (1, "", ())
    lines = answer.stdout.splitlines()
    assert [line[8:23].strip() for line in lines] == NAMES
    statuses = dict(zip(NAMES, (line[:8].strip() for line in lines), strict=True))
    assert statuses["MLflow"] == "error"
    assert statuses["Docker"] == "warning"
    assert {statuses[name] for name in ("Python", "platform", "Triton", "perf_analyzer", "S3")} == {"ok"}
    assert all(("what to do: " in line) == (not line.startswith("ok")) for line in lines)
    assert list(place.folder.iterdir()) == []


def test_doctor_for_machines_is_json_alone_and_ends_with_0_without_errors(tmp_path: Path) -> None:
    place = workplace(tmp_path, DOCKER_HOST=f"unix://{tmp_path}/docker.sock")
    answer = place.run("doctor", "--json")
    assert (answer.returncode, answer.stderr) == (0, ""), answer.stdout
    found = json.loads(answer.stdout)
    assert found["ok"] is True
    assert [entry["name"] for entry in found["findings"]] == NAMES


def test_what_a_killed_run_left_is_told_and_removed(docker_engine: DockerClient, tmp_path: Path) -> None:
    # A process that is gone, and with that the run that it was.
    gone = subprocess.Popen(["true"])
    gone.wait()
    labels = {**run_labels("killed-run"), "hcopt.pid": str(gone.pid), "hcopt.host": socket.gethostname()}
    left, used = "hcopt-test-left-behind", "hcopt-test-still-used"
    try:
        docker_engine.networks.create(left, labels=labels)
        docker_engine.networks.create(used, labels=run_labels("running-run"))
        place = workplace(tmp_path, **{k: v for k, v in os.environ.items() if k == "DOCKER_HOST"})
        told, fixed = (leftovers(place.run("doctor", "--json", *fix).stdout) for fix in ((), ("--fix",)))
        assert (told["status"], told["remedy"]) == ("warning", "hcopt doctor --fix")
        assert f"network {left}" in str(told["said"])
        assert fixed["status"] == "ok"
        assert "removed: " in str(fixed["said"])
        names = {one.name for one in docker_engine.networks.list()}
        assert (left in names, used in names) == (False, True)
    finally:
        for one in docker_engine.networks.list(names=[left, used]):
            one.remove()


def leftovers(stdout: str) -> dict[str, object]:
    (found,) = (entry for entry in json.loads(stdout)["findings"] if entry["name"] == "leftovers")
    return dict(found)


@pytest.fixture
def login(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    return s3_server


def s3(endpoint_url: str, uri: str = "models:/m@prod") -> Probe:
    config = Config(s3=S3Section(endpoint_url=endpoint_url), model=ModelSection(uri=uri))
    return Probe(name="S3", look=lambda: look_at_s3(config))


@pytest.mark.parametrize("uri", ["models:/m@prod", "s3://models/some/model"])
def test_s3_is_written_read_and_cleaned_up(login: S3Server, uri: str) -> None:
    found = find(s3(login.endpoint_url, uri))
    assert (found.status, "s3://models" in found.said) == ("ok", True), found
    client = login.client()
    listed = client.list_objects_v2(Bucket=login.bucket, Prefix="hcopt-doctor")
    client.close()
    assert listed["KeyCount"] == 0


def test_s3_with_a_wrong_login_or_name_is_an_error(login: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = find(s3(login.endpoint_url, "s3://no-such-bucket/m"))
    assert (missing.status, "no bucket s3://no-such-bucket" in missing.said) == ("error", True)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for uri in ("models:/m@prod", "s3://models/m"):
        refused = find(s3(login.endpoint_url, uri))
        assert (refused.status, "refuses the credentials" in refused.said) == ("error", True), refused


@pytest.fixture
def readable_s3() -> Iterator[str]:
    """An S3 server in which nobody may write."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: bytes) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.answer(200, b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>")

        def do_PUT(self) -> None:
            self.answer(403, b"<Error><Code>AccessDenied</Code></Error>")

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


def test_s3_without_the_right_to_write_is_a_warning(login: S3Server, readable_s3: str) -> None:
    found = find(s3(readable_s3, "s3://models/m"))
    assert (found.status, "can be read, not written (AccessDenied)" in found.said) == ("warning", True), found
    nothing = find(s3(readable_s3))
    assert (nothing.status, "has no bucket" in nothing.said) == ("warning", True), nothing
