"""Who is measured again, and in which order: blocks that balance."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest

from hcopt.confirmation import Finalists, choose_finalists, nothing_feasible, run_blocks
from hcopt.schema import LoadPoint, Measurement, ModelConfigVariant, RankedVariant
from tests.records import HEAVY, LIGHT, default_variant, grid_variants, measurement

BEST, RUNNER_UP, OTHER = grid_variants()[6], grid_variants()[5], grid_variants()[4]
DEFAULT = default_variant()


def ranked(variant: ModelConfigVariant, *, feasible: bool = True, load: LoadPoint = HEAVY) -> RankedVariant:
    return RankedVariant(
        variant=variant, load=load, throughput_infer_per_s=1e6, latency_p99_ms=0.001, feasible=feasible
    )


THREE = Finalists(best=ranked(BEST), default=ranked(DEFAULT), runner_up=ranked(RUNNER_UP))
TWO = replace(THREE, runner_up=None)


def test_finalists_are_winner_runner_up_and_default() -> None:
    feasible = [ranked(BEST), ranked(RUNNER_UP), ranked(DEFAULT), ranked(OTHER)]
    found = choose_finalists(feasible, ranked(DEFAULT))
    assert found is not None
    assert (found.best.variant, found.runner_up and found.runner_up.variant) == (BEST, RUNNER_UP)
    assert [entry.variant for entry in found.entries] == [BEST, DEFAULT, RUNNER_UP]
    assert not found.default_is_best


def test_runner_up_is_neither_the_default_nor_the_winner() -> None:
    found = choose_finalists([ranked(BEST), ranked(DEFAULT), ranked(OTHER)], ranked(DEFAULT))
    assert found is not None
    assert found.runner_up is not None
    assert found.runner_up.variant == OTHER
    assert choose_finalists([ranked(BEST), ranked(DEFAULT)], ranked(DEFAULT)) == TWO


def test_winning_default_is_measured_once_a_block() -> None:
    found = choose_finalists([ranked(DEFAULT), ranked(OTHER)], ranked(DEFAULT))
    assert found is not None
    assert found.default_is_best
    assert [entry.variant for entry in found.entries] == [DEFAULT, OTHER]


def test_refuted_variants_are_passed_over_until_none_is_left() -> None:
    feasible = [ranked(BEST), ranked(RUNNER_UP)]
    found = choose_finalists(feasible, None, excluded=[BEST.config_name])
    assert found == Finalists(best=ranked(RUNNER_UP), default=None, runner_up=None)
    assert choose_finalists(feasible, None, excluded=[BEST.config_name, RUNNER_UP.config_name]) is None
    assert choose_finalists([], ranked(DEFAULT, feasible=False)) is None


def test_nothing_feasible_says_by_how_much_it_is_missed() -> None:
    closest = replace(ranked(OTHER, feasible=False, load=LIGHT), latency_p99_ms=61.25)
    found = nothing_feasible(closest, 50.0)
    assert (found.verdict, found.best) == ("no_feasible_config", None)
    assert found.reason == (
        f"No configuration keeps p99 within 50 ms: the closest, {OTHER.config_name} at concurrency 8, has 61.2 ms "
        "(1.23 times the limit)."
    )
    assert nothing_feasible(None, 50.0).reason == "No configuration could be measured."


def run(
    finalists: Finalists, count: int, *, first: int = 0, max_s: float = math.inf, window_s: float = 1.0
) -> list[str]:
    """The visits as `block:variant number`, with a clock that only windows move."""
    now = 0.0

    def measure(variant: ModelConfigVariant, load: LoadPoint, number: int) -> Measurement:
        nonlocal now
        now += window_s
        assert load == HEAVY
        return measurement(variant, load, (1.0, 1.0), phase="confirmation", block=number)

    taken = run_blocks(finalists, measure, blocks=range(first, first + count), max_s=max_s, clock=lambda: now)
    return [f"{one.block}:{one.variant.config_name.rpartition('_')[2]}" for one in taken]


def test_six_blocks_use_all_six_orders_of_three() -> None:
    visits = run(THREE, 6)
    orders = [tuple(visit.split(":")[1] for visit in visits[n : n + 3]) for n in range(0, 18, 3)]
    assert len(set(orders)) == 6
    assert {frozenset(order) for order in orders} == {frozenset({"6", "5", "default"})}
    for position in range(3):  # each stands twice at each place
        assert set(Counter(order[position] for order in orders).values()) == {2}


def test_two_finalists_take_turns_in_going_first() -> None:
    assert run(TWO, 2) == ["0:6", "0:default", "1:default", "1:6"]


def test_further_round_goes_on_with_the_block_numbers() -> None:
    assert [visit.split(":")[0] for visit in run(TWO, 2, first=8)] == ["8", "8", "9", "9"]


@pytest.mark.parametrize(("max_s", "visited"), [(1.9, 1), (3.9, 1), (4.0, 2), (5.9, 2), (100.0, 4), (-0.1, 0)])
def test_no_block_begins_that_would_not_end_in_time(max_s: float, visited: int) -> None:
    # A block of two windows takes 2 s; how long the first one takes is not known before.
    assert len(run(TWO, 4, max_s=max_s)) == 2 * visited
