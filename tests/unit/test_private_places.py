"""Temporary folders are for nobody else, and what is left for others says nothing secret."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hcopt.triton.embedded.launch import server_command
from hcopt.triton.local_tools import private_folder


@pytest.fixture
def careless() -> Iterator[None]:
    """A user whose files everybody may write."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def test_private_folder_is_for_nobody_else(careless: None) -> None:
    with private_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_server_listens_on_loopback_only(tmp_path: Path) -> None:
    from hcopt.triton.embedded.backends import NativeBackend
    from hcopt.triton.ports import Ports
    from hcopt.triton.programs import TritonFiles

    triton = TritonFiles(**dict.fromkeys(TritonFiles.__dataclass_fields__, tmp_path))
    backend = NativeBackend(library=tmp_path, onnxruntime=tmp_path)
    command = server_command(tmp_path, triton, backend, Ports(http=1, grpc=2, metrics=3))
    addresses = [part for part in command if "-address=" in part]
    assert addresses == [f"--{service}-address=127.0.0.1" for service in ("http", "grpc", "metrics")]
