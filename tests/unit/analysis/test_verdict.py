"""Verdicts on figures whose outcome is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from hcopt.analysis.finalists import Finalists
from hcopt.analysis.verdict import decide, is_settled
from hcopt.config.sections import ConfirmationSection
from hcopt.records.measurement import FailureCause, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.records.verdict import Confirmation, RankedVariant
from hcopt.words.notes import sentence
from tests.support.records import HEAVY, default_variant, grid_variants, measurement

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
    assert found.improvement.p_value == pytest.approx(2 / 256)  # the only comparison: nothing to adjust
    assert (found.improvement.candidate, found.improvement.baseline) == (BEST.config_name, DEFAULT.config_name)
    assert found.improvement.blocks_to_decide is None
    assert found.block_count == 8
    assert found.best is not None
    assert found.best.throughput_infer_per_s.estimate == pytest.approx(np.mean(times(1.3)))


def test_p_values_of_all_three_comparisons_are_adjusted() -> None:
    found = verdict(blocks(times(1.3), BASE, times(1.1)), THREE, alpha=0.03)
    assert found.improvement is not None
    assert found.runner_up_relation is not None
    assert found.improvement.p_value == found.runner_up_relation.p_value == pytest.approx(6 / 256)
    assert (found.verdict, found.runner_up_relation.verdict) == ("better", "better")


def test_drift_that_all_share_takes_nothing_from_the_claim() -> None:
    drift = [1.0, 1.5, 0.6, 2.0, 0.8, 1.2, 0.5, 1.7]
    slow = [value * factor for value, factor in zip(BASE, drift, strict=True)]
    fast = [value * factor for value, factor in zip(times(1.1), drift, strict=True)]
    assert verdict(blocks(fast, slow)).verdict == "better"


def test_seven_blocks_cannot_reach_alpha_over_three_comparisons() -> None:
    seven = blocks(times(1.3)[:7], BASE[:7], times(1.1)[:7])
    assert verdict(seven, THREE, alpha=0.04).verdict == "undecided"  # 6 / 128 = 0.0469
    assert verdict(seven, THREE, alpha=0.05).verdict == "better"


def test_look_that_may_spend_a_part_wants_more_and_says_so_in_the_p_value() -> None:
    taken = blocks(times(1.3), BASE)
    whole, part = (decide(TWO, taken, latency_p99_limit_ms=None, settings=SETTINGS, share=s) for s in (1.0, 0.25))
    assert whole.improvement is not None
    assert part.improvement is not None
    assert part.improvement.p_value == pytest.approx(8 / 256)  # still to be compared with α = 0.01
    assert (whole.verdict, part.verdict) == ("better", "undecided")
    assert part.improvement.blocks_to_decide == 12
    assert part.improvement.throughput_ratio.ci_low is not None
    assert whole.improvement.throughput_ratio.ci_low is not None
    assert part.improvement.throughput_ratio.ci_low < whole.improvement.throughput_ratio.ci_low


def test_small_difference_is_a_tie() -> None:
    found = verdict(blocks([value * (1.01 if n % 2 else 0.992) for n, value in enumerate(BASE)], BASE))
    assert found.verdict == "tied"
    assert "±2%" in sentence(found.reason)


def test_noise_leaves_it_undecided_and_says_how_many_blocks_would_decide() -> None:
    wild = [value * factor for value, factor in zip(BASE, (1.3, 0.9, 1.4, 0.8, 1.3, 0.9, 1.2, 1.0), strict=True)]
    found = verdict(blocks(wild, BASE))
    assert found.verdict == "undecided"
    assert found.improvement is not None
    assert found.improvement.blocks_to_decide is not None
    assert found.improvement.blocks_to_decide > 8


def test_one_lucky_block_does_not_make_the_gain() -> None:
    lucky = [value * (2.7 if n == 0 else 1.01) for n, value in enumerate(BASE)]
    found = verdict(blocks(lucky, BASE))
    assert found.improvement is not None
    # The mean of the ratios would be 1.14.
    assert found.improvement.throughput_ratio.estimate == pytest.approx(1.01)
    lucky = [value * (2.7 if n == 0 else 0.999) for n, value in enumerate(BASE)]
    assert verdict(blocks(lucky, BASE)).verdict == "undecided"


def test_winner_that_is_slower_than_its_runner_up_is_not_tied_with_it() -> None:
    found = verdict(blocks(times(1.2), BASE, times(1.3)), THREE)
    assert found.runner_up_relation is not None
    assert found.runner_up_relation.throughput_ratio.ci_high is not None
    assert found.runner_up_relation.throughput_ratio.ci_high < 0.98
    assert found.runner_up_relation.verdict == "undecided"
    assert found.runner_up_relation.blocks_to_decide == 12, "a first look would show it slower"


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
    # Of three comparisons, in either direction.
    assert found.runner_up_relation.p_value == pytest.approx(6 / 256)


def test_default_that_was_the_sweep_s_winner_is_tied_with_itself() -> None:
    finalists = Finalists(best=ranked(DEFAULT), default=ranked(DEFAULT), runner_up=ranked(RUNNER_UP))
    found = verdict(blocks([], BASE, times(0.9)), finalists)
    assert found.verdict == "tied"
    assert "nothing to change" in sentence(found.reason)
    assert found.best == found.default
    assert found.improvement is None
    assert found.runner_up_relation is not None


def test_default_that_alone_misses_the_limit_makes_the_winner_better_though_slower() -> None:
    taken = [block(BEST, n, 4000, 9.0) for n in range(8)] + [block(DEFAULT, n, 5000, 60.0) for n in range(8)]
    found = verdict(taken)
    assert found.verdict == "better"
    assert found.default is not None
    assert not found.default.feasible
    assert "misses" in sentence(found.reason)


def test_winner_that_misses_the_limit_on_fresh_data_is_told_apart() -> None:
    taken = [block(BEST, n, 9000, 50.2 - 0.1 * (n % 2)) for n in range(8)] + [block(DEFAULT, n, 5000) for n in range(8)]
    # Without counts of misses it goes by the blocks' p99: mean 50.15, deviation 0.0535, t(0.99; 7) = 2.998: ± 0.057.
    assert _feasibility(verdict(taken, limit_ms=50.0)) == ("infeasible", "feasible")
    assert _feasibility(verdict(taken, limit_ms=50.16)) == ("undecided", "feasible")
    assert _feasibility(verdict(taken, limit_ms=50.21)) == ("feasible", "feasible")
    assert _feasibility(verdict(taken, limit_ms=None)) == ("feasible", "feasible")


def _feasibility(found: Confirmation) -> tuple[str, str]:
    assert found.best is not None
    assert found.default is not None
    return found.best.feasibility, found.default.feasibility


def counted(variant: ModelConfigVariant, misses: Sequence[int], throughput: float = 5000.0) -> list[Measurement]:
    """Blocks with so many misses of 1,000 requests each."""
    return [
        replace(block(variant, number, throughput * NOISE[number]), request_count=1000, miss_count=count)
        for number, count in enumerate(misses)
    ]


def test_shares_of_misses_decide_whatever_the_p99_says() -> None:
    found = verdict([*counted(BEST, [50] * 8, 6000.0), *counted(DEFAULT, [1, 2] * 4)])
    assert _feasibility(found) == ("infeasible", "feasible")
    assert found.best is not None
    assert found.best.miss_ratio is not None
    assert found.best.miss_ratio.estimate == pytest.approx(0.05)
    assert found.verdict == "undecided"
    assert "misses the p99 limit" in sentence(found.reason)


def test_errors_are_misses() -> None:
    failing = [replace(one, request_count=900, error_count=100) for one in counted(BEST, [0] * 8)]
    found = verdict([*failing, *counted(DEFAULT, [0] * 8)])
    assert _feasibility(found) == ("infeasible", "feasible")
    assert found.best is not None
    assert found.best.miss_ratio is not None
    assert found.best.miss_ratio.estimate == pytest.approx(0.1)


def test_faster_winner_whose_feasibility_is_open_is_undecided_and_the_reason_says_what_would_decide() -> None:
    found = verdict([*counted(BEST, [9, 5] * 4, 6500.0), *counted(DEFAULT, [0] * 8)])
    assert found.improvement is not None
    assert (found.improvement.verdict, found.verdict) == ("better", "undecided")
    assert found.best is not None
    assert found.best.feasibility == "undecided"
    assert found.best.blocks_to_decide is not None
    assert f"about {found.best.blocks_to_decide} blocks would decide" in sentence(found.reason)


def test_one_block_without_a_count_takes_the_verdict_to_the_p99() -> None:
    taken = [*counted(BEST, [50] * 8), *counted(DEFAULT, [0] * 8)]
    taken[0] = replace(taken[0], miss_count=None)
    found = verdict(taken)
    assert found.best is not None
    assert (found.best.feasibility, found.best.miss_ratio) == ("feasible", None)


CHEAPER = grid_variants()[2]  # one instance; best and runner-up have two


def three_with(best: ModelConfigVariant, runner_up: ModelConfigVariant) -> Finalists:
    return replace(THREE, best=ranked(best), runner_up=ranked(runner_up))


def compared(
    best: ModelConfigVariant,
    runner_up: ModelConfigVariant,
    rates: tuple[Sequence[float], Sequence[float]],
    *,
    runner_up_p99_ms: float = 9.0,
) -> Confirmation:
    taken = [block(best, n, value) for n, value in enumerate(rates[0])]
    taken += [block(runner_up, n, value, runner_up_p99_ms) for n, value in enumerate(rates[1])]
    taken += [block(DEFAULT, n, value) for n, value in enumerate(BASE)]
    return verdict(taken, three_with(best, runner_up), alpha=0.05)


def test_cheaper_of_two_that_are_tied_is_recommended_with_its_own_improvement() -> None:
    alike = [value * (1.004 if n % 2 else 0.997) for n, value in enumerate(times(1.3))]
    found = compared(BEST, CHEAPER, (times(1.3), alike))
    assert found.best is not None
    assert found.runner_up is not None
    assert (found.best.variant, found.runner_up.variant) == (CHEAPER, BEST)
    assert found.improvement is not None
    assert (found.improvement.candidate, found.improvement.baseline) == (CHEAPER.config_name, DEFAULT.config_name)
    assert found.improvement.throughput_ratio.estimate == pytest.approx(1.3, rel=0.01)
    assert found.runner_up_relation is not None
    assert (found.runner_up_relation.candidate, found.runner_up_relation.verdict) == (CHEAPER.config_name, "tied")
    assert found.verdict == "better"
    assert "with 1 instead of 2 instances" in sentence(found.reason)


def test_dearer_runner_up_stays_runner_up() -> None:
    found = compared(CHEAPER, BEST, (times(1.3), times(1.3)))
    assert found.best is not None
    assert found.best.variant == CHEAPER
    assert found.runner_up_relation is not None
    assert found.runner_up_relation.verdict == "tied"
    assert found.advantage is not None
    assert sentence(found.advantage) == "1 instead of 2 instances"


@pytest.mark.parametrize(
    ("p99_ms", "winner", "said"),
    [
        pytest.param(7.0, RUNNER_UP, "a p99 lower by 22.2%", id="lower p99"),
        pytest.param(11.0, BEST, "above 1", id="higher p99"),
    ],
)
def test_with_as_many_instances_the_lower_p99_is_cheaper(p99_ms: float, winner: ModelConfigVariant, said: str) -> None:
    found = compared(BEST, RUNNER_UP, (times(1.3), times(1.3)), runner_up_p99_ms=p99_ms)
    assert found.best is not None
    assert found.best.variant == winner
    assert said in sentence(found.reason)


def test_model_itself_is_before_a_variant_of_it_that_is_as_fast() -> None:
    variant = replace(CHEAPER, model_file="int8.onnx")
    found = compared(variant, BEST, (times(1.3), times(1.3)))
    assert found.best is not None
    assert found.best.variant == BEST
    assert "the file of the model itself instead of int8.onnx" in sentence(found.reason)
    stays = compared(BEST, variant, (times(1.3), times(1.3)))
    assert stays.best is not None
    assert stays.best.variant == BEST


def test_with_equal_p99_the_smaller_batch_is_cheaper() -> None:
    small, large = grid_variants()[4], grid_variants()[5]
    assert small.max_batch_size < large.max_batch_size
    found = compared(large, small, (times(1.3), times(1.3)))
    assert found.best is not None
    assert found.best.variant == small
    assert "a batch size of 8 instead of 16" in sentence(found.reason)


def test_cheaper_runner_up_that_misses_the_limit_is_not_recommended() -> None:
    found = compared(BEST, CHEAPER, (times(1.3), times(1.3)), runner_up_p99_ms=60.0)
    assert found.best is not None
    assert found.best.variant == BEST


def test_cheaper_runner_up_does_not_cost_the_claim() -> None:
    # Tied with the best, but not shown to be faster than the default.
    steady = [value * (1.012 if n % 2 else 1.010) for n, value in enumerate(BASE)]
    restless = [value * (1.028 if n % 2 else 0.995) for n, value in enumerate(BASE)]
    found = compared(BEST, CHEAPER, (steady, restless))
    assert found.runner_up_relation is not None
    assert found.runner_up_relation.verdict == "tied"
    assert found.best is not None
    assert (found.verdict, found.best.variant, found.advantage) == ("better", BEST, None)


def test_runner_up_that_proves_faster_on_fresh_data_is_recommended() -> None:
    found = compared(BEST, RUNNER_UP, (times(1.2), times(1.3)))
    assert found.best is not None
    assert (found.verdict, found.best.variant) == ("better", RUNNER_UP)
    assert found.runner_up_relation is not None
    assert found.runner_up_relation.verdict == "better"
    assert "is faster than the sweep's winner" in sentence(found.reason)


def test_failed_window_leaves_its_block_out_of_what_it_is_compared_with_and_of_nothing_else() -> None:
    failing = list[float | None](times(1.3))
    failing[2] = None
    found = verdict([*blocks(failing, BASE), block(RUNNER_UP, 9, 1e9)])
    assert found.best is not None
    assert found.default is not None
    assert (found.block_count, found.best.block_count, found.default.block_count) == (7, 7, 8)
    assert found.default.throughput_infer_per_s.estimate == pytest.approx(np.mean(BASE))
    assert found.improvement is not None
    expected = np.exp(np.mean(np.log(np.delete(times(1.3), 2) / np.delete(BASE, 2))))
    assert found.improvement.throughput_ratio.estimate == pytest.approx(expected)


def test_measurements_of_the_sweep_play_no_part() -> None:
    swept = [replace(one, block=None, phase="sweep") for one in blocks(times(0.1), BASE)]
    assert verdict([*swept, *blocks(times(1.3), BASE)]) == verdict(blocks(times(1.3), BASE))


def test_no_common_block_compares_nothing() -> None:
    found = verdict(blocks([1.0, None], [None, 1.0]), limit_ms=None)
    assert (found.verdict, found.improvement) == ("undecided", None)
    assert "nothing to compare" in sentence(found.reason)
    assert (verdict([]).verdict, verdict([]).best) == ("undecided", None)


@pytest.mark.parametrize("cause", ["other", "refused"])
def test_finalist_that_fails_hides_nothing_of_the_others(cause: FailureCause) -> None:
    # The winner is late in every third block, and slow, just where the runner-up fails.
    bad = [number for number in range(48) if number % 3 == 0]
    best = [
        replace(one, miss_count=1000, throughput_infer_per_s=2000.0) if n in bad else one
        for n, one in enumerate(many(BEST, 1.3, 48))
    ]
    runner_up = [rejected(RUNNER_UP, n, cause) if n in bad else one for n, one in enumerate(many(RUNNER_UP, 1.1, 48))]
    alone, beside = (
        verdict([*best, *many(DEFAULT, 1.0, 48)]),
        verdict([*best, *many(DEFAULT, 1.0, 48), *runner_up], THREE),
    )
    for found in (alone, beside):
        assert found.refuted == BEST.config_name
    assert alone.best == beside.best


@pytest.mark.parametrize("answers", [0, 1])
def test_finalist_that_answers_once_takes_no_verdict_with_it(answers: int) -> None:
    runner_up = [rejected(RUNNER_UP, n) if n >= answers else one for n, one in enumerate(many(RUNNER_UP, 1.1, 12))]
    found = verdict([*many(BEST, 1.3, 12), *many(DEFAULT, 1.0, 12), *runner_up], THREE)
    assert (found.verdict, found.block_count) == ("better", 12)
    assert is_settled(found, SETTINGS)


def test_reasons_speak_of_a_limit_only_where_there_is_one() -> None:
    runs = [
        surviving(1),
        surviving(24),
        surviving(12, rounds=12),
        [*many(BEST, 0.9), *(rejected(DEFAULT, n) for n in range(36))],
    ]
    for taken in runs:
        assert "limit" not in sentence(verdict(taken, limit_ms=None).reason)
        assert sentence(verdict(taken).reason)
    kept = verdict([*many(DEFAULT, 1.0), *many(RUNNER_UP, 0.9)], DEFAULT_FIRST, limit_ms=None)
    assert kept.verdict == "tied"
    assert "limit" not in sentence(kept.reason)


def test_late_requests_are_named_where_one_failed_window_would_be_too_few() -> None:
    late = [replace(one, miss_count=2000) for one in many(BEST, 1.3, 120)]
    late[7] = rejected(BEST, 7)
    found = verdict([*late, *many(DEFAULT, 1.0, 120)])
    assert found.refuted == BEST.config_name
    assert "misses the p99 limit on fresh data" in sentence(found.reason)


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
    assert "could not be measured" in sentence(found.reason)
    assert found.best is not None
    assert found.block_count == 8


def test_default_that_the_sweep_could_not_measure_leaves_it_undecided() -> None:
    found = verdict(blocks(times(1.3), []), replace(TWO, default=None))
    assert found.verdict == "undecided"
    assert found.best is not None


def test_the_same_data_give_the_same_verdict_in_any_order() -> None:
    taken = blocks(times(1.3), BASE, times(1.1))
    assert verdict(taken[::-1], THREE) == verdict(taken, THREE)


DEFAULT_FIRST = Finalists(best=ranked(DEFAULT), default=ranked(DEFAULT), runner_up=ranked(RUNNER_UP))


def repeated(factor: float, rounds: int = 36) -> list[float]:
    """So many blocks of the default's rate times a factor, with noise that averages to nothing."""
    return [5000 * factor * NOISE[(3 * number) % 8] for number in range(rounds)]


