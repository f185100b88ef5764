"""Two runs on one machine: the second is told whose the first is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hcopt.errors import BusyError
from hcopt.records.note import Note
from hcopt.system.machine_lock import lock_file, measuring_alone
from tests.support.notes import said

HOLDS = """
import sys
from pathlib import Path
from hcopt.system.machine_lock import measuring_alone
with measuring_alone("hcopt profile --first", force=False, note=print, file=Path(sys.argv[1])) as opened:
    opened(Path("/somewhere/results/runs/one"))
    print("held", flush=True)
    sys.stdin.read()
"""
COMMAND = "hcopt check"


def alone(
    file: Path, notes: list[Note] | None = None, *, force: bool = False
) -> AbstractContextManager[Callable[[Path], None]]:
    return measuring_alone(COMMAND, force=force, note=(notes if notes is not None else []).append, file=file)


def test_second_run_is_refused_with_whose_the_first_is_and_goes_on_after_its_death(tmp_path: Path) -> None:
    file = tmp_path / "hcopt.lock"
    argv = [sys.executable, "-c", HOLDS, str(file)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(BusyError) as caught, alone(file):
            pass
        assert caught.value.exit_code == 9
        for part in (f"process {first.pid}", "`hcopt profile --first`", "/somewhere/results/runs/one", "since 20"):
            assert part in caught.value.message
        notes: list[Note] = []
        with alone(file, notes, force=True):
            pass
        (note,) = notes
        assert f"process {first.pid}" in said(note)
        first.kill()
    with alone(file):
        assert json.loads(file.read_text())["pid"] == os.getpid()


def test_lock_is_gone_after_its_run_and_can_be_had_again(tmp_path: Path) -> None:
    file = tmp_path / "hcopt.lock"
    for _ in range(2):
        with alone(file):
            assert file.stat().st_mode & 0o777 == 0o666, "another user's run has to see it"
            with pytest.raises(BusyError), alone(file):
                pass
        assert not file.exists()


def test_owner_that_does_not_say_who_it_is_still_holds_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "hcopt.lock"
    with alone(file):
        file.write_text("{")
        with pytest.raises(BusyError, match="does not say whose"), alone(file):
            pass


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_somebody_else_put_in_its_place_is_not_touched(tmp_path: Path, kind: str) -> None:
    file, victim = tmp_path / "hcopt.lock", tmp_path / "victim"
    victim.write_text("mine")
    {"link": lambda: file.symlink_to(victim), "pipe": lambda: os.mkfifo(file), "folder": file.mkdir}[kind]()
    notes: list[Note] = []
    with alone(file, notes):
        pass
    assert victim.read_text() == "mine"
    assert len(notes) == 1
    assert "is not checked" in said(notes[0])


def test_lock_lies_where_temporary_files_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert lock_file() == tmp_path / "hcopt.lock"
