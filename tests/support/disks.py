"""Small file systems of their own, which fill up without harm to others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from io import RawIOBase
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A small file system of its own on `folder`."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "hcopt-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system needs root, and a container that lets it")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Takes all the room that a file system has, down to the last byte; returns what takes it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        size_bytes = 1 << 20
        while size_bytes:
            if not _takes(file, size_bytes):
                size_bytes //= 2
    return filler


def _takes(file: RawIOBase, size_bytes: int) -> bool:
    try:
        file.write(bytes(size_bytes))
    except OSError:
        return False
    return True
