"""`hcopt check --baseline models:/NAME@alias`: the answer that hcopt left with the version, out of a real MLflow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hcopt.check.baseline import Baseline, find_baseline
from hcopt.config.sections import Config
from hcopt.errors import ModelSourceError, OutputError
from hcopt.model.triton_config import CONFIG_FILE, parse_text
from hcopt.records.measurement import LoadPoint
from hcopt.records.model import RegisteredVersion
from hcopt.records.run import RunRecord
from hcopt.services.mlflow import mlflow_session
from hcopt.store.run_folder import RunFolder, read_record
from hcopt.tracking.log import log_run
from hcopt.tracking.registry import SAMPLE_URI, seed_sample_model
from tests.integration.test_check import FEW_BLOCKS, QUICK, SLOW, candidate
from tests.support.command import SAMPLE_FOLDER, SAMPLE_MODEL, workplace
from tests.support.finished_run import write_finished_run
from tests.support.records import model_artifact, no_feasible_config_record, run_record

if TYPE_CHECKING:
    from mlflow import MlflowClient

SAMPLE_CONFIG = (SAMPLE_FOLDER / CONFIG_FILE).read_text(encoding="utf-8")
# Nothing that a machine could be so slow by, and not what lies beside the model.
SLOW_CONFIG = SAMPLE_CONFIG[: SAMPLE_CONFIG.index("dynamic_batching")] + SLOW
VERSION = RegisteredVersion(name=SAMPLE_MODEL, version="1")
Log = Callable[[RunRecord], tuple[RunFolder, str]]


@pytest.fixture(scope="module")
def registry(mlflow_server: str) -> Iterator[str]:
    """The MLflow with the sample model, which the tests of other files do not expect to be there."""
    made = seed_sample_model(mlflow_server, SAMPLE_FOLDER.parent, "check tests")
    yield mlflow_server
    if made:
        with mlflow_session(mlflow_server, error=OutputError) as opened:
            opened.delete_registered_model(SAMPLE_MODEL)


@pytest.fixture
def client(registry: str) -> Iterator[MlflowClient]:
    """After the test the version has no tags any more."""
    with mlflow_session(registry, error=OutputError) as opened:
        yield opened
        for tag in opened.get_model_version(*vars_of(VERSION)).tags:
            opened.delete_model_version_tag(*vars_of(VERSION), tag)


def vars_of(version: RegisteredVersion) -> tuple[str, str]:
    return version.name, version.version


@pytest.fixture
def log(client: MlflowClient, registry: str, tmp_path: Path) -> Log:
    """Logs a run of the registered version as `hcopt profile` does; its folder, and its run in MLflow."""

    def logged(record: RunRecord) -> tuple[RunFolder, str]:
        of_version = replace(record, model=model_artifact(name=SAMPLE_MODEL, registered_version=VERSION))
        folder = write_finished_run(tmp_path / "results", Config(), of_version)
        tracked = log_run(
            read_record(folder), tracking_uri=registry, experiment="check tests", artifacts=folder.path, config=Config()
        )
        return folder, tracked.run_id

    return logged


def baseline(registry: str, tmp_path: Path) -> Baseline:
    return find_baseline(
        SAMPLE_URI, Config(), results=tmp_path / "results", tracking_uri=registry, scratch=tmp_path / "scratch"
    )


def beside(found: Baseline) -> str:
    return (Path(found.uri).parent / CONFIG_FILE).read_text(encoding="utf-8")


def test_golden_configuration_and_load_are_those_of_the_run_that_the_tags_name(
    log: Log, registry: str, tmp_path: Path
) -> None:
    run, mlflow_run_id = log(run_record(best_config_pbtxt=SLOW_CONFIG))
    best = run_record().confirmation.best
    assert best is not None
    found = baseline(registry, tmp_path)
    assert beside(found) == SLOW_CONFIG
    assert found.load == best.load
    assert found.said == (
        f"{SAMPLE_URI} (version 1): {best.variant.config_name}, the golden configuration of run {run.run_id} (verdict "
        f"better; MLflow run {mlflow_run_id}), which had 6,438 infer/s and a p99 of 7.96 ms on "
        f"{run_record().environment.cpu_model}; only what is measured here counts"
    )


def test_version_without_an_answer_has_the_configuration_beside_it(
    client: MlflowClient, registry: str, tmp_path: Path
) -> None:
    found = baseline(registry, tmp_path)
    assert parse_text(beside(found)) == parse_text(SAMPLE_CONFIG)
    assert found.load == LoadPoint(concurrency=max(Config().sweep.concurrency))
    assert found.said.endswith(
        "the config.pbtxt beside the model, since no run of hcopt has left an answer with this version (no tag "
        "hcopt.mlflow_run_id)"
    )


def test_run_in_which_nothing_met_the_limit_leaves_the_configuration_beside_the_model(
    log: Log, registry: str, tmp_path: Path
) -> None:
    run, _ = log(no_feasible_config_record())
    found = baseline(registry, tmp_path)
    assert parse_text(beside(found)) == parse_text(SAMPLE_CONFIG)
    assert found.said.endswith(f"since run {run.run_id} found no configuration that meets its limit")


def test_answer_that_is_not_there_is_an_error_and_no_other_baseline(
    client: MlflowClient, registry: str, tmp_path: Path
) -> None:
    client.set_model_version_tag(*vars_of(VERSION), "hcopt.mlflow_run_id", "0" * 32)
    with pytest.raises(ModelSourceError, match="there is no such run") as caught:
        baseline(registry, tmp_path)
    assert caught.value.remedy is not None and "hcopt log" in caught.value.remedy
    empty = client.create_run(client.get_experiment_by_name("check tests").experiment_id)
    client.set_model_version_tag(*vars_of(VERSION), "hcopt.mlflow_run_id", empty.info.run_id)
    with pytest.raises(ModelSourceError, match=r"that has no summary\.json"):
        baseline(registry, tmp_path)
    client.log_text(empty.info.run_id, "[]", "summary.json")
    with pytest.raises(ModelSourceError, match="is damaged"):
        baseline(registry, tmp_path)


def test_check_measures_the_golden_configuration_of_the_registered_version(
    log: Log, registry: str, tmp_path: Path
) -> None:
    record = run_record(best_config_pbtxt=SLOW_CONFIG)
    best = record.confirmation.best
    assert best is not None
    small = replace(best, load=LoadPoint(concurrency=8))
    run, _ = log(replace(record, confirmation=replace(record.confirmation, best=small)))
    place = workplace(tmp_path / "user", MLFLOW_TRACKING_URI=registry)
    answer = place.run(
        *("check", "--baseline", SAMPLE_URI, "--golden", str(candidate(place)), *QUICK, *FEW_BLOCKS),
        *("--markdown", "check.md"),
    )
    assert answer.returncode == 0, answer.stderr
    assert f"the golden configuration of run {run.run_id}" in answer.stdout
    assert f"the golden configuration of run {run.run_id}" in (place.folder / "check.md").read_text(encoding="utf-8")
    assert "load:     concurrency 8" in answer.stdout
    # The slow one waits 200 ms for each batch: it can only have been the baseline.
    (ratio,) = re.findall(r"throughput is ([0-9.]+) %", answer.stdout)
    assert float(ratio) > 200
    assert answer.left == ()
