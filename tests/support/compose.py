"""docker-compose.yml with the programs of this machine in place of the images that no registry gives here.

Real containers, networks, volumes, health checks, environments and command lines; only what is in the images differs:
an empty root, into which this machine's /usr and virtual environment are mounted. PostgreSQL's entry point, which is
part of its image, is stood for by a script that makes the database in the same way.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.command import REPOSITORY
from tests.support.services import free_ports

if TYPE_CHECKING:
    from docker import DockerClient

IMAGE = "hcopt-test-empty:1"
HEALTHY_LIMIT_S = 600.0
_OWN = ("check", "bucket", "mlflow")
_LINKS = ("bin", "sbin", "lib", "lib64")
_PASSWD = "root:x:0:0::/root:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\nmlflow:x:10001:10001::/tmp:/bin/sh\n"
_POSTGRES = """#!/bin/sh
# As the entry point of the image does it: a database owned by POSTGRES_USER, passwords by SCRAM from everywhere.
set -eu
data=/var/lib/postgresql/data
postgres="setpriv --reuid 999 --regid 999 --clear-groups"
chown 999:999 $data
if [ ! -f $data/PG_VERSION ]; then
  printf %s "$POSTGRES_PASSWORD" | $postgres tee /tmp/password >/dev/null
  $postgres initdb -D $data -U "$POSTGRES_USER" --pwfile=/tmp/password --no-sync $POSTGRES_INITDB_ARGS \\
    --auth-local=trust --auth-host=scram-sha-256 >/dev/null
  rm /tmp/password
  echo "host all all all scram-sha-256" >>$data/pg_hba.conf
  [ "$POSTGRES_DB" = postgres ] || echo "CREATE DATABASE $POSTGRES_DB" | $postgres postgres --single -D $data postgres
fi
exec $postgres postgres -D $data -c listen_addresses='*' -k /tmp -c fsync=off
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The services of docker-compose.yml as one project of their own.

    Attributes:
        project: Its name; containers, network and volumes carry it.
        folder: Holds .env and the override.
        values: What .env says.
    """

    project: str
    folder: Path
    values: Mapping[str, str]

    def compose(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs Docker Compose."""
        files = ("-f", str(REPOSITORY / "docker-compose.yml"), "-f", str(self.folder / "override.yml"))
        return compose(
            "-p", self.project, "--env-file", str(self.folder / ".env"), *files, *arguments, environment=environment
        )

    def container(self, engine: DockerClient, service: str) -> str:
        """The name of a service's container."""
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        (found,) = engine.containers.list(all=True, filters={"label": labels})
        return str(found.name)

    def wait_until_healthy(self, engine: DockerClient, service: str) -> None:
        deadline = time.monotonic() + HEALTHY_LIMIT_S
        name = self.container(engine, service)
        while (state := engine.api.inspect_container(name)["State"])["Health"]["Status"] != "healthy":
            if not state["Running"] or time.monotonic() > deadline:
                pytest.fail(f"{service} is not healthy: {state}\n{self.compose('logs', '--tail=30').stdout}")
            time.sleep(0.3)


def compose(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs Docker Compose with nothing but this in its environment."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("no Docker Compose is installed (Debian: apt-get install docker-compose)")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
    return subprocess.run(
        [program, *arguments], env={**kept, **environment}, capture_output=True, text=True, check=False
    )


@contextmanager
def stack(engine: DockerClient, folder: Path, values: Mapping[str, str]) -> Iterator[Stack]:
    """A project that is not up yet; whatever is, is gone afterwards."""
    binaries = _postgres_binaries()
    _empty_image(engine)
    mlflow_port, s3_port = free_ports(2)
    given = {
        "MLFLOW_PORT": str(mlflow_port),
        "S3_PORT": str(s3_port),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow_port}",
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
        **values,
    }
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()), encoding="utf-8")
    (folder / "postgres.sh").write_text(_POSTGRES, encoding="utf-8")
    (folder / "override.yml").write_text(json.dumps(_override(folder, binaries)), encoding="utf-8")
    made = Stack(project=f"hcopttest{secrets.token_hex(4)}", folder=folder, values=given)
    try:
        yield made
    finally:
        gone = made.compose("down", "--volumes", "--timeout", "1", "--remove-orphans")
        assert gone.returncode == 0, gone.stderr


def _postgres_binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL is installed (Debian: apt-get install postgresql)")
    return found[-1].parent


def _empty_image(engine: DockerClient) -> None:
    """Folders to mount into, and users; made once."""
    from docker.errors import ImageNotFound

    try:
        engine.images.get(IMAGE)
    except ImageNotFound:
        repository, tag = IMAGE.split(":")
        engine.api.import_image_from_data(_empty_root(), repository=repository, tag=tag)


def _empty_root() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, mode in (("usr", 0o755), ("etc", 0o755), ("root", 0o755), ("tmp", 0o1777)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name in _LINKS:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(entry)
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(_PASSWD)
        tar.addfile(entry, io.BytesIO(_PASSWD.encode()))
    return buffer.getvalue()


def _override(folder: Path, postgres: Path) -> dict[str, object]:
    """Images and mounts; commands, environments and everything else are those of docker-compose.yml."""
    system = ["/usr:/usr:ro"]
    # The interpreter may be known by a link to its folder, and needs both.
    python = sorted({sys.prefix, sys.base_prefix, str(Path(sys.base_prefix).resolve())} - {"/usr"})
    own = {
        "image": IMAGE,
        "user": "10001",
        "working_dir": "/tmp",
        "environment": {"PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "HOME": "/tmp"},
        "volumes": [*system, *(f"{path}:{path}:ro" for path in python), f"{REPOSITORY}/docker/mlflow:/opt/hcopt:ro"],
    }
    seaweedfs = {
        "image": IMAGE,
        "environment": {"PATH": "/opt:/usr/bin:/bin"},
        "volumes": [*system, f"{Path(sys.prefix, 'bin', 'weed').resolve()}:/opt/weed:ro"],
    }
    database = {
        "image": IMAGE,
        "entrypoint": ["sh", "/opt/postgres.sh"],
        "environment": {"PATH": f"{postgres}:/usr/bin:/bin"},
        "volumes": [*system, f"{folder / 'postgres.sh'}:/opt/postgres.sh:ro"],
    }
    return {"services": {**dict.fromkeys(_OWN, own), "seaweedfs": seaweedfs, "postgres": database}}
