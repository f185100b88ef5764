"""Which nodes are of one kind, and what a kind is called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hcopt.job.cluster.nodes import NodeClass, alike, class_names, grouped
from hcopt.records.measurement import Environment
from tests.support.fake_cluster import KIND, node

ENVIRONMENTS = st.builds(
    lambda **changes: replace(KIND, **changes),
    cpu_model=st.sampled_from(["AMD EPYC 7R13 48-Core Processor", "Intel(R) Xeon(R) Platinum 8488C"]),
    cpu_count=st.sampled_from([8, 16]),
    cpuset=st.sampled_from(["0-7", "8-15"]),
    # Kinds as there are, each with what a kernel may keep of it.
    memory_mb=st.sampled_from([32_000, 32_300, 64_000, 64_600]),
    governor=st.sampled_from([None, "performance"]),
)


def kind(**changes: Any) -> NodeClass:
    return NodeClass(environment=replace(KIND, **changes))


# --- alike -----------------------------------------------------------------------------------------------------------


def test_another_machine_is_of_another_kind() -> None:
    assert not alike(KIND, replace(KIND, cpu_model="another"))


def test_numbers_of_the_cpus_are_each_machine_s_own() -> None:
    assert alike(replace(KIND, cpuset="0-7"), replace(KIND, cpuset="8-15"))


# --- grouped ---------------------------------------------------------------------------------------------------------


@given(st.lists(ENVIRONMENTS, max_size=12))
def test_every_node_is_in_one_kind_with_its_like_only(environments: list[Environment]) -> None:
    found = [(node(str(number)), environment) for number, environment in enumerate(environments)]
    of = dict(found)
    kinds = grouped(found)
    assert sorted(one.name for each in kinds for one in each.nodes) == sorted(one.name for one, _ in found)
    for each in kinds:
        assert all(alike(each.environment, of[one]) for one in each.nodes)
        assert each.environment == of[each.nodes[0]]
        assert not any(alike(each.environment, other.environment) for other in kinds if other is not each)
    counts = [len(each.nodes) for each in kinds]
    assert counts == sorted(counts, reverse=True)


def test_no_nodes_are_no_kinds() -> None:
    assert grouped([]) == ()


# --- names -----------------------------------------------------------------------------------------------------------


def test_kind_is_called_by_its_cpu_and_how_much_there_is() -> None:
    found = kind(cpu_model="AMD EPYC 7R13 48-Core Processor", cpu_count=8, memory_mb=31_900)
    assert found.name == "AMD EPYC 7R13 48-Core Processor, 8 CPUs, 31 GB"


def test_kinds_that_look_alike_are_told_apart() -> None:
    names = class_names([kind(), kind(governor="powersave"), kind(cpu_count=99)])
    same = kind().name
    assert names == (
        f"{same} (governor {kind().environment.governor})",
        f"{same} (governor powersave)",
        kind(cpu_count=99).name,
    )


@given(st.lists(ENVIRONMENTS, max_size=12))
def test_no_name_is_there_twice(environments: list[Environment]) -> None:
    kinds = grouped((node(str(number)), environment) for number, environment in enumerate(environments))
    names = class_names(kinds)
    assert len(set(names)) == len(names) == len(kinds)
    assert all(name.startswith(each.name) for name, each in zip(names, kinds, strict=True))
