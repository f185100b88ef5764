"""Values are checked when they are made."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from tests.support.records import LIGHT, default_variant, grid_variants, measurement, run_record


@pytest.mark.parametrize("changes", [{"max_batch_size": -1}, {"instance_count": 0}, {"max_queue_delay_us": -1}])
def test_variant_that_no_server_could_have_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not a model configuration"):
        replace(default_variant(), **changes)  # type: ignore[arg-type]


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


def test_settings_leave_out_the_name_and_nothing_else() -> None:
    variant = grid_variants()[1]
    assert variant.settings == default_variant().settings
    different: list[ModelConfigVariant] = [
        replace(variant, max_batch_size=1),
        replace(variant, instance_count=9),
        replace(variant, max_queue_delay_us=9),
        replace(variant, parameters=(("a", "1"),)),
        replace(variant, dynamic_batching=False),
    ]
    assert len({one.settings for one in (variant, *different)}) == 6


def test_plan_counts_the_default_too() -> None:
    plan = run_record().plan
    assert plan.all_variants[0] == plan.default
    assert plan.measurement_count == 9 * 2


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        default_variant().instance_count = 2  # type: ignore[misc]
