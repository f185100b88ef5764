"""Probes of the machine: Python, platform, CPUs and what takes them away, memory and disk."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from pathlib import Path

from hcopt.config.sections import Config, CpusetSection, NoiseSection
from hcopt.doctor.findings import Finding, fail, ok, warn
from hcopt.system.cgroup import read_cpu_quota
from hcopt.system.cpu_list import format_cpu_list
from hcopt.system.machine import (
    cpus_of,
    read_cpu_model,
    read_cpu_times,
    read_governor,
    read_memory_mb,
    steal_ratio,
)
from hcopt.system.topology import numa_nodes, read_cores, shared_cores, smt_siblings
from hcopt.triton.choose import cpu_sets
from hcopt.triton.local_tools import check_cpuset

_MIN_GLIBC = (2, 35)
_STEAL_WINDOW_S = 1.0
_BYTES_PER_GB = 1 << 30
_MIN_MEMORY_MB = 2048
_MIN_ROOM_GB = 0.5
_ENOUGH_ROOM_GB = 3.0
_IN_A_CONTAINER = 'Run it in a container: docker run --rm -it -v "$PWD":/hcopt -w /hcopt python:3.11-bookworm'


def look_at_python() -> Finding:
    """The running Python."""
    version = platform.python_version()
    if (3, 10) <= sys.version_info[:2] <= (3, 12):
        return ok(f"{version} ({sys.executable})")
    return fail(f"{version}; Triton's wheels are for 3.10 to 3.12", "Use Python 3.11.")


def look_at_platform() -> Finding:
    """Operating system, processor and C library."""
    machine = f"{platform.system()} {platform.machine()}"
    library, version = platform.libc_ver()
    said = f"{machine}, {library or 'an unknown C library'} {version}".rstrip()
    if machine != "Linux x86_64":
        return fail(f"{said}; Triton is for x86-64 Linux", "Use such a machine.")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if library != "glibc" or numbers < _MIN_GLIBC:
        return fail(f"{said}; Triton needs glibc 2.35 or newer", _IN_A_CONTAINER)
    return ok(said)


def look_at_cpus(section: CpusetSection) -> Finding:
    """How many CPUs there are, and whether the configured sets are among them."""
    check_cpuset("runtime.cpuset.server", section.server)
    check_cpuset("runtime.cpuset.client", section.client)
    cpus = os.sched_getaffinity(0)
    model = read_cpu_model()
    said = f"{len(cpus)} ({format_cpu_list(cpus)}), {model}"
    if len(cpus) < 2:
        return warn(
            f"{said}; the load generator takes its share of the server's only CPU", "Use a machine with two or more."
        )
    return ok(said)


def look_at_cores(config: Config) -> Finding:
    """Physical cores and NUMA nodes, and which of them server and load generator would get."""
    sets, cores = cpu_sets(config), read_cores(os.sched_getaffinity(0))
    server, client = cpus_of(sets.server), cpus_of(sets.client)
    siblings = smt_siblings(cores)
    seen = (
        f"{len(cores)} cores, {f'SMT siblings {siblings}' if siblings else 'no SMT'}, NUMA node {numa_nodes(cores)}"
        if cores
        else "the machine does not show its cores"
    )
    if config.runtime.is_remote:
        return ok(f"{seen}; the server is elsewhere")
    if server & client:
        return ok(f"{seen}; server and load generator share the CPUs {format_cpu_list(server & client)}")
    said = f"{seen}; server on the CPUs {sets.server}, load generator on {sets.client}"
    if shared := shared_cores(cores, server, client):
        return warn(
            f"{said}: they share physical cores ({format_cpu_list(shared)})", "Give whole cores in runtime.cpuset."
        )
    return ok(said)


def look_at_governor() -> Finding:
    """The frequency governor: any but `performance` changes the clock while something is measured."""
    governor = read_governor(os.sched_getaffinity(0))
    if governor is None:
        return ok("not shown, as in most virtual machines")
    if governor == "performance":
        return ok(governor)
    return warn(f"{governor}: the clock changes under load", "sudo cpupower frequency-set --governor performance")


def look_at_steal(section: NoiseSection) -> Finding:
    """CPU time that the hypervisor gives to others, now."""
    before = read_cpu_times()
    time.sleep(_STEAL_WINDOW_S)
    ratio = steal_ratio(before, read_cpu_times())
    said = "not known" if ratio is None else f"{100 * ratio:.1f} % of the CPU time in the last second"
    if ratio is None or ratio <= section.max_steal_ratio:
        return ok(said)
    return warn(f"{said} went to other guests", "Measure when the host is quieter.")


def look_at_cgroup() -> Finding:
    """Limits of the control group, such as those of a container."""
    cpus, limit = len(os.sched_getaffinity(0)), read_cpu_quota()
    memory_mb = read_memory_mb()
    shared_mb = shutil.disk_usage("/dev/shm").total >> 20 if Path("/dev/shm").is_dir() else 0
    said = (
        f"{'no CPU quota' if limit is None else f'a CPU quota of {limit:g}'}, {memory_mb / 1024:.1f} GB of memory, "
        f"{shared_mb:,} MB of /dev/shm"
    )
    if memory_mb < _MIN_MEMORY_MB:
        return warn(f"{said}; a run takes about 2 GB", "Raise the memory limit.")
    if limit is not None and limit < cpus:
        return warn(
            f"{said}: fewer than the {cpus} CPUs, so that the kernel throttles",
            "Give whole CPUs by a CPU set (docker run --cpuset-cpus) instead of a quota.",
        )
    return ok(said)


def look_at_disk(results: Path) -> Finding:
    """Room for results."""
    wanted = results.absolute()
    folder = next(place for place in (wanted, *wanted.parents) if place.exists())
    if not os.access(folder, os.W_OK):
        return fail(f"{folder} is not writable", "Give another folder with --output.")
    free_gb = shutil.disk_usage(folder).free / _BYTES_PER_GB
    said = f"{free_gb:.1f} GB free in {folder}"
    if free_gb >= _ENOUGH_ROOM_GB:
        return ok(said)
    return Finding(
        status="error" if free_gb < _MIN_ROOM_GB else "warning",
        said=said,
        remedy="Make room, or give another folder with --output.",
    )
