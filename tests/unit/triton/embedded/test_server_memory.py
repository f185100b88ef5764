"""How many instances fit, by what the loaded ones hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hcopt.triton.embedded.server_memory import ServerMemory

HOLDS_50_MB = "block = b'x' * 50_000_000; print(flush=True); input()"


def memory(folder: Path, max_mb: int = 1_000_000) -> ServerMemory:
    return ServerMemory(shared_prefix="run", max_mb=max_mb, shared_folder=folder)


def region(folder: Path, name: str, size: int) -> Path:
    file = folder / name
    file.write_bytes(os.urandom(size))
    return file


def test_children_count_to_what_a_server_holds(tmp_path: Path) -> None:
    before_mb = memory(tmp_path).held_mb(os.getpid())
    with subprocess.Popen([sys.executable, "-c", HOLDS_50_MB], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        grown_mb = memory(tmp_path).held_mb(os.getpid()) - before_mb
        child.communicate(b"\n")
    assert 45 <= grown_mb <= 75


def test_more_instances_fit_where_more_memory_may_be_held(tmp_path: Path) -> None:
    few, more = (memory(tmp_path, max_mb).max_instances(os.getpid(), 4) for max_mb in (2_000, 4_000))
    assert 0 < few < more


def test_shared_memory_bounds_the_instances_too(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    region(tmp_path, "run_1", 40_000_000)
    region(tmp_path, "another_1", 40_000_000)
    found = memory(tmp_path, 10**9).max_instances(os.getpid(), 1)
    assert 0 < found <= 0.5 * (free + 40_000_000) / 40_000_000 + 1


def test_machine_without_shared_memory_bounds_nothing_where_nothing_uses_it(tmp_path: Path) -> None:
    assert memory(tmp_path / "none").max_instances(os.getpid(), 1) > 0


def test_region_that_goes_away_meanwhile_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "run_gone").symlink_to("nowhere")  # found by its name, and not there to be looked at
    assert memory(tmp_path).max_instances(os.getpid(), 1) > 0


def test_only_the_server_s_own_regions_are_removed(tmp_path: Path) -> None:
    own, foreign = region(tmp_path, "run_1", 10), region(tmp_path, "runner", 10)
    memory(tmp_path).remove_regions()
    assert (own.exists(), foreign.exists()) == (False, True)
