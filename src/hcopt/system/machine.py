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
from hcopt.system.cpu_list import format_cpu_list, parse_cpu_list
from hcopt.system.files import text_or_none
from hcopt.system.topology import numa_nodes, read_cores, smt_siblings

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


def cpus_of(cpuset: str | None) -> frozenset[int]:
    """The CPUs of a list; None: those that this process may use."""
    return parse_cpu_list(cpuset) if cpuset else frozenset(os.sched_getaffinity(0))


def usable_cpu_count(cpus: Collection[int]) -> int:
    """How many of these CPUs this process's quota leaves, in whole ones, and one at least."""
    quota = read_cpu_quota()
    return len(cpus) if quota is None else max(1, min(len(cpus), int(quota)))


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
    client_cpuset: str | None = None,
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
        client_cpuset: The same of the load generator.
        onnxruntime_thread_count: None where nobody can tell.

    Raises:
        OSError: The machine shows no /proc.
    """
    cpus, client = (cpus_of(cpuset) for cpuset in (server_cpuset, client_cpuset))
    cores = read_cores(cpus | client)
    return Environment(
        runtime=runtime,
        backend=backend,
        triton_version=triton_version,
        onnxruntime_version=onnxruntime_version,
        perf_analyzer_version=perf_analyzer_version,
        cpu_model=read_cpu_model(),
        cpu_count=len(cpus) if runtime == "docker" else usable_cpu_count(cpus),
        cpuset=format_cpu_list(cpus),
        memory_mb=read_memory_mb(),
        governor=read_governor(cpus),
        hcopt_version=__version__,
        onnxruntime_thread_count=onnxruntime_thread_count,
        client_cpuset=format_cpu_list(client),
        smt_siblings=smt_siblings(cores),
        numa_nodes=numa_nodes(core for core in cores if core.cpus & cpus),
        # Containers of an engine are in no control group of this process.
        cpu_quota=read_cpu_quota() if runtime == "embedded" else None,
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
