"""Memory of processes as a made-up /proc shows them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hcopt.system.process_memory import processes_memory_mb


def process(proc: Path, pid: int, *, pss: int, pss_file: int | None = None, rss_file: int = 0) -> None:
    """Adds a process; sizes in MB."""
    (proc / str(pid)).mkdir()
    parts = "" if pss_file is None else f"Pss_File: {1024 * pss_file:>8} kB\n"
    rollup = f"55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss: 9999999 kB\nPss: {1024 * pss:>8} kB\n{parts}"
    (proc / str(pid) / "smaps_rollup").write_text(rollup)
    (proc / str(pid) / "status").write_text(f"Name:\ttritonserver\nRssFile:\t{1024 * rss_file:>8} kB\nThreads:\t9\n")


def test_what_processes_hold_is_the_sum_of_their_proportions(tmp_path: Path) -> None:
    process(tmp_path, 7, pss=100, pss_file=30, rss_file=40)
    process(tmp_path, 8, pss=50, pss_file=30, rss_file=50)
    assert processes_memory_mb((7, 8), proc=tmp_path) == 150


def test_files_that_a_stranger_maps_too_count_as_if_it_did_not(tmp_path: Path) -> None:
    process(tmp_path, 7, pss=100, pss_file=20, rss_file=60)
    assert processes_memory_mb((7,), proc=tmp_path) == 140


def test_linux_without_the_parts_gives_the_proportion_alone(tmp_path: Path) -> None:
    process(tmp_path, 7, pss=100, rss_file=60)
    assert processes_memory_mb((7,), proc=tmp_path) == 100


def test_process_that_has_ended_holds_nothing(tmp_path: Path) -> None:
    process(tmp_path, 7, pss=100)
    assert processes_memory_mb((7, 8), proc=tmp_path) == 100


def test_memory_of_processes_that_are_not_to_be_seen_is_unknown(tmp_path: Path) -> None:
    assert processes_memory_mb((8,), proc=tmp_path) is None


def test_own_memory_rises_by_what_is_written_to() -> None:
    before = processes_memory_mb((os.getpid(),))
    held = bytearray(os.urandom(1 << 20)) * 64
    after = processes_memory_mb((os.getpid(),))
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(len(held) / 2**20, abs=16)