def test_runner_up_that_is_faster_than_a_default_that_won_the_sweep_is_recommended() -> None:
    found = verdict(blocks([], repeated(1.0), repeated(1.3)), DEFAULT_FIRST)
    assert found.best is not None
    assert (found.verdict, found.best.variant) == ("better", RUNNER_UP)
    assert found.default is not None
    assert found.default.variant == DEFAULT
    assert found.improvement is not None
    assert (found.improvement.candidate, found.improvement.baseline) == (RUNNER_UP.config_name, DEFAULT.config_name)
    assert found.improvement.throughput_ratio.estimate == pytest.approx(1.3, rel=0.01)
    assert (found.runner_up, found.runner_up_relation) == (None, None), "the default is the default alone"
    assert "is faster than the sweep's winner" in sentence(found.reason)


def test_default_that_won_the_sweep_is_not_kept_while_the_runner_up_may_be_faster() -> None:
    ahead = [value * (1.03 + 0.08 * (-1) ** number) for number, value in enumerate(repeated(1.0, 12))]
    found = verdict(blocks([], repeated(1.0, 12), ahead), DEFAULT_FIRST)
    assert found.verdict == "undecided"
    assert found.best == found.default
    assert f"Whether {RUNNER_UP.config_name} is faster than the default is not decided" in sentence(found.reason)
    assert not is_settled(found, SETTINGS)
    assert found.runner_up_relation is not None
    assert found.runner_up_relation.blocks_to_decide is not None


