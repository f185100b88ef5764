"""What a tool's run says of an engine that cannot start it."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from docker.errors import APIError

from hcopt.errors import RuntimeStartError
from hcopt.triton.base import Endpoint
from hcopt.triton.docker.tools import DockerTools


class EndedMeanwhile:
    """An engine whose container has ended between the making of a program and its start."""

    base_url, api_version = "http+docker://localhost", "1.41"

    def post(self, *_: object, **__: object) -> None:
        raise APIError("500 Server Error", explanation="Container abc is not running")


def test_container_that_ends_before_its_program_starts_is_no_full_disk(tmp_path) -> None:
    tools = DockerTools(
        client=SimpleNamespace(api=EndedMeanwhile()),
        container="hcopt-1-sdk",
        run_folder=tmp_path,
        endpoint=Endpoint(grpc="", http="", metrics_url=""),
        programs={},
        cpu_count=1,
    )
    with pytest.raises(RuntimeStartError, match="in the container hcopt-1-sdk: Container abc is not running"):
        list(tools._pieces("execution", time.monotonic() + 10))
