"""What `--dry-run` refuses and accepts: what the run itself does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hcopt.config.sections import Config, ConfirmationSection, MlflowSection, ModelSection
from hcopt.errors import ConfigError
from hcopt.job import plan
from hcopt.job.plan import plan_job
from hcopt.system.machine import read_cpu_model
from tests.support.command import SAMPLE_FOLDER
from tests.support.records import run_record

PROMOTE = MlflowSection(promote_alias="champion")


def test_dry_run_of_the_sample_takes_an_alias_as_the_run_does(tmp_path: Path) -> None:
    planned = plan_job(Config(mlflow=PROMOTE), results=tmp_path)
    assert planned.plan.measurement_count > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cores", [1, 2])
def test_last_run_tells_the_noise_of_a_server_with_as_many_cpus(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cores: int
) -> None:
    record = run_record()
    record = replace(record, environment=replace(record.environment, cpu_model=read_cpu_model()))
    monkeypatch.setattr(plan, "find_run", lambda *_, **__: tmp_path)
    monkeypatch.setattr(plan, "read_record", lambda _: record)
    monkeypatch.setattr(plan, "server_cores", lambda _: cores)
    known = [note.code for note in plan_job(Config(model=ModelSection(uri=str(SAMPLE_FOLDER))), results=tmp_path).notes]
    assert ("last_noise" in known) == (cores == record.environment.cpu_count)


def test_model_from_a_folder_can_have_no_alias(tmp_path: Path) -> None:
    config = Config(model=ModelSection(uri=str(SAMPLE_FOLDER)), mlflow=PROMOTE)
    with pytest.raises(ConfigError, match="no version in a registry"):
        plan_job(config, results=tmp_path)


def test_dry_run_counts_onnxruntime_alone_where_it_is_measured(tmp_path: Path) -> None:
    sample = Config(model=ModelSection(uri=str(SAMPLE_FOLDER)))
    without = sample.model_copy(update={"confirmation": ConfirmationSection(onnxruntime_alone=False)})
    asked, off = (plan_job(config, results=tmp_path) for config in (sample, without))
    assert [one.as_json()["measurements"]["onnxruntime_alone"] for one in (asked, off)] == [12, 0]
    assert 1 < asked.expected_s - off.expected_s <= 5
