"""Topologies that this machine has not: written as /sys shows them, read, and divided."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcopt.system.cpu_list import format_cpu_list, parse_cpu_list
from hcopt.system.topology import Core, numa_nodes, plan_sets, read_cores, shared_cores, smt_siblings

NO_SMT_4 = ("0", "1", "2", "3")
SMT_4 = ("0,4", "1,5", "2,6", "3,7")
SMT_ADJACENT_4 = ("0-1", "2-3", "4-5", "6-7")
TWO_SOCKETS = tuple(f"{core},{core + 16}" for core in range(16))
SOCKETS = ("0-7,16-23", "8-15,24-31")
HYBRID = ("0-1", "2-3", "4-5", "6-7", "8", "9", "10", "11")


def shown(folder: Path, cores: Sequence[str], nodes: Sequence[str] = (), *, siblings: str = "core_cpus_list") -> Path:
    """A folder like /sys/devices/system that shows these cores and NUMA nodes, each as a list of its CPUs."""
    for core in cores:
        for cpu in parse_cpu_list(core):
            topology = folder / "cpu" / f"cpu{cpu}" / "topology"
            topology.mkdir(parents=True)
            (topology / siblings).write_text(f"{core}\n")
    for number, cpus in enumerate(nodes):
        node = folder / "node" / f"node{number}"
        node.mkdir(parents=True)
        (node / "cpulist").write_text(f"{cpus}\n")
    return folder


@pytest.mark.parametrize(
    ("machine", "cpus", "sets"),
    [
        pytest.param(("0", "1"), "0-1", None, id="two cores"),
        pytest.param(("0,2", "1,3"), "0-3", None, id="two cores with SMT are four CPUs, and too few"),
        pytest.param(NO_SMT_4, "0-3", ("0-2", "3"), id="four cores without SMT"),
        pytest.param(SMT_4, "0-7", ("0-2,4-6", "3,7"), id="siblings stay together"),
        pytest.param(SMT_ADJACENT_4, "0-7", ("0-5", "6-7"), id="siblings side by side"),
        pytest.param(TWO_SOCKETS, "0-31", ("0-11,16-27", "12-15,28-31"), id="one socket is the server's alone"),
        pytest.param(
            TWO_SOCKETS, "6-15,22-31", ("8-14,24-30", "6-7,15,22-23,31"), id="the rest of the other socket goes first"
        ),
        pytest.param(TWO_SOCKETS, "0-5,8-9,16-21,24-25", ("0-5,16-21", "8-9,24-25"), id="the server fits into a node"),
        pytest.param(HYBRID, "0-11", ("0-9", "10-11"), id="efficient cores have the last numbers"),
        pytest.param(("0", "1", "4", "5"), "0-1,4-5", ("0-1,4", "5"), id="CPUs 2 and 3 are offline"),
        pytest.param(SMT_4, "0-3", ("0-2", "3"), id="a CPU set without the siblings"),
        pytest.param(SMT_4, "0-2,4-6", None, id="a CPU set of three cores"),
        pytest.param(NO_SMT_4, "0-4", None, id="a CPU that /sys does not show"),
        pytest.param((), "0-7", None, id="no /sys"),
    ],
)
def test_load_generator_gets_whole_cores_where_there_are_enough(
    tmp_path: Path, machine: Sequence[str], cpus: str, sets: tuple[str, str] | None
) -> None:
    # The second node of the others has memory alone.
    nodes = SOCKETS if machine == TWO_SOCKETS else ("0-11", "")
    found = plan_sets(read_cores(parse_cpu_list(cpus), shown(tmp_path, machine, nodes)), quota=None)
    assert (found and (found.server, found.client)) == sets


def test_kernel_without_numa_has_one_node(tmp_path: Path) -> None:
    assert {core.node for core in read_cores(range(8), shown(tmp_path, SMT_4))} == {0}


@pytest.mark.parametrize(("quota", "divided"), [(None, True), (8.0, True), (7.5, False), (2.0, False)])
def test_quota_below_the_cpus_is_what_both_share(tmp_path: Path, quota: float | None, divided: bool) -> None:
    cores = read_cores(range(8), shown(tmp_path, SMT_4))
    assert (plan_sets(cores, quota=quota) is not None) == divided


def test_kernel_before_5_2_names_siblings_otherwise(tmp_path: Path) -> None:
    folder = shown(tmp_path, SMT_4, siblings="thread_siblings_list")
    assert read_cores(range(8), folder)[1] == Core(cpus=frozenset({1, 5}))


@given(
    st.lists(st.tuples(st.integers(1, 2), st.integers(0, 3)), min_size=4, max_size=40),
)
def test_every_core_belongs_to_one_of_both_and_the_server_has_two_in_three_at_least(
    drawn: list[tuple[int, int]],
) -> None:
    cores = [
        Core(cpus=frozenset({index, *([1000 + index] if size == 2 else [])}), node=node)
        for index, (size, node) in enumerate(drawn)
    ]
    found = plan_sets(cores, quota=None)
    assert found is not None and found.server is not None and found.client is not None
    server, client = parse_cpu_list(found.server), parse_cpu_list(found.client)
    assert server | client == frozenset[int]().union(*(core.cpus for core in cores))
    assert not server & client
    assert not shared_cores(cores, server, client)
    kept = [core for core in cores if core.cpus <= server]
    assert 3 * (len(cores) - len(kept)) <= len(cores)
    assert 1 <= len(cores) - len(kept) <= 4


@pytest.mark.parametrize(
    ("cores", "siblings"),
    [
        (NO_SMT_4, None),
        (SMT_4, "0-3+4-7"),
        (SMT_ADJACENT_4, "0,2,4,6+1,3,5,7"),
        (HYBRID, "0,2,4,6+1,3,5,7"),
        (("0,5", "1,4"), "0+5 1+4"),
        (("0-1", "2-5"), "0+1 2+3+4+5"),
    ],
)
def test_siblings_are_named_in_short(tmp_path: Path, cores: Sequence[str], siblings: str | None) -> None:
    cpus = frozenset[int]().union(*map(parse_cpu_list, cores))
    assert smt_siblings(read_cores(cpus, shown(tmp_path, cores))) == siblings


def test_sets_without_a_common_cpu_may_share_a_core(tmp_path: Path) -> None:
    cores = read_cores(range(8), shown(tmp_path, SMT_4))
    assert shared_cores(cores, {0, 1, 2, 3}, {4, 7}) == {0, 3, 4, 7}
    assert shared_cores(cores, {0, 1, 4, 5}, {2, 3, 6, 7}) == frozenset()


def test_nodes_are_those_of_the_cores(tmp_path: Path) -> None:
    cores = read_cores(range(32), shown(tmp_path, TWO_SOCKETS, SOCKETS))
    assert (numa_nodes(cores), numa_nodes(cores[8:]), numa_nodes(())) == ("0-1", "1", None)


def test_cores_of_this_machine_have_all_cpus_of_this_process() -> None:
    cpus = os.sched_getaffinity(0)
    cores = read_cores(cpus)
    assert not cores or format_cpu_list(cpu for core in cores for cpu in core.cpus) == format_cpu_list(cpus)
