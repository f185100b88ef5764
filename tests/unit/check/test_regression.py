"""`hcopt check`: the decision by hand and in seeded simulations, and what it writes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hcopt.check.regression import Compared, Figures, RegressionCheck, check_failures, check_regression, paired_figures
from hcopt.check.run_regression import BLOCKS
from hcopt.cli.show.check import answer, junit, markdown
from hcopt.records.measurement import FailureCause, Measurement
from tests.support.records import HEAVY, default_variant, measurement

SIMULATIONS = 2000
BLOCK_NOISE = 0.05
ALLOWED = 0.05
COMPARED = Compared(
    candidate="golden/model",
    baseline="models:/model@prod",
    load="concurrency 32, 1 row a request",
    environment="2 CPUs <Xeon>",
    elapsed_s=61.5,
)


def blocks(throughput: list[float], p99: list[float] | None = None) -> list[tuple[Figures, Figures]]:
    """Blocks with these ratios to a baseline of 100 infer/s and 10 ms."""
    return [
        (Figures(100.0, 10.0), Figures(100.0 * ratio, 10.0 * slower))
        for ratio, slower in zip(throughput, p99 or [1.0] * len(throughput), strict=True)
    ]


def check(found: list[tuple[Figures, Figures]]) -> RegressionCheck:
    return check_regression(found, max_regression_ratio=ALLOWED)


def simulated(speed: float) -> Iterator[RegressionCheck]:
    """A candidate of so many times the baseline's speed; windows with noise of their own, and drift that both share."""
    random = np.random.default_rng(6)
    for _ in range(SIMULATIONS):
        noise = random.normal(0.0, BLOCK_NOISE, size=(BLOCKS, 4))
        drift = np.exp(random.normal(0.0, 0.1, size=BLOCKS))
        windows = np.exp(noise)
        yield check(
            [
                (
                    Figures(100 * drift[i] * windows[i, 0], 10 / drift[i] * windows[i, 2]),
                    Figures(100 * speed * drift[i] * windows[i, 1], 10 / speed / drift[i] * windows[i, 3]),
                )
                for i in range(BLOCKS)
            ]
        )


def upper_bound(failures: int) -> float:
    """One-sided 95 % bound of a share. Source: Clopper and Pearson (1934)."""
    return float(stats.beta.ppf(0.95, failures + 1, SIMULATIONS - failures))


def test_identical_configurations_fail_in_one_percent_at_most() -> None:
    failures = sum(found.outcome == "regression" for found in simulated(1.0))
    assert upper_bound(failures) <= 0.01


def test_regression_of_fifteen_percent_is_found_in_nine_of_ten() -> None:
    found = sum(found.outcome == "regression" for found in simulated(0.85))
    assert found / SIMULATIONS >= 0.9


def test_regression_just_within_what_is_allowed_fails_rarely() -> None:
    """At the border itself each metric errs in 1.25 % of the checks."""
    failures = sum(found.outcome == "regression" for found in simulated(0.952))
    assert upper_bound(failures) <= 0.04


def test_interval_by_hand() -> None:
    # Log-ratios ± 0.1 around log 0.9: sd 0.11547, standard error 0.057735, t(0.9875; 3) = 4.1765.
    found = check(blocks([0.9 * math.exp(0.1), 0.9 * math.exp(-0.1)] * 2)).checks[0]
    assert found.ratio.ci_high is not None and found.ratio.ci_low is not None
    assert math.isclose(found.ratio.estimate, 0.9)
    assert math.isclose(found.ratio.ci_high, 0.9 * math.exp(4.1765 * 0.057735), rel_tol=1e-4)
    assert found.outcome == "undecided"


@pytest.mark.parametrize(
    ("throughput", "p99", "outcome"),
    [
        ([0.80, 0.81, 0.79, 0.80], None, "regression"),
        ([1.0, 1.01, 0.99, 1.0], None, "passed"),
        ([1.5, 1.51, 1.49, 1.5], None, "passed"),
        ([0.7, 1.2, 0.8, 1.3], None, "undecided"),
        ([1.0, 1.01, 0.99, 1.0], [1.3, 1.31, 1.29, 1.3], "regression"),
        ([1.0, 1.01, 0.99, 1.0], [0.7, 0.71, 0.69, 0.7], "passed"),
        ([0.8, 0.81, 0.79, 0.8], [0.6, 1.5, 0.7, 1.4], "regression"),
    ],
)
def test_only_a_whole_interval_beyond_what_is_allowed_fails(
    throughput: list[float], p99: list[float] | None, outcome: str
) -> None:
    assert check(blocks(throughput, p99)).outcome == outcome


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_blocks_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="nothing can be said"):
        check(blocks([1.0] * count))


