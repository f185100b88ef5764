"""A server is started again until it was once too often; played by an HTTP server and a word on how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hcopt.errors import RuntimeStartError
from hcopt.triton.ports import Ports
from hcopt.triton.supervised import PortTakenError, SupervisedServer
from tests.support.serving import serving


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"version": "2.51.0"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@dataclass(slots=True, kw_only=True)
class PlayedServer(SupervisedServer):
    """Lives as long as nobody sets how it has ended; some launches find their ports taken."""

    taken: int = 0
    stillborn: str | None = None
    ended: str | None = None
    tools_ended: str | None = None
    acts: list[str] = field(default_factory=list)

    def launch(self) -> None:
        self.acts.append("launch")
        if self.taken:
            self.taken -= 1
            raise PortTakenError("taken")
        self.ended = self.stillborn

    def kill(self) -> None:
        self.acts.append("kill")

    def how_it_ended(self) -> str | None:
        return self.ended

    def how_tools_ended(self) -> str | None:
        return self.tools_ended

    def restart_tools(self) -> None:
        self.acts.append("tools")
        self.tools_ended = None


@pytest.fixture
def port() -> Iterator[int]:
    answering = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    with serving(answering):
        yield answering.server_address[1]


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def server(tmp_path: Path, port: int, told: list[str]) -> PlayedServer:
    (tmp_path / "tritonserver.log").write_text("its last line\n")
    return PlayedServer(
        name="tritonserver",
        log=tmp_path / "tritonserver.log",
        note_restart=told.append,
        choose_ports=lambda: Ports(http=port, grpc=1, metrics=2),
        start_timeout_s=5,
        silence_s=0.2,
    )


def test_start_tries_other_ports_until_there_are_none(server: PlayedServer) -> None:
    server.taken = 4
    assert server.start() == "2.51.0"
    server.taken = 5
    with pytest.raises(RuntimeStartError, match="found no free ports in 5 tries") as caught:
        server.start()
    assert "its last line" in caught.value.message
    assert caught.value.log == server.log


def test_server_that_ends_at_its_start_is_told_with_how_it_ended_whatever_its_log_says_of_ports(
    server: PlayedServer,
) -> None:
    server.log.write_text("address already in use\n")
    server.stillborn = "tritonserver has ended with 1"
    server.choose_ports = lambda: Ports(http=9, grpc=1, metrics=2)
    with pytest.raises(RuntimeStartError, match="tritonserver has ended with 1 instead of getting ready"):
        server.start()
    assert server.acts == ["launch"]


def test_start_that_takes_too_long_is_an_error(server: PlayedServer) -> None:
    server.start_timeout_s = 0
    with pytest.raises(RuntimeStartError, match="tritonserver was not ready after 0 s"):
        server.start()


def test_what_lives_is_left_alone(server: PlayedServer, told: list[str]) -> None:
    server.start()
    assert server.restart_if_dead() is None
    assert (server.acts, told) == (["launch"], [])


def test_server_and_tools_that_have_ended_are_brought_back_and_told_together(
    server: PlayedServer, told: list[str]
) -> None:
    server.start()
    server.ended, server.tools_ended = "it has ended", "so have they"
    assert server.restart_if_dead() == "it has ended; so have they"
    assert server.acts[1:] == ["tools", "kill", "launch"]
    assert told == ["it has ended; so have they"]


def test_suspicion_ends_a_server_that_answers_once(server: PlayedServer) -> None:
    server.start()
    server.mark_unhealthy("model does not answer")
    assert server.restart_if_dead() == "tritonserver was ended: model does not answer (logs/tritonserver.log)"
    assert server.restart_if_dead() is None


def test_silence_ends_a_server(server: PlayedServer) -> None:
    server.start()
    listening, server.ports = server.ports, Ports(http=1, grpc=1, metrics=1)
    said = server._how_server_ended()
    server.ports = listening
    assert said == "tritonserver has not answered for 0.2 s (logs/tritonserver.log)"


def test_restarts_in_a_row_have_an_end_and_a_server_that_lives_starts_the_count_again(server: PlayedServer) -> None:
    server.start()
    for _ in range(3):
        server.ended = "it has ended"
        assert server.restart_if_dead() == "it has ended"
    assert server.restart_if_dead() is None
    for _ in range(3):
        server.ended = "it has ended"
        server.restart_if_dead()
    server.ended = "it has ended"
    with pytest.raises(RuntimeStartError, match="it has ended, after 3 restarts in a row"):
        server.restart_if_dead()


def test_port_that_was_taken_meanwhile_keeps_a_server_from_its_restart(server: PlayedServer) -> None:
    server.start()
    server.ended, server.taken = "it has ended", 1
    with pytest.raises(PortTakenError):
        server.restart_if_dead()
