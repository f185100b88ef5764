"""Which runtime a configuration gets, on a machine without a Docker Engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcopt.config.sections import Config
from hcopt.errors import ConfigError
from hcopt.system.progress import Progress
from hcopt.triton.choose import Choice, choose_runtime
from hcopt.triton.docker.runtime import DockerRuntime
from hcopt.triton.embedded.runtime import EmbeddedRuntime
from hcopt.triton.remote import RemoteRuntime
from tests.support.notes import said


@pytest.fixture(autouse=True)
def no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    socket = tmp_path / "nothing.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    return socket


def chosen(runtime: object, instance_kind: str = "KIND_CPU") -> Choice:
    config = Config.model_validate({"runtime": runtime, "instance_kind": instance_kind})
    return choose_runtime(config, progress=Progress(), note=lambda _: None)


def test_auto_without_an_engine_is_embedded_and_says_why_and_how_to_get_the_other(no_engine: Path) -> None:
    choice = chosen({"kind": "auto", "cpuset": {"server": "0", "client": "1"}})
    assert choice.runtime == EmbeddedRuntime(cpuset_server="0", cpuset_client="1")
    assert said(choice.note) == (
        f"Runtime: embedded (Triton from PyPI), since no Docker Engine answers at {no_engine}: No such file or "
        "directory. NVIDIA's own images instead: docker pull nvcr.io/nvidia/tritonserver:26.09-py3 && "
        "docker pull nvcr.io/nvidia/tritonserver:26.09-py3-sdk, then --runtime docker."
    )


def test_embedded_that_was_asked_for_needs_no_words() -> None:
    choice = chosen({"kind": "embedded"})
    assert isinstance(choice.runtime, EmbeddedRuntime)
    assert choice.note is None


@pytest.mark.parametrize("kind", ["auto", "embedded"])
def test_gpu_without_docker_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match="the embedded runtime has no GPU") as caught:
        chosen({"kind": kind}, "KIND_GPU")
    assert caught.value.remedy is not None and "docker" in caught.value.remedy


def test_docker_gets_what_the_configuration_says() -> None:
    section = {"kind": "docker", "cpuset": {"server": "0-2", "client": "3"}}
    runtime = chosen({**section, "docker": {"release": "25.12", "memory_mb": 4096}}, "KIND_GPU").runtime
    assert isinstance(runtime, DockerRuntime)
    assert runtime.release == "25.12"
    limits = runtime.limits
    assert (limits.cpuset_server, limits.cpuset_client, limits.memory_mb, limits.gpus) == ("0-2", "3", 4096, True)


def test_remote_gets_the_addresses() -> None:
    runtime = chosen({"kind": "remote", "remote": {"grpc": "grpc://triton:8001"}}).runtime
    assert isinstance(runtime, RemoteRuntime)
    assert runtime.endpoint.http == "triton:8000"
