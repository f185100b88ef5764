"""Real servers for the integration tests, each started at most once a session: an S3 server and MLflow on top of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from hcopt.system.process import last_lines, service

BIN = Path(sys.executable).parent
BUCKET = "models"
MLFLOW_2 = "2.22.5"
START_LIMIT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running S3 server with one bucket."""

    endpoint_url: str
    access_key: str
    secret_key: str
    bucket: str

    def client(self) -> Any:
        """A client that may do everything."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(connect_timeout=2, retries={"total_max_attempts": 1}),
        )

    def upload(self, folder: Path, prefix: str) -> str:
        """Puts all files of a folder under a prefix; returns its s3:// URI."""
        client = self.client()
        for file in folder.rglob("*"):
            if file.is_file():
                client.upload_file(str(file), self.bucket, f"{prefix}/{file.relative_to(folder).as_posix()}")
        client.close()
        return f"s3://{self.bucket}/{prefix}"

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to use it."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS's S3 server, which stands for MinIO."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "data").mkdir()
    ports = free_ports(8)
    server = S3Server(
        endpoint_url=f"http://127.0.0.1:{ports[0]}",
        access_key="test-access",
        secret_key="test-secret",
        bucket=BUCKET,
    )
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": server.access_key, "secretKey": server.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
    with running(_weed_command(folder, ports), lambda: _make_bucket(server), log=folder / "weed.log", environment={}):
        yield server
    for port in ports:
        for socket_file in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            socket_file.unlink()


def _weed_command(folder: Path, ports: list[int]) -> list[str]:
    s3, s3_grpc, filer, filer_grpc, master, master_grpc, volume, volume_grpc = ports
    return [
        str(BIN / "weed"),
        "server",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-volume.max=10",
        "-s3",
        f"-s3.config={folder / 's3.json'}",
        f"-s3.localSocket={folder / 's3.sock'}",
        f"-filer.localSocket={folder / 'filer.sock'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.port={s3}",
        f"-s3.port.grpc={s3_grpc}",
        f"-filer.port={filer}",
        f"-filer.port.grpc={filer_grpc}",
        f"-master.port={master}",
        f"-master.port.grpc={master_grpc}",
        f"-volume.port={volume}",
        f"-volume.port.grpc={volume_grpc}",
    ]


def _make_bucket(server: S3Server) -> bool:
    client = server.client()
    try:
        client.create_bucket(Bucket=server.bucket)
        # The volumes come up after the S3 port does.
        client.put_object(Bucket=server.bucket, Key="ready", Body=b"ready")
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True


@pytest.fixture(scope="session")
def mlflow_server(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow server with an SQLite store, which hands out artifacts that it keeps in S3."""
    folder = tmp_path_factory.mktemp("mlflow")
    with _mlflow([str(BIN / "mlflow")], folder, f"s3://{s3_server.bucket}/mlflow", s3_server.environment) as url:
        yield url


@pytest.fixture(scope="session")
def mlflow2_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of MLflow 2, which hands out artifacts that it keeps in a folder.

    Its own packages come before those of this environment, which has what else it needs.
    """
    folder = tmp_path_factory.mktemp("mlflow-2")
    packages = folder / "packages"
    install = [BIN / "uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", packages]
    # MLflow 2 imports what SQLAlchemy 2.1 has no more.
    wanted = (f"mlflow=={MLFLOW_2}", f"mlflow-skinny=={MLFLOW_2}", "sqlalchemy==2.0.51")
    subprocess.run([*install, *wanted], check=True, timeout=START_LIMIT_S)
    program = [sys.executable, "-m", "mlflow"]
    with _mlflow(program, folder, str(folder / "artifacts"), {"PYTHONPATH": str(packages)}) as url:
        yield url


@contextmanager
def _mlflow(program: list[str], folder: Path, destination: str, environment: dict[str, str]) -> Iterator[str]:
    """An MLflow server with an SQLite store, which hands out artifacts; its address."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [*program, "server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", destination, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {
        **environment,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with running(command, lambda: answers(f"{url}/health"), log=folder / "mlflow.log", environment=environment):
        yield url


def answers(url: str) -> bool:
    try:
        # No proxy: the environment may name one that knows nothing of this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@contextmanager
def running(
    command: list[str],
    ready: Callable[[], bool],
    *,
    log: Path,
    environment: dict[str, str],
) -> Iterator[None]:
    """Runs a server in its log's folder, and goes on when it is ready."""
    env = {"PATH": os.environ["PATH"], "HOME": str(log.parent), **environment}
    # Nothing that they hold is kept, and SeaweedFS takes up to half a minute to end on its own.
    with service(command, log=log, env=env, cwd=log.parent, grace_s=1) as process:
        deadline = time.monotonic() + START_LIMIT_S
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} is not ready:\n{last_lines(log)}")
            time.sleep(0.2)
        yield


def free_ports(count: int) -> list[int]:
    """So many different ports of 127.0.0.1 that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()
