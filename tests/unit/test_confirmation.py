"""Verdicts on figures whose outcome is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from hcopt.config import ConfirmationSection
from hcopt.confirmation import Finalists, decide
from hcopt.schema import Confirmation, Measurement, ModelConfigVariant, RankedVariant
from tests.records import HEAVY, default_variant, grid_variants, measurement

SETTINGS = ConfirmationSection()
BEST, RUNNER_UP = grid_variants()[6], grid_variants()[5]
DEFAULT = default_variant()


def ranked(variant: ModelConfigVariant) -> RankedVariant:
    """The sweep's figures are absurd: they play no part."""
    return RankedVariant(variant=variant, load=HEAVY, throughput_infer_per_s=1e6, latency_p99_ms=0.001, feasible=True)


THREE = Finalists(best=ranked(BEST), default=ranked(DEFAULT), runner_up=ranked(RUNNER_UP))
TWO = replace(THREE, runner_up=None)


def block(variant: ModelConfigVariant, number: int, throughput: float | None, p99: float = 9.0) -> Measurement:
    figures = None if throughput is None else (throughput, p99)
    return measurement(variant, HEAVY, figures, phase="confirmation", block=number)


def blocks(
    best: Sequence[float | None], default: Sequence[float | None], runner_up: Sequence[float | None] = ()
) -> list[Measurement]:
    rows = zip((BEST, DEFAULT, RUNNER_UP), (best, default, runner_up), strict=True)
    return [block(variant, number, value) for variant, values in rows for number, value in enumerate(values)]


def verdict(
    taken: Sequence[Measurement], finalists: Finalists = TWO, *, limit_ms: float | None = 50.0, alpha: float = 0.01
) -> Confirmation:
    settings = SETTINGS.model_copy(update={"alpha": alpha})
    return decide(finalists, taken, latency_p99_limit_ms=limit_ms, settings=settings)


NOISE = (1.00, 1.01, 0.99, 1.02, 0.98, 1.00, 1.01, 0.99)
BASE = [5000 * factor for factor in NOISE]


def times(factor: float) -> list[float]:
    """The default's blocks times a factor, with some noise of its own."""
    return [value * factor * noise for value, noise in zip(BASE, reversed(NOISE), strict=True)]


def test_faster_winner_is_better() -> None:
    found = verdict(blocks(times(1.3), BASE))
    assert found.verdict == "better"
    assert found.improvement is not None
    assert found.improvement.throughput_ratio.estimate == pytest.approx(1.3, rel=0.01)
    assert found.improvement.p_value == pytest.approx(1 / 256)  # the only comparison: nothing to adjust
    assert (found.improvement.candidate, found.improvement.baseline) == (BEST.config_name, DEFAULT.config_name)
    assert found.improvement.blocks_to_decide is None
    assert found.block_count == 8
    assert found.best is not None
    assert found.best.throughput_infer_per_s.estimate == pytest.approx(np.mean(times(1.3)))


def test_p_values_of_two_comparisons_are_adjusted() -> None:
    found = verdict(blocks(times(1.3), BASE, times(1.1)), THREE)
    assert found.improvement is not None
    assert found.runner_up_relation is not None
    assert found.improvement.p_value == found.runner_up_relation.p_value == pytest.approx(2 / 256)
    assert (found.verdict, found.runner_up_relation.verdict) == ("better", "better")


def test_drift_that_all_share_takes_nothing_from_the_claim() -> None:
    drift = [1.0, 1.5, 0.6, 2.0, 0.8, 1.2, 0.5, 1.7]
    slow = [value * factor for value, factor in zip(BASE, drift, strict=True)]
    fast = [value * factor for value, factor in zip(times(1.1), drift, strict=True)]
    assert verdict(blocks(fast, slow)).verdict == "better"