def test_default_that_won_the_sweep_is_kept_where_the_runner_up_gains_nothing_that_counts() -> None:
    equal = verdict(blocks([], repeated(1.0), repeated(1.0)[::-1]), DEFAULT_FIRST)
    slower = verdict(blocks([], repeated(1.0), repeated(0.9)), DEFAULT_FIRST)
    for found in (equal, slower):
        assert found.verdict == "tied"
        assert found.best == found.default
        assert is_settled(found, SETTINGS)
        assert f"{RUNNER_UP.config_name} against it has a throughput ratio" in sentence(found.reason)


def test_winner_that_is_tied_with_the_default_is_no_answer_while_the_runner_up_may_be_faster() -> None:
    ahead = [value * (1.03 + 0.08 * (-1) ** number) for number, value in enumerate(repeated(1.0, 12))]
    found = verdict(blocks(repeated(1.0, 12)[::-1], repeated(1.0, 12), ahead), THREE)
    assert found.verdict == "undecided"
    assert not is_settled(found, SETTINGS)


def test_runner_up_that_alone_is_better_than_the_default_is_recommended() -> None:
    wild = [value * (1.3 if number % 2 else 0.8) for number, value in enumerate(repeated(1.0))]
    found = verdict(blocks(wild, repeated(1.0), repeated(1.1)), THREE)
    assert found.best is not None
    assert (found.verdict, found.best.variant) == ("better", RUNNER_UP)
    assert "only" in sentence(found.reason)


