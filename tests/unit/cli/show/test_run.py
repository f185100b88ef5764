"""The plan before a run and the answer after it, as the terminal shows them."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from hcopt.cli.show.run import print_closing, print_plan
from hcopt.job.plan import PlannedJob
from hcopt.job.run import FinishedRun
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Confirmation, Estimate
from hcopt.store.run_folder import RunFolder
from hcopt.tracking.log import TrackedRun
from tests.support.records import (
    MODEL_NAME,
    capacity,
    model_alone,
    no_feasible_config_record,
    run_record,
    tied_record,
    undecided_record,
)
from tests.support.verdict_records import (
    default_first_record,
    equal_load_record,
    failing_default_record,
    limit_open_record,
    only_best_feasible_record,
)

RESULTS = Path("/results[x]")


def console() -> Console:
    """A pipe: 80 columns wide, as far as Rich knows."""
    return Console(file=StringIO(), soft_wrap=True, width=80)


def said(shown: Console) -> str:
    assert isinstance(shown.file, StringIO)
    return shown.file.getvalue()


def closing(record: RunRecord, tracked: TrackedRun | None = None) -> str:
    shown = console()
    folder = RunFolder(results=RESULTS, run_id="run")
    print_closing(shown, FinishedRun(folder=folder, record=record, tracked=tracked))
    return said(shown)


def plan(**changes: object) -> str:
    shown = console()
    planned = PlannedJob(
        plan=run_record().plan,
        source_uri="models:/M[bold]@prod",
        notes=(Note.of("error", message="[red]a note"),),
        confirmation_count=24,
        expected_s=200.0,
    )
    print_plan(shown, replace(planned, **changes))  # type: ignore[arg-type]
    return said(shown)


def row(text: str, label: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"│ {label} ")]
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_answer_shows_default_beside_best_with_intervals() -> None:
    text = closing(run_record())
    assert "Verdict: better. " in text
    assert row(text, "max batch size") == ["16", "8"]
    assert row(text, "instances") == ["1", "2"]
    assert row(text, "queue delay (µs)") == ["0", "500"]
    assert row(text, "concurrency") == ["32", "32"]
    assert row(text, "throughput (infer/s)") == ["4,951 [4,885, 5,017]", "6,438 [6,352, 6,524]"]
    assert row(text, "p99 latency (ms)") == ["9.93 [9.77, 10.10]", "7.96 [7.81, 8.12]"]
    assert "parameters" not in text


@pytest.mark.parametrize(
    ("record", "shares", "verdicts"),
    [
        (run_record(), ["0.10% [0.05%, 0.20%]"] * 2, ["holds", "holds"]),
        (only_best_feasible_record(50), ["3.10% [2.20%, 4.30%]", "0.20% [0.10%, 0.40%]"], ["missed", "holds"]),
        (limit_open_record(), ["0.10% [0.05%, 0.20%]", "0.80% [0.30%, 1.40%]"], ["holds", "not shown"]),
    ],
    ids=["both hold", "default misses", "not shown"],
)
def test_answer_has_the_verdict_on_the_limit(record: RunRecord, shares: list[str], verdicts: list[str]) -> None:
    assert row(closing(record), "over 50 ms") == shares
    assert row(closing(record), "limit (at most 1%)") == verdicts


def test_answer_without_a_limit_has_no_verdict_on_it() -> None:
    found = run_record().confirmation
    assert found.best is not None and found.default is not None
    best, default = replace(found.best, miss_ratio=None), replace(found.default, miss_ratio=None)
    text = closing(run_record(confirmation=replace(found, best=best, default=default), capacity=None))
    assert "over" not in text and "Poisson" not in text


def test_answer_compares_at_equal_load_only_where_the_loads_differ() -> None:
    line = "Both at concurrency 32: throughput × 1.300 [1.276, 1.325], p99 latency × 0.802 [0.784, 0.820]."
    assert line in closing(equal_load_record())
    assert "Both at" not in closing(run_record())


def test_answer_says_what_one_server_sustains_at_least() -> None:
    assert "config_6 sustains at least 4,800 infer/s under Poisson arrivals with p99 within 50 ms." in closing(
        run_record()
    )
    none = capacity(sustainable_rate_infer_per_s=Estimate(estimate=3200.0, ci_high=3200.0))
    text = closing(run_record(capacity=none))
    assert "is not shown to keep p99 within 50 ms at any rate" in text
    assert "1 % is estimated to be over it at 5,310 [5,010, 5,560] infer/s." in text


def test_answer_says_what_of_a_request_s_time_the_model_takes() -> None:
    text = closing(run_record(alone=model_alone()))
    assert (
        "Of the 2.10 ms of a request to config_6 with no other under way, 0.600 ms (29%, 95% interval 27% to 31%) are "
        "the model's (ONNX Runtime alone, in turns with it); Triton, gRPC and the client add 1.50 ms, 0.510 ms of it "
        "in the queue." in text
    )
    for queue_ms in (0.01, 1.6, None):
        text = closing(run_record(alone=model_alone(queue_ms=queue_ms, model_ratio=Estimate(estimate=0.286))))
        assert "0.600 ms (29%) are" in text and "the client add 1.50 ms." in text
    assert "ONNX Runtime alone" not in closing(run_record())


def test_answer_names_no_cost_of_triton_that_the_blocks_do_not_show() -> None:
    slow = model_alone(
        request_ms=Estimate(estimate=51.95), model_ratio=Estimate(estimate=0.98, ci_low=0.84, ci_high=1.27)
    )
    text = closing(run_record(alone=slow))
    assert "(98%, 95% interval 84% to 127%) are the model's" in text
    assert "what Triton, gRPC and the client add does not show: it is too little, or the machine too busy." in text


def test_answer_shows_windows_that_failed_and_on_whose_account() -> None:
    text = closing(failing_default_record())
    refused = "the server answered with an error: Exceeds maximum queue size"
    own = "24 of 36 windows (67%) failed on its own account and count as missed"
    assert f"config_default at concurrency 32: {own} ({refused})." in text
    other = "1 of 36 windows failed for no fault of its own and count for nothing"
    assert f"config_6 at concurrency 32: {other} ({refused})." in text


def test_answer_of_a_default_that_may_be_slower_says_what_would_decide() -> None:
    assert "About 48 blocks would decide; 8 were measured." in closing(default_first_record())


def test_names_are_whole_and_without_the_models_own() -> None:
    row = next(line for line in closing(run_record()).splitlines() if line.startswith("│ configuration "))
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["configuration", "config_default", "config_6"]


def test_an_undecided_run_hands_over_a_candidate_and_says_what_would_decide() -> None:
    shown = closing(undecided_record())
    assert "candidate  " in shown
    assert "candidate, not proven:" in shown
    assert "golden configuration" not in shown
    needed = undecided_record().confirmation.improvement.blocks_to_decide
    assert f"About {needed} blocks would decide;" in shown


def test_answer_says_where_everything_is_and_takes_names_literally() -> None:
    tracked = TrackedRun(tracking_uri="x", experiment_id="1", run_id="r", page_command="mlflow ui [--port 5000]")
    lines = closing(run_record(), tracked).splitlines()[-5:]
    assert [line.split(None, 1)[0] for line in lines] == ["report:", "page:", "golden", "summary:", "MLflow:"]
    assert lines[0].endswith(f"/results[x]/reports/summaries/{MODEL_NAME}/result_summary.pdf")
    assert lines[1].endswith(f"/results[x]/reports/summaries/{MODEL_NAME}/result_summary.html")
    assert lines[2].endswith(f"/results[x]/golden/{MODEL_NAME}/config.pbtxt")
    assert lines[4].endswith("mlflow ui [--port 5000]")


def test_answer_says_what_became_of_the_alias() -> None:
    promotion = "no version got the alias [prod]: the verdict is tied"
    tracked = TrackedRun(tracking_uri="x", experiment_id="1", run_id="r", page_command="", promotion=promotion)
    assert closing(tied_record(), tracked).splitlines()[-1] == f"alias:                  {promotion}"


def test_answer_without_feasible_configuration_has_no_table_and_no_golden_one() -> None:
    text = closing(no_feasible_config_record())
    assert "no configuration meets the limit" in text
    assert "golden" not in text
    assert "│" not in text


def test_default_that_is_best_stands_beside_the_runner_up_as_in_the_report() -> None:
    confirmation = tied_record().confirmation
    text = closing(tied_record(confirmation=replace(confirmation, best=confirmation.default)))
    assert row(text, "configuration") == ["config_5", "config_default"]
    alone = replace(confirmation, best=confirmation.default, runner_up=None)
    assert row(closing(tied_record(confirmation=alone)), "max batch size") == ["16"]


def test_delay_has_no_figure_where_nothing_batches() -> None:
    confirmation = run_record().confirmation
    assert confirmation.best is not None
    best = replace(confirmation.best, variant=replace(confirmation.best.variant, dynamic_batching=False))
    assert row(closing(run_record(confirmation=replace(confirmation, best=best))), "queue delay (µs)") == ["0", "off"]


def test_figures_of_one_block_have_no_interval() -> None:
    confirmation = run_record().confirmation
    assert confirmation.best is not None
    single = replace(confirmation.best.throughput_infer_per_s, ci_low=None, ci_high=None)
    best = replace(confirmation.best, throughput_infer_per_s=single)
    text = closing(run_record(confirmation=replace(confirmation, best=best, default=None)))
    assert row(text, "throughput (infer/s)") == ["6,438"]


def test_answer_without_any_measured_block_is_told() -> None:
    confirmation = Confirmation(verdict="undecided", reason=Note.of("nothing_measured"), best=None, default=None)
    assert "Verdict: undecided. No configuration could be measured." in closing(run_record(confirmation=confirmation))


def test_swept_parameters_are_shown_where_there_are_some() -> None:
    confirmation = run_record().confirmation
    assert confirmation.best is not None
    variant = replace(confirmation.best.variant, parameters=(("a", "1"), ("b", "[2]")))
    best = replace(confirmation.best, variant=variant)
    text = closing(run_record(confirmation=replace(confirmation, best=best)))
    assert (row(text, "a"), row(text, "b")) == (["unset", "1"], ["unset", "[2]"])


def test_plan_shows_every_variant_the_loads_and_the_time() -> None:
    text = plan()
    assert row(text, "config_default") == ["16", "1", "0"]
    assert row(text, "config_6") == ["8", "2", "500"]
    assert text.count("│ config_") == 9
    assert "Each at concurrency × rows a request: 8×1, 32×1" in text
    assert "18 measurements in the sweep and up to 24 in the confirmation: about 3 min." in text
    assert "in the confirmation, 12 beside ONNX Runtime alone: about 3 min." in plan(alone_count=12)


def test_plan_takes_names_and_notes_literally() -> None:
    assert f"Model {MODEL_NAME} from models:/M[bold]@prod\n  note: [red]a note\n" in plan()


def test_plan_shows_parameters_where_they_are_swept() -> None:
    swept = run_record().plan
    variants = tuple(replace(variant, parameters=(("a", "1"),)) for variant in swept.variants)
    text = plan(plan=replace(swept, variants=variants))
    assert row(text, "config_default") == ["16", "1", "0", ""]
    assert row(text, "config_6") == ["8", "2", "500", "a=1"]


def test_plan_shows_threads_in_a_column_of_their_own() -> None:
    swept = run_record().plan
    variants = tuple(replace(variant, parameters=(("intra_op_thread_count", "2"),)) for variant in swept.variants)
    text = plan(plan=replace(swept, variants=variants))
    assert "threads" in text and "parameters" not in text
    assert row(text, "config_default") == ["16", "1", "0", ""]
    assert row(text, "config_6") == ["8", "2", "500", "2"]


@pytest.mark.parametrize("width", [20, 40])
def test_plan_survives_a_narrow_terminal(width: int) -> None:
    shown = Console(file=StringIO(), width=width)
    print_plan(
        shown,
        PlannedJob(plan=run_record().plan, source_uri="x", notes=(), confirmation_count=24, expected_s=1.0),
    )
    assert "conf" in said(shown)
