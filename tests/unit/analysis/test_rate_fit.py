"""The fit of misses against rate on windows drawn from a known server, and what it proposes."""

from __future__ import annotations

import numpy as np
import pytest

from hcopt.analysis.rate_fit import RateFit

CLOSED_LOOP = 1000.0
REQUESTS = 4000


def drawn(boundary: float, seed: int, *, slope: float = 20.0, correlation: float = 0.1) -> RateFit:
    """Twelve windows around a boundary, by the model itself."""
    random, fit = np.random.default_rng(seed), RateFit(CLOSED_LOOP)
    for rate in boundary * np.linspace(0.8, 1.15, 12):
        odds = 1 / 99 * (rate / boundary) ** slope
        share, total = odds / (1 + odds), 1 / correlation - 1
        misses = random.binomial(REQUESTS, random.beta(share * total, (1 - share) * total))
        fit.add(float(rate), int(misses), REQUESTS)
    return fit


@pytest.mark.parametrize("boundary", [150.0, 700.0, 1300.0])
def test_interval_of_the_boundary_holds_the_true_one(boundary: float) -> None:
    found = [drawn(boundary, seed).boundary() for seed in range(100)]
    held = sum((one.ci_low or 0) <= boundary <= (one.ci_high or 2e9) for one in found)
    # By 90 % for windows from the grid itself; these lie between its slopes.
    assert held >= 80
    assert np.median([one.estimate for one in found]) == pytest.approx(boundary, rel=0.07)


def test_more_windows_narrow_the_interval() -> None:
    before, fit = RateFit(CLOSED_LOOP).boundary(), drawn(700.0, 1)
    after = fit.boundary()
    assert before.ci_low is not None and after.ci_low is not None
    assert before.ci_high is not None and after.ci_high is not None
    assert after.ci_high / after.ci_low < before.ci_high / before.ci_low


def test_bounds_at_the_end_of_what_is_looked_at_are_open() -> None:
    always, never = RateFit(CLOSED_LOOP), RateFit(CLOSED_LOOP)
    for _ in range(20):
        always.add(21.0, REQUESTS, REQUESTS)
        never.add(2000.0, 0, REQUESTS)
    assert always.boundary().ci_low is None
    assert never.boundary().ci_high is None


def test_proof_is_less_likely_to_pass_the_higher_the_rate_and_the_more_windows_it_has() -> None:
    fit = drawn(700.0, 2)
    eight = fit.passes(8)
    assert np.all(np.diff(eight) <= 1e-9)
    assert np.all(eight <= fit.passes(1) + 1e-9)
    assert eight[fit.rates < 400.0].min() > 0.9
    assert eight[fit.rates > 900.0].max() < 0.1


def test_margin_counts_and_not_only_whether_a_window_is_within() -> None:
    # Both are within 1 %, and one of them by far.
    far, near = RateFit(CLOSED_LOOP), RateFit(CLOSED_LOOP)
    far.add(600.0, 0, REQUESTS)
    near.add(600.0, 38, REQUESTS)
    assert far.boundary().estimate > near.boundary().estimate


def test_window_tells_most_between_what_passed_and_what_failed() -> None:
    fit = RateFit(CLOSED_LOOP)
    for rate, share in ((500.0, 0.0), (520.0, 0.0), (900.0, 0.4), (880.0, 0.3)):
        fit.add(rate, round(share * REQUESTS), REQUESTS)
    assert 520.0 < fit.rates[np.argmax(fit.tells())] < 880.0
    assert fit.tells().min() >= -1e-9


def test_window_that_clearly_breaks_the_limit_says_the_same_however_many_are_late() -> None:
    boundaries = []
    for share in (0.2, 0.6, 1.0):
        fit = RateFit(CLOSED_LOOP)
        fit.add(900.0, round(share * REQUESTS), REQUESTS)
        boundaries.append(fit.boundary())
    assert boundaries[0] == boundaries[1] == boundaries[2]
    assert boundaries[0].estimate < RateFit(CLOSED_LOOP).boundary().estimate