def test_winner_behind_its_runner_up_is_better_and_not_settled_until_that_is_decided() -> None:
    ahead = [value * (1.18 + 0.1 * (-1) ** number) for number, value in enumerate(repeated(1.0, 12))]
    found = verdict(blocks(repeated(1.15, 12), repeated(1.0, 12), ahead), THREE)
    assert found.best is not None
    assert (found.verdict, found.best.variant) == ("better", BEST)
    assert not is_settled(found, SETTINGS)


def rejected(
    variant: ModelConfigVariant,
    number: int,
    cause: FailureCause = "refused",
    reason: str = "Exceeds maximum queue size",
) -> Measurement:
    return replace(block(variant, number, None), error=reason, failure_cause=cause)


def surviving(rejecting: int, rounds: int = 36, cause: FailureCause = "refused") -> list[Measurement]:
    """A winner that is faster by 30 % in the windows that it does not fail."""
    best = [rejected(BEST, n, cause) if n < rejecting else one for n, one in enumerate(many(BEST, 1.3, rounds))]
    return [*best, *many(DEFAULT, 1.0, rounds)]


def many(variant: ModelConfigVariant, factor: float, rounds: int = 36) -> list[Measurement]:
    return [
        replace(block(variant, number, value), request_count=5000, miss_count=0)
        for number, value in enumerate(repeated(factor, rounds))
    ]


