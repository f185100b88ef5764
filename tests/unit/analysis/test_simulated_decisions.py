"""A short, seeded share of benchmarks/decisions/simulate.py: the same seeds give the same rates on any machine.

The bounds leave room beside the true rates, which stand in benchmarks/README.md, and none for a rule that is broken.
"""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks.decisions.simulate import (
    Event,
    Machine,
    is_better,
    is_feasible,
    is_refuted,
    is_tied,
    keeps_the_default,
    misses_the_truth,
    recommends_the_best,
    recommends_the_runner_up,
    simulate,
    upper_bound,
)
from hcopt.config.sections import ConfirmationSection
from hcopt.records.verdict import Confirmation

SETTINGS = ConfirmationSection()
HIDDEN = Machine(block_sd=0.03, default_first=True, runner_up_gain_ratio=1.05)
BEHIND = Machine(block_sd=0.03, gain_ratio=1.10, runner_up_gain_ratio=1.155)
REFUSING = Machine(gain_ratio=1.3, failing_ratio=0.67)
HARDEST = Machine(miss_ratio=0.015, default_miss_ratio=0.0, miss_log_sd=1.0, block_sd=0.01)


@cache
def simulated(machine: Machine, runs: int) -> tuple[Confirmation, ...]:
    return tuple(simulate(machine, runs, SETTINGS))


def count(machine: Machine, event: Event, runs: int) -> int:
    return sum(event(machine, found) for found in simulated(machine, runs))


@pytest.mark.parametrize(
    ("machine", "event", "runs", "at_most"),
    [
        pytest.param(Machine(block_sd=0.03), is_better, 150, 3, id="equal ones are rarely better"),
        pytest.param(Machine(block_sd=0.08), misses_the_truth, 150, 10, id="intervals hold the truth"),
        pytest.param(HARDEST, is_feasible, 150, 4, id="1.5 % misses, wild blocks, nothing else to decide"),
        pytest.param(Machine(miss_ratio=0.015, requests=300), is_feasible, 100, 1, id="1.5 % misses, few requests"),
        pytest.param(Machine(block_sd=0.03, default_first=True), is_better, 150, 3, id="default first, all equal"),
        pytest.param(HIDDEN, keeps_the_default, 100, 5, id="a default that won the sweep and is slower by 5 % is kept"),
        pytest.param(REFUSING, recommends_the_best, 100, 0, id="a winner that refuses two windows of three"),
    ],
)
def test_claims_are_rarely_wrong(machine: Machine, event: Event, runs: int, at_most: int) -> None:
    assert count(machine, event, runs) <= at_most


@pytest.mark.parametrize(
    ("machine", "event"),
    [
        pytest.param(Machine(gain_ratio=1.15, runner_up_gain_ratio=1.12), is_better, id="gain of 15 %"),
        pytest.param(Machine(miss_ratio=0.002, requests=300, gain_ratio=1.15), is_feasible, id="0.2 % misses"),
        pytest.param(Machine(block_sd=0.01), is_tied, id="equal ones on a quiet machine"),
        pytest.param(HIDDEN, recommends_the_runner_up, id="runner-up of a default that won the sweep"),
        pytest.param(BEHIND, recommends_the_runner_up, id="runner-up of a winner that is better than the default"),
        pytest.param(REFUSING, is_refuted, id="a winner that refuses two windows of three"),
        pytest.param(Machine(gain_ratio=1.15, disturbed_ratio=0.1), is_better, id="the machine spoils a tenth"),
    ],
)
def test_what_is_true_is_found_nearly_always(machine: Machine, event: Event) -> None:
    assert count(machine, event, 100) >= 95


def test_upper_bound_of_no_event_is_that_of_the_exact_binomial() -> None:
    # 1 - 0.05^(1/2000).
    assert upper_bound(0, 2000) == pytest.approx(0.001497, abs=1e-6)
    assert upper_bound(5, 5) == 1.0


def test_the_same_seed_gives_the_same_run() -> None:
    machine = Machine(miss_ratio=0.01)
    assert machine.run(3, SETTINGS) == machine.run(3, SETTINGS) != machine.run(4, SETTINGS)
