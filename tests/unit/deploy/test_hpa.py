"""The HPA's decisions against cases of Kubernetes' documentation, computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcopt.deploy.hpa import Autoscaler, Controller, desired_replicas


def desired(current: int, values: list[float], target: float, without_value: int = 0) -> int:
    return desired_replicas(current, values, target, without_value=without_value)


def autoscaler(**changes: object) -> Autoscaler:
    given: dict[str, object] = {"targets": (100.0,), "min_replicas": 1, "max_replicas": 1000, **changes}
    return Autoscaler(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("current", "value", "replicas"),
    [
        (3, 200.0, 6),  # the documentation's: 200m against 100m doubles
        (4, 50.0, 2),  # … and 50m halves
        (3, 110.0, 3),  # at the tolerance: nothing
        (3, 111.0, 4),  # 3.33
        (10, 90.0, 10),  # at the tolerance: nothing
        (10, 89.0, 9),  # 8.9
        (50, 120.0, 60),  # the documentation's of Kubernetes 1.33: 50 · 90 / 75
    ],
)
def test_ratio_of_metric_and_target_decides(current: int, value: float, replicas: int) -> None:
    assert desired(current, [value] * current, 100.0) == replicas


def test_pods_without_a_value_dampen_scaling_up() -> None:
    # 4 ready at 200 would make 8 of 4; 2 more that count as 0: 800 / 6 / 100 = 1.33, · 6 = 8.
    assert desired(6, [200.0] * 4, 100.0, without_value=2) == 8
    # 4 at 160: 640 / 6 = 106.7 is within the tolerance.
    assert desired(6, [160.0] * 4, 100.0, without_value=2) == 6


def test_pods_without_a_value_never_turn_the_direction() -> None:
    # 2 ready at 150 ask for more; with 4 at 0 it would be 300 / 6 = 50: no change.
    assert desired(6, [150.0] * 2, 100.0, without_value=4) == 6


def test_pods_without_a_value_dampen_scaling_down() -> None:
    # 4 at 40 and 2 that count as 100: 360 / 6 / 100 = 0.6, · 6 = 3.6.
    assert desired(6, [40.0] * 4, 100.0, without_value=2) == 4


def test_no_metric_changes_nothing() -> None:
    assert desired(5, [], 100.0, without_value=5) == 5


def test_largest_of_several_metrics_counts() -> None:
    controller = Controller(spec=autoscaler(targets=(100.0, 10.0)))
    assert controller.sync(0, 4, [[100.0] * 4, [15.0] * 4]) == 6


def test_scaling_up_is_limited_to_four_pods_or_twice_as_many() -> None:
    assert Controller(spec=autoscaler()).sync(0, 2, [[1000.0] * 2]) == 6
    assert Controller(spec=autoscaler()).sync(0, 10, [[1000.0] * 10]) == 20


def test_policy_counts_what_was_done_within_its_period() -> None:
    controller = Controller(spec=autoscaler(scale_down_window_s=0))
    replicas = [80]
    for step in range(9):
        replicas.append(controller.sync(15 * step, replicas[-1], [[1.0] * replicas[-1]]))
    # A tenth at once, none until a minute is over, then a tenth again.
    assert replicas == [80, 72, 72, 72, 72, 64, 64, 64, 64, 57]


def test_scaling_down_by_ten_percent_a_minute() -> None:
    """80 pods to 10: 8 go, then 7.2 rounded up, …"""
    controller = Controller(spec=autoscaler(scale_down_window_s=0))
    replicas = [80]
    for minute in range(8):
        pods = replicas[-1]
        replicas.append(controller.sync(60 * minute, pods, [[1000.0 / pods] * pods]))
    assert replicas == [80, 72, 64, 57, 51, 45, 40, 36, 32]


def test_scaling_down_waits_for_the_highest_recommendation_of_five_minutes() -> None:
    controller = Controller(spec=autoscaler())
    assert controller.sync(0, 10, [[100.0] * 10]) == 10
    for at in range(15, 300, 15):
        assert controller.sync(at, 10, [[50.0] * 10]) == 10
    assert controller.sync(300, 10, [[50.0] * 10]) == 9


def test_minimum_and_maximum_hold() -> None:
    spec = autoscaler(min_replicas=3, max_replicas=5, scale_down_window_s=0)
    assert Controller(spec=spec).sync(0, 4, [[1000.0] * 4]) == 5
    assert Controller(spec=spec).sync(0, 4, [[1.0] * 4]) == 3
    assert Controller(spec=spec).sync(0, 1, [[100.0]]) == 3
    assert Controller(spec=spec).sync(0, 9, [[100.0] * 9]) == 5


@given(st.integers(1, 200), st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.1, 1e5))
def test_replicas_are_never_beyond_the_bounds(current: int, values: list[float], target: float) -> None:
    spec = autoscaler(targets=(target,), min_replicas=2, max_replicas=100)
    assert 2 <= Controller(spec=spec).sync(0, current, [values[:current]]) <= 100


@given(st.integers(1, 100), st.floats(0, 1000), st.floats(0, 1000))
def test_higher_metric_never_asks_for_fewer_pods(current: int, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert desired(current, [low] * current, 100.0) <= desired(current, [high] * current, 100.0)
