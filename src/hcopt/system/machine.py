"""The machine's side of a measurement: what it is, and how much of its CPU time went elsewhere.

Parsing is pure; only the functions called `read_…` look at the machine.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from hcopt import __version__
from hcopt.records.measurement import Backend, Environment
from hcopt.system.cgroup import read_cpu_quota, read_memory_limit, read_throttled_s
from hcopt.system.files import text_or_none

_PROC = Path("/proc")
_CPU_FOLDERS = Path("/sys/devices/system/cpu")
_BYTES_PER_MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """CPU time of the whole machine since it started, over all its CPUs, idle time included.

    Attributes:
        total_s: All of it.
        steal_s: What the hypervisor gave to others.
        throttled_s: For how much a CPU quota held this process's control group back; None where there is no quota.
    """

    total_s: float
    steal_s: float
    throttled_s: float | None = None


def read_cpu_times() -> CpuTimes:
    """The machine's CPU times now.

    Raises:
        OSError: There is no /proc/stat.
    """
    times = psutil.cpu_times()
    # `guest` and `guest_nice`, the last two, are already part of `user` and `nice`.
    return CpuTimes(
        total_s=sum(times) - times.guest - times.guest_nice, steal_s=times.steal, throttled_s=read_throttled_s()
    )


def steal_ratio(before: CpuTimes, after: CpuTimes) -> float | None:
    """Share (0-1) of the CPU time between two readings that the hypervisor gave to others; None where none passed."""
    return _share(after.steal_s - before.steal_s, after.total_s - before.total_s)


def throttled_ratio(before: CpuTimes, after: CpuTimes) -> float | None:
    """Share (0-1) of the CPU time between two readings for which a CPU quota held back; None where there is none."""
    if before.throttled_s is None or after.throttled_s is None:
        return None
    return _share(after.throttled_s - before.throttled_s, after.total_s - before.total_s)


def _share(part_s: float, passed_s: float) -> float | None:
    # The kernel's counters of one CPU may step back a little.
    return min(1.0, max(0.0, part_s / passed_s)) if passed_s > 0 else None


def usable_cpu_count(cpus: Collection[int]) -> int:
    """How many of these CPUs this process's quota leaves, in whole ones, and one at least."""
    quota = read_cpu_quota()
    return len(cpus) if quota is None else max(1, min(len(cpus), int(quota)))


def parse_cpu_list(text: str) -> frozenset[int]:
    """CPU numbers from a list as Linux writes it, such as `0-3,8`.

    Raises:
        ValueError: It is no such list.
    """
    cpus: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers = range(int(first), int(last if dash else first) + 1)
        if not numbers:
            raise ValueError(f"not a CPU list: {text}")
        cpus.update(numbers)
    return frozenset(cpus)


def format_cpu_list(cpus: Iterable[int]) -> str:
    """The opposite of `parse_cpu_list`: {0, 1, 2, 8} is `0-2,8`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def parse_cpu_model(cpuinfo: str) -> str:
    """The CPU's name from the text of /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return " ".join(value.split())
    return "unknown"


def read_cpu_model() -> str:
    """The name of this machine's CPU, which psutil does not tell.

    Raises:
        OSError: The machine shows no /proc.
    """
    return parse_cpu_model((_PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace"))


def read_environment(
    *,
    runtime: str,
    backend: Backend,
    triton_version: str,
    onnxruntime_version: str | None,
    perf_analyzer_version: str | None,
    server_cpuset: str | None = None,
    onnxruntime_thread_count: int | None = None,
) -> Environment:
    """What figures measured on this machine, with this server, are to be compared with.

    Args:
        runtime: embedded, docker or remote.
        backend: The backend that serves.
        triton_version: As the server says it.
        onnxruntime_version: None where the server does not tell.
        perf_analyzer_version: None where it is not known.
        server_cpuset: The server's CPUs where it is bound to some, else it has those of this process.
        onnxruntime_thread_count: None where nobody can tell.

    Raises:
        OSError: The machine shows no /proc.
    """
    cpus = parse_cpu_list(server_cpuset) if server_cpuset else os.sched_getaffinity(0)
    return Environment(
        runtime=runtime,
        backend=backend,
        triton_version=triton_version,
        onnxruntime_version=onnxruntime_version,
        perf_analyzer_version=perf_analyzer_version,
        cpu_model=read_cpu_model(),
        cpu_count=usable_cpu_count(cpus),
        cpuset=format_cpu_list(cpus),
        memory_mb=read_memory_mb(),
        governor=read_governor(cpus),
        hcopt_version=__version__,
        onnxruntime_thread_count=onnxruntime_thread_count,
    )


def read_memory_mb() -> int:
    """Memory in MB that this process may use: the machine's, or less where its control group says so.

    Raises:
        OSError: The machine shows no /proc/meminfo.
    """
    machine, limit = psutil.virtual_memory().total, read_memory_limit()
    return int(machine if limit is None else min(machine, limit)) // _BYTES_PER_MB


def read_governor(cpus: Iterable[int], folder: Path = _CPU_FOLDERS) -> str | None:
    """The frequency governors of some CPUs, joined by commas; None where the machine shows none (most guests)."""
    files = (folder / f"cpu{cpu}" / "cpufreq" / "scaling_governor" for cpu in cpus)
    governors = {text for file in files if (text := text_or_none(file))}
    return ",".join(sorted(governors)) or None
