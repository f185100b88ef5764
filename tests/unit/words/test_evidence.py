"""What the report says beside the verdict: each claim where its interval shows it, and the other words where not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from hcopt.analysis.view import pairing
from hcopt.records.measurement import Measurement, ServerTimes
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate, Feasibility
from hcopt.report import figures
from hcopt.report.facts import insights
from hcopt.report.facts.headline import headline_of
from hcopt.report.pages.breakdown import PARTS
from hcopt.report.pages.content import build
from hcopt.report.values import Section
from hcopt.words import texts
from tests.support.records import (
    capacity,
    default_variant,
    no_feasible_config_record,
    noise,
    run_record,
    tied_record,
    undecided_record,
)
from tests.support.verdict_records import (
    MISSES,
    default_beats_record,
    equal_load_record,
    judged,
    limit_open_record,
    noisy_record,
    only_best_feasible_record,
    tied_runner_up_record,
)

EN = texts("en")


def _section(run: RunRecord, name: str, language: str = "en") -> Section:
    return next(section for section in build(run, language=language).sections if section.name == name)


def _said(run: RunRecord, name: str) -> str:
    return " ".join(_section(run, name).lines).replace("\u00a0", " ")


def _names(run: RunRecord) -> list[str]:
    return [section.name for section in build(run, language="en").sections]


# Figures


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [
        (0.0, "0%"),
        (0.00001, "<0.01%"),
        (0.0104, "1.04%"),
        (0.01, "1%"),
        (0.002, "0.2%"),
        (0.1234, "12%"),
        (1.0, "100%"),
    ],
)
def test_share_can_be_told_from_the_limit_of_one_percent(ratio, shown):
    assert figures.share(ratio) == shown


@pytest.mark.parametrize(("ratio", "shown"), [(0.0598, "6%"), (0.0143, "1.4%"), (0.34, "34%"), (1.5, "150%")])
def test_spread_has_two_digits(ratio, shown):
    assert figures.rough(ratio) == shown


def test_difference_of_times_has_a_sign():
    shown = [figures.difference(value).replace("\u00a0", " ") for value in (-1.234, 0.5, 0.0)]
    assert shown == ["−1.23 ms", "+0.500 ms", "0.000 ms"]


# The p99 limit


@pytest.mark.parametrize(
    ("feasibility", "answer", "detail"),
    [
        ("feasible", "holds", "0.2% (0.1% to 0.4%) slower, 1% allowed"),
        ("undecided", "not shown", "0.8% (0.3% to 1.4%) slower, 1% allowed"),
        ("infeasible", "missed", "3.1% (2.2% to 4.3%) slower, 1% allowed"),
    ],
)
def test_first_page_says_in_three_ways_how_the_limit_stands(feasibility, answer, detail):
    run = run_record()
    found = replace(run.confirmation, best=judged(run.confirmation.best, feasibility))
    run = replace(run, confirmation=found)
    fact = headline_of(run, pairing(run), "en").facts[0]
    assert (fact.question.replace("\u00a0", " "), fact.answer) == ("p99 limit 50 ms, config_6", answer)
    assert fact.details == (detail,)


@pytest.mark.parametrize(
    ("left", "right", "lines"),
    [
        ("feasible", "feasible", ("Limit holds for both: at most 1%",)),
        ("infeasible", "infeasible", ("Both miss the limit: more than 1%",)),
        ("undecided", "undecided", ("Not shown for either to be within 1%",)),
        ("infeasible", "feasible", ("default: limit missed (more than 1%)", "config_6: limit holds (at most 1%)")),
        ("feasible", "undecided", ("default: limit holds (at most 1%)", "config_6: not shown to be within 1%")),
    ],
)
def test_row_of_the_limit_names_who_keeps_it(left: Feasibility, right: Feasibility, lines: tuple[str, ...]):
    run = run_record()
    found = run.confirmation
    run = replace(run, confirmation=replace(found, best=judged(found.best, right), default=judged(found.default, left)))
    table = build(run, language="en").table
    assert table is not None
    row = table.rows[-1]
    assert row.label.replace("\u00a0", " ") == "Over 50 ms" and row.lines == lines
    assert row.right.value == figures.share(MISSES[right].estimate)


def test_run_without_a_limit_has_neither_row_nor_answer_on_it():
    run = run_record(capacity=None)
    found = run.confirmation
    assert found.best is not None and found.default is not None
    found = replace(found, best=replace(found.best, miss_ratio=None), default=replace(found.default, miss_ratio=None))
    run = replace(run, confirmation=found, ranking=replace(run.ranking, latency_p99_limit_ms=None))
    report = build(run, language="en")
    assert report.headline.facts == ()
    assert report.table is not None and "Over" not in " ".join(row.label for row in report.table.rows)
    assert "p99 limit" not in " ".join(report.method[:-1])


def test_faster_one_that_is_not_shown_to_keep_the_limit_is_not_called_confirmed():
    run = limit_open_record()
    shown = headline_of(run, pairing(run), "en")
    assert shown.sentence.replace("\u00a0", " ") == (
        "Whether config_6 keeps the p99 limit is not decided: 0.80% of its requests took longer (0.30% to 1.40%), "
        "1% may."
    )
    assert shown.answers[2].answer == "Not decided"
    assert "p99 limit not shown to hold" in shown.answers[2].details
    assert "config_6 is not shown to keep the p99 limit." in build(run, language="en").caveats


def test_default_whose_limit_is_open_is_still_compared():
    run = run_record()
    found = replace(run.confirmation, default=judged(run.confirmation.default, "undecided"))
    assert _answer(replace(run, confirmation=found)) == "+30%"
    assert _answer(only_best_feasible_record()) == "−6.4%"


def _answer(run: RunRecord) -> str:
    return headline_of(run, pairing(run), "en").answers[1].answer


def test_gain_names_no_change_of_p99_that_its_interval_does_not_show():
    run = run_record()
    assert run.confirmation.improvement is not None
    for ratio, line in (
        (Estimate(estimate=0.8, ci_low=0.7, ci_high=0.9), "p99 −20%"),
        (Estimate(estimate=0.95, ci_low=0.85, ci_high=1.05), "no difference in p99 shown"),
    ):
        improvement = replace(run.confirmation.improvement, latency_p99_ratio=ratio)
        changed = replace(run, confirmation=replace(run.confirmation, improvement=improvement))
        assert headline_of(changed, pairing(changed), "en").answers[1].details[-1] == line


# Equal load


@pytest.mark.parametrize(
    ("p99", "said"),
    [
        (Estimate(estimate=0.8, ci_low=0.78, ci_high=0.82), "p99 −20% (−22% to −18%)"),
        (Estimate(estimate=0.98, ci_low=0.95, ci_high=1.01), "p99 no difference shown (−2.0%, −5.0% to +1.0%)"),
        (Estimate(estimate=1.2, ci_low=1.1, ci_high=1.3), "p99 +20% (+10% to +30%)"),
    ],
)
def test_loads_that_differ_bring_the_comparison_at_equal_load(p99, said):
    run = equal_load_record()
    assert run.confirmation.equal_load is not None
    equal = replace(run.confirmation.equal_load, latency_p99_ratio=p99)
    run = replace(run, confirmation=replace(run.confirmation, equal_load=equal))
    lines = insights.load_lines(run, pairing(run), EN)
    assert lines == ("Each at its own best load", f"Both at 32: throughput +30% (+28% to +32%), {said}")
    assert f"Best and default at the same load (concurrency 32): throughput +30% (+28% to +32%), {said}." in _said(
        run, "confirmation"
    )
    table = _section(run, "confirmation").table
    assert table is not None
    assert [row[0].value for row in table.rows] == ["Best", "Runner-up", "Default", "Default, same load"]
    assert [row[2].value for row in table.rows] == ["32", "32", "8", "32"]


def test_looks_are_said_where_there_was_more_than_one():
    assert "judged 2 times" in _section(equal_load_record(), "confirmation").note
    assert "judged" not in _section(run_record(), "confirmation").note
    assert "spent over 2 looks" in " ".join(build(equal_load_record(), language="en").method)
    assert "looks at the data" not in " ".join(build(run_record(), language="en").method)


# Where a request spends its time


def _with_server_times(run: RunRecord, best: Mapping[str, float], spread: Mapping[str, float]) -> RunRecord:
    """Every part takes 1 ms, 2 ms lie outside; the best takes `best` ms more, by `spread` ms more or less a block."""

    def timed(m: Measurement) -> Measurement:
        if m.phase != "confirmation" or m.latency is None or m.block is None:
            return m
        ours = m.variant.settings != default_variant().settings
        sign = 1 if m.block % 2 else -1
        parts = {
            part: 1000 * (1 + (best.get(part, 0.0) + sign * spread.get(part, 0.0) if ours else 0.0))
            for part in PARTS[:-1]
        }
        server = ServerTimes(**{f"{part}_us": value for part, value in parts.items()})
        return replace(m, server=server, latency=replace(m.latency, avg_ms=sum(parts.values()) / 1000 + 2))

    return replace(run, measurements=tuple(timed(m) for m in run.measurements))


def test_breakdown_names_the_parts_that_changed_beyond_their_intervals():
    # Queue 0.4 ms less and infer 0.1 ms more in every block: 0.3 ms less in all.
    run = _with_server_times(run_record(), {"queue": -0.4, "compute_infer": 0.1}, {})
    section = _section(run, "breakdown")
    assert section.title == "Why it wins: where a request spends its time"
    assert [line.replace("\u00a0", " ") for line in section.lines] == [
        "Mean latency of a request, config_6 against default: −0.300 ms (−0.300 ms to −0.300 ms).",
        "Shorter: Queue −0.400 ms (−0.400 ms to −0.400 ms).",
        "Longer: Compute infer +0.100 ms (+0.100 ms to +0.100 ms).",
    ]
    assert section.table is not None
    assert [cell.value.replace("\u00a0", " ") for cell in section.table.rows[0]] == [
        "Queue",
        "1.00 ms",
        "0.600 ms",
        "−0.400 ms",
    ]
    # 2 of 6 ms lie outside the server's parts.
    assert section.table.rows[4][1].detail == "33%"


def test_breakdown_names_no_part_whose_interval_holds_zero():
    # 0.1 ms less, but ±0.5 ms from block to block: the half-width over eight blocks is 2.36 × 0.53 / √8 = 0.45 ms.
    run = _with_server_times(run_record(), {"queue": -0.1}, {"queue": 0.5})
    assert [line.replace("\u00a0", " ") for line in _section(run, "breakdown").lines] == [
        "Mean latency of a request, config_6 against default: no difference shown (−0.100 ms, −0.547 ms to +0.347 ms).",
        "No part is shown to have changed.",
    ]


def test_breakdown_says_where_most_of_a_request_is_outside_of_triton():
    # Of the default 2 of 6 ms, of the best 2 of 2.4: the other four parts take 0.1 ms each.
    run = _with_server_times(run_record(), dict.fromkeys(PARTS[:-1], -0.9), {})
    assert "config_6: 83% of a request's mean time is outside of Triton's statistics" in _said(run, "breakdown")


@pytest.mark.parametrize(
    "run",
    [tied_record(), undecided_record(), default_beats_record(), no_feasible_config_record()],
    ids=["tied", "undecided", "default wins", "no feasible"],
)
def test_breakdown_explains_no_victory_where_there_is_none(run):
    assert _section(run, "breakdown").title == "Where a request spends its time"


def test_breakdown_of_the_sweep_alone_claims_nothing():
    section = _section(no_feasible_config_record(), "breakdown")
    assert section.lines == ("Single measurements of the sweep: they show no difference for certain.",)
    assert section.table is not None and len(section.table.header) == 3


def test_breakdown_compares_at_the_load_of_the_best_where_the_default_was_measured_there():
    section = _section(equal_load_record(), "breakdown")
    assert section.table is not None
    assert section.table.header[1] == "default (concurrency 32)"
    run = equal_load_record()
    apart = tuple(
        m
        for m in run.measurements
        if m.variant.settings != default_variant().settings or m.load != run.plan.loads[1] or m.phase != "confirmation"
    )
    # With the sweep's single window left at that load nothing is claimed.
    lines = _said(replace(run, measurements=apart), "breakdown")
    assert "Shorter" not in lines


def test_breakdown_is_missing_where_the_server_gave_no_times():
    run = run_record()
    run = replace(run, measurements=tuple(replace(m, server=None) for m in run.measurements))
    assert "breakdown" not in _names(run)


# The open loop


def _capacity_said(**changes: Any) -> tuple[str, str]:
    run = run_record(capacity=capacity(**changes))
    fact = headline_of(run, pairing(run), "en").facts[1]
    return fact.answer, _said(run, "open_loop")


def test_capacity_is_the_lower_bound_of_the_sustainable_rate():
    answer, said = _capacity_said()
    assert answer == "≥ 4,800 infer/s"
    assert said == (
        "config_6 sustains at least 4,800 infer/s under Poisson arrivals with p99 within 50 ms. "
        "At 5,760 infer/s the limit is shown to be missed. "
        # 4,800 of 6,438.
        "That is 75% of the closed-loop throughput (6,438 infer/s): plan with the sustainable rate. "
        "By a fit to all windows 1% is over the limit at about 5,310 infer/s (90% interval 5,010 to 5,560): an "
        "estimate, and no promise."
    )


@pytest.mark.parametrize("boundary", [None, Estimate(estimate=5310.0, ci_low=5010.0)])
def test_boundary_without_an_interval_is_not_told(boundary):
    _, said = _capacity_said(boundary_infer_per_s=boundary)
    assert "By a fit" not in said


def test_capacity_without_a_rate_that_fails_leaves_the_upper_end_open():
    _, said = _capacity_said(sustainable_rate_infer_per_s=Estimate(estimate=4800.0, ci_low=4800.0))
    assert "No rate was found at which the limit is shown to be missed" in said and "At 5,760" not in said


def test_capacity_claims_no_rate_where_none_is_shown_to_hold():
    answer, said = _capacity_said(sustainable_rate_infer_per_s=Estimate(estimate=3200.0, ci_high=5760.0))
    assert answer == "not shown"
    assert said.startswith("At no rate that was tried is config_6 shown to keep p99 within 50 ms")
    assert "sustains" not in said and "plan with" not in said


@pytest.mark.parametrize(("low", "less"), [(6300.0, True), (6400.0, False)])
def test_sustainable_rate_is_called_less_than_the_closed_loop_only_below_its_interval(low, less):
    # The closed loop's interval starts at 6,352.1.
    _, said = _capacity_said(sustainable_rate_infer_per_s=Estimate(estimate=low, ci_low=low))
    assert ("of the closed-loop throughput" in said) == less


def test_rates_are_a_table_with_a_verdict_each():
    table = _section(run_record(), "open_loop").table
    assert table is not None
    assert [row[0].value for row in table.rows] == ["3,200", "4,800", "5,280", "5,760"]
    assert [row[4].value for row in table.rows] == ["holds", "holds", "not shown", "missed"]
    assert (table.rows[2][2].value, table.rows[2][2].detail) == ("0.89%", "0.52% to 1.53%")


def test_capacity_of_another_configuration_is_not_shown_as_that_of_the_first_page():
    run = run_record(capacity=capacity(config_name="HomeCreditDefaultModel_config_5"))
    assert len(headline_of(run, pairing(run), "en").facts) == 1
    assert "config_5 sustains" in _said(run, "open_loop")
    assert "closed-loop throughput" not in _said(run, "open_loop")


def test_run_without_an_open_loop_check_says_so_nowhere_else_than_in_its_limits():
    report = build(run_record(capacity=None), language="en")
    assert "open_loop" not in [section.name for section in report.sections]
    assert "Poisson" not in " ".join((*report.method[:-1], *report.limits))
    assert any("closed-loop" in line for line in report.limits)


# Noise


def test_noise_says_what_cannot_be_told_apart():
    said = _said(run_record(), "noise")
    assert "Differences below 6% cannot be told apart on this machine" in said
    assert "nine of ten runs of 12 blocks" in said
    assert "varied by 2.1% from block to block and by 1.5% within a block (6 blocks, standard deviation)" in said
    assert "No limit of the section noise in config.yaml was exceeded." in said


def test_noise_over_the_limits_names_them_and_the_longer_windows_on_the_first_page_too():
    line = (
        "Noise over the limits in config.yaml: CPU steal up to 12% (noise.max_steal_ratio), throughput varies by 19% "
        "between blocks (noise.max_block_cv_ratio); windows were lengthened to 3 s."
    )
    run = noisy_record()
    assert line in _section(run, "noise").lines and line in build(run, language="en").caveats
    assert not [said for said in build(run_record(), language="en").caveats if "Noise" in said]


def test_windows_are_not_called_longer_where_only_steal_exceeded_its_limit():
    run = run_record(noise=noise(exceeded=("steal", "throttling"), max_throttled_ratio=0.2))
    said = _said(run, "noise")
    assert "lengthened" not in said and "windows of 1 s" in said
    assert "held back by the CPU quota for up to 20% of a window" in said


@pytest.mark.parametrize(("resolvable", "said"), [(0.34, True), (0.04, False)])
def test_undecided_difference_is_called_too_small_only_where_it_is(resolvable, said):
    # The measured difference is +5.3 %.
    run = undecided_record(noise=noise(resolvable_ratio=resolvable))
    assert ("The measured difference (+5.3%) is smaller than that." in _said(run, "noise")) == said
    assert "is smaller than that" not in _said(run_record(noise=noise(resolvable_ratio=0.5)), "noise")


def test_noise_that_was_not_measured_is_not_guessed():
    run = run_record(noise=None)
    assert "it is not known what difference this machine can resolve" in _said(run, "noise")
    assert not [line for line in build(run, language="en").method if line.startswith("Noise")]


@pytest.mark.parametrize(("pair_sd", "said"), [(0.02, "+6.7% (sweep"), (0.05, "no difference beyond noise (sweep)")])
def test_effect_of_one_setting_is_named_only_beyond_the_noise_of_two_windows(pair_sd, said):
    # 1.96 × 5 % covers +6.7 %, 1.96 × 2 % does not.
    run = run_record(noise=noise(pair_sd_ratio=pair_sd))
    assert said in insights.setting_lines(run, pairing(run), "max_queue_delay_us", EN)[1]


# Both languages


@pytest.mark.parametrize(
    "run",
    [
        equal_load_record(),
        limit_open_record(),
        noisy_record(),
        only_best_feasible_record(),
        tied_runner_up_record(),
        default_beats_record(),
    ],
    ids=["equal load", "limit open", "noisy", "only best feasible", "tied runner-up", "default wins"],
)
def test_sections_have_the_same_parts_in_both_languages(run):
    def shape(language: str) -> list[tuple[str, int, int, int]]:
        return [
            (section.name, len(section.lines), len(section.facts), len(section.table.rows) if section.table else 0)
            for section in build(run, language=language).sections
        ]

    assert shape("ko") == shape("en")
