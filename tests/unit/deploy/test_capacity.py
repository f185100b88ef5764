"""Replicas from capacity: figures by hand, and what must hold for any load."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcopt.deploy.capacity import (
    SPARE_PODS,
    Growth,
    Reaction,
    cost_per_million,
    load_for,
    parse_growth,
    plan_replicas,
    pods_for,
    sustained,
    target_rate,
)
from hcopt.errors import ConfigError
from hcopt.records.verdict import Estimate
from tests.support.planned_run import capacity
from tests.support.records import no_feasible_config_record, run_record

DOUBLES_IN_TEN_MINUTES = Growth(factor=2, within_s=600)
# τ = 15 + 60 + 15 + 30 = 120 s, g·τ = 0.2, headroom 1.1 · 1.2 = 1.32
REACTION = Reaction(scrape_interval_s=15, rate_window_s=60, pod_start_s=30, growth=DOUBLES_IN_TEN_MINUTES)

rates = st.floats(min_value=0, max_value=1e9)
capacities = st.floats(min_value=1e-3, max_value=1e7)
growths = st.builds(Growth, factor=st.floats(1, 100), within_s=st.floats(1, 86_400))
delays = st.floats(0, 600)
reactions = st.builds(
    Reaction,
    scrape_interval_s=delays,
    rate_window_s=delays,
    pod_start_s=delays,
    growth=growths,
    tolerance_ratio=st.floats(0, 0.5),
)


def test_target_leaves_room_for_tolerance_and_growth() -> None:
    assert math.isclose(REACTION.total_s, 120)
    assert math.isclose(target_rate(6600, REACTION), 5000)


def test_replicas_have_one_to_spare_at_base_and_at_peak() -> None:
    plan = plan_replicas(5000, base_infer_per_s=60_000, peak_infer_per_s=500_000)
    assert (plan.min_replicas, plan.max_replicas) == (13, 101)


def test_replicas_are_two_at_least_without_any_load() -> None:
    plan = plan_replicas(5000, base_infer_per_s=0, peak_infer_per_s=0)
    assert (plan.min_replicas, plan.max_replicas) == (2, 2)


def test_load_above_a_multiple_of_the_target_takes_one_pod_more() -> None:
    assert pods_for(20_000, 5000) == 4 + SPARE_PODS
    assert pods_for(20_001, 5000) == 5 + SPARE_PODS


def test_load_of_replicas_is_the_highest_that_asks_for_them() -> None:
    assert load_for(10, 5000) == 9 * 5000
    assert load_for(1, 5000) == 0


@given(st.integers(2, 150_000), st.floats(1e-3, 1e7))
def test_replicas_and_their_load_ask_for_each_other(pods: int, target: float) -> None:
    load = load_for(pods, target)
    assert pods_for(load, target) == pods
    assert pods_for(load + 1e-3 * target, target) == pods + 1


def test_cost_of_a_million_inferences() -> None:
    # 1,000 a second are 3.6 million an hour.
    assert math.isclose(cost_per_million(0.36, 1000), 0.1)


@pytest.mark.parametrize(
    ("text", "factor", "within_s"),
    [("2x/10m", 2, 600), ("1.5x/90s", 1.5, 90), ("10x/1h", 10, 3600), ("1x/1s", 1, 1)],
)
def test_growth_is_read(text: str, factor: float, within_s: float) -> None:
    assert parse_growth(text) == Growth(factor=factor, within_s=within_s)


@pytest.mark.parametrize("text", ["", "2", "2x", "x/10m", "0.5x/10m", "2x/0m", "2x/10", "2x/10d", "-2x/10m", "2x/-1m"])
def test_growth_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="growth"):
        parse_growth(text)


def test_base_above_peak_is_refused() -> None:
    with pytest.raises(ConfigError, match="no range"):
        plan_replicas(100, base_infer_per_s=2, peak_infer_per_s=1)


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (no_feasible_config_record(), "no best configuration"),
        (run_record(capacity=None), "no sustainable rate"),
        (
            run_record(capacity=replace(capacity(), sustainable_rate_infer_per_s=Estimate(estimate=0.0))),
            "no arrival rate",
        ),
    ],
)
def test_run_without_capacity_is_refused_with_a_remedy(record: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        sustained(record)  # type: ignore[arg-type]
    assert refused.value.remedy


@given(capacities, reactions)
def test_target_is_never_above_the_lower_bound(lower: float, reaction: Reaction) -> None:
    assert 0 < target_rate(lower, reaction) <= lower


@given(capacities, rates, rates)
def test_minimum_is_never_above_maximum(target: float, one: float, other: float) -> None:
    plan = plan_replicas(target, base_infer_per_s=min(one, other), peak_infer_per_s=max(one, other))
    assert 2 <= plan.min_replicas <= plan.max_replicas


@given(capacities, rates, rates)
def test_more_load_never_needs_fewer_replicas(target: float, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert pods_for(less, target) <= pods_for(more, target)
    lower = plan_replicas(target, base_infer_per_s=0, peak_infer_per_s=less)
    higher = plan_replicas(target, base_infer_per_s=0, peak_infer_per_s=more)
    assert lower.max_replicas <= higher.max_replicas


@given(capacities, reactions, growths)
def test_steeper_growth_never_raises_the_target(lower: float, reaction: Reaction, growth: Growth) -> None:
    flat, steep = sorted((reaction.growth, growth), key=lambda one: one.ratio_per_s)
    assert target_rate(lower, replace(reaction, growth=steep)) <= target_rate(lower, replace(reaction, growth=flat))


@given(st.floats(1, 10_000), st.floats(0, 1e7))
def test_pods_at_target_stay_within_capacity_while_new_ones_start(lower: float, load: float) -> None:
    target = target_rate(lower, REACTION)
    pods = max(1, pods_for(load, target) - SPARE_PODS)
    worst = load / pods * REACTION.headroom_ratio
    assert worst <= lower * (1 + 1e-9)
