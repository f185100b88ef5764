"""The files that pip and uv install from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MADE = ("requirements.txt", "scripts/uv.txt")
ENVIRONMENT = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/")}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("pyproject.toml", "uv.lock", "scripts/lock.sh"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def lines(text: str) -> list[str]:
    """A requirement a line."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def test_lock_fits_the_project_and_pips_files_fit_the_lock(checkout: Path) -> None:
    subprocess.run(
        ["bash", str(checkout / "scripts" / "lock.sh"), "--check", "--offline"], env=ENVIRONMENT, timeout=60, check=True
    )
    for name in MADE:
        assert (checkout / name).read_text() == (REPOSITORY / name).read_text(), f"run scripts/lock.sh for {name}"


def test_readable_requirements_are_pins_alone() -> None:
    found = lines((REPOSITORY / "requirements.txt").read_text())
    assert len(found) > 100
    assert [line for line in found if not re.fullmatch(r"[a-z0-9.-]+==[\w.]+( ; python_full_version .*)?", line)] == []


@pytest.mark.parametrize("options", [("--no-default-groups", "--extra", "embedded"), ()], ids=["main job", "tests"])
def test_everything_that_is_installed_has_a_hash(checkout: Path, options: tuple[str, ...]) -> None:
    command = ["uv", "export", "--quiet", "--frozen", "--no-emit-project", "--no-annotate", *options]
    done = subprocess.run(
        command, cwd=checkout, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True
    )
    found = lines(done.stdout)
    assert len(found) > 100
    assert [line for line in found if not re.search(r"==\S.* --hash=sha256:[0-9a-f]{64}", line)] == []


def test_uv_for_machines_without_one_has_a_hash() -> None:
    (line,) = lines((REPOSITORY / "scripts" / "uv.txt").read_text())
    assert re.search(r"^uv==\S+ .*--hash=sha256:[0-9a-f]{64}", line)
