"""The content of summary.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources

import jsonschema
import pytest

from hcopt.job.summary import summarize
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from tests.support.records import (
    LIGHT,
    default_variant,
    measurement,
    model_alone,
    no_feasible_config_record,
    run_record,
    tied_record,
    undecided_record,
)
from tests.support.variant_records import variant_record
from tests.support.verdict_records import (
    default_beats_record,
    equal_load_record,
    failing_default_record,
    limit_open_record,
    noisy_record,
    only_best_feasible_record,
    tied_runner_up_record,
)


def test_notes_are_the_english_sentences() -> None:
    summary = json.loads(json.dumps(summarize(run_record(), tracking=None)))
    assert summary["models"][0]["notes"] == [
        {
            "code": "another_run_measures",
            "sentence": "Another hcopt measures on this machine at the same time: process 7. Each disturbs the other's "
            "figures.",
        }
    ]


def summary_of(record: RunRecord, tracking: Mapping[str, str] | None = None) -> JsonObject:
    """As it is read from the file, checked against its schema."""
    found: JsonObject = json.loads(json.dumps(summarize(record, tracking=tracking), allow_nan=False))
    schema = json.loads(resources.files("hcopt").joinpath("schemas/summary.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, schema, cls=jsonschema.Draft202012Validator)
    return found


def model_of(record: RunRecord) -> JsonObject:
    [model] = summary_of(record)["models"]
    assert isinstance(model, dict)
    return model


@pytest.mark.parametrize(
    "record",
    [
        run_record(),
        tied_record(),
        undecided_record(),
        no_feasible_config_record(),
        default_beats_record(),
        equal_load_record(),
        limit_open_record(),
        noisy_record(),
        only_best_feasible_record(),
        tied_runner_up_record(),
    ],
)
def test_summary_of_every_verdict_keeps_the_schema(record: RunRecord) -> None:
    assert model_of(record)["verdict"] == record.confirmation.verdict


def test_measurements_are_counted_over_sweep_and_confirmation() -> None:
    found = summary_of(run_record())
    # 18 of the sweep, one of them failed, and 24 of the confirmation.
    assert found["measurements"] == {"planned": 42, "done": 41, "failed": 1}


def test_windows_of_the_noise_gate_and_of_the_open_loop_count_as_planned() -> None:
    run = run_record()
    beside = tuple(
        measurement(default_variant(), LIGHT, (3400.0, 4.0), phase=phase, block=0) for phase in ("noise", "open_loop")
    )
    assert summary_of(replace(run, measurements=(*beside, *run.measurements)))["measurements"]["planned"] == 44


def test_limit_that_is_not_decided_is_null_and_said_in_words() -> None:
    best = model_of(limit_open_record())["best"]
    assert (best["feasible"], best["feasibility"]) == (None, "undecided")
    assert best["miss_ratio"] == {"estimate": 0.008, "ci_low": 0.003, "ci_high": 0.014}


def test_memory_stands_with_each_configuration_and_its_limit_with_the_model() -> None:
    run = run_record(memory_limit_mb=500.0)
    found = run.confirmation
    assert found.best is not None
    best = replace(found.best, memory_mb=412.4)
    model = model_of(replace(run, confirmation=replace(found, best=best)))
    assert (model["memory_limit_mb"], model["best"]["memory_mb"], model["default"]["memory_mb"]) == (500.0, 412.4, None)


def test_memory_of_a_default_that_was_not_confirmed_is_that_of_its_own_window() -> None:
    run = no_feasible_config_record()
    alone = measurement(default_variant(), LIGHT, (3400.0, 4.0), phase="memory", server_memory_mb=300.0)
    model = model_of(replace(run, measurements=(*run.measurements, alone)))
    assert model["default"]["memory_mb"] == 300.0


def test_only_a_default_that_is_shown_to_miss_the_limit_takes_the_ratio_away() -> None:
    found = run_record().confirmation
    assert found.default is not None
    unsure = replace(found, default=replace(found.default, feasibility="undecided"))
    assert model_of(run_record(confirmation=unsure))["improvement"] is not None
    assert model_of(only_best_feasible_record())["improvement"] is None


def test_equal_load_has_both_ratios_and_the_default_there() -> None:
    equal = model_of(equal_load_record())["equal_load"]
    assert (equal["concurrency"], equal["client_batch_size"], equal["verdict"]) == (32, 1, "better")
    assert equal["throughput_ratio"] == {"estimate": 1.3, "ci_low": 1.276, "ci_high": 1.325}
    assert equal["default"]["concurrency"] == 32
    assert model_of(run_record())["equal_load"] is None


def test_noise_says_what_the_machine_can_tell_apart_and_which_limits_were_exceeded() -> None:
    noise = model_of(noisy_record())["noise"]
    assert (noise["concurrency"], noise["resolvable_ratio"], noise["planned_blocks"]) == (32, 0.34, 12)
    assert noise["exceeded"] == ["steal", "variation"]
    assert model_of(run_record(noise=None))["noise"] is None


def test_capacity_is_what_planning_may_use_with_the_conditions_it_holds_under() -> None:
    capacity = model_of(run_record())["capacity"]
    assert capacity["sustainable_rate_infer_per_s"] == {"estimate": 4800.0, "ci_low": 4800.0, "ci_high": 5760.0}
    assert capacity["boundary_infer_per_s"] == {"estimate": 5310.0, "ci_low": 5010.0, "ci_high": 5560.0}
    assert (capacity["arrival_process"], capacity["seed"], capacity["client_batch_size"]) == ("poisson", 7, 1)
    assert [point["feasibility"] for point in capacity["points"]] == [
        "feasible",
        "feasible",
        "undecided",
        "infeasible",
    ]
    assert model_of(run_record(capacity=None))["capacity"] is None


def test_sweep_that_ended_early_shows_what_was_planned() -> None:
    found = summary_of(run_record(measurements=run_record().measurements[:3]))
    assert found["measurements"] == {"planned": 18, "done": 3, "failed": 0}


def test_elapsed_time_is_the_sum_of_the_phases() -> None:
    found = summary_of(run_record(elapsed_s={"sweep": 100.0, "confirmation": 20.5}))
    assert (found["elapsed_s"], found["elapsed_phases_s"]) == (120.5, {"sweep": 100.0, "confirmation": 20.5})


def test_tracking_is_null_until_the_run_is_logged() -> None:
    where = {"tracking_uri": "http://mlflow", "run_id": "abc"}
    assert summary_of(run_record())["mlflow"] is None
    assert summary_of(run_record(), where)["mlflow"] == where


def test_best_default_and_improvement_carry_their_intervals() -> None:
    model = model_of(run_record())
    assert model["best"]["config_name"] == "HomeCreditDefaultModel_config_6"
    assert model["best"]["throughput_infer_per_s"] == {"estimate": 6438.0, "ci_low": 6352.1, "ci_high": 6523.9}
    assert (model["best"]["max_batch_size"], model["best"]["instance_count"]) == (8, 2)
    assert (model["best"]["max_queue_delay_us"], model["best"]["concurrency"]) == (500, 32)
    assert model["default"]["feasible"] is True
    assert model["improvement"]["throughput_ratio"] == {"estimate": 1.3, "ci_low": 1.276, "ci_high": 1.325}
    assert model["runner_up"]["relation"] == "undecided"
    assert model["looks"] == 1


def test_ratio_over_a_default_that_misses_the_limit_is_null() -> None:
    confirmation = run_record().confirmation
    assert confirmation.default is not None
    late = replace(confirmation, default=replace(confirmation.default, feasibility="infeasible"))
    model = model_of(run_record(confirmation=late))
    assert (model["verdict"], model["improvement"]) == ("better", None)


def test_default_that_was_not_confirmed_stands_as_the_sweep_saw_it() -> None:
    model = model_of(no_feasible_config_record())
    assert model["best"] is None
    assert model["default"]["config_name"] == "HomeCreditDefaultModel_config_default"
    assert model["default"]["throughput_infer_per_s"] == {"estimate": 3418.8, "ci_low": None, "ci_high": None}
    assert model["default"]["feasible"] is False


def test_default_that_was_never_measured_is_null() -> None:
    record = no_feasible_config_record()
    ranking = replace(record.ranking, ranked=record.ranking.ranked[:1])
    assert model_of(no_feasible_config_record(ranking=ranking))["default"] is None


@pytest.mark.parametrize(("text", "number"), [("2", 2), ("auto", None), ("", None), ("²", None), ("--3", None)])
def test_thread_count_is_a_number_where_the_parameter_is_one(text: str, number: int | None) -> None:
    confirmation = run_record().confirmation
    assert confirmation.best is not None
    variant = replace(confirmation.best.variant, parameters=(("intra_op_thread_count", text),))
    best = replace(confirmation.best, variant=variant)
    assert (
        model_of(run_record(confirmation=replace(confirmation, best=best)))["best"]["intra_op_thread_count"] == number
    )


def test_failed_windows_are_told_with_their_account() -> None:
    [default, best] = summary_of(failing_default_record())["models"][0]["failed_windows"]
    assert (default["windows"], default["failed_on_own_account"], default["failed_otherwise"]) == (36, 24, 0)
    assert (best["failed_on_own_account"], best["failed_otherwise"]) == (0, 1)
    assert default["reason"].endswith("Exceeds maximum queue size")


def test_variants_have_their_figures_and_the_best_the_file_that_it_serves() -> None:
    model = model_of(variant_record())
    assert (model["best"]["model_file"], model["default"]["model_file"]) == ("int8.onnx", "model.onnx")
    int8, far = model["model"]["variants"]
    assert (int8["measured"], int8["refused"], far["measured"]) == (True, None, False)
    assert far["refused"]["code"] == "variant_refused"
    numbers, labels = int8["outputs"]
    assert (numbers["max_difference_ratio"], numbers["mean_difference_ratio"]) == pytest.approx((0.025, 0.005))
    assert (labels["agreement_ratio"], labels["max_difference_ratio"]) == (0.995, None)


def test_reason_for_a_variant_says_how_far_its_answers_are_from_the_models() -> None:
    said = model_of(variant_record())["reason"]["sentence"]
    assert said.startswith(model_of(run_record())["reason"]["sentence"])
    assert "'output' differs by at most 2.50% of its spread (0.02), on average by 0.50%" in said
    assert said.endswith("99.50% of the labels 'label' agree.")


def test_summary_has_what_a_request_takes_beside_onnxruntime_alone() -> None:
    alone = model_of(run_record(alone=model_alone()))["onnxruntime_alone"]
    assert alone["request_ms"] == {"estimate": 2.1, "ci_low": 2.0, "ci_high": 2.3}
    assert (alone["model_ratio"]["estimate"], alone["queue_ms"], alone["block_count"]) == (0.286, 0.51, 6)
    assert model_of(run_record())["onnxruntime_alone"] is None
