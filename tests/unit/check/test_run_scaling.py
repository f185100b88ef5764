"""Disjoint CPUs for isolated servers; the servers themselves are in the integration tests."""

from __future__ import annotations

import pytest

from hcopt.check import run_scaling
from hcopt.check.run_scaling import disjoint_cpu_sets
from hcopt.errors import ConfigError
from hcopt.system.cpu_list import parse_cpu_list
from hcopt.system.topology import Core


def test_no_cpu_belongs_to_two_servers() -> None:
    sets = disjoint_cpu_sets([0, 1, 2, 3, 8, 9, 10], servers=3, cpus_per_server=2)
    assert sets == ("0-1", "2-3", "8-9")
    cpus = [parse_cpu_list(one) for one in sets]
    assert sum(map(len, cpus)) == len(frozenset[int]().union(*cpus))


def test_siblings_go_to_the_same_server(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = tuple(Core(cpus=frozenset({cpu, cpu + 4})) for cpu in range(4))
    monkeypatch.setattr(run_scaling, "read_cores", lambda _: cores)
    sets = disjoint_cpu_sets(run_scaling.core_by_core(range(8)), servers=2, cpus_per_server=4)
    assert sets == ("0-1,4-5", "2-3,6-7")
    monkeypatch.setattr(run_scaling, "read_cores", lambda _: ())
    assert run_scaling.core_by_core({3, 1}) == [1, 3]


def test_small_machine_is_said_with_what_it_would_take() -> None:
    with pytest.raises(ConfigError, match="2 isolated servers of 2 CPUs each need 4 CPUs") as refused:
        disjoint_cpu_sets([0, 1], servers=2, cpus_per_server=2)
    assert "linearity stays assumed" in refused.value.message
    assert "machine with 4 CPUs" in (refused.value.remedy or "")


@pytest.mark.parametrize(("servers", "cpus"), [(1, 1), (0, 1), (2, 0)])
def test_nothing_to_compare_is_refused(servers: int, cpus: int) -> None:
    with pytest.raises(ConfigError, match="scale nowhere"):
        disjoint_cpu_sets(list(range(8)), servers=servers, cpus_per_server=cpus)
