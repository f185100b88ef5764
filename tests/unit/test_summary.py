"""The content of summary.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources

import jsonschema
import pytest

from hcopt.schema import JsonObject, RunRecord
from hcopt.summary import summarize
from tests.records import no_feasible_config_record, run_record, tied_record, undecided_record


def test_notes_are_the_english_sentences() -> None:
    summary = json.loads(json.dumps(summarize(run_record(), tracking=None)))
    assert summary["models"][0]["notes"] == ["Load generator and server share the CPUs 0-1."]


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


@pytest.mark.parametrize("record", [run_record(), tied_record(), undecided_record(), no_feasible_config_record()])
def test_summary_of_every_verdict_keeps_the_schema(record: RunRecord) -> None:
    assert model_of(record)["verdict"] == record.confirmation.verdict


def test_measurements_are_counted_over_sweep_and_confirmation() -> None:
    found = summary_of(run_record())
    # 18 of the sweep, one of them failed, and 24 of the confirmation.
    assert found["measurements"] == {"planned": 42, "done": 41, "failed": 1}


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
    assert model["runner_up_relation"] == "undecided"


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
