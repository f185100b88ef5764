"""Physical cores of this machine, and which of them server and load generator get where there are cores enough.

Reading is one function over a folder like /sys; all else is pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hcopt.system.cpu_list import format_cpu_list, parse_cpu_list
from hcopt.system.files import text_or_none

_SYS = Path("/sys/devices/system")
# The newer name first; older kernels have the other one alone.
_SIBLINGS = ("core_cpus_list", "thread_siblings_list")
# With fewer a core of its own for the load generator is too much of the machine.
MIN_CORES = 4
# Of two cores that it shared with a server perf_analyzer took up to a third, 50 to 100 µs of CPU time a request
# (`client_cpu_ratio`). Four cores are 40,000 requests a second and more: what they cannot send, few servers answer.
_CORES_A_CLIENT_CORE = 3
_MAX_CLIENT_CORES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """A physical core.

    Attributes:
        cpus: Those of its CPUs that were asked for, at least one; two are SMT siblings.
        node: Its NUMA node, 0 where the machine shows none.
    """

    cpus: frozenset[int]
    node: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuSets:
    """CPU lists as Linux writes them, e.g. `0-3,8`; None leaves the choice to the kernel."""

    server: str | None = None
    client: str | None = None


def read_cores(cpus: Iterable[int], sys: Path = _SYS) -> tuple[Core, ...]:
    """The physical cores of some CPUs that are online, by their lowest CPU; none where the machine does not show all.

    Source: Documentation/admin-guide/cputopology.rst and Documentation/ABI/stable/sysfs-devices-node of the Linux
        kernel.
    """
    wanted, nodes, found = frozenset(cpus), _nodes(sys), dict[frozenset[int], None]()
    for cpu in sorted(wanted):
        folder = sys / "cpu" / f"cpu{cpu}" / "topology"
        text = next((text for name in _SIBLINGS if (text := text_or_none(folder / name))), None)
        if text is None:
            return ()
        found[parse_cpu_list(text) & wanted | {cpu}] = None
    return tuple(Core(cpus=core, node=nodes.get(min(core), 0)) for core in found)


def _nodes(sys: Path) -> dict[int, int]:
    """The NUMA node of each CPU; a node of memory alone has none."""
    folders = (folder for folder in (sys / "node").glob("node[0-9]*"))
    lists = {int(folder.name.removeprefix("node")): text_or_none(folder / "cpulist") for folder in folders}
    return {cpu: node for node, text in lists.items() if text for cpu in parse_cpu_list(text)}


def plan_sets(cores: Sequence[Core], *, quota: float | None) -> CpuSets | None:
    """Disjoint physical cores for server and load generator; None where they had better share.

    The load generator gets one core in three, at most four, and the server the rest. It takes them from the end of the
    smallest NUMA node, so that the server is on as few nodes as possible.

    Args:
        cores: Those that this process may use.
        quota: CPUs' worth of time that both together may use. Below the number of CPUs it, and not the cores, is what
            they share.
    """
    if len(cores) < MIN_CORES or (quota is not None and quota < sum(len(core.cpus) for core in cores)):
        return None
    sizes = Counter(core.node for core in cores)
    in_turn = sorted(cores, key=lambda core: (sizes[core.node], -core.node, -min(core.cpus)))
    count = min(len(cores) // _CORES_A_CLIENT_CORE, _MAX_CLIENT_CORES)
    return CpuSets(server=_list_of(in_turn[count:]), client=_list_of(in_turn[:count]))


def _list_of(cores: Iterable[Core]) -> str:
    return format_cpu_list(cpu for core in cores for cpu in core.cpus)


def smt_siblings(cores: Iterable[Core]) -> str | None:
    """Which CPUs share a core: `0-2+4-6` is 0 with 4, 1 with 5, 2 with 6; None where none does."""
    shared = sorted(tuple(sorted(core.cpus)) for core in cores if len(core.cpus) > 1)
    columns = list(zip(*shared, strict=False))
    in_order = len(set(map(len, shared))) == 1 and all(list(column) == sorted(column) for column in columns)
    lists = [columns] if in_order else [[(cpu,) for cpu in core] for core in shared]
    return " ".join("+".join(map(format_cpu_list, columns)) for columns in lists) or None


def numa_nodes(cores: Iterable[Core]) -> str | None:
    """The NUMA nodes of some cores, e.g. `0-1`; None without cores."""
    return format_cpu_list({core.node for core in cores}) or None


def shared_cores(cores: Iterable[Core], one: Collection[int], other: Collection[int]) -> frozenset[int]:
    """The CPUs of the cores that two sets of CPUs have in common, SMT siblings included."""
    return frozenset[int]().union(*(core.cpus for core in cores if core.cpus & set(one) and core.cpus & set(other)))