@given(st.lists(st.floats(0.5, 2), min_size=4, max_size=20), st.floats(0, 0.4), st.floats(0, 0.4))
def test_allowing_more_never_fails_what_passed(ratios: list[float], one: float, other: float) -> None:
    strict, generous = sorted((one, other))
    if check_regression(blocks(ratios), max_regression_ratio=strict).outcome == "passed":
        assert check_regression(blocks(ratios), max_regression_ratio=generous).outcome == "passed"


def test_markdown_names_both_sides_and_the_figures() -> None:
    text = markdown(check(blocks([0.80, 0.81, 0.79, 0.80])), COMPARED)
    assert text.startswith("## hcopt check: regression")
    assert "| throughput | 80.0 % |" in text
    assert "| p99 latency | 100.0 % | [100.0, 100.0] | ≤ 105.0 % | passed |" in text
    assert "| baseline | models:/model@prod |" in text
    assert "| machine | 2 CPUs &lt;Xeon> |" in text


def test_answer_for_the_terminal_says_what_was_compared() -> None:
    lines = answer(check(blocks([0.80, 0.81, 0.79, 0.80])), COMPARED).splitlines()
    assert lines[0] == "hcopt check: regression"
    assert lines[1].startswith("  throughput is 80.0 % of the baseline's [")
    assert lines[3:] == [
        "golden:   golden/model",
        "baseline: models:/model@prod",
        "load:     concurrency 32, 1 row a request",
        "machine:  2 CPUs <Xeon>",
        "blocks:   4, both side by side in each",
    ]


@pytest.mark.parametrize(("ratio", "failures"), [(0.8, "1"), (1.0, "0")])
def test_junit_fails_the_metric_that_regressed(ratio: float, failures: str) -> None:
    suite = ElementTree.fromstring(junit(check(blocks([ratio, ratio, ratio * 1.01, ratio])), COMPARED)).find(
        "testsuite"
    )
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", failures)
    assert {case.get("name") for case in suite.iter("testcase")} == {"throughput", "p99 latency"}
    assert len(list(suite.iter("failure"))) == int(failures)
    assert [entry.get("value") for entry in suite.iter("property")][-1] == "2 CPUs <Xeon>"


def windows(failed: int, count: int = 12, errors: int = 0, cause: FailureCause = "refused") -> list[Measurement]:
    """So many windows of 1,000 requests, the first ones failed."""
    bad = measurement(default_variant(), HEAVY, None, error="full", failure_cause=cause)
    good = measurement(default_variant(), HEAVY, (1000.0, 5.0), request_count=1000 - errors, error_count=errors)
    return [replace(bad if number < failed else good, block=number) for number in range(count)]


@pytest.mark.parametrize(
    ("baseline", "candidate", "outcome"),
    [
        pytest.param(windows(0), windows(6), "regression", id="half of its windows refused"),
        pytest.param(windows(0), windows(0, errors=50), "regression", id="5 % of its requests"),
        pytest.param(windows(0), windows(1), "undecided", id="one window"),
        pytest.param(windows(0), windows(0, errors=1), "passed", id="one request in a thousand"),
        pytest.param(windows(6), windows(0), "passed", id="only the baseline fails"),
        pytest.param(windows(0, errors=50), windows(0, errors=50), "undecided", id="both alike"),
    ],
)
def test_failed_requests_of_the_candidate_are_a_metric(
    baseline: list[Measurement], candidate: list[Measurement], outcome: str
) -> None:
    failures = check_failures(baseline, candidate)
    assert failures is not None
    assert failures.outcome == outcome
    assert (failures.reason is None) == all(one.error is None for one in candidate)
    found = check_regression(blocks([1.0] * 6), max_regression_ratio=ALLOWED, failures=failures)
    assert found.outcome == outcome
    assert "of the requests failed" in answer(found, COMPARED)
    assert "failed requests" in markdown(found, COMPARED)
    assert len(ElementTree.fromstring(junit(found, COMPARED)).findall(".//testcase")) == 3


def test_without_a_failure_of_their_own_nothing_is_said_of_failures() -> None:
    assert check_failures(windows(0), windows(0)) is None
    assert check_failures(windows(2, cause="other"), windows(3, cause="other")) is None


def test_only_blocks_in_which_both_have_figures_count() -> None:
    pairs = paired_figures(windows(2), windows(1))
    assert pairs == [(Figures(1000.0, 5.0), Figures(1000.0, 5.0))] * 10


def test_candidate_that_fails_everything_is_a_regression_though_no_block_is_whole() -> None:
    failures = check_failures(windows(0), windows(12))
    found = check_regression([], max_regression_ratio=ALLOWED, failures=failures)
    assert (found.outcome, found.block_count) == ("regression", 0)
    assert [check.metric for check in found.checks] == ["failed requests"]
