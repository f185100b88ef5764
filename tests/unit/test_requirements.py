"""The files that pip and uv install from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import build_backend

REPOSITORY = Path(__file__).parents[2]
GROUPS = ("build", "compiler")
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


@pytest.mark.parametrize(
    ("options", "least"),
    [
        (("--group", "build", "--no-default-groups", "--extra", "embedded"), 100),
        (("--group", "build"), 100),
        (("--only-group", "compiler"), 1),
    ],
    ids=["main job", "tests", "compiler"],
)
def test_everything_that_is_installed_has_a_hash(checkout: Path, options: tuple[str, ...], least: int) -> None:
    command = ["uv", "export", "--quiet", "--frozen", "--no-emit-project", "--no-annotate", *options]
    done = subprocess.run(
        command, cwd=checkout, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True
    )
    found = lines(done.stdout)
    assert len(found) >= least
    assert [line for line in found if not re.search(r"==\S.* --hash=sha256:[0-9a-f]{64}", line)] == []


def test_pips_own_environment_for_a_build_has_what_the_lock_has() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    (required,) = re.findall(r"^requires = \[(.*)\]$", project, re.MULTILINE)
    (build,), (compiler,) = (re.findall(rf"^{group} = \[(.*)\]$", project, re.MULTILINE) for group in GROUPS)
    pins = re.findall(r'"(\w+==[^"]+)"', required)
    *same, client = pins
    assert same == re.findall(r'"(\w+==[^"]+)"', f"{build}, {compiler}")
    assert same[-1] == f"ziglang=={build_backend.ZIGLANG}", "the cache would give what another one compiled"
    # Of which the lock has a newer one, for everything but perf_analyzer.
    (pinned,) = lines((REPOSITORY / "scripts" / "perf_analyzer.txt").read_text())
    assert re.fullmatch(rf"{re.escape(client)} +--hash=sha256:[0-9a-f]{{64}}", pinned)


def test_uv_for_machines_without_one_has_a_hash() -> None:
    (line,) = lines((REPOSITORY / "scripts" / "uv.txt").read_text())
    assert re.search(r"^uv==\S+ .*--hash=sha256:[0-9a-f]{64}", line)
