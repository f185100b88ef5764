"""Notes on a noisy machine, against spreads worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from hcopt.analysis.noise import assess, client_notes, gate_note, minutes_to_decide, noise_notes, resolution_note
from hcopt.analysis.stats import resolvable_ratio
from hcopt.config.sections import ConfirmationSection, NoiseSection
from hcopt.records.measurement import Measurement
from hcopt.records.verdict import Noise
from tests.support.notes import said
from tests.support.records import HEAVY, default_variant, grid_variants, measurement

SETTINGS = NoiseSection(max_steal_ratio=0.05, max_block_cv_ratio=0.15)


def _windows(*steal: float | None) -> list[Measurement]:
    return [measurement(default_variant(), HEAVY, (5000.0, 8.0), steal_ratio=ratio) for ratio in steal]


@pytest.mark.parametrize(("ratios", "busy"), [((0.3, 0.9, None), None), ((0.3, 0.95, 0.91, None), (2, 3)), ((), None)])
def test_load_generator_without_time_left_is_told(
    ratios: tuple[float | None, ...], busy: tuple[int, int] | None
) -> None:
    taken = [measurement(default_variant(), HEAVY, (5000.0, 8.0), client_cpu_ratio=ratio) for ratio in ratios]
    found = [(note.values["count"], note.values["windows"]) for note in client_notes(taken)]
    assert found == ([] if busy is None else [busy])


def _blocks(*throughputs: float, variant: int = 0) -> list[Measurement]:
    return [
        measurement(grid_variants()[variant], HEAVY, (throughput, 8.0), phase="confirmation", block=block)
        for block, throughput in enumerate(throughputs)
    ]


def test_steal_is_named_with_the_windows_that_went_beyond_the_limit() -> None:
    (note,) = noise_notes(_windows(0.01, 0.06, 0.101, None), SETTINGS)
    assert said(note) == (
        "The hypervisor took more than 5% of the CPU time in 2 of 3 windows (at most 10%): other guests share this "
        "machine."
    )


def test_steal_at_the_limit_is_allowed() -> None:
    assert noise_notes(_windows(0.05, 0.0, None), SETTINGS) == ()


def test_spread_between_blocks_is_named_where_it_is_over_the_limit() -> None:
    # The logarithms are 0.2, -0.2, 0.2, -0.2 around a common value: their standard deviation is sqrt(0.16 / 3) = 0.231.
    low, high = 5000.0 * 0.8187308, 5000.0 * 1.2214028
    (note,) = noise_notes(_blocks(high, low, high, low), SETTINGS)
    assert said(note).startswith("Throughput of one configuration varied by 23% on average between blocks (limit 15%)")


def test_spread_is_the_mean_over_configurations_and_not_between_them() -> None:
    low, high = 5000.0 * 0.8187308, 5000.0 * 1.2214028
    quiet = _blocks(900.0, 900.0, 900.0, 900.0, variant=1)
    assert noise_notes([*_blocks(high, low, high, low), *quiet], SETTINGS) == ()


def test_spread_of_few_blocks_and_of_the_sweep_says_nothing() -> None:
    swept = [replace(m, phase="sweep") for m in _blocks(1.0, 9000.0, 1.0, 9000.0)]
    assert noise_notes([*_blocks(1.0, 9000.0, 1.0), *swept], SETTINGS) == ()


@pytest.mark.parametrize("gate", ["off", "warn"])
def test_gate_that_is_off_says_nothing(gate: str) -> None:
    notes = noise_notes(_windows(0.5), SETTINGS.model_copy(update={"gate": gate}))
    assert len(notes) == (gate == "warn")


def test_failed_windows_say_nothing() -> None:
    failed = measurement(default_variant(), HEAVY, None, steal_ratio=0.9)
    assert noise_notes([failed], SETTINGS) == ()


# --- A/A -------------------------------------------------------------------------------------------------------------


def _assessed(*pairs: tuple[float, float], **changes: float | None) -> Noise | None:
    windows = [
        tuple(
            measurement(default_variant(), HEAVY, (value, 8.0), phase="noise", block=block, **changes) for value in pair
        )
        for block, pair in enumerate(pairs)
    ]
    return assess(
        [(first, second) for first, second in windows],
        load=HEAVY,
        window_s=1.0,
        planned_blocks=9,
        block_s=2.0,
        settings=SETTINGS,
        confirmation=ConfirmationSection(alpha=0.01),
    )


def test_pairs_of_the_same_configuration_give_what_a_comparison_faces() -> None:
    e = math.e
    # Log-ratios 0.1, -0.1, 0.1, -0.1 about a mean that is known to be 0: their spread is 0.1. Each window's logarithm
    # is ±0.05 about the same centre, so one configuration varies by sqrt(4 · 0.05² / 3) = 0.0577 between blocks.
    up, down = 1000 * e**0.05, 1000 * e**-0.05
    found = _assessed((up, down), (down, up), (up, down), (down, up))
    assert found is not None
    assert found.pair_sd_ratio == pytest.approx(0.1)
    assert found.block_sd_ratio == pytest.approx(0.0577, abs=1e-4)
    # Five comparisons in two directions and half of α = 0.01: eight degrees of freedom, t(0.9995) = 5.041, t(0.90) =
    # 1.397; (5.041 + 1.397) · 0.1 / 3 = 0.2146; e^0.2146 = 1.2394.
    assert found.resolvable_ratio == pytest.approx(0.239, abs=1e-3)
    assert found.exceeded == ()
    assert found.window_s == 1.0


def test_drift_that_both_windows_of_a_block_share_is_no_part_of_what_a_comparison_faces() -> None:
    found = _assessed((1000.0, 1000.0), (1500.0, 1500.0), (700.0, 700.0), (1200.0, 1200.0))
    assert found is not None
    assert found.pair_sd_ratio == 0
    assert found.exceeded == ("variation",)


def test_windows_grow_with_the_square_of_the_excess_and_at_most_fourfold() -> None:
    def windows_s(factor: float) -> float:
        found = _assessed(*[(1000.0, 1000.0), (1000.0 * factor, 1000.0 * factor)] * 3)
        assert found is not None
        return found.window_s or 0.0

    # Six values of two kinds, log(factor) apart: their standard deviation is log(factor) / 2 · sqrt(6 / 5).
    assert windows_s(math.exp(0.2)) == 1.0  # 0.11 of 0.15
    assert windows_s(math.exp(0.3)) == 2.0  # 0.164
    assert windows_s(math.exp(3.0)) == 4.0


def test_steal_and_throttling_are_the_worst_windows() -> None:
    same = [(1000.0, 1000.0)] * 4
    found = _assessed(*same, steal_ratio=0.06, throttled_ratio=0.5)
    assert found is not None
    assert (found.max_steal_ratio, found.max_throttled_ratio) == (0.06, 0.5)
    assert found.exceeded == ("steal", "throttling")
    unknown = _assessed(*same, steal_ratio=None)
    assert unknown is not None and unknown.max_steal_ratio is None


def test_few_pairs_say_nothing() -> None:
    assert _assessed(*[(1000.0, 1000.0)] * 3) is None


def test_user_is_told_what_can_be_shown_and_how_long_other_differences_take() -> None:
    found = _assessed(*[(1000.0, 1000.0)] * 4)
    assert found is not None
    told = replace(found, resolvable_ratio=0.061, pair_sd_ratio=0.05, block_s=1.5)
    assert said(resolution_note(told, ConfirmationSection())) == (
        "A difference in throughput of 6% can be shown on this machine in the 4 min of the confirmation "
        "(the same configuration differs by 5.0% a block). To decide takes 1 min for 10%, 2 min for 5%, 5 min for 2%."
    )
    wild = replace(told, pair_sd_ratio=2.0)
    assert said(resolution_note(wild, ConfirmationSection())).endswith("hours for 10%, hours for 5%, hours for 2%.")


def test_time_to_decide_is_that_of_the_first_look_that_resolves_the_difference() -> None:
    found = _assessed(*[(1000.0, 1000.0)] * 4)
    assert found is not None
    noisy, settings = replace(found, pair_sd_ratio=0.1, block_s=60.0), ConfirmationSection()
    minutes = minutes_to_decide(noisy, 0.10, settings)
    assert minutes is not None
    # Minutes are blocks here: the look before does not resolve it.
    assert resolvable_ratio(0.1, minutes, alpha=0.0005) <= 0.10 < resolvable_ratio(0.1, minutes // 2, alpha=0.0005)
    assert minutes_to_decide(replace(noisy, block_s=None), 0.10, settings) is None


def test_user_is_told_which_limits_were_exceeded_and_what_follows() -> None:
    found = _assessed(*[(1000.0, 1000.0)] * 4)
    assert found is not None
    assert gate_note(found, SETTINGS) is None
    noisy = replace(found, exceeded=("steal", "variation"), max_steal_ratio=0.08, block_sd_ratio=0.21, window_s=2.0)
    note = gate_note(noisy, SETTINGS)
    assert note is not None
    assert said(note) == (
        "The machine is noisy: CPU time taken by the hypervisor 8% (limit 5%), variation between blocks 21% (limit "
        "15%); the confirmation measures windows of 2 s."
    )
    assert gate_note(noisy, SETTINGS.model_copy(update={"gate": "off"})) is None
