"""The engine's failures in hcopt's words."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from docker.errors import APIError

from hcopt.errors import RuntimeStartError
from hcopt.triton.docker.engine import docker_client, docker_errors


@pytest.fixture
def unanswered(tmp_path: Path) -> Iterator[Path]:
    """A socket that nobody listens on."""
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        yield path


def failure() -> RuntimeStartError:
    with pytest.raises(RuntimeStartError) as caught, docker_client():
        pass
    return caught.value


def test_engine_that_is_not_there_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "nothing.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    error = failure()
    assert error.message == f"no Docker Engine answers at {path}: No such file or directory"
    assert error.remedy is not None and "--runtime embedded" in error.remedy


def test_socket_without_an_engine_is_the_same(unanswered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{unanswered}")
    assert failure().message == f"no Docker Engine answers at {unanswered}: Connection refused"


def test_engine_that_docker_s_context_names_is_the_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "desktop")
    meta = tmp_path / "contexts" / "meta" / hashlib.sha256(b"desktop").hexdigest() / "meta.json"
    meta.parent.mkdir(parents=True)
    (tmp_path / "config.json").write_text("{}")
    host = f"unix://{tmp_path}/desktop.sock"
    meta.write_text(json.dumps({"Name": "desktop", "Metadata": {}, "Endpoints": {"docker": {"Host": host}}}))
    assert f"{tmp_path}/desktop.sock" in failure().message


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:2375", "ssh://builder.example"])
def test_engine_of_another_machine_is_refused(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    error = failure()
    assert "is not on this machine" in error.message
    assert error.remedy is not None and "--runtime remote" in error.remedy


def test_socket_that_the_user_may_not_use_is_named_with_the_group(
    unanswered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{unanswered}")
    unanswered.chmod(0)
    if os.geteuid() == 0:
        # Nothing is forbidden to root.
        monkeypatch.setattr(socket.socket, "connect", forbidden)
    error = failure()
    assert error.message == f"the Docker Engine cannot be used: this user may not use {unanswered} (permission denied)"
    assert error.remedy is not None and "usermod -aG docker" in error.remedy


def forbidden(_socket: socket.socket, _address: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def explained(error: Exception) -> RuntimeStartError:
    with pytest.raises(RuntimeStartError) as caught, docker_errors("cannot do it"):
        raise error
    return caught.value


def test_engine_that_has_stopped_is_named() -> None:
    error = explained(requests.ConnectionError(("Connection aborted.", ConnectionRefusedError())))
    assert error.message == "cannot do it: the Docker Engine does not answer any more"


def test_answer_of_the_engine_is_given_as_it_is() -> None:
    response = requests.Response()
    response.status_code = 500
    error = explained(APIError("500 Server Error", response=response, explanation="no space left on device"))
    assert (error.message, error.remedy) == ("cannot do it: no space left on device", None)


def test_engine_that_takes_too_long_is_named() -> None:
    error = explained(requests.ReadTimeout("UnixHTTPConnectionPool(host='localhost'): Read timed out."))
    assert error.message == "cannot do it: the Docker Engine does not answer in time"


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(KeyError), docker_errors("cannot do it"):
        raise KeyError("Id")
