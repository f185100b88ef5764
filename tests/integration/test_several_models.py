"""Three models in one run, one of which is not there: interrupted in the second, resumed, with the real programs."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mlflow import MlflowClient

from hcopt.errors import OutputError
from hcopt.model.triton_config import parse_text
from hcopt.services.mlflow import mlflow_session
from hcopt.store.measurements import FILE_NAME, read_measurements
from hcopt.store.run_folder import find_run, read_record
from tests.support.command import SAMPLE_FOLDER, SAMPLE_MODEL, TINY, Answer, Workplace, workplace
from tests.support.stores import with_store

SECOND = "Second"
# An interruption of Model Analyzer's sweep is in test_main_job.py; here the first model has it.
SEARCH = {"kind": "adaptive", "max_minutes": 0.05}


@dataclass(frozen=True)
class Story:
    """What each of the two parts said, and the first model's measurements after the interruption."""

    place: Workplace
    interrupted: Answer
    finished: Answer
    before: str

    @property
    def folder(self) -> Path:
        (folder,) = self.place.runs
        return folder

    @property
    def summary(self) -> Any:
        return json.loads((self.place.results / "summary.json").read_text(encoding="utf-8"))

    def part(self, label: str) -> Path:
        [run_id] = [model["run_id"] for model in self.summary["models"] if model["label"] == label]
        return self.folder / "runs" / run_id


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = with_store(workplace(tmp_path_factory.mktemp("several")))
    shutil.copytree(SAMPLE_FOLDER, place.folder / SAMPLE_MODEL)
    entries = [
        {"model": {"uri": SAMPLE_MODEL}},
        {"model": {"uri": "not-there"}},
        {"model": {"uri": SAMPLE_MODEL, "name": SECOND}, "sweep": {"concurrency": [4]}, "profiler": SEARCH},
    ]
    arguments = ("profile", *TINY, f"--set=models={json.dumps(entries)}")
    interrupted = place.run(*arguments, aim="concurrency 4:", number=signal.SIGINT)
    [first, *_] = sorted((place.runs[0] / "runs").iterdir())
    before = (first / FILE_NAME).read_text()
    finished = place.run(*arguments, "--resume")
    return Story(place, interrupted, finished, before)


def test_models_of_the_command_line_are_planned_one_after_the_other(story: Story) -> None:
    arguments = ("profile", *TINY, "--model", SAMPLE_MODEL, "--model", f"./{SAMPLE_MODEL}", "--dry-run")
    planned = json.loads(story.place.run(*arguments, "--json").stdout)
    assert [model["source_uri"] for model in planned["models"]] == [SAMPLE_MODEL, f"./{SAMPLE_MODEL}"]
    assert planned["expected_s"] == pytest.approx(sum(model["expected_s"] for model in planned["models"]), abs=0.2)
    shown = story.place.run(*arguments).stdout
    assert shown.count(f"Model {SAMPLE_MODEL} from ") == 2
    assert "2 models one after the other: about " in shown


def test_interruption_names_the_command_that_goes_on_and_leaves_nothing_running(story: Story) -> None:
    assert story.interrupted.returncode == 130, story.interrupted.stderr
    assert f"--resume {story.folder.name}` goes on" in story.interrupted.stderr
    assert story.interrupted.left == story.finished.left == ()


def test_failure_of_one_model_stops_no_other_and_the_exit_code_says_so(story: Story) -> None:
    assert story.finished.returncode == 10, story.finished.stderr
    assert "1 of 3 models did not end well" in story.finished.stderr
    assert [(model["label"], (model["failure"] or {}).get("exit_code")) for model in story.summary["models"]] == [
        (SAMPLE_MODEL, None),
        ("not-there", 3),
        (SECOND, None),
    ]
    assert {"Traceback", "unexpected"}.isdisjoint(story.finished.stderr.split())


def test_finished_model_is_not_measured_again(story: Story) -> None:
    assert (story.part(SAMPLE_MODEL) / FILE_NAME).read_text() == story.before
    second = read_measurements(story.part(SECOND))
    assert {one.load.concurrency for one in second} == {4}
    keys = [(one.phase, one.variant.config_name, one.load, one.block) for one in second]
    assert len(keys) == len(set(keys))
    assert len((story.place.results / FILE_NAME).read_text().splitlines()) == len(second) + len(
        story.before.splitlines()
    )


def test_results_show_all_models_side_by_side(story: Story) -> None:
    results = story.place.results
    schema = json.loads(resources.files("hcopt").joinpath("schemas/summary.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(story.summary, schema, cls=jsonschema.Draft202012Validator)
    for name in (SAMPLE_MODEL, SECOND):
        report = results / "reports" / "summaries" / name
        assert (report / "result_summary.pdf").read_bytes().startswith(b"%PDF")
        assert (report / "result_summary.html").is_file()
        golden = results / "golden" / name
        assert parse_text((golden / "config.pbtxt").read_text()).name == name
        assert (golden / "1" / "model.onnx").read_bytes() == (SAMPLE_FOLDER / "1" / "model.onnx").read_bytes()
        assert not any(path.is_symlink() for path in golden.rglob("*")), "a container that mounts it has no other place"
    page = (results / "reports" / "summaries" / "overview.html").read_text(encoding="utf-8")
    assert f"{SECOND}/result_summary.html" in page
    assert "not-there" in page


def test_each_model_s_run_is_a_run_like_any_other(story: Story) -> None:
    record = read_record(find_run(str(story.part(SECOND)), results=Path("elsewhere")))
    assert record.model.name == SECOND
    refused = story.place.run("report", "results")
    assert refused.returncode == 2
    assert str(story.part(SECOND)) in refused.stderr
    assert story.place.run("report", str(story.part(SECOND))).returncode == 0


def test_mlflow_has_one_run_with_those_of_the_models_under_it(story: Story) -> None:
    uri = f"sqlite:///{story.place.results}/mlflow/mlflow.db"
    with mlflow_session(uri, error=OutputError) as client:
        [experiment] = [one for one in client.search_experiments() if one.name == "hcopt"]
        whole = under(client, experiment.experiment_id, f"tags.`hcopt.run_id` = '{story.folder.name}'")
        assert len(whole) == 1
        assert whole[0].info.status == "FAILED"
        assert whole[0].data.metrics == {"models": 3, "models_failed": 1}
        own = whole[0].info.run_id
        assert {file.path for file in client.list_artifacts(own)} == {"overview.html", "summary.json"}
        models = under(client, experiment.experiment_id, f"tags.`mlflow.parentRunId` = '{own}'")
        assert {run.info.run_name for run in models} == {SAMPLE_MODEL, SECOND}
        for run in models:
            variants = under(client, experiment.experiment_id, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
            assert len(variants) == 2
    assert story.summary["mlflow"]["run_id"] == own


def under(client: MlflowClient, experiment_id: str, condition: str) -> list[Any]:
    return list(client.search_runs([experiment_id], condition))
