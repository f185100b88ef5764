"""What the server in a container says of its ends and of its ports, without an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hcopt.errors import RuntimeStartError
from hcopt.triton.docker import runtime
from hcopt.triton.docker.containers import ContainerLog, Limits, RunContainers
from hcopt.triton.docker.images import image_names
from hcopt.triton.docker.runtime import DockerServer
from hcopt.triton.ports import Ports
from hcopt.triton.supervised import PortTakenError


@pytest.fixture
def server(tmp_path: Path) -> DockerServer:
    containers = RunContainers(
        run_folder=tmp_path / "run", repository=tmp_path, images=image_names("26.09"), limits=Limits(), user="1000:1000"
    )
    log = tmp_path / "tritonserver.log"
    log.write_text("its last line\n")
    found = DockerServer(
        name="tritonserver in hcopt-run-server",
        log=log,
        note_restart=lambda _: None,
        choose_ports=lambda: Ports(http=1, grpc=2, metrics=3),
        start_timeout_s=0,
        client=None,  # type: ignore[arg-type]
        containers=containers,
        tools=None,  # type: ignore[arg-type]
        copied_log=ContainerLog(containers.server_name, log),
    )
    found.ports = found.choose_ports()
    return found


def refusing(message: str) -> Callable[..., None]:
    def start(*_: object) -> None:
        raise RuntimeStartError(message, remedy="Do it.")

    return start


@pytest.mark.parametrize(
    "said", ["Bind for 127.0.0.1:1 failed: port is already allocated", "listen tcp: address already in use"]
)
def test_port_that_the_engine_finds_taken_is_one_to_try_again(
    server: DockerServer, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(runtime, "start", refusing(said))
    with pytest.raises(PortTakenError) as caught:
        server.launch()
    assert (caught.value.message, caught.value.remedy) == (said, "Do it.")
    with pytest.raises(RuntimeStartError, match="found no free ports in 5 tries") as caught_in_the_end:
        server.start()
    assert caught_in_the_end.value.log == server.log


def test_other_failures_of_the_engine_are_not_tried_again(
    server: DockerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "start", refusing("no space left on device"))
    with pytest.raises(RuntimeStartError, match="no space left on device"):
        server.start()


def test_both_containers_that_have_ended_are_told_with_the_server_first(
    server: DockerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(runtime, "how_it_ended", lambda _, name: f"the container {name} was removed")
    monkeypatch.setattr(runtime, "start", lambda _, arguments: started.append(arguments["name"]))
    monkeypatch.setattr(ContainerLog, "follow", lambda _: None)
    with pytest.raises(RuntimeStartError, match="was not ready after 0 s") as caught:
        server.restart_if_dead()
    assert "its last line" in caught.value.message
    assert started == ["hcopt-run-sdk", "hcopt-run-server"]
    server.restarts = 3
    with pytest.raises(RuntimeStartError, match=r"-server was removed; .*-sdk was removed, after 3 restarts in a row"):
        server.restart_if_dead()
