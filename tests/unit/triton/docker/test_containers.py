"""What the containers of a run are allowed, as the engine is asked for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hcopt.triton.docker.containers import Limits, RunContainers
from hcopt.triton.docker.images import image_names
from hcopt.triton.ports import Ports

PORTS = Ports(http=31000, grpc=31001, metrics=31002)
CONTAINERS = RunContainers(
    run_folder=Path("/results/runs/20260101T000000Z-abcd"),
    repository=Path("/results/runs/20260101T000000Z-abcd/repository"),
    images=image_names("26.09"),
    limits=Limits(cpuset_server="0-2", cpuset_client="3", memory_mb=2048),
    user="1000:1001",
)


def test_images_are_those_of_the_release() -> None:
    assert CONTAINERS.server(PORTS)["image"] == "nvcr.io/nvidia/tritonserver:26.09-py3"
    assert CONTAINERS.sdk()["image"] == "nvcr.io/nvidia/tritonserver:26.09-py3-sdk"


def test_each_container_sees_one_folder_and_the_repository_is_read_only() -> None:
    (repository,) = CONTAINERS.server(PORTS)["mounts"]
    assert (repository["Source"], repository["ReadOnly"]) == (str(CONTAINERS.repository), True)
    (run_folder,) = CONTAINERS.sdk()["mounts"]
    assert (run_folder["Source"], run_folder["ReadOnly"]) == (str(CONTAINERS.run_folder), False)


def test_ports_are_published_on_the_loopback_interface_alone() -> None:
    assert CONTAINERS.server(PORTS)["ports"] == {
        "8000/tcp": ("127.0.0.1", 31000),
        "8001/tcp": ("127.0.0.1", 31001),
        "8002/tcp": ("127.0.0.1", 31002),
    }
    assert "ports" not in CONTAINERS.sdk()


def test_containers_get_no_rights_and_nothing_of_this_environment() -> None:
    for arguments in (CONTAINERS.server(PORTS), CONTAINERS.sdk()):
        assert arguments["user"] == "1000:1001"
        assert arguments["cap_drop"] == ["ALL"]
        assert arguments["security_opt"] == ["no-new-privileges"]
        assert arguments["network"] == "hcopt-20260101T000000Z-abcd"
        assert arguments["use_config_proxy"] is False
        assert not {"environment", "volumes", "privileged", "network_mode", "pid_mode"} & arguments.keys()


def test_limits_are_those_of_the_configuration() -> None:
    server, sdk = CONTAINERS.server(PORTS), CONTAINERS.sdk()
    assert (server["cpuset_cpus"], sdk["cpuset_cpus"]) == ("0-2", "3")
    assert (server["mem_limit"], server["memswap_limit"]) == ("2048m", "2048m"), "no swap"
    free = replace(CONTAINERS, limits=Limits()).server(PORTS)
    assert (free["cpuset_cpus"], free["mem_limit"]) == (None, None)


@pytest.mark.parametrize("gpus", [False, True])
def test_gpus_are_for_the_server_alone_and_only_where_they_are_asked_for(gpus: bool) -> None:
    containers = replace(CONTAINERS, limits=Limits(gpus=gpus))
    requested = containers.server(PORTS)["device_requests"]
    assert [(request["Count"], request["Capabilities"]) for request in requested or ()] == [(-1, [["gpu"]])] * gpus
    assert ("--allow-gpu-metrics=false" in containers.server(PORTS)["command"]) is not gpus
    assert "device_requests" not in containers.sdk()
