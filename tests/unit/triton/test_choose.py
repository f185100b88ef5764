"""Which runtime a configuration gets, on a machine without a Docker Engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcopt.config.sections import Config
from hcopt.errors import ConfigError
from hcopt.system.progress import Progress
from hcopt.system.topology import Core, CpuSets
from hcopt.triton import choose
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


EIGHT_CPUS = tuple(Core(cpus=frozenset({cpu, cpu + 4})) for cpu in range(4))
DIVIDED = CpuSets(server="0-2,4-6", client="3,7")


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "read_cores", lambda _: EIGHT_CPUS)
    monkeypatch.setattr(choose, "read_cpu_quota", lambda: None)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("os.cpu_count", lambda: 8)


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("runtime", "sets", "cores"),
    [
        ({"kind": "embedded"}, DIVIDED, 6),
        ({"kind": "auto"}, DIVIDED, 6),
        ({"kind": "docker"}, CpuSets(), 8),
        ({"kind": "remote"}, CpuSets(), None),
        ({"kind": "embedded", "cpuset": {"server": None, "client": None}}, CpuSets(), 8),
        ({"kind": "embedded", "cpuset": {"server": "0-1"}}, CpuSets(server="0-1"), 2),
        ({"kind": "embedded", "cpuset": {"client": "7"}}, CpuSets(client="7"), 8),
        ({"kind": "embedded", "cpuset": {"server": "0", "client": "1"}}, CpuSets(server="0", client="1"), 1),
        ({"kind": "docker", "cpuset": {"server": "0-3", "client": "4"}}, CpuSets(server="0-3", client="4"), 4),
        ({"kind": "remote", "cpuset": {"client": "4"}}, CpuSets(client="4"), None),
    ],
)
def test_cores_are_divided_unless_the_configuration_says_otherwise(
    runtime: object, sets: CpuSets, cores: int | None
) -> None:
    config = Config.model_validate({"runtime": runtime})
    assert (choose.cpu_sets(config), choose.server_cores(config)) == (sets, cores)


@pytest.mark.usefixtures("four_cores")
def test_quota_leaves_the_cpus_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "read_cpu_quota", lambda: 3.0)
    monkeypatch.setattr("hcopt.system.machine.read_cpu_quota", lambda: 3.0)
    config = Config.model_validate({"runtime": {"kind": "embedded"}})
    assert (choose.cpu_sets(config), choose.server_cores(config)) == (CpuSets(), 3)


@pytest.mark.usefixtures("four_cores")
def test_embedded_runtime_gets_its_cores() -> None:
    assert chosen({"kind": "embedded"}).runtime == EmbeddedRuntime(cpuset_server="0-2,4-6", cpuset_client="3,7")


def test_remote_gets_the_addresses() -> None:
    runtime = chosen({"kind": "remote", "remote": {"grpc": "grpc://triton:8001"}}).runtime
    assert isinstance(runtime, RemoteRuntime)
    assert runtime.endpoint.http == "triton:8000"