@pytest.mark.parametrize("cause", ["refused", "unanswered"])
@pytest.mark.parametrize("limit_ms", [50.0, None])
def test_windows_that_fail_on_the_winner_s_own_account_count_against_it(
    limit_ms: float | None, cause: FailureCause
) -> None:
    found = verdict(surviving(24, cause=cause), limit_ms=limit_ms)
    assert found.verdict == "undecided"
    assert found.refuted == BEST.config_name
    assert found.best is not None
    assert found.best.feasibility == "infeasible"
    assert (found.best.miss_ratio is None) == (limit_ms is None)
    if found.best.miss_ratio is not None:
        assert found.best.miss_ratio.estimate == pytest.approx(24 / 36)
    [failed] = found.failures
    assert (failed.window_count, failed.variant_count, failed.other_count) == (36, 24, 0)
    assert "failed in 24 of 36 windows on its own account" in sentence(found.reason)
    assert "Exceeds maximum queue size" in sentence(found.reason)


def test_windows_that_fail_for_the_machine_s_sake_count_for_nothing_and_are_shown() -> None:
    found = verdict(surviving(4, cause="other"))
    assert (found.verdict, found.block_count) == ("better", 32)
    assert found.best is not None
    assert found.best.feasible
    [failed] = found.failures
    assert (failed.variant_count, failed.other_count) == (0, 4)


