"""Several models: each with its own configuration, one summary, one page, and no failure that stops the others."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources
from io import StringIO
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console

from hcopt.cli.show.run import print_models
from hcopt.config.load import load_config
from hcopt.config.sections import Config
from hcopt.errors import ConfigError
from hcopt.job.batch import FinishedBatch
from hcopt.job.handover import log_again
from hcopt.job.summary import summarize_batch
from hcopt.records.json import JsonObject
from hcopt.records.run import ModelOutcome, RunFailure, RunRecord
from hcopt.report.pages.overview import Overview, overview_of
from hcopt.report.render.html import write_overview
from hcopt.store.run_folder import RunFolder, find_run, new_run, read_record
from hcopt.system.files import link_tree
from hcopt.words import Language
from tests.support.finished_run import write_finished_run
from tests.support.records import capacity, no_feasible_config_record, run_record, tied_record, undecided_record
from tests.support.verdict_records import only_best_feasible_record

URI = "models:/Scoring@prod"
REFUSED = RunFailure(exit_code=3, message="no model <b>here</b>", remedy="Name another.")
DONE = ModelOutcome(source_uri=URI, label="Scoring", run_id="r1", record=run_record(capacity=capacity()))
TIED = ModelOutcome(source_uri="s3://m/fraud/", label="Fraud", run_id="r2", record=tied_record())
FAILED = ModelOutcome(source_uri="missing", label="missing", failure=REFUSED)
WAITING = ModelOutcome(source_uri="later", label="later")
ALL = (DONE, TIED, FAILED, WAITING)


def unpriced(_: str) -> None:
    return None


# --- configuration ---------------------------------------------------------------------------------------------------


def load(tmp_path: Path, text: str, *overrides: str) -> Config:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    return load_config(file, overrides=overrides, environment={})


SHARED = """
sweep: {concurrency: [4, 16], max_batch_size: [8]}
constraints: {latency_p99_ms: 50}
model: {uri: unused, name: unused}
models:
  - model: {uri: a}
  - model: {uri: b, name: other}
    sweep: {concurrency: [2]}
    constraints: {latency_p99_ms: null}
"""


def test_each_model_has_its_own_keys_and_shares_the_others(tmp_path: Path) -> None:
    first, second = load(tmp_path, SHARED).each()
    assert (first.model.uri, first.model.name) == ("a", None)
    assert (first.sweep.concurrency, first.sweep.max_batch_size) == ((4, 16), (8,))
    assert (second.model.uri, second.model.name) == ("b", "other")
    assert (second.sweep.concurrency, second.sweep.max_batch_size) == ((2,), (8,))
    assert (first.constraints.latency_p99_ms, second.constraints.latency_p99_ms) == (50, None)
    assert first.models == second.models == ()


def test_without_models_there_is_one(tmp_path: Path) -> None:
    config = load(tmp_path, "model: {uri: a}\n")
    assert config.each() == (config,)


def test_what_a_run_keeps_of_its_configuration_gives_the_same_models(tmp_path: Path) -> None:
    config = load(tmp_path, SHARED)
    kept = json.loads(json.dumps(config.model_dump(mode="json")))
    again = load_config(recorded=kept, environment={})
    assert again.each() == config.each()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{}", "line 2: models.0.model: field required"),
        ("{model: {name: x}}", "uri is missing: which model is it?"),
        ("{model: {uri: a}, mlflow: {}}", "models.0.mlflow: unknown key"),
        ("{model: {uri: a}, sweep: {concurrency: [0]}}", "models.0.sweep.concurrency.0"),
    ],
)
def test_entry_that_makes_no_sense_is_refused_at_its_line(tmp_path: Path, entry: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"models:\n  - {entry}\n")
    assert said in caught.value.message


# --- summary.json ----------------------------------------------------------------------------------------------------


def summary(*outcomes: ModelOutcome) -> JsonObject:
    found: JsonObject = json.loads(
        json.dumps(
            summarize_batch(
                outcomes,
                run_id="run",
                started_at="2026-01-02T03:04:05+00:00",
                command="hcopt",
                tracking=None,
                price_of=unpriced,
            ),
            allow_nan=False,
        )
    )
    schema = json.loads(resources.files("hcopt").joinpath("schemas/summary.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, schema, cls=jsonschema.Draft202012Validator)
    return found


def test_summary_has_an_entry_a_model_in_order() -> None:
    models = summary(*ALL)["models"]
    assert [model["label"] for model in models] == ["Scoring", "Fraud", "missing", "later"]
    assert [model.get("verdict") for model in models] == ["better", "tied", None, None]
    assert [model["run_id"] for model in models] == ["r1", "r2", None, None]
    assert models[2]["failure"] == {"exit_code": 3, "message": "no model <b>here</b>", "remedy": "Name another."}
    assert models[0]["failure"] is models[3]["failure"] is None


def test_summary_counts_measurements_and_seconds_of_all() -> None:
    one, both = summary(DONE), summary(DONE, TIED)
    alone = summary(TIED)
    for key in ("planned", "done", "failed"):
        assert both["measurements"][key] == one["measurements"][key] + alone["measurements"][key]
    assert both["elapsed_s"] == pytest.approx(one["elapsed_s"] + alone["elapsed_s"])


def test_summary_without_any_record_has_no_environment() -> None:
    assert summary(FAILED)["environment"] is None


# --- the overview ----------------------------------------------------------------------------------------------------


def overview(*outcomes: ModelOutcome, language: Language = "en") -> Overview:
    return overview_of(
        outcomes, run_id="run", started_at="2026-01-02T03:04:05+00:00", language=language, price_of=unpriced
    )


@pytest.mark.parametrize("language", ["en", "ko"])
def test_overview_has_a_row_a_model_with_the_words_of_its_report(language: Language) -> None:
    page = overview(*ALL, language=language)
    better = {"en": "Better than the default", "ko": "기본 설정보다 우수"}
    failed = {"en": "Failed", "ko": "실패"}
    assert [row.name for row in page.rows] == ["Scoring", "Fraud", "missing", "later"]
    assert page.rows[0].badge.startswith(better[language][:3])
    assert page.rows[0].deploy is not None
    assert page.rows[0].deploy.answer == "config_6"
    assert page.rows[0].links[0][1] == "Scoring/result_summary.html"
    assert page.rows[0].capacity is not None
    assert page.rows[2].badge == failed[language]
    assert page.rows[2].failure[1] == "Name another."
    assert len(page.counts) == 4


def test_intervals_lie_on_one_axis_with_the_default() -> None:
    undecided = replace(TIED, label="Third", record=undecided_record())
    rows = overview(DONE, TIED, undecided).rows
    whiskers = [row.whisker for row in rows if row.whisker is not None]
    assert len(whiskers) == 3
    assert len({whisker.default for whisker in whiskers}) == 1
    for whisker in whiskers:
        assert 0 <= whisker.low <= whisker.estimate <= whisker.high <= 180
        assert 0 <= whisker.default <= 180
    best = max(whiskers, key=lambda whisker: whisker.estimate)
    assert best is rows[0].whisker
    assert best.low > best.default


@pytest.mark.parametrize("record", [no_feasible_config_record(), only_best_feasible_record()])
def test_verdict_that_rests_on_the_limit_claims_no_gain_in_throughput(record: RunRecord) -> None:
    page = overview(replace(DONE, record=record))
    assert page.rows[0].whisker is None
    assert page.axis == ""


def test_model_whose_limit_nothing_meets_has_its_report_and_its_failure() -> None:
    failure = RunFailure(exit_code=6, message="nothing keeps it", remedy=None)
    [row] = overview(replace(DONE, record=no_feasible_config_record(), failure=failure)).rows
    assert row.links
    assert row.failure == ("nothing keeps it (exit code 6)",)
    assert row.tone == "bad"


@pytest.mark.parametrize("language", ["en", "ko"])
def test_page_is_whole_html_that_loads_nothing_and_escapes_what_is_not_its_own(
    tmp_path: Path, language: Language
) -> None:
    path = tmp_path / "overview.html"
    started_at = "2026-01-02T03:04:05+00:00"
    write_overview(ALL, run_id="run", started_at=started_at, language=language, price_of=unpriced, path=path)
    text = path.read_text(encoding="utf-8")
    assert f'<html lang="{language}">' in text
    assert "&lt;b&gt;here&lt;/b&gt;" in text
    assert "<b>" not in text
    assert not re.findall(r"""(?:src|href)=["'](?:https?:|//)""", text)
    assert text.count("<svg") == 2
    assert text.rstrip().endswith("</html>")


