"""The sweep's order: exact limits, equal settings pooled, failures counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcopt.analysis.ranking import find_default, pooled, rank
from hcopt.records.measurement import LoadPoint, Measurement, SweepPlan
from hcopt.records.model import ModelConfigVariant
from tests.support.records import default_variant, grid_variants, measurement

LOW, HIGH = LoadPoint(concurrency=8), LoadPoint(concurrency=32)
DEFAULT = default_variant()
EIGHT, SIXTEEN, *_ = grid_variants()  # the second one has the default's settings
PLAN = SweepPlan(model_name="M", default=DEFAULT, variants=(EIGHT, SIXTEEN), loads=(LOW, HIGH))


def taken(variant: ModelConfigVariant, throughput: float, p99: float, load: LoadPoint = LOW) -> Measurement:
    return measurement(variant, load, (throughput, p99))


def failed(variant: ModelConfigVariant, load: LoadPoint = LOW) -> Measurement:
    return measurement(variant, load, None)


def names(plan: SweepPlan, measurements: list[Measurement], limit_ms: float | None) -> list[tuple[str, bool]]:
    found = rank(plan, measurements, latency_p99_limit_ms=limit_ms)
    return [(entry.variant.config_name.rpartition("_")[2], entry.feasible) for entry in found.ranked]


@pytest.mark.parametrize(
    ("p99", "feasible"), [(2.4999999, True), (2.5, True), (2.5000001, False), (2.0, True), (3.0, False)]
)
def test_limit_is_exact_below_a_millisecond(p99: float, *, feasible: bool) -> None:
    # Model Analyzer would make 2 of 2.5.
    assert names(PLAN, [taken(EIGHT, 100, p99)], 2.5) == [("0", feasible)]


@pytest.mark.parametrize("limit_ms", [5.0, None])
def test_load_at_which_a_variant_failed_a_window_of_its_own_is_not_feasible(limit_ms: float | None) -> None:
    refused = replace(failed(EIGHT), failure_cause="refused")
    assert names(PLAN, [taken(EIGHT, 100, 1), refused], limit_ms) == [("0", False)]
    assert names(PLAN, [taken(EIGHT, 100, 1), failed(EIGHT)], limit_ms) == [("0", True)]
    # Another load is another matter.
    found = rank(PLAN, [taken(EIGHT, 100, 1), refused, taken(EIGHT, 50, 1, HIGH)], latency_p99_limit_ms=limit_ms)
    assert [(entry.load, entry.feasible, entry.failed_ratio) for entry in found.ranked] == [(HIGH, True, 0.0)]


def test_requests_that_were_answered_with_errors_are_misses() -> None:
    few, many = (replace(taken(EIGHT, 1000, 1), request_count=1000, error_count=count) for count in (10, 11))
    assert names(PLAN, [few], 5) == [("0", True)]  # 10 of 1,010
    assert names(PLAN, [many], 5) == [("0", False)]


def test_without_limit_everything_is_feasible() -> None:
    assert names(PLAN, [taken(EIGHT, 100, 1e9)], None) == [("0", True)]


def test_each_variant_stands_at_its_best_feasible_load() -> None:
    found = rank(
        PLAN, [taken(EIGHT, 100, 1), taken(EIGHT, 300, 9, HIGH), taken(SIXTEEN, 200, 4, HIGH)], latency_p99_limit_ms=5
    )
    assert [(entry.load, entry.throughput_infer_per_s) for entry in found.ranked] == [(HIGH, 200), (LOW, 100)]
    assert found.feasible == found.ranked


def test_feasible_come_first_by_throughput_then_others_by_how_little_they_miss() -> None:
    third, fourth = grid_variants()[2:4]
    plan = replace(PLAN, variants=(EIGHT, SIXTEEN, third, fourth))
    measurements = [taken(EIGHT, 900, 60), taken(SIXTEEN, 100, 5), taken(third, 200, 5), taken(fourth, 500, 55)]
    assert names(plan, measurements, 50) == [("2", True), ("default", True), ("3", False), ("0", False)]


def test_infeasible_variant_stands_at_its_lowest_p99() -> None:
    found = rank(PLAN, [taken(EIGHT, 100, 70), taken(EIGHT, 50, 60, HIGH)], latency_p99_limit_ms=50)
    assert (found.ranked[0].load, found.ranked[0].latency_p99_ms) == (HIGH, 60)
    assert found.feasible == ()


def test_equal_settings_are_one_variant_and_their_measurements_are_averaged() -> None:
    found = rank(PLAN, [taken(DEFAULT, 100, 40), taken(SIXTEEN, 200, 50)], latency_p99_limit_ms=45)
    [entry] = found.ranked
    assert entry.variant == DEFAULT  # the name that the user knows
    assert entry.equal_names == (SIXTEEN.config_name,)
    assert (entry.throughput_infer_per_s, entry.latency_p99_ms, entry.feasible) == (150, 45, True)


def test_pooling_keeps_the_plan_s_order_and_the_default_first() -> None:
    groups = pooled(PLAN)
    assert list(groups.values()) == [(DEFAULT, SIXTEEN), (EIGHT,)]


@pytest.mark.parametrize(
    "other",
    [
        {"parameters": (("intra_op_thread_count", "1"),)},
        {"dynamic_batching": False},
        {"max_queue_delay_us": 1},
        {"instance_count": 2},
        {"max_batch_size": 4},
    ],
)
def test_variants_that_differ_in_anything_are_not_pooled(other: dict[str, object]) -> None:
    plan = replace(PLAN, variants=(replace(SIXTEEN, **other),))  # type: ignore[arg-type]
    assert len(pooled(plan)) == 2


def test_failures_are_counted_and_left_out() -> None:
    found = rank(
        PLAN, [failed(DEFAULT), taken(SIXTEEN, 100, 1), failed(EIGHT), failed(EIGHT, HIGH)], latency_p99_limit_ms=9
    )
    assert found.failed_count == 3
    assert [entry.throughput_infer_per_s for entry in found.ranked] == [100]


def test_nothing_measured_ranks_nothing() -> None:
    found = rank(PLAN, [failed(DEFAULT)], latency_p99_limit_ms=9)
    assert (found.ranked, found.failed_count, found.latency_p99_limit_ms) == ((), 1, 9)
    assert find_default(PLAN, found) is None


def test_equal_throughput_keeps_the_plan_s_order() -> None:
    assert [name for name, _ in names(PLAN, [taken(EIGHT, 100, 1), taken(DEFAULT, 100, 2)], 9)] == ["default", "0"]


def test_default_is_found_by_its_settings_when_only_its_double_was_measured() -> None:
    found = rank(PLAN, [failed(DEFAULT), taken(SIXTEEN, 100, 1)], latency_p99_limit_ms=9)
    default = find_default(PLAN, found)
    assert default is not None
    assert default.variant.config_name == DEFAULT.config_name
    assert default.throughput_infer_per_s == 100


def test_default_is_found_though_it_misses_the_limit() -> None:
    found = rank(PLAN, [taken(EIGHT, 100, 1), taken(DEFAULT, 900, 60)], latency_p99_limit_ms=50)
    default = find_default(PLAN, found)
    assert default is not None
    assert not default.feasible