def test_one_failed_window_of_its_own_leaves_the_limit_open() -> None:
    found = verdict(surviving(1))
    assert found.best is not None
    assert (found.best.feasibility, found.verdict) == ("undecided", "undecided")
    assert "1 of its 36 windows failed on its own account" in sentence(found.reason)


def test_windows_without_counts_are_counted_themselves() -> None:
    uncounted = [replace(one, request_count=None, miss_count=None) for one in surviving(24)]
    found = verdict(uncounted)
    assert found.best is not None
    assert found.best.feasibility == "infeasible"


def test_winner_of_which_every_window_fails_is_refuted_and_settled() -> None:
    found = verdict(surviving(12, rounds=12))
    assert (found.best, found.refuted) == (None, BEST.config_name)
    assert is_settled(found, SETTINGS)
    machine = verdict(surviving(12, rounds=12, cause="other"))
    assert (machine.best, machine.refuted) == (None, None)
    assert not is_settled(machine, SETTINGS)


@pytest.mark.parametrize("rejecting", [24, 36])
def test_default_that_fails_on_its_own_account_makes_the_winner_better(rejecting: int) -> None:
    taken = [rejected(DEFAULT, n) if n < rejecting else one for n, one in enumerate(many(DEFAULT, 1.0))]
    found = verdict([*many(BEST, 0.9), *taken])
    assert found.verdict == "better"
    assert f"the default failed in {rejecting} of 36 windows" in sentence(found.reason)
    assert (found.default is None) == (rejecting == 36)


