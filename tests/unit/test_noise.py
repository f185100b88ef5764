"""Notes on a noisy machine, against spreads worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcopt.config import NoiseSection
from hcopt.noise import noise_notes
from hcopt.schema import Measurement
from tests.notes import said
from tests.records import HEAVY, default_variant, grid_variants, measurement

SETTINGS = NoiseSection(max_steal_ratio=0.05, max_block_cv_ratio=0.15)


def _windows(*steal: float | None) -> list[Measurement]:
    return [measurement(default_variant(), HEAVY, (5000.0, 8.0), steal_ratio=ratio) for ratio in steal]


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
    swept = [replace(m, block=None) for m in _blocks(1.0, 9000.0, 1.0, 9000.0)]
    assert noise_notes([*_blocks(1.0, 9000.0, 1.0), *swept], SETTINGS) == ()


@pytest.mark.parametrize("gate", ["off", "warn"])
def test_gate_that_is_off_says_nothing(gate: str) -> None:
    notes = noise_notes(_windows(0.5), SETTINGS.model_copy(update={"gate": gate}))
    assert len(notes) == (gate == "warn")


def test_failed_windows_say_nothing() -> None:
    failed = measurement(default_variant(), HEAVY, None, steal_ratio=0.9)
    assert noise_notes([failed], SETTINGS) == ()
