"""Default beside best, as every place shows them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcopt.analysis.view import Pairing, improvement, pairing, reasons, rows_of, why_default_is_out
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Feasibility
from tests.support.records import (
    MODEL_NAME,
    no_feasible_config_record,
    run_record,
    tied_record,
    undecided_record,
)
from tests.support.verdict_records import (
    default_beats_record,
    judged,
    nothing_answers_record,
    only_best_feasible_record,
)


def shown(pair: Pairing) -> list[tuple[str, str]]:
    return [(side.role, side.variant.config_name.removeprefix(f"{MODEL_NAME}_")) for side in pair.sides]


@pytest.mark.parametrize(
    ("run", "sides"),
    [
        (run_record(), [("default", "config_default"), ("best", "config_6")]),
        (tied_record(), [("default", "config_default"), ("candidate", "config_6")]),
        (undecided_record(), [("default", "config_default"), ("candidate", "config_6")]),
        (default_beats_record(), [("runner_up", "config_5"), ("default", "config_default")]),
        (no_feasible_config_record(), [("default", "config_default"), ("closest", "config_4")]),
        (nothing_answers_record(), [("default", "config_default"), ("closest", "config_6")]),
    ],
    ids=["better", "tied", "undecided", "default wins", "nothing feasible", "nothing answers"],
)
def test_two_that_are_shown_are_those_that_the_verdict_speaks_of(run: RunRecord, sides: list[tuple[str, str]]) -> None:
    assert shown(pairing(run)) == sides


def test_rows_are_settings_then_parameters_then_load_and_figures() -> None:
    pair = pairing(run_record())
    assert [row.what for row in pair.rows] == [
        "max_batch_size",
        "instance_count",
        "max_queue_delay_us",
        "load",
        "throughput_infer_per_s",
        "latency_p99_ms",
        "miss_ratio",
    ]
    assert [row.values for row in pair.rows[:3]] == [(16, 8), (1, 2), (0, 500)]


def test_setting_without_effect_has_no_value_and_shares_only_where_one_was_measured() -> None:
    sides = [replace(side, miss_ratio=None) for side in pairing(run_record()).sides]
    plain = replace(sides[0], variant=replace(sides[0].variant, dynamic_batching=False, parameters=(("a", "1"),)))
    rows = {row.what: row.values for row in rows_of([plain, sides[1]])}
    assert (rows["max_queue_delay_us"], rows["a"]) == ((None, 500), ("1", None))
    assert "miss_ratio" not in rows


@pytest.mark.parametrize(("feasibility", "claimed"), [("feasible", True), ("undecided", True), ("infeasible", False)])
def test_default_that_misses_the_limit_has_no_throughput_to_compare_with(
    feasibility: Feasibility, claimed: bool
) -> None:
    found = run_record().confirmation
    found = replace(found, default=judged(found.default, feasibility))
    assert (improvement(found) is not None) == claimed
    assert improvement(replace(found, default=None)) is None


def test_why_the_default_is_out_is_found_behind_the_reason_for_the_runner_up() -> None:
    found = only_best_feasible_record().confirmation
    behind = replace(found, reason=Note.of("runner_up_faster", name="a", swept="b", then=found.reason))
    assert [reason.code for reason in reasons(behind)] == ["runner_up_faster", "only_best_keeps_limit"]
    for one in (found, behind):
        why = why_default_is_out(one)
        assert why is not None and why.code == "misses_limit"
    assert why_default_is_out(run_record().confirmation) is None


def test_accelerator_has_a_row_where_one_side_has_one() -> None:
    run = run_record()
    best = run.confirmation.best
    assert best is not None
    assert "execution_accelerator" not in [row.what for row in pairing(run).rows]
    variant = replace(best.variant, execution_accelerator="openvino")
    swept = replace(run, confirmation=replace(run.confirmation, best=replace(best, variant=variant)))
    rows = {row.what: row.values for row in pairing(swept).rows}
    assert rows["execution_accelerator"] == ("none", "openvino")