# --- files -----------------------------------------------------------------------------------------------------------


def test_linked_folder_outlives_the_first_place_and_is_replaced(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "deep" / "target"
    (source / "1").mkdir(parents=True)
    (source / "1" / "file").write_text("one")
    link_tree(source, target)
    (source / "1" / "file").unlink()
    assert (target / "1" / "file").read_text() == "one"
    (source / "new").write_text("two")
    link_tree(source, target)
    assert [path.name for path in sorted(target.rglob("*"))] == ["1", "new"]


def part(tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    """A finished run inside of one of several models, and that one."""
    whole = new_run(tmp_path / "results")
    whole.write_state("measuring", {"parts": []})
    inside = write_finished_run(whole.path, Config())
    whole.write_state("finished", {"parts": [{"run_id": inside.run_id}, {"run_id": None}]})
    return whole, inside


def test_part_knows_what_it_belongs_to_and_is_not_shown_by_itself(tmp_path: Path) -> None:
    whole, inside = part(tmp_path)
    found = find_run(str(inside.path), results=Path("elsewhere"))
    assert found.part_of == whole.run_id
    assert found.output == whole.output == whole.results
    assert (whole.part_of, {path.name for path in whole.path.iterdir()}) == (None, {"run.json", "runs"})


def test_run_of_several_models_is_no_run_of_one_and_names_its_parts(tmp_path: Path) -> None:
    whole, inside = part(tmp_path)
    with pytest.raises(ConfigError, match="one of several models") as caught:
        read_record(whole)
    assert str(inside.path) in (caught.value.remedy or "")


def test_part_is_logged_to_the_mlflow_of_the_whole(tmp_path: Path) -> None:
    from hcopt.errors import OutputError
    from hcopt.services.mlflow import mlflow_session

    whole, inside = part(tmp_path)
    tracked = log_again(inside)
    assert tracked.tracking_uri == f"sqlite:///{whole.results}/mlflow/mlflow.db"
    with mlflow_session(tracked.tracking_uri, error=OutputError) as client:
        parent = client.get_run(tracked.run_id).data.tags["mlflow.parentRunId"]
        assert client.get_run(parent).data.tags["hcopt.run_id"] == whole.run_id


# --- the terminal ----------------------------------------------------------------------------------------------------


def test_closing_has_a_line_a_model_and_says_where_everything_is() -> None:
    console = Console(file=StringIO(), soft_wrap=True, width=120)
    folder = RunFolder(results=Path("/results"), run_id="run")
    print_models(console, FinishedBatch(folder=folder, outcomes=ALL, tracked=None), unpriced)
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    for row in (
        "Scoring .* better .* config_6 .* 1\\.30",
        "Fraud .* tied .* default",
        "missing .* failed \\(3\\)",
        "later .* not begun",
    ):
        assert re.search(row, text), row
    assert "/results/reports/summaries/overview.html" in text
