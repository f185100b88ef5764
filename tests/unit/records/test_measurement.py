"""What a load and a measurement have to hold, and under which conditions figures may be ranked together."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcopt.records.measurement import Backend, Environment, LoadPoint, Measurement
from tests.support.records import LIGHT, default_variant, measurement, run_record

ONE = run_record().environment

ENVIRONMENTS = st.builds(
    lambda **changes: replace(ONE, **changes),
    cpu_model=st.sampled_from(["one", "another"]),
    memory_mb=st.integers(1, 2_000_000),
    governor=st.sampled_from([None, "performance"]),
)


@pytest.mark.parametrize("name", [field.name for field in fields(Environment)])
def test_whatever_differs_is_named_unless_the_caller_leaves_it_out(name: str) -> None:
    value = getattr(ONE, name)
    another: object = 2 * value if isinstance(value, int) else f"not {value}"
    changes: dict[str, Any] = {name: replace(value, implementation="native") if name == "backend" else another}
    other = replace(ONE, **changes)
    assert ONE.differing_conditions(other) == other.differing_conditions(ONE) == (name,)
    assert not ONE.same_conditions(other)
    assert ONE.same_conditions(other, but=(name,))


@pytest.mark.parametrize(
    ("implementation", "said"),
    [
        ("native", "onnxruntime (native)"),
        ("hcopt-native", "onnxruntime (native, hcopt's own)"),
        ("python", "onnxruntime (Python-based)"),
    ],
)
def test_backend_is_said_with_what_implements_it(implementation: Literal["native", "python"], said: str) -> None:
    assert str(Backend(name="onnxruntime", implementation=implementation)) == said


@pytest.mark.parametrize(("memory_mb", "expected"), [(10_000, True), (9_800, True), (9_799, False), (10_205, False)])
def test_memory_may_differ_by_what_kernels_keep(memory_mb: int, expected: bool) -> None:
    one, other = replace(ONE, memory_mb=10_000), replace(ONE, memory_mb=memory_mb)
    assert one.same_conditions(other) is expected
    assert other.same_conditions(one) is expected


@given(ENVIRONMENTS, ENVIRONMENTS)
def test_it_does_not_matter_who_is_compared_with_whom(one: Environment, other: Environment) -> None:
    assert one.same_conditions(other) is other.same_conditions(one)
    assert one.same_conditions(one)


@pytest.mark.parametrize("load", [{"concurrency": 0}, {"concurrency": 1, "client_batch_size": 0}])
def test_load_of_nothing_is_refused(load: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not a load"):
        LoadPoint(**load)


def taken(**changes: object) -> Measurement:
    return replace(measurement(default_variant(), LIGHT, (100.0, 5.0)), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"error": "it failed"},
        {"throughput_infer_per_s": None},
        {"latency": None},
        {"throughput_infer_per_s": None, "latency": None},
    ],
)
def test_measurement_has_either_figures_or_an_error(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="either figures or an error"):
        taken(**changes)


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -float("inf")])
def test_measurement_has_finite_figures(figure: float) -> None:
    latency = taken().latency
    assert latency is not None
    for changes in ({"throughput_infer_per_s": figure}, {"latency": replace(latency, p99_ms=figure)}):
        with pytest.raises(ValueError, match="finite"):
            taken(**changes)


def test_plan_counts_the_default_too() -> None:
    plan = run_record().plan
    assert plan.all_variants[0] == plan.default
    assert plan.measurement_count == 9 * 2


def test_older_run_that_names_no_load_generator_s_cpus_is_of_the_same_conditions() -> None:
    older = replace(ONE, client_cpuset=None, numa_nodes=None)
    placed = replace(ONE, client_cpuset="0-1", numa_nodes="0", smt_siblings="0+1", cpu_quota=2.0)
    assert placed.same_conditions(older)
    assert older.same_conditions(placed)
    assert not placed.same_conditions(replace(placed, smt_siblings=None))


@pytest.mark.parametrize(
    ("cpu_model", "cpu_count", "expected"),
    [
        ("AMD EPYC 7R13 48-Core Processor", 8, "EPYC-7R13-8"),
        ("AMD EPYC 7R13 Processor", 96, "EPYC-7R13-96"),
        ("Intel(R) Xeon(R) Platinum 8488C", 4, "Xeon-Platinum-8488C-4"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", 2, "Xeon-2"),
        ("11th Gen Intel(R) Core(TM) i7-1185G7 @ 3.00GHz", 8, "Core-i7-1185G7-8"),
        ("AMD Ryzen 7 5800H with Radeon Graphics", 16, "Ryzen-7-5800H-16"),
        ("AMD", 2, "CPU-2"),
        ("", 2, "CPU-2"),
    ],
)
def test_slug_keeps_what_tells_a_cpu_from_others(cpu_model: str, cpu_count: int, expected: str) -> None:
    assert replace(ONE, cpu_model=cpu_model, cpu_count=cpu_count).slug == expected


@given(st.text(st.sampled_from("aZ09 -_@()/.é가\n"), max_size=80), st.integers(1, 4096))
def test_slug_is_a_part_of_a_folder_s_name_whatever_the_cpu_calls_itself(cpu_model: str, cpu_count: int) -> None:
    found = replace(ONE, cpu_model=cpu_model, cpu_count=cpu_count).slug
    assert re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)+", found)
    assert len(found) <= 32
    assert found.endswith(f"-{cpu_count}")
