"""The first page's sentence and its answers have the reason that the decision had."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcopt.analysis.view import pairing
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.report.facts.headline import headline_of
from hcopt.report.pages.content import build
from hcopt.report.values import Headline
from hcopt.words import Language
from hcopt.words.notes import sentence
from tests.support.records import (
    HEAVY,
    default_variant,
    grid_variants,
    measurement,
    no_feasible_config_record,
    run_record,
)
from tests.support.variant_records import variant_record
from tests.support.verdict_records import (
    default_first_record,
    failing_default_record,
    limit_open_record,
    nothing_answers_record,
    only_best_feasible_record,
    tied_runner_up_record,
)


def shown(run: RunRecord, language: Language = "en") -> Headline:
    return headline_of(run, pairing(run), language)


@pytest.mark.parametrize(
    "run",
    [
        limit_open_record(),
        default_first_record(),
        nothing_answers_record(),
        no_feasible_config_record(),
    ],
    ids=["limit open", "default first", "nothing answers", "nothing feasible"],
)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_sentence_is_the_decision_s_reason_under_the_names_of_the_page(run: RunRecord, language: Language) -> None:
    said = sentence(run.confirmation.reason, language)
    assert shown(run, language).sentence == said.replace("HomeCreditDefaultModel_config", "config")


@pytest.mark.parametrize("run", [only_best_feasible_record(), failing_default_record()])
def test_default_that_is_out_is_named_with_the_decision_s_reason(run: RunRecord) -> None:
    why = run.confirmation.reason.values["why"]
    assert isinstance(why, Note)
    assert shown(run).sentence == f"Deploy config_6: the default {sentence(why)}."
    assert shown(run).answers[2].answer == "Confirmed"


def test_reason_of_a_recommended_runner_up_is_looked_for_behind_it() -> None:
    run = only_best_feasible_record()
    reason = Note.of("runner_up_faster", name="a", swept="b", then=run.confirmation.reason)
    behind = replace(run, confirmation=replace(run.confirmation, reason=reason))
    assert shown(behind) == shown(run)


def test_default_that_could_not_be_measured_comes_before_all_else() -> None:
    run = limit_open_record()
    reason = Note.of("default_unmeasured_first", why="too slow", then=run.confirmation.reason)
    found = shown(replace(run, confirmation=replace(run.confirmation, reason=reason))).sentence
    assert found == f"The default could not be measured: too slow. {shown(run).sentence}"


def test_endless_error_of_a_server_is_cut() -> None:
    run = nothing_answers_record()
    why = Note.of("fails_windows", failed=24, windows=36, reason="a\nb\x1b " * 1000)
    reason = Note.of("nothing_answers", name=default_variant().config_name, why=why)
    found = shown(replace(run, confirmation=replace(run.confirmation, reason=reason))).sentence
    assert len(found) <= 300 and found.endswith("…") and found.isprintable()


@pytest.mark.parametrize(
    ("advantage", "en", "ko"),
    [
        (Note.of("fewer_instances", ours=2, theirs=3), "2 instead of 3 instances", "인스턴스 3개 → 2개"),
        (Note.of("lower_p99", less=0.031), "a p99 lower by 3.1%", "p99 3.1% 낮음"),
        (Note.of("smaller_batch", ours=4, theirs=8), "a batch size of 4 instead of 8", "배치 크기 8 → 4"),
    ],
)
def test_cheaper_of_two_has_the_advantage_that_the_decision_saw(advantage: Note, en: str, ko: str) -> None:
    run = tied_runner_up_record()
    run = replace(run, confirmation=replace(run.confirmation, advantage=advantage))
    assert shown(run).answers[0].details[-1] == f"as fast as config_10, with {en}"
    assert shown(run, "ko").answers[0].details[-1] == f"config_10와 동등한 처리량, {ko}"


def test_nothing_is_called_cheaper_that_the_decision_did_not() -> None:
    run = tied_runner_up_record()
    run = replace(run, confirmation=replace(run.confirmation, advantage=None))
    assert len(shown(run).answers[0].details) == 1
    assert "cheaper" not in " ".join(build(run, language="en").sections[0].lines)


def test_page_is_about_the_configuration_that_the_reason_names() -> None:
    run = no_feasible_config_record()
    named = grid_variants()[2].config_name
    reason = replace(run.confirmation.reason, values={**run.confirmation.reason.values, "name": named})
    right = pairing(replace(run, confirmation=replace(run.confirmation, reason=reason))).right
    assert right is not None and (right.variant.config_name, right.role) == (named, "closest")


def test_comparison_stands_in_the_sentence_where_the_verdict_rests_on_it() -> None:
    assert shown(run_record()).sentence.startswith("Deploy config_6: throughput +30% against the default")


def test_configuration_that_needs_too_much_memory_is_shown_with_its_distance_from_that_limit() -> None:
    run, variant = no_feasible_config_record(memory_limit_mb=200.0), grid_variants()[6]
    alone = measurement(variant, HEAVY, (6500.0, 7.9), phase="memory", server_memory_mb=300.0)
    reason = Note.of("nothing_fits_memory", name=variant.config_name, memory_mb=300.0, limit_mb=200.0)
    confirmation = replace(run.confirmation, reason=reason)
    found = shown(replace(run, confirmation=confirmation, measurements=(*run.measurements, alone)))
    assert found.answers[1].answer == "+50%"
    assert found.answers[1].details == ("config_6: 300 MB of memory, limit 200 MB",)


def test_variant_is_never_to_be_deployed_without_the_line_on_its_answers() -> None:
    answer = shown(variant_record()).answers[0]
    assert answer.answer == "config_6"
    assert answer.details[0].startswith("int8.onnx · batch")
    assert answer.details[1] == (
        "answers differ from the model's by at most 2.50% of their spread, 99.50% of the labels agree"
    )
    assert shown(variant_record()).sentence == shown(run_record()).sentence
