"""The autoscaler over a load: the computed target keeps the limit where the naive one does not."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from hcopt.deploy.capacity import Growth, Reaction, lower_bound, plan_replicas, target_rate
from hcopt.deploy.hpa import Autoscaler
from hcopt.deploy.load_trace import LoadTrace
from hcopt.deploy.pod_model import PodModel, fit_pod_model
from hcopt.deploy.simulation import Simulation, simulate
from tests.support.planned_run import capacity, planned_record

DOUBLES = Growth(factor=2, within_s=600)
REACTION = Reaction(scrape_interval_s=15, rate_window_s=60, pod_start_s=57, growth=DOUBLES)
LOWER = lower_bound(capacity())
POD = fit_pod_model(capacity())
# What the manifests say for this run: 5800 · 0.05 / ln 100.
PENDING = 63.0
ONE_PERCENT = 0.01


def doubling(base: float) -> LoadTrace:
    """Five calm minutes, a straight rise within ten, and five calm ones."""
    return LoadTrace(times_s=(0.0, 300.0, 900.0, 1200.0), rates_infer_per_s=(base, base, 2 * base, 2 * base))


def over_a_ramp(base: float, target: float, *, guard: bool, spare: bool = True) -> Simulation:
    """The load doubles in ten minutes."""
    plan = plan_replicas(target, base_infer_per_s=base, peak_infer_per_s=2 * base)
    spec = Autoscaler(
        targets=(target, PENDING) if guard else (target,),
        min_replicas=plan.min_replicas if spare else 1,
        max_replicas=max(plan.max_replicas, 1),
    )
    return simulate(doubling(base), spec, POD, REACTION, capacity_infer_per_s=LOWER)


@pytest.mark.parametrize("base", [8000, 20_000, 60_000, 250_000])
@pytest.mark.parametrize("spare", [True, False])
def test_computed_target_keeps_the_p99_limit_while_the_load_doubles(base: float, spare: bool) -> None:
    found = over_a_ramp(base, target_rate(LOWER, REACTION), guard=True, spare=spare)
    assert found.miss_ratio <= ONE_PERCENT
    assert found.worst_minute_miss_ratio <= ONE_PERCENT


@pytest.mark.parametrize("base", [20_000, 60_000, 250_000])
def test_naive_target_does_not(base: float) -> None:
    """The sweep's maximum, no headroom: the metric saturates below it, and nothing is ever scaled."""
    sweep_maximum = planned_record().ranking.ranked[0].throughput_infer_per_s
    found = over_a_ramp(base, sweep_maximum, guard=False)
    assert found.miss_ratio > 0.1
    assert max(moment.replicas for moment in found.moments) == found.moments[0].replicas


@pytest.mark.parametrize("base", [20_000, 60_000, 250_000])
def test_lower_bound_without_headroom_does_not_either(base: float) -> None:
    assert over_a_ramp(base, LOWER, guard=False, spare=False).miss_ratio > 0.1


def test_guard_brings_back_what_the_rate_cannot_see() -> None:
    """A jump to three times the load: completions saturate, waiting requests do not."""
    jump = LoadTrace(times_s=(0.0, 300.0, 301.0, 1500.0), rates_infer_per_s=(20_000.0, 20_000.0, 60_000.0, 60_000.0))

    def run(*targets: float) -> Simulation:
        spec = Autoscaler(targets=targets, min_replicas=5, max_replicas=40)
        return simulate(jump, spec, POD, REACTION, capacity_infer_per_s=LOWER)

    target = target_rate(LOWER, REACTION)
    alone, guarded = run(target), run(target, PENDING)
    assert guarded.miss_ratio < alone.miss_ratio
    assert guarded.moments[-1].miss_ratio <= ONE_PERCENT


def test_pods_by_hand_at_a_load_that_stays() -> None:
    pod = PodModel(saturation_infer_per_s=200.0, floor_ms=1.0, slope_ms=1.0, limit_ms=100.0)
    trace = LoadTrace(times_s=(0.0, 3600.0), rates_infer_per_s=(300.0, 300.0))
    spec = Autoscaler(targets=(100.0,), min_replicas=1, max_replicas=10)
    found = simulate(trace, spec, pod, REACTION, capacity_infer_per_s=150.0)
    assert {moment.replicas for moment in found.moments} == {3}
    assert math.isclose(found.pod_hours, 3.0)
    assert math.isclose(found.needed_pod_hours, 2.0)
    assert math.isclose(found.over_provisioning_ratio, 0.5)


def test_pods_of_a_minimum_that_the_load_does_not_need_are_too_many() -> None:
    pod = PodModel(saturation_infer_per_s=200.0, floor_ms=1.0, slope_ms=1.0, limit_ms=100.0)
    trace = LoadTrace(times_s=(0.0, 3600.0), rates_infer_per_s=(300.0, 300.0))
    spec = Autoscaler(targets=(100.0,), min_replicas=8, max_replicas=10)
    found = simulate(trace, spec, pod, REACTION, capacity_infer_per_s=150.0)
    assert (found.pod_hours, found.needed_pod_hours) == (pytest.approx(8.0), pytest.approx(2.0))
    assert math.isclose(found.over_provisioning_ratio, 3.0)


def test_new_pods_answer_only_after_their_start() -> None:
    pod = PodModel(saturation_infer_per_s=200.0, floor_ms=1.0, slope_ms=1.0, limit_ms=100.0)
    step = LoadTrace(times_s=(0.0, 60.0, 61.0, 600.0), rates_infer_per_s=(100.0, 100.0, 180.0, 180.0))
    spec = Autoscaler(targets=(100.0,), min_replicas=1, max_replicas=10)
    moments = simulate(step, spec, pod, REACTION, capacity_infer_per_s=150.0).moments
    asked = next(moment.time_s for moment in moments if moment.replicas > 1)
    answered = next(moment.time_s for moment in moments if moment.ready > 1)
    assert answered - asked == REACTION.pod_start_s


def test_falling_load_gives_pods_back_after_the_window() -> None:
    fall = LoadTrace(times_s=(0.0, 100.0, 101.0, 1500.0), rates_infer_per_s=(40_000.0, 40_000.0, 10_000.0, 10_000.0))
    spec = Autoscaler(targets=(target_rate(LOWER, REACTION),), min_replicas=2, max_replicas=20)
    moments = simulate(fall, spec, POD, REACTION, capacity_infer_per_s=LOWER).moments
    first = moments[0].replicas
    assert all(moment.replicas == first for moment in moments if moment.time_s < 300)
    assert moments[-1].replicas < first
    assert all(before.replicas >= after.replicas for before, after in pairwise(moments))


def test_no_load_misses_nothing() -> None:
    trace = LoadTrace(times_s=(0.0, 100.0), rates_infer_per_s=(0.0, 0.0))
    spec = Autoscaler(targets=(10.0,), min_replicas=1, max_replicas=2)
    found = simulate(trace, spec, POD, REACTION, capacity_infer_per_s=LOWER)
    assert (found.miss_ratio, found.worst_minute_miss_ratio) == (0.0, 0.0)
