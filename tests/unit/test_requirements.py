"""The files that pip and uv install from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)((?: ;[^\\\n]*)?)", re.MULTILINE)


def pins(file: str) -> set[tuple[str, str, str]]:
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    return {(name, version, marker.strip(" ;")) for name, version, marker in PIN.findall(text)}


@pytest.mark.parametrize("folder", ["", "tests/"])
def test_hashed_pins_are_the_pins(folder: str) -> None:
    assert pins(f"{folder}requirements-hashed.txt") == pins(f"{folder}requirements.txt")
    assert len(pins(f"{folder}requirements.txt")) > 100


def test_main_job_and_tests_have_the_same_versions() -> None:
    of_tests = pins("tests/requirements.txt")
    # One without a marker is for every Python.
    missing = {pin for pin in pins("requirements.txt") if not {pin, (*pin[:2], "")} & of_tests}
    assert missing == set()


@pytest.mark.parametrize(
    "file",
    [
        "requirements-hashed.txt",
        "tests/requirements-hashed.txt",
        "tests/requirements-no-deps.txt",
        "tests/fuzz/requirements.txt",
    ],
)
def test_every_pin_has_a_hash(file: str) -> None:
    text = (REPOSITORY / file).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines
    assert [line for line in lines if not re.search(r"==\S.* --hash=sha256:[0-9a-f]{64}", line)] == []
