"""Limits of control groups of both versions, with a namespace of their own and without, and of the groups above."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from hcopt.system.cgroup import cgroup_cpu_s, cgroup_memory_mb, read_cpu_quota, read_memory_limit, read_throttled_s

V1 = "4:memory:{0}\n2:cpu,cpuacct:{0}\n"
V2 = "0::{0}\n"
NONE = (None, None, None)


def places(root: Path, own: str, files: Mapping[str, str]) -> dict[str, Path]:
    """A made-up /proc and /sys/fs/cgroup."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(own, encoding="ascii")
    (root / "groups").mkdir()
    for name, text in files.items():
        (root / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "groups" / name).write_text(text, encoding="ascii")
    return {"proc": root / "proc", "root": root / "groups"}


@pytest.mark.parametrize(
    ("own", "files", "limits"),
    [
        pytest.param(
            V2.format("/"),
            {
                "cpu.max": "150000 100000\n",
                "memory.max": "1000\n",
                "cpu.stat": "nr_periods 9\nthrottled_usec 2500000\n",
            },
            (1.5, 1000, 2.5),
            id="2, own namespace",
        ),
        pytest.param(
            V2.format("/a.slice/b.service"),
            {
                "a.slice/cpu.max": "100000 100000\n",
                "a.slice/cpu.stat": "throttled_usec 1000000\n",
                "a.slice/memory.max": "max\n",
                "a.slice/b.service/cpu.max": "200000 100000\n",
                "a.slice/b.service/cpu.stat": "throttled_usec 7\n",
                "a.slice/b.service/memory.max": "500\n",
            },
            (1.0, 500, 1.0),
            id="2, the group above is tighter",
        ),
        pytest.param(
            V1.format("/docker/0123"),
            {
                "cpu/cpu.cfs_quota_us": "50000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
                "cpu/cpu.stat": "nr_throttled 3\nthrottled_time 3000000000\n",
                "memory/memory.limit_in_bytes": "2000\n",
            },
            (0.5, 2000, 3.0),
            id="1, a container that sees its own group at the top",
        ),
        pytest.param(
            V1.format("/x"),
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "cpu,cpuacct/x/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n",
            },
            NONE,
            id="1, no limit",
        ),
        pytest.param(V2.format("/"), {"cpu.max": "max 100000\n", "memory.max": "max\n"}, NONE, id="2, none"),
        pytest.param("", {}, NONE, id="no control groups"),
    ],
)
def test_limits_are_the_tightest_of_the_own_group_and_those_above(
    tmp_path: Path, own: str, files: Mapping[str, str], limits: tuple[float | None, int | None, float | None]
) -> None:
    there = places(tmp_path, own, files)
    assert (read_cpu_quota(**there), read_memory_limit(**there), read_throttled_s(**there)) == limits


def control_group(folder: Path, lines: str, file: str, text: str) -> float | None:
    """What is read of the process 7 in a machine that shows these lines and this file."""
    (folder / "proc" / "7").mkdir(parents=True)
    (folder / "proc" / "7" / "cgroup").write_text(lines)
    (folder / "cgroup" / file).parent.mkdir(parents=True)
    (folder / "cgroup" / file).write_text(text)
    return cgroup_cpu_s(7, folder / "proc", folder / "cgroup")


def test_cpu_time_of_a_control_group_of_version_1(tmp_path: Path) -> None:
    lines = "9:name=systemd:/\n2:cpu,cpuacct:/docker/abc\n0::/\n"
    assert control_group(tmp_path, lines, "cpuacct/docker/abc/cpuacct.usage", "1500000000\n") == 1.5


def test_cpu_time_of_a_control_group_of_version_2(tmp_path: Path) -> None:
    text = "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n"
    assert (
        control_group(tmp_path, "0::/system.slice/docker-abc.scope\n", "system.slice/docker-abc.scope/cpu.stat", text)
        == 2.5
    )


def test_cpu_time_of_a_group_that_is_not_to_be_seen_is_unknown(tmp_path: Path) -> None:
    assert control_group(tmp_path, "0::/\n", "elsewhere/cpu.stat", "usage_usec 1\n") is None


STAT_V1 = f"cache 999\nrss 1\nmapped_file 1\ntotal_rss {300 << 20}\ntotal_mapped_file {20 << 20}\n"
STAT_V2 = f"anon {300 << 20}\nfile 999999999\nfile_mapped {20 << 20}\n"


@pytest.mark.parametrize(
    ("lines", "file", "text", "memory_mb"),
    [
        pytest.param("4:memory:/docker/abc\n0::/\n", "memory/docker/abc/memory.stat", STAT_V1, 320, id="1"),
        pytest.param(
            "0::/system.slice/docker-abc.scope\n", "system.slice/docker-abc.scope/memory.stat", STAT_V2, 320, id="2"
        ),
        pytest.param("0::/user.slice\n", "user.slice/memory.stat", STAT_V2, None, id="somebody else's number"),
        pytest.param("0::/docker/abc\n", "elsewhere/memory.stat", STAT_V2, None, id="not to be seen"),
        pytest.param("0::/docker/abc\n", "docker/abc/memory.stat", "", None, id="not counted"),
    ],
)
def test_memory_of_a_container_is_that_of_its_control_group_without_cached_files(
    lines: str, file: str, text: str, memory_mb: float | None, tmp_path: Path
) -> None:
    control_group(tmp_path, lines, file, text)
    found = cgroup_memory_mb(7, name="abc", proc=tmp_path / "proc", root=tmp_path / "cgroup")
    assert found == memory_mb


def test_memory_of_a_process_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    assert cgroup_memory_mb(7, name="abc", proc=tmp_path, root=tmp_path) is None
