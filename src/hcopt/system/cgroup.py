"""Limits of this process's control groups, versions 1 and 2: CPU quota, memory, and the time that a quota held back.

A group is held to the limits of all groups above it too, as far as they are seen from here: in a container that is its
own group, whether it has a namespace of its own or not.

Source: cgroups(7); cgroup-v2.rst, cgroup-v1/memory.rst and sched-bwc.rst of the Linux kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_ROOT = Path("/sys/fs/cgroup")
_NS_PER_S, _US_PER_S = 1_000_000_000, 1_000_000


def read_cpu_quota(*, proc: Path = _PROC, root: Path = _ROOT) -> float | None:
    """CPUs' worth of time that this process may use; None where there is no limit."""
    quotas = [quota for folder in _folders("cpu", proc, root) if (quota := _cpu_quota(folder)) is not None]
    return min(quotas, default=None)


def read_memory_limit(*, proc: Path = _PROC, root: Path = _ROOT) -> int | None:
    """Bytes of memory that this process may hold; None where there is no limit."""
    texts = [
        _text_of(folder / name)
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
    values = dict(line.split() for line in (_text_of(min(limited)[1] / "cpu.stat") or "").splitlines())
    if "throttled_usec" in values:
        return int(values["throttled_usec"]) / _US_PER_S
    return int(values["throttled_time"]) / _NS_PER_S if "throttled_time" in values else None


def _folders(controller: str, proc: Path, root: Path) -> Iterator[Path]:
    """The group's folder and those above it."""
    for line in (_text_of(proc / "self" / "cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            hierarchies = (root / controllers, root / controller)
        elif number == "0" and not controllers:
            hierarchies = (root, root / "unified")
        else:
            continue
        for top in dict.fromkeys(hierarchies):
            own = top / path.lstrip("/")
            above = [parent for parent in own.parents if parent.is_relative_to(top)]
            yield from (folder for folder in dict.fromkeys((own, *above, top)) if folder.is_dir())


def _cpu_quota(folder: Path) -> float | None:
    if text := _text_of(folder / "cpu.max"):
        quota, _, period = text.partition(" ")
    else:
        quota, period = _text_of(folder / "cpu.cfs_quota_us") or "", _text_of(folder / "cpu.cfs_period_us") or ""
    # `max`, or -1 before version 2, is no limit.
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _text_of(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return None
