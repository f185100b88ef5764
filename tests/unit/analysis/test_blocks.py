"""Blocks: orders that balance, a clock that is kept, and which measurements pair."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, permutations

import pytest

from hcopt.analysis.blocks import BlockClock, Candidate, balanced_orders, measure_block, paired, windows_of
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from tests.support.records import HEAVY, LIGHT, default_variant, grid_variants, measurement

CANDIDATES = [
    Candidate(variant=variant, load=HEAVY) for variant in (grid_variants()[6], default_variant(), grid_variants()[5])
]


def taken(candidate: Candidate, block: int | None, figures: tuple[float, float] | None = (1.0, 1.0)) -> Measurement:
    return measurement(candidate.variant, candidate.load, figures, phase="confirmation", block=block)


def test_three_arms_take_all_six_orders() -> None:
    assert set(balanced_orders(3)) == set(permutations(range(3)))
    assert len(balanced_orders(3)) == 6


def test_two_arms_take_turns_and_one_has_no_choice() -> None:
    assert balanced_orders(2) == ((0, 1), (1, 0))
    assert balanced_orders(1) == ((0,),)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_each_arm_stands_equally_often_at_each_place_and_after_each_other(count: int) -> None:
    orders = balanced_orders(count)
    places = Counter((place, candidate) for order in orders for place, candidate in enumerate(order))
    neighbours = Counter(pair for order in orders for pair in pairwise(order))
    assert (len(places), len(set(places.values()))) == (count * count, 1)
    assert (len(neighbours), len(set(neighbours.values()))) == (count * (count - 1), 1)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_each_order_is_followed_by_its_mirror_image(count: int) -> None:
    orders = balanced_orders(count)
    assert all(second == first[::-1] for first, second in zip(orders[::2], orders[1::2], strict=True))


def test_block_visits_every_arm_once_at_its_load() -> None:
    visits = list[tuple[str, LoadPoint, int]]()

    def measure(variant: ModelConfigVariant, load: LoadPoint, block: int) -> Measurement:
        visits.append((variant.config_name, load, block))
        return taken(Candidate(variant=variant, load=load), block)

    found = measure_block(CANDIDATES, measure, 7)
    assert [one.variant for one in found] == [CANDIDATES[index].variant for index in balanced_orders(3)[1]]
    assert {(load, block) for _, load, block in visits} == {(HEAVY, 7)}


def test_clock_lets_no_block_begin_that_would_not_end_in_time() -> None:
    now = 0.0
    clock = BlockClock(10.0, lambda: now)
    assert (clock.room(6), clock.used_ratio()) == (6, 0.0), "of the first nobody knows"
    with clock.blocks(2):
        now = 4.0
    assert (clock.room(6), clock.used_ratio(), clock.block_s) == (3, pytest.approx(0.4), 2.0)
    with clock.blocks(3):
        now = 8.5
    # The longest block took 2 s, 1.5 s are left.
    assert (clock.room(6), clock.used_ratio()) == (0, 1.0)
    assert BlockClock(10.0, lambda: now, 4.0).room(6) == 2


@pytest.mark.parametrize("max_s", [0.0, -1.0])
def test_clock_without_time_is_used_up(max_s: float) -> None:
    now = 0.0
    clock = BlockClock(max_s, lambda: now)
    now = 0.1
    assert (clock.room(1), clock.used_ratio()) == (0, 1.0)


def test_two_pair_in_the_blocks_in_which_both_have_figures_whatever_a_third_did() -> None:
    first, second, third = CANDIDATES
    found = windows_of(
        CANDIDATES,
        [
            *(taken(second, 2), taken(first, 2), taken(third, 2, None)),
            *(taken(first, 0), taken(second, 0), taken(third, 0)),
            *(taken(first, 1), taken(second, 1, None), taken(third, 1)),
        ],
    )
    assert {candidate: list(own) for candidate, own in found.items()} == {
        first: [0, 1, 2],
        second: [0, 2],
        third: [0, 1],
    }
    one, other = paired(found[first], found[second])
    assert [(window.variant, window.block) for window in one] == [(first.variant, 0), (first.variant, 2)]
    assert [(window.variant, window.block) for window in other] == [(second.variant, 0), (second.variant, 2)]


def test_one_variant_at_two_loads_is_two_arms() -> None:
    heavy, light = CANDIDATES[0], Candidate(variant=CANDIDATES[0].variant, load=LIGHT)
    found = windows_of([heavy, light], [taken(heavy, 0, (2.0, 1.0)), taken(light, 0, (1.0, 1.0))])
    assert [found[candidate][0].throughput_infer_per_s for candidate in (heavy, light)] == [2.0, 1.0]


def test_windows_of_no_block_are_left_out() -> None:
    assert windows_of(CANDIDATES[:1], [taken(CANDIDATES[0], None)]) == {CANDIDATES[0]: {}}
