"""Control groups, versions 1 and 2: CPU quota, memory limit, the time that a quota held back, CPU time and memory used.

A group is held to the limits of all groups above it too, as far as they are seen from here: in a container that is its
own group, whether it has a namespace of its own or not.

Source: cgroups(7); cgroup-v2.rst, cgroup-v1/memory.rst and sched-bwc.rst of the Linux kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hcopt.system.files import text_or_none

_PROC = Path("/proc")
_ROOT = Path("/sys/fs/cgroup")
_NS_PER_S, _US_PER_S = 1_000_000_000, 1_000_000
_BYTES_PER_MB = 1024 * 1024


def read_cpu_quota(*, proc: Path = _PROC, root: Path = _ROOT) -> float | None:
    """CPUs' worth of time that this process may use; None where there is no limit."""
    quotas = [quota for folder in _folders("cpu", proc, root) if (quota := _cpu_quota(folder)) is not None]
    return min(quotas, default=None)


def read_memory_limit(*, proc: Path = _PROC, root: Path = _ROOT) -> int | None:
    """Bytes of memory that this process may hold; None where there is no limit."""
    texts = [
        text_or_none(folder / name)
        for folder in _folders("memory", proc, root)
        for name in ("memory.max", "memory.limit_in_bytes")
    ]
    # Version 2 writes `max`, version 1 a huge number, where there is no limit.
    return min((int(text) for text in texts if text is not None and text.isdigit()), default=None)


def read_throttled_s(*, proc: Path = _PROC, root: Path = _ROOT) -> float | None:
    """CPU time for which the tightest quota has held this process's group back so far; None where there is no quota."""
    limited = [(quota, folder) for folder in _folders("cpu", proc, root) if (quota := _cpu_quota(folder)) is not None]
    if not limited:
        return None
    values = _cpu_stat(min(limited)[1])
    if "throttled_usec" in values:
        return int(values["throttled_usec"]) / _US_PER_S
    return int(values["throttled_time"]) / _NS_PER_S if "throttled_time" in values else None


def cgroup_cpu_s(pid: int, proc: Path = _PROC, root: Path = _ROOT) -> float | None:
    """CPU time that all processes in the control group of one have used together; None where it has no such group.

    Raises:
        OSError: There is no such process, or it is not to be seen from here.

    Source: cgroup-v2.rst (cpu.stat) and cgroup-v1/cpuacct.rst (cpuacct.usage) of the Linux kernel.
    """
    for controllers, path in _groups((proc / str(pid) / "cgroup").read_text(encoding="utf-8")):
        if "cpuacct" in controllers.split(","):
            text = text_or_none(root / "cpuacct" / path / "cpuacct.usage")
            return None if text is None else int(text) / _NS_PER_S
        if not controllers and "usage_usec" in (values := _cpu_stat(root / path)):
            return int(values["usage_usec"]) / _US_PER_S
    return None


def cgroup_memory_mb(pid: int, *, name: str, proc: Path = _PROC, root: Path = _ROOT) -> float | None:
    """Memory that the processes in the control group of one hold: their own, and what they map of files or share.

    What the kernel only keeps of files that were read does not count.

    Args:
        pid: One of its processes, as it is numbered where the group is.
        name: What the group's path holds: on another machine's the number is that of somebody else here.
        proc: Where Linux shows processes.
        root: Where it shows control groups.

    Returns:
        None where there is no such process or group, or it is not to be seen from here.

    Source: cgroup-v2.rst (memory.stat: anon, file_mapped) and cgroup-v1/memory.rst (total_rss, total_mapped_file) of
        the Linux kernel.
    """
    for controllers, path in _groups(text_or_none(proc / str(pid) / "cgroup") or ""):
        if name not in path:
            continue
        if "memory" in controllers.split(","):
            folder, names = root / "memory" / path, ("total_rss", "total_mapped_file")
        elif not controllers:
            folder, names = root / path, ("anon", "file_mapped")
        else:
            continue
        values = dict(line.split() for line in (text_or_none(folder / "memory.stat") or "").splitlines())
        if set(names) <= set(values):
            return sum(int(values[name]) for name in names) / _BYTES_PER_MB
    return None


def _cpu_stat(folder: Path) -> dict[str, str]:
    return dict(line.split() for line in (text_or_none(folder / "cpu.stat") or "").splitlines())


def _groups(text: str) -> Iterator[tuple[str, str]]:
    """Controllers and path of each group of a process; of the one of version 2 the controllers are empty."""
    for line in text.splitlines():
        number, controllers, path = line.split(":", 2)
        if controllers or number == "0":
            yield controllers, path.lstrip("/")


def _folders(controller: str, proc: Path, root: Path) -> Iterator[Path]:
    """The group's folder and those above it."""
    for controllers, path in _groups(text_or_none(proc / "self" / "cgroup") or ""):
        if not controllers:
            hierarchies = (root, root / "unified")
        elif controller in controllers.split(","):
            hierarchies = (root / controllers, root / controller)
        else:
            continue
        for top in dict.fromkeys(hierarchies):
            own = top / path
            above = [parent for parent in own.parents if parent.is_relative_to(top)]
            yield from (folder for folder in dict.fromkeys((own, *above, top)) if folder.is_dir())


def _cpu_quota(folder: Path) -> float | None:
    if text := text_or_none(folder / "cpu.max"):
        quota, _, period = text.partition(" ")
    else:
        quota, period = (
            text_or_none(folder / "cpu.cfs_quota_us") or "",
            text_or_none(folder / "cpu.cfs_period_us") or "",
        )
    # `max`, or -1 before version 2, is no limit.
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None