def test_seven_blocks_cannot_reach_alpha_over_two_comparisons() -> None:
    seven = blocks(times(1.3)[:7], BASE[:7], times(1.1)[:7])
    assert verdict(seven, THREE).verdict == "undecided"  # 2 / 128 > 0.01
    assert verdict(seven, THREE, alpha=0.02).verdict == "better"


def test_small_difference_is_a_tie() -> None:
    found = verdict(blocks([value * (1.01 if n % 2 else 0.992) for n, value in enumerate(BASE)], BASE))
    assert found.verdict == "tied"
    assert "±2%" in found.reason


def test_noise_leaves_it_undecided_and_says_how_many_blocks_would_decide() -> None:
    wild = [value * factor for value, factor in zip(BASE, (1.3, 0.9, 1.4, 0.8, 1.3, 0.9, 1.2, 1.0), strict=True)]
    found = verdict(blocks(wild, BASE))
    assert found.verdict == "undecided"
    assert found.improvement is not None
    assert found.improvement.blocks_to_decide is not None
    assert found.improvement.blocks_to_decide > 8


def test_one_lucky_block_is_no_difference_though_all_signs_agree() -> None:
    lucky = [value * (2.7 if n == 0 else 1.01) for n, value in enumerate(BASE)]
    found = verdict(blocks(lucky, BASE))
    assert found.improvement is not None
    assert found.improvement.p_value == pytest.approx(1 / 256)
    assert found.improvement.throughput_ratio.ci_low is not None
    assert found.improvement.throughput_ratio.ci_low < 1
    assert found.verdict == "undecided"


def test_winner_that_is_slower_than_its_runner_up_is_not_tied_with_it() -> None:
    found = verdict(blocks(times(1.2), BASE, times(1.3)), THREE)
    assert found.runner_up_relation is not None
    assert found.runner_up_relation.throughput_ratio.ci_high is not None
    assert found.runner_up_relation.throughput_ratio.ci_high < 0.98
    assert found.runner_up_relation.verdict == "undecided"
    assert found.runner_up_relation.blocks_to_decide is None  # none would


def test_default_that_proves_faster_is_kept() -> None:
    found = verdict(blocks(times(0.8), BASE, times(0.7)), THREE)
    assert found.verdict == "tied"
    assert found.best == found.default
    assert found.best is not None
    assert found.best.variant == DEFAULT
    assert found.improvement is None
    assert found.runner_up is not None
    assert found.runner_up.variant == BEST
    assert found.runner_up_relation is not None
    assert found.runner_up_relation.throughput_ratio.estimate == pytest.approx(1.25, rel=0.01)
    assert found.runner_up_relation.candidate == DEFAULT.config_name
    # Doubled, because the data suggested this direction.
    assert found.runner_up_relation.p_value == pytest.approx(2 / 256)


def test_default_that_was_the_sweep_s_winner_is_tied_with_itself() -> None:
    finalists = Finalists(best=ranked(DEFAULT), default=ranked(DEFAULT), runner_up=ranked(RUNNER_UP))
    found = verdict(blocks([], BASE, times(0.9)), finalists)
    assert found.verdict == "tied"
    assert "nothing to change" in found.reason
    assert found.best == found.default
    assert found.improvement is None
    assert found.runner_up_relation is not None


def test_default_that_alone_misses_the_limit_makes_the_winner_better_though_slower() -> None:
    taken = [block(BEST, n, 4000, 9.0) for n in range(8)] + [block(DEFAULT, n, 5000, 60.0) for n in range(8)]
    found = verdict(taken)
    assert found.verdict == "better"
    assert found.default is not None
    assert not found.default.feasible
    assert "misses" in found.reason


def test_winner_that_misses_the_limit_on_fresh_data_is_told_apart() -> None:
    taken = [block(BEST, n, 9000, 50.2 - 0.1 * (n % 2)) for n in range(8)] + [block(DEFAULT, n, 5000) for n in range(8)]
    assert _feasible(verdict(taken, limit_ms=50.0)) == (False, True)
    assert _feasible(verdict(taken, limit_ms=50.16)) == (True, True)  # the mean is 50.15
    assert _feasible(verdict(taken, limit_ms=None)) == (True, True)