def test_runner_up_that_fails_on_its_own_account_takes_no_default_with_it() -> None:
    taken = [rejected(RUNNER_UP, number) for number in range(36)]
    found = verdict([*many(DEFAULT, 1.0), *taken], DEFAULT_FIRST)
    assert (found.verdict, found.best) == ("tied", found.default)
    machine = [replace(one, failure_cause="other") for one in taken]
    assert verdict([*many(DEFAULT, 1.0), *machine], DEFAULT_FIRST).verdict == "undecided"


def test_default_that_may_not_be_deployed_is_neither_kept_nor_the_reason_to_wait() -> None:
    out = {DEFAULT.settings: Note.of("needs_too_much_memory", memory_mb=300.0, limit_mb=200.0)}
    taken = [*many(BEST, 0.9), *many(DEFAULT, 1.0)]
    assert verdict(taken).best == verdict(taken).default
    found = decide(TWO, taken, latency_p99_limit_ms=50.0, settings=SETTINGS, out=out)
    assert (found.verdict, found.reason.code) == ("better", "only_best_fits_memory")
    assert found.best is not None
    assert found.best.variant == BEST


def test_errors_count_without_a_limit_too() -> None:
    failing = [replace(one, request_count=4500, error_count=500) for one in many(BEST, 1.3)]
    found = verdict([*failing, *many(DEFAULT, 1.0)], limit_ms=None)
    assert found.best is not None
    assert (found.best.feasibility, found.best.miss_ratio) == ("infeasible", None)
    assert "too many requests with errors" in sentence(found.reason)


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
        verdict(blocks(*(5000 * factors * np.exp(random.normal(0, 0.05, (3, 12)))).tolist()), THREE).verdict
        for _ in range(100)
    )
    assert claims["better"] > 90
