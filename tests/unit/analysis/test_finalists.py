"""Who is measured again, at which loads, and what is compared."""

from __future__ import annotations

from dataclasses import replace

from hcopt.analysis.blocks import Candidate
from hcopt.analysis.finalists import Finalists, choose_finalists
from hcopt.records.measurement import LoadPoint
from hcopt.records.model import ModelConfigVariant
from hcopt.records.verdict import RankedVariant
from tests.support.records import HEAVY, LIGHT, default_variant, grid_variants

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


def test_bold_proposal_leads_and_the_safe_one_stands_behind_it_even_where_that_is_the_same_at_a_lighter_load() -> None:
    feasible = [ranked(BEST, load=LIGHT), ranked(OTHER), ranked(DEFAULT)]
    found = choose_finalists(feasible, ranked(DEFAULT), bold=ranked(BEST))
    assert found is not None
    assert (found.best, found.runner_up) == (ranked(BEST), ranked(BEST, load=LIGHT))
    plan = found.plan
    assert (plan.best.load, plan.runner_up and plan.runner_up.load) == (HEAVY, LIGHT)
    assert choose_finalists([], ranked(DEFAULT), bold=ranked(BEST)) is None


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


def test_finalists_at_one_load_are_three_arms_and_three_comparisons() -> None:
    plan = THREE.plan
    best, default, runner_up = (Candidate(variant=variant, load=HEAVY) for variant in (BEST, DEFAULT, RUNNER_UP))
    assert plan.candidates == (best, default, runner_up)
    assert plan.pairs == ((best, default), (best, runner_up), (runner_up, default))
    assert plan.improvement == (best, default)


def test_default_with_another_best_load_is_measured_at_both() -> None:
    plan = replace(THREE, default=ranked(DEFAULT, load=LIGHT)).plan
    equal = Candidate(variant=DEFAULT, load=HEAVY)
    assert plan.default == Candidate(variant=DEFAULT, load=LIGHT)
    assert plan.default_at_best_load == equal
    assert len(plan.candidates) == 4
    assert plan.pairs[3:] == ((plan.best, equal), (plan.runner_up, equal))


def test_equal_load_is_that_of_the_best_and_of_nobody_else() -> None:
    elsewhere = replace(THREE, default=ranked(DEFAULT, load=LIGHT), runner_up=ranked(RUNNER_UP, load=LIGHT)).plan
    assert len(elsewhere.pairs) == 4
    assert elsewhere.runner_up is not None
    assert elsewhere.swapped(elsewhere.runner_up).default_at_best_load is None
    together = replace(THREE, default=ranked(DEFAULT, load=LIGHT)).plan
    assert together.runner_up is not None
    assert together.swapped(together.runner_up).default_at_best_load == together.default_at_best_load


def test_winning_default_is_compared_with_the_runner_up_alone() -> None:
    plan = Finalists(best=ranked(DEFAULT), default=ranked(DEFAULT), runner_up=ranked(OTHER)).plan
    assert plan.improvement is None
    assert plan.pairs == ((plan.best, plan.runner_up),)


def test_missing_arms_leave_the_cast_but_the_best_stays() -> None:
    plan = replace(THREE, default=ranked(DEFAULT, load=LIGHT)).plan.without(lambda candidate: True)
    assert (plan.candidates, plan.pairs) == ((plan.best,), ())