def _feasible(found: Confirmation) -> tuple[bool, bool]:
    assert found.best is not None
    assert found.default is not None
    return found.best.feasible, found.default.feasible


def test_blocks_in_which_somebody_failed_are_left_out_of_everything() -> None:
    failing = list[float | None](times(1.3))
    failing[2] = None
    found = verdict([*blocks(failing, BASE), *blocks([1e9], [1.0])[:0], block(BEST, 9, 1e9)])
    assert found.block_count == 7
    assert found.best is not None
    assert found.default is not None
    assert (found.best.block_count, found.default.block_count) == (7, 7)
    assert found.default.throughput_infer_per_s.estimate == pytest.approx(np.mean(BASE[:2] + BASE[3:]))


def test_measurements_of_the_sweep_play_no_part() -> None:
    swept = [replace(one, block=None, phase="sweep") for one in blocks(times(0.1), BASE)]
    assert verdict([*swept, *blocks(times(1.3), BASE)]) == verdict(blocks(times(1.3), BASE))


def test_no_complete_block_leaves_everything_unknown() -> None:
    found = verdict(blocks([1.0, None], [None, 1.0]))
    assert (found.verdict, found.best, found.default, found.block_count) == ("undecided", None, None, 0)
    assert verdict([]).verdict == "undecided"


def test_one_block_gives_figures_without_intervals_and_no_verdict() -> None:
    found = verdict(blocks([6500.0], [5000.0], [6000.0]), THREE)
    assert found.verdict == "undecided"
    assert found.best is not None
    assert (found.best.throughput_infer_per_s.estimate, found.best.throughput_infer_per_s.ci_low) == (6500.0, None)
    assert found.improvement is not None
    assert found.improvement.blocks_to_decide is None


def test_runner_up_that_always_fails_takes_no_verdict_with_it() -> None:
    found = verdict(blocks(times(1.3), BASE, [None] * 8), THREE)
    assert (found.verdict, found.runner_up, found.runner_up_relation) == ("better", None, None)


def test_default_that_always_fails_leaves_the_winner_s_figures() -> None:
    found = verdict(blocks(times(1.3), [None] * 8))
    assert (found.verdict, found.default, found.improvement) == ("undecided", None, None)
    assert "could not be measured" in found.reason
    assert found.best is not None
    assert found.block_count == 8


def test_default_that_the_sweep_could_not_measure_leaves_it_undecided() -> None:
    found = verdict(blocks(times(1.3), []), replace(TWO, default=None))
    assert found.verdict == "undecided"
    assert found.best is not None


def test_the_same_data_give_the_same_verdict_in_any_order() -> None:
    taken = blocks(times(1.3), BASE, times(1.1))
    assert verdict(taken[::-1], THREE) == verdict(taken, THREE)


def test_false_claims_on_equal_configurations_are_rare() -> None:
    random = np.random.default_rng(7)
    claims = Counter(
        verdict(blocks(*(5000 * np.exp(random.normal(0, 0.05, (3, 8)))).tolist()), THREE).verdict for _ in range(500)
    )
    # α is 1 % over both comparisons together; 500 runs stay under 2 % unless the test is worse than that.
    assert claims["better"] < 10
    assert claims["undecided"] > 250  # 5 % noise is too much for a tie within 2 % in eight blocks


def test_real_difference_is_found_in_most_runs() -> None:
    random = np.random.default_rng(8)
    factors = np.array([[1.2], [1.0], [1.1]])
    claims = Counter(
        verdict(blocks(*(5000 * factors * np.exp(random.normal(0, 0.05, (3, 8)))).tolist()), THREE).verdict
        for _ in range(100)
    )
    assert claims["better"] > 75
