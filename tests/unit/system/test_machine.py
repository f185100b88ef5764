from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcopt.records.measurement import Backend
from hcopt.system import cpu_list, machine
from hcopt.system.machine import CpuTimes, steal_ratio


def test_cpu_times_of_this_machine_only_grow() -> None:
    before = machine.read_cpu_times()
    after = machine.read_cpu_times()
    assert 0 < before.total_s <= after.total_s


def test_steal_ratio_is_the_share_between_two_readings() -> None:
    before, after = CpuTimes(total_s=100, steal_s=1), CpuTimes(total_s=102, steal_s=1.5)
    assert steal_ratio(before, after) == pytest.approx(0.25)


def test_steal_ratio_is_unknown_when_no_time_has_passed() -> None:
    times = CpuTimes(total_s=100, steal_s=1)
    assert steal_ratio(times, times) is None


def test_steal_ratio_stays_a_ratio_when_the_counter_steps_back() -> None:
    assert steal_ratio(CpuTimes(total_s=100, steal_s=1), CpuTimes(total_s=101, steal_s=0.9)) == 0


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", {0}), ("0-1", {0, 1}), ("0-2,8", {0, 1, 2, 8}), ("3,1", {1, 3}), ("5-5", {5})]
)
def test_cpu_list_is_read_as_linux_writes_it(text: str, cpus: set[int]) -> None:
    assert cpu_list.parse_cpu_list(text) == cpus


@pytest.mark.parametrize("text", ["", "a", "1-", "3-1", "0,,1"])
def test_cpu_list_rejects_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"CPU|int"):
        cpu_list.parse_cpu_list(text)


@given(st.frozensets(st.integers(0, 300), min_size=1))
def test_cpu_list_survives_writing_and_reading(cpus: frozenset[int]) -> None:
    assert cpu_list.parse_cpu_list(cpu_list.format_cpu_list(cpus)) == cpus


def test_cpu_list_is_written_with_ranges() -> None:
    assert cpu_list.format_cpu_list({8, 0, 2, 1}) == "0-2,8"


def test_cpu_model_is_the_first_model_name() -> None:
    text = "processor\t: 0\nmodel\t\t: 167\nmodel name\t: Intel(R)  Xeon(R) Processor\n\nprocessor\t: 1\n"
    assert machine.parse_cpu_model(text) == "Intel(R) Xeon(R) Processor"


def test_cpu_model_is_unknown_where_the_kernel_names_none() -> None:
    assert machine.parse_cpu_model("processor\t: 0\nBogoMIPS\t: 50.00\n") == "unknown"


def test_memory_is_what_the_control_group_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = machine.read_memory_mb()
    monkeypatch.setattr(machine, "read_memory_limit", lambda: 64 << 20)
    assert machine.read_memory_mb() == 64
    # Version 1 writes a huge number where there is no limit.
    monkeypatch.setattr(machine, "read_memory_limit", lambda: 9223372036854771712)
    assert machine.read_memory_mb() >= whole


@pytest.mark.parametrize(("quota", "count"), [(None, 4), (0.5, 1), (1.0, 1), (2.9, 2), (8.0, 4)])
def test_quota_leaves_whole_cpus_and_one_at_least(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, count: int
) -> None:
    monkeypatch.setattr(machine, "read_cpu_quota", lambda: quota)
    assert machine.usable_cpu_count({0, 1, 2, 3}) == count


def test_throttled_share_is_of_the_cpu_time_that_has_passed() -> None:
    before, after = (CpuTimes(total_s=total, steal_s=0, throttled_s=held) for total, held in ((10, 1.0), (14, 3.0)))
    assert machine.throttled_ratio(before, after) == pytest.approx(0.5)
    assert machine.throttled_ratio(before, CpuTimes(total_s=14, steal_s=0)) is None


def test_governor_names_all_that_differ(tmp_path: Path) -> None:
    for cpu, governor in enumerate(("powersave", "performance", "powersave")):
        file = tmp_path / f"cpu{cpu}" / "cpufreq" / "scaling_governor"
        file.parent.mkdir(parents=True)
        file.write_text(f"{governor}\n")
    assert machine.read_governor([0, 2], tmp_path) == "powersave"
    assert machine.read_governor([0, 1], tmp_path) == "performance,powersave"
    assert machine.read_governor([7], tmp_path) is None


def test_environment_describes_the_cpus_that_the_server_is_bound_to() -> None:
    cpu = min(os.sched_getaffinity(0))
    found = machine.read_environment(
        runtime="embedded",
        backend=Backend(name="onnxruntime", implementation="native"),
        triton_version="2.51.0",
        onnxruntime_version=None,
        perf_analyzer_version=None,
        server_cpuset=str(cpu),
    )
    assert (found.cpuset, found.cpu_count) == (str(cpu), 1)
    assert found.cpu_model
    assert found.memory_mb > 0


def test_environment_describes_the_cpus_of_this_process_where_the_server_is_bound_to_none() -> None:
    found = machine.read_environment(
        runtime="embedded",
        backend=Backend(name="onnxruntime", implementation="native"),
        triton_version="2.51.0",
        onnxruntime_version=None,
        perf_analyzer_version=None,
    )
    assert cpu_list.parse_cpu_list(found.cpuset) == os.sched_getaffinity(0)
    assert found.cpu_count == len(os.sched_getaffinity(0))
