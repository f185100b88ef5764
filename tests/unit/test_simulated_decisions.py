"""A short, seeded share of benchmarks/simulate_decisions.py: the same seeds give the same rates on any machine.

The bounds leave room beside the true rates, which stand in benchmarks/README.md, and none for a rule that is broken.
"""

from __future__ import annotations

import pytest

from benchmarks.simulate_decisions import (
    Event,
    Machine,
    is_better,
    is_feasible,
    is_tied,
    misses_the_truth,
    simulate,
    upper_bound,
)
from hcopt.config import ConfirmationSection

SETTINGS = ConfirmationSection()
HARDEST = Machine(miss_ratio=0.015, default_miss_ratio=0.0, miss_log_sd=1.0, block_sd=0.01)


def count(machine: Machine, event: Event, runs: int) -> int:
    return sum(event(machine, found) for found in simulate(machine, runs, SETTINGS))


@pytest.mark.parametrize(
    ("machine", "event", "runs", "at_most"),
    [
        pytest.param(Machine(block_sd=0.03), is_better, 150, 3, id="equal ones are rarely better"),
        pytest.param(Machine(block_sd=0.08), misses_the_truth, 150, 10, id="intervals hold the truth"),
        pytest.param(HARDEST, is_feasible, 150, 4, id="1.5 % misses, wild blocks, nothing else to decide"),
        pytest.param(Machine(miss_ratio=0.015, requests=300), is_feasible, 100, 1, id="1.5 % misses, few requests"),
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
