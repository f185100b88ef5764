"""Where runs are measured, and that who has no Ray hears nothing of it."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hcopt.config.sections import Config
from hcopt.errors import BusyError, ConfigError
from hcopt.job import executors
from hcopt.job.executors import open_executors
from hcopt.job.stages import served_stages
from hcopt.system.machine_lock import lock_file
from tests.support.command import REPOSITORY, SAMPLE_FOLDER
from tests.support.fakes import RecordedProgress
from tests.support.notes import said


def opened(progress: RecordedProgress | None = None, *, force: bool = False, **sections: object) -> Any:
    return open_executors(
        Config.model_validate(sections), command="hcopt profile", force=force, progress=progress or RecordedProgress()
    )


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real measurements may go on beside the tests."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


# --- which executors -------------------------------------------------------------------------------------------------


def test_executor_is_this_machine_unless_another_is_asked_for(tmp_path: Path) -> None:
    with opened() as found:
        [executor] = found.all
        assert executor.stages is served_stages
        assert (executor.name, executor.server_cores, found.at_once) == (None, None, 1)
        found.opened(tmp_path / "run")
        assert json.loads(lock_file().read_text())["folder"] == str(tmp_path / "run")
    assert not lock_file().exists()


def test_this_machine_is_measured_on_by_one_at_a_time() -> None:
    progress = RecordedProgress()
    with opened():
        with pytest.raises(BusyError), opened():
            pass
        with opened(progress, force=True):
            assert "Another hcopt measures" in said(progress.notes[0])


def test_ray_that_is_not_installed_is_told_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "find_spec", lambda name: None if name == "ray" else importlib.util.find_spec(name))
    with pytest.raises(ConfigError, match="Ray is not installed") as caught, opened(executor={"kind": "ray"}):
        pass
    assert "pip install 'hcopt[ray]'" in (caught.value.remedy or "")


def test_server_that_runs_already_is_no_work_for_nodes() -> None:
    section = {"kind": "remote", "remote": {"grpc": "grpc://triton:8001"}}
    on_ray = opened(executor={"kind": "ray"}, runtime=section)
    with pytest.raises(ConfigError, match=r"runtime\.kind is remote") as caught, on_ray:
        pass
    assert "leave out --executor" in (caught.value.remedy or "")
    assert not lock_file().exists()


# --- without Ray -----------------------------------------------------------------------------------------------------

COMMAND = "from hcopt.cli.app import main; main()"
WITHOUT_RAY = f"import sys; sys.modules['ray'] = None; {COMMAND}"


def python(text: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY / "src"),
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "TMPDIR": str(folder),
    }
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("arguments", [("--help",), ("profile", "--help")])
def test_help_names_ray_only_where_it_is_installed(tmp_path: Path, arguments: Sequence[str]) -> None:
    without = python(WITHOUT_RAY, *arguments, folder=tmp_path)
    assert without.returncode == 0, without.stderr
    assert not re.search(r"\bray\b", without.stdout, re.IGNORECASE)
    assert "RayJob" not in without.stdout
    there = python(COMMAND, *arguments, folder=tmp_path)
    assert re.search(r"\bray\b", there.stdout, re.IGNORECASE)


def test_ray_without_ray_ends_with_one_message(tmp_path: Path) -> None:
    answer = python(WITHOUT_RAY, "profile", "--executor", "ray", folder=tmp_path)
    assert answer.returncode == 2
    assert answer.stdout == ""
    error, remedy = answer.stderr.splitlines()
    assert error == "error: executor.kind is ray, and Ray is not installed here"
    assert "pip install 'hcopt[ray]'" in remedy
    assert list(tmp_path.iterdir()) == []


# --- with Ray, and not asked for -------------------------------------------------------------------------------------


def test_plan_for_this_machine_does_not_load_ray(tmp_path: Path) -> None:
    text = (
        "import sys, atexit\n"
        "names = ('ray', 'hcopt.job.cluster.pool')\n"
        "atexit.register(lambda: print(*(name in sys.modules for name in names), file=sys.stderr))\n"
        "import hcopt.cli.app, hcopt.job.run, hcopt.job.batch, hcopt.job.executors\n"
        "hcopt.cli.app.main()"
    )
    answer = python(text, "profile", "--dry-run", "--json", "--model", str(SAMPLE_FOLDER), folder=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["plan"]["variants"]
    assert answer.stderr.splitlines()[-1] == "False False"
