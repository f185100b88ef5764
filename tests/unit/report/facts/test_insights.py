"""What the report claims, against figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcopt.analysis.view import SETTINGS, pairing
from hcopt.deploy.capacity import sustained_cost
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Confirmation, Estimate
from hcopt.report import figures
from hcopt.report.facts import insights
from hcopt.report.facts.headline import headline_of
from hcopt.report.pages.content import build
from hcopt.report.values import ComparisonRow
from hcopt.words import Language, texts
from tests.support.records import (
    capacity,
    default_variant,
    grid_variants,
    no_feasible_config_record,
    run_record,
    tied_record,
    undecided_record,
)
from tests.support.variant_records import variant_record
from tests.support.verdict_records import (
    default_beats_record,
    default_first_record,
    default_wins_record,
    failing_default_record,
    judged,
    nothing_answers_record,
    only_best_feasible_record,
)

EN, KO = texts("en"), texts("ko")


def _setting(run: RunRecord, setting: str) -> tuple[str, ...]:
    return insights.setting_lines(run, pairing(run), setting, EN)


def _with_variants(left: ModelConfigVariant, right: ModelConfigVariant) -> RunRecord:
    run = run_record()
    found = run.confirmation
    assert found.best is not None and found.default is not None
    return replace(
        run,
        plan=replace(run.plan, default=left),
        confirmation=replace(
            found, best=replace(found.best, variant=right), default=replace(found.default, variant=left)
        ),
    )


def _with_improvement(**changes: object) -> RunRecord:
    run = run_record()
    assert run.confirmation.improvement is not None
    improvement = replace(run.confirmation.improvement, **changes)
    return replace(run, confirmation=replace(run.confirmation, improvement=improvement))


def _sentence(run: RunRecord) -> str:
    return headline_of(run, pairing(run), "en").sentence.replace("\u00a0", " ")


def _answers(run: RunRecord) -> list[str]:
    return [answer.answer for answer in headline_of(run, pairing(run), "en").answers]


# Figures


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [
        (1.3, "+30%"),
        (0.802, "−20%"),
        (1.05, "+5.0%"),
        (0.996, "−0.4%"),
        (1.0, "0.0%"),
        (1.0004, "0.0%"),
        (3.0, "+200%"),
    ],
)
def test_change_has_a_sign_and_a_decimal_only_where_it_is_small(ratio, shown):
    assert figures.change(ratio) == shown


def test_change_range_has_the_digits_of_its_estimate():
    assert figures.change_bounds(Estimate(estimate=1.3, ci_low=1.276, ci_high=1.325), EN) == "+28% to +32%"
    assert figures.change_bounds(Estimate(estimate=1.03, ci_low=0.998, ci_high=1.163), EN) == "−0.2% to +16.3%"
    assert figures.change_bounds(Estimate(estimate=1.3), EN) is None


@pytest.mark.parametrize(("value", "shown"), [(61471.6, "61,472"), (987.65, "987.6"), (1.5, "1.50")])
def test_throughput_has_no_decimals_that_are_noise(value, shown):
    assert figures.throughput(value) == shown


def test_limit_is_as_exact_as_the_user_gave_it():
    assert figures.limit(2.5) == "2.5\u00a0ms"
    assert figures.limit(50.0) == "50\u00a0ms"


# One setting a row


def test_setting_line_says_same_where_nothing_changed():
    assert _setting(_with_variants(default_variant(), grid_variants()[5]), "max_batch_size") == ("Same",)


def test_setting_line_has_the_sweeps_figure_for_this_setting_alone():
    # config_6 (8, 2, 500 µs) has 6514.0 at concurrency 32; with one instance (config_2) 4795.2, without delay 6105.5.
    assert _setting(run_record(), "instance_count")[1:] == ("With this alone +36% (sweep, for reference)",)
    assert _setting(run_record(), "max_queue_delay_us")[1:] == ("With this alone +6.7% (sweep, for reference)",)


def test_setting_line_has_no_figure_where_its_measurement_failed():
    # With batch size 16 it would be config_7, whose measurement at concurrency 32 failed.
    assert _setting(run_record(), "max_batch_size") == ("A batch holds at most 8 rows instead of 16",)


@pytest.mark.parametrize("run", [tied_record(), undecided_record()], ids=["tied", "undecided"])
def test_setting_lines_claim_no_effect_unless_the_whole_is_confirmed(run):
    for setting in SETTINGS:
        assert not [line for line in _setting(run, setting) if "%" in line]


def test_setting_line_names_the_only_difference():
    assert _setting(_with_variants(default_variant(), grid_variants()[5]), "instance_count") == (
        "2 instances run in parallel instead of 1",
        "The only setting that differs",
    )


@pytest.mark.parametrize(
    ("left_us", "right_us", "line"),
    [
        (0, 500, "Waits up to 500 µs for a batch to fill"),
        (500, 0, "No longer waits for a batch to fill"),
        (500, 1000, "Waits up to 1,000 µs instead of 500 µs"),
        (500, 100, "Waits at most 100 µs instead of 500 µs"),
    ],
)
def test_delay_line_says_which_way_it_changed(left_us, right_us, line):
    left = replace(default_variant(), max_queue_delay_us=left_us)
    right = replace(grid_variants()[6], max_queue_delay_us=right_us)
    assert _setting(_with_variants(left, right), "max_queue_delay_us")[0] == line


def test_no_dynamic_batching_is_not_a_delay_of_zero():
    left = replace(default_variant(), dynamic_batching=False)
    run = _with_variants(left, replace(left, config_name="HomeCreditDefaultModel_config_0", dynamic_batching=True))
    assert _setting(run, "max_queue_delay_us") == ("Requests may share a batch", "The only setting that differs")
    table = build(run, language="en").table
    assert table is not None
    assert [(row.left.value, row.right.value) for row in table.rows if row.label == "Max Queue Delay" and row.left] == [
        ("off", "0 µs")
    ]


def test_model_that_does_not_batch_has_neither_a_batch_nor_a_delay():
    left = replace(default_variant(), max_batch_size=0)
    run = _with_variants(left, replace(left, config_name="HomeCreditDefaultModel_config_1", instance_count=2))
    assert _setting(run, "max_batch_size") == ("Served without batching",)
    table = build(run, language="en").table
    assert table is not None
    assert [row.right.value for row in table.rows if row.label == "Max Queue Delay"] == ["off"]
    assert headline_of(run, pairing(run), "en").answers[0].details == ("no batching · 2 inst.",)


def test_swept_parameter_gets_a_row():
    right = replace(grid_variants()[6], parameters=(("intra_op_thread_count", "1"),))
    run = _with_variants(default_variant(), right)
    assert [row.what for row in pairing(run).rows][3:5] == ["intra_op_thread_count", "load"]
    assert _setting(run, "intra_op_thread_count") == ("Set to 1",)


# Throughput and latency


@pytest.mark.parametrize(
    ("ratio", "claim"),
    [
        (Estimate(estimate=0.8, ci_low=0.7, ci_high=0.99), "lower"),
        (Estimate(estimate=1.3, ci_low=1.01, ci_high=1.5), "higher"),
        (Estimate(estimate=0.8, ci_low=0.6, ci_high=1.01), "no difference shown"),
        (Estimate(estimate=1.3, ci_low=0.99, ci_high=1.5), "no difference shown"),
        (Estimate(estimate=0.5), "no difference shown"),
    ],
)
def test_latency_is_called_lower_or_higher_only_when_its_interval_says_so(ratio, claim):
    run = _with_improvement(latency_p99_ratio=ratio)
    assert insights.latency_lines(run, pairing(run), EN)[0].endswith(f": {claim}")


def test_throughput_line_repeats_the_verdict():
    for run, word in (
        (run_record(), "confirmed"),
        (tied_record(), "counts as equal"),
        (undecided_record(), "not decided"),
    ):
        assert insights.throughput_lines(run, pairing(run), EN)[0].endswith(word)


def test_loads_that_differ_are_pointed_out():
    run = run_record()
    assert run.confirmation.default is not None
    default = replace(run.confirmation.default, load=run.plan.loads[0])
    other = replace(run, confirmation=replace(run.confirmation, default=default))
    assert insights.load_lines(run, pairing(run), EN) == ("Same load for both",)
    assert insights.load_lines(other, pairing(other), EN) == ("Each at its own best load",)


# The verdict


def test_headline_of_better_says_what_to_deploy_and_how_much_it_gains():
    assert _sentence(run_record()) == (
        "Deploy config_6: throughput +30% against the default (95% interval +28% to +32%), "
        "p99 −20% (95% interval −22% to −18%)."
    )
    assert _answers(run_record()) == ["config_6", "+30%", "Confirmed"]


def test_headline_of_better_does_not_claim_latency_that_the_interval_does_not_show():
    run = _with_improvement(latency_p99_ratio=Estimate(estimate=0.95, ci_low=0.85, ci_high=1.05))
    assert _sentence(run).endswith("no difference in p99 shown (−5.0%, −15.0% to +5.0%).")


def test_headline_of_better_rests_on_the_limit_where_only_the_best_keeps_it():
    run = only_best_feasible_record()
    assert _sentence(run) == "Deploy config_6: the default misses the p99 limit on fresh data."
    assert _answers(run) == ["config_6", "−6.4%", "Confirmed"]
    assert insights.throughput_lines(run, pairing(run), EN) == ("Not compared: the default misses the limit",)


def test_headline_of_tied_lets_the_default_stay():
    assert "the default can stay" in _sentence(tied_record())
    assert _answers(tied_record()) == ["Keep the default", "+0.2%", "Equal"]


def test_headline_of_undecided_says_how_many_blocks_would_decide():
    assert _sentence(undecided_record()).endswith("about 36 blocks would decide, 8 were measured.")
    assert _answers(undecided_record()) == ["No change yet", "+5.3%", "Not decided"]


def test_headline_of_undecided_without_a_confirmed_best_claims_nothing():
    run = undecided_record(
        confirmation=Confirmation(verdict="undecided", reason=Note.of("nothing_measured"), best=None, default=None)
    )
    assert _answers(run) == ["No change yet", "not compared", "not compared"]
    assert "%" not in _sentence(run)


def test_headline_of_no_feasible_config_says_how_far_off_the_closest_is():
    # 3.12 ms against 2 ms is 56 % over.
    assert _sentence(no_feasible_config_record()) == (
        "No configuration keeps p99 within 2 ms: the closest, config_4 at concurrency 8, has 3.12 ms "
        "(1.56 times the limit)."
    )
    assert _answers(no_feasible_config_record()) == ["Nothing", "+56%", "Sweep only"]


@pytest.mark.parametrize(("feasibility", "said"), [("infeasible", "Confirmed"), ("undecided", "Not decided")])
def test_limit_that_the_default_may_keep_is_not_confirmed_to_be_missed(feasibility, said):
    default = judged(run_record().confirmation.default, feasibility)
    reason = Note.of("nothing_measured")
    found = Confirmation(verdict="no_feasible_config", reason=reason, best=None, default=default, block_count=8)
    run = run_record(confirmation=found, best_config_pbtxt=None)
    assert _answers(run)[-1] == said


def test_closest_is_judged_by_the_confirmation_where_that_refuted_the_sweep():
    run = run_record(
        confirmation=Confirmation(
            verdict="no_feasible_config", reason=Note.of("nothing_measured"), best=None, default=None, block_count=8
        ),
        best_config_pbtxt=None,
    )
    run = replace(run, ranking=replace(run.ranking, latency_p99_limit_ms=7.5))
    right = pairing(run).right
    assert right is not None and right.confirmed
    assert right.variant.config_name.endswith("config_6")
    assert _answers(run)[2] == "Confirmed"


def test_headline_of_a_kept_default_compares_it_with_the_best_other_one():
    run = default_beats_record()
    assert _sentence(run) == (
        "Keep the default: throughput +12% (95% interval +10% to +14%) against config_5, the best other one."
    )
    assert _answers(run) == ["Keep the default", "+12%", "Confirmed"]
    assert headline_of(run, pairing(run), "en").badge == "The default stays"


def test_headline_of_a_kept_default_without_rival_claims_no_figure():
    run = default_wins_record(None)
    assert _answers(run) == ["Keep the default", "not compared", "not compared"]
    assert _sentence(run) == "The default itself has the most throughput within the limit: nothing to change."


def test_headline_of_a_default_that_won_the_sweep_says_that_another_may_be_faster():
    run = default_first_record()
    assert _sentence(run) == "Whether config_5 is faster than the default is not decided: throughput ratio 1.030."
    assert "about 48 blocks would decide" in headline_of(run, pairing(run), "en").answers[2].details
    assert _answers(run)[0] == "No change yet"


def test_headline_of_better_rests_on_the_default_s_failures():
    run = failing_default_record()
    assert _sentence(run).startswith("Deploy config_6: the default failed in 24 of 36 windows on its own account")
    assert _answers(run)[2] == "Confirmed"
    for language in ("en", "ko"):
        found = next(part for part in build(run, language=language).sections if part.name == "confirmation")
        assert any("Exceeds maximum queue size" in line and "67%" in line for line in found.lines)
    assert any("1 of 36 windows failed for no fault of its own" in line for line in _lines(run, "confirmation"))


def test_nothing_that_answers_enough_is_told_by_what_fails_least():
    run = nothing_answers_record()
    reason = Note.of("everything_fails", name=f"{run.model.name}_config_6", share=0.05)
    run = replace(run, confirmation=replace(run.confirmation, reason=reason, failures=()))
    assert _sentence(run) == "Every configuration fails more than 1% of its requests; config_6 the fewest, 5%."


def test_headline_of_a_run_in_which_nothing_answers_says_so():
    assert _sentence(nothing_answers_record()).startswith(
        "No configuration answers its requests: config_6 failed in 24 of 36 windows"
    )


def _lines(run: RunRecord, name: str) -> tuple[str, ...]:
    return next(part.lines for part in build(run, language="en").sections if part.name == name)


def test_figures_of_the_first_page_are_the_confirmations_not_the_sweeps():
    table = build(run_record(), language="en").table
    assert table is not None
    shown = {row.label: row.right for row in table.rows}
    assert shown["Throughput"].value == "6,438 infer/s"
    assert shown["Throughput"].detail == "95% CI 6,352 to 6,524"
    assert shown["p99 Latency"].value == "7.96 ms"


def _cost_row(run: RunRecord, language: Language = "en") -> ComparisonRow:
    table = build(run, language=language, price_per_hour=3.6).table
    assert table is not None
    return table.rows[-1]


def test_cost_is_that_of_the_sustained_rate_in_the_report_the_overview_and_summary_json():
    run = run_record(capacity=capacity())
    cost = _cost_row(run)
    # 3.6 an hour is 0.001 a second; a million inferences take 1e6 / 4800 s.
    assert cost.label == "Cost per million inferences" and cost.right.value == "≤ 0.208"
    assert cost.left is not None and cost.left.value == "–", "the default's rate was not looked for"
    assert cost.lines == ("At 3.6 an hour", "At the sustained rate of 4,800 infer/s")
    shown = sustained_cost(run, lambda _: 3.6)
    assert shown is not None and cost.right.value == f"≤ {figures.cost(shown)}"
    assert "4,800" in _cost_row(run, "ko").lines[1]


@pytest.mark.parametrize("of", [None, "none", "other"])
def test_cost_without_a_promised_rate_says_that_it_is_that_of_the_closed_loop(of: str | None):
    found = {
        None: None,
        "none": capacity(sustainable_rate_infer_per_s=Estimate(estimate=0.0, ci_high=2000.0)),
        "other": capacity(config_name="another"),
    }[of]
    cost = _cost_row(run_record(capacity=found))
    # Of 1e6 / 6438 s.
    assert cost.right.value == "0.155"
    assert cost.lines == ("At 3.6 an hour", "At the closed-loop throughput: not to plan with")


# Caveats


def _slower_with_instances(factor: float, *, threads: str | None = None) -> RunRecord:
    """Two instances reach `factor` of the throughput of one, on two cores."""
    run = run_record()
    parameters = () if threads is None else (("intra_op_thread_count", threads),)
    measurements = tuple(
        replace(
            m,
            variant=replace(m.variant, parameters=parameters),
            throughput_infer_per_s=1000.0 * (factor if m.variant.instance_count == 2 else 1.0),
        )
        for m in run.measurements
        if m.error is None
    )
    return replace(run, measurements=measurements)


def test_pool_trap_is_named_where_more_instances_are_slower():
    line = insights.pool_trap(_slower_with_instances(0.8), EN)
    # Eight pairs (2 batch sizes × 2 delays × 2 loads), one half of one of them failed.
    assert line is not None
    assert "throughput −20% (median of 7 pairs" in line and "2 instances × 2 threads on 2 cores" in line


@pytest.mark.parametrize("run", [run_record(), _slower_with_instances(0.97)], ids=["more is faster", "hardly slower"])
def test_pool_trap_is_silent_where_more_instances_are_not_clearly_slower(run):
    assert insights.pool_trap(run, EN) is None


def test_pool_trap_counts_the_threads_that_onnx_runtime_takes_by_itself():
    run = _slower_with_instances(0.8)
    line = insights.pool_trap(replace(run, environment=replace(run.environment, onnxruntime_thread_count=16)), EN)
    assert line is not None and "2 instances × 16 threads on 2 cores" in line
    single = replace(run, environment=replace(run.environment, onnxruntime_thread_count=1))
    assert insights.pool_trap(single, EN) is None


@pytest.mark.parametrize(
    ("own", "chosen", "said"),
    [
        (None, 2, "left to ONNX Runtime, which takes 2 an instance here"),
        (None, None, "left to ONNX Runtime, how many is not known"),
        ("0", 4, "left to ONNX Runtime, which takes 4 an instance here"),
        ("3", 2, "3 an instance, as config.pbtxt says"),
    ],
)
def test_environment_says_which_threads_the_default_has_and_who_chose_them(own, chosen, said):
    run = run_record()
    parameters = () if own is None else (("intra_op_thread_count", own),)
    plan = replace(run.plan, default=replace(run.plan.default, parameters=parameters))
    shown = replace(run, plan=plan, environment=replace(run.environment, onnxruntime_thread_count=chosen))
    assert dict(build(shown, language="en").environment)["Threads of the default"] == said


def test_threads_have_a_column_of_their_own_beside_further_parameters():
    run = run_record()
    swept = (("execution_mode", "1"), ("intra_op_thread_count", "4"))
    measurements = tuple(replace(m, variant=replace(m.variant, parameters=swept)) for m in run.measurements)
    report = build(replace(run, measurements=measurements), language="en")
    assert {(row.threads, row.parameters) for row in report.measurements} == {("4", "execution_mode=1")}
    assert (report.has_threads, report.has_parameters) == (True, True)
    assert (build(run, language="en").has_threads, build(run, language="en").has_parameters) == (False, False)


def test_pool_trap_is_silent_where_threads_are_swept():
    run = _slower_with_instances(0.8)
    first, *others = run.plan.variants
    swept = (replace(first, parameters=(("intra_op_thread_count", "1"),)), *others)
    assert insights.pool_trap(replace(run, plan=replace(run.plan, variants=swept)), EN) is None


def test_pool_trap_is_silent_where_all_threads_have_a_core():
    assert insights.pool_trap(_slower_with_instances(0.8, threads="1"), EN) is None


def test_python_based_backend_is_said_with_its_share_of_the_native_ones_speed():
    run = run_record()
    backend = replace(run.environment.backend, implementation="native")
    native = replace(run, environment=replace(run.environment, backend=backend))
    assert any("50–65%" in line for line in insights.caveats(run, pairing(run), EN, "en"))
    assert not insights.caveats(native, pairing(native), EN, "en")


def test_variant_has_the_whole_line_on_its_outputs_below_the_table():
    run = variant_record()
    assert insights.caveats(run, pairing(run), EN, "en")[0].startswith("The variant int8 (quantize: dynamic) against")
    assert insights.setting_lines(run, pairing(run), "model_file", EN)[0] == "int8.onnx instead of model.onnx"


@pytest.mark.parametrize(
    "run",
    [run_record(), tied_record(), undecided_record(), no_feasible_config_record()],
    ids=lambda run: run.confirmation.verdict,
)
def test_report_in_korean_has_the_same_parts_as_in_english(run):
    ko, en = build(run, language="ko"), build(run, language="en")
    assert ko.table is not None and en.table is not None
    assert [len(row.lines) for row in ko.table.rows] == [len(row.lines) for row in en.table.rows]
    assert len(ko.measurements) == len(en.measurements) == 18
    assert [(row.name, row.reason) for row in ko.failures] == [(row.name, row.reason) for row in en.failures]


# What else it says


def test_notes_are_in_the_language_of_the_report_and_each_is_said_once():
    note, planned = Note.of("resumed", began="Two\nlines", count=3), Note.of("config_moved_to_cpu", count=2)
    run = run_record(notes=(note, planned))
    run = replace(run, plan=replace(run.plan, notes=(planned,)))
    english, korean = build(run, language="en").notes, build(run, language="ko").notes
    assert english == (
        "The run of Two lines had been interrupted and was resumed: 3 measurements are from before.",
        "config.pbtxt puts instances on a GPU; analysed with 2 on the CPU, as instance_kind says.",
    )
    assert korean == (
        "Two lines에 시작한 실행이 중단되어 이어서 진행함: 그 전의 측정 3건 사용.",
        "config.pbtxt의 인스턴스는 GPU용이지만 instance_kind에 따라 CPU 인스턴스 2개로 분석.",
    )


def test_method_names_the_error_rate_and_the_zone_of_equality_of_the_run():
    run = run_record(alpha=0.05, indifference_ratio=0.025)
    for language in ("ko", "en"):
        verdict = " ".join(build(run, language=language).method)
        assert "p ≤ 0.05" in verdict and "±2.5%" in verdict


@pytest.mark.parametrize(
    ("language", "shown"),
    [
        ("en", "fetch 59.9 s · sweep 1 min 0 s · other 2 min 5 s"),
        ("ko", "모델 준비 59.9초 · 스윕 1분 0초 · other 2분 5초"),
    ],
)
def test_time_taken_is_in_words_of_the_language(language, shown):
    run = run_record(elapsed_s={"fetch": 59.9, "sweep": 59.96, "other": 125.4})
    assert dict(build(run, language=language).environment)[texts(language)["fact_elapsed"]] == shown


def test_command_is_cut_between_its_words():
    command = "hcopt profile " + " ".join(f"--set=sweep.parameters.key_{number}=[1,2]" for number in range(5))
    lines = build(run_record(command=command), language="en").command
    assert len(lines) > 1 and " ".join(lines) == command


def test_lines_between_loads_are_explained_only_where_there_are_several():
    run = run_record()
    one = replace(run, plan=replace(run.plan, loads=run.plan.loads[:1]))
    captions = {
        loads: next(f.caption for s in build(r, language="en").sections for f in s.figures if f.chart == "sweep")
        for loads, r in ((2, run), (1, one))
    }
    assert "Thin lines" in captions[2] and "Thin lines" not in captions[1]


@pytest.mark.parametrize(
    ("language", "label", "lines"),
    [
        ("en", "Memory", ("Most of a fresh server that serves it alone, its start included", "Limit: 1,000 MB")),
        ("ko", "메모리", ("새로 시작한 서버에서 단독 서빙할 때의 최댓값(시작 과정 포함)", "한도 1,000 MB")),
    ],
)
def test_memory_is_a_row_where_it_was_measured(language: Language, label: str, lines: tuple[str, ...]) -> None:
    run = run_record(memory_limit_mb=1000.0)
    found = run.confirmation
    assert found.best is not None
    measured = replace(run, confirmation=replace(found, best=replace(found.best, memory_mb=412.4)))
    table, without = (build(one, language=language).table for one in (measured, run))
    assert table is not None
    assert without is not None
    row = next(row for row in table.rows if row.label == label)
    assert (row.left and row.left.value, row.right.value, row.lines) == ("–", "412 MB", lines)
    assert all(row.label != label for row in without.rows)
