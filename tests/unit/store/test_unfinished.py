"""Which run is gone on with, and what has to be the same."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hcopt.config.sections import Config
from hcopt.errors import ConfigError
from hcopt.store.measurements import FILE_NAME, append_measurement
from hcopt.store.run_folder import RunFolder, new_run
from hcopt.store.unfinished import latest_unfinished, resumed_note, unfinished_run
from tests.support.notes import said
from tests.support.records import run_record

RECORD = run_record()
ENVIRONMENT = asdict(RECORD.environment)
CONDITIONS = {"model": {"sha256": "ab"}, "environment": ENVIRONMENT}


def write(results: Path, config: Config, state: str = "measuring", *, count: int = 3) -> RunFolder:
    folder = new_run(results)
    for measurement in RECORD.measurements[:count]:
        append_measurement(folder.path, measurement)
    folder.write_state(state, {"config": config.model_dump(mode="json"), "conditions": CONDITIONS, "started_at": "now"})
    return folder


def other(**sections: object) -> Config:
    return Config.model_validate(sections)


def test_torn_last_line_is_cut_off_and_the_rest_is_taken(tmp_path: Path) -> None:
    folder = write(tmp_path, Config())
    file = folder.path / FILE_NAME
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"phase": "sw')
    found = unfinished_run(folder.run_id, Config(), results=tmp_path)
    assert found.measurements == RECORD.measurements[:3]
    assert file.read_bytes() == whole
    assert "3 measurements" in said(resumed_note(found))


def test_latest_unfinished_run_of_this_configuration_is_found_among_others(tmp_path: Path) -> None:
    mine = write(tmp_path, Config(), "interrupted")
    write(tmp_path, other(profiler={"seed": 7}))
    write(tmp_path, Config(), "finished")
    found, note = latest_unfinished(Config(), results=tmp_path)
    assert found is not None and found.folder == mine
    assert note is None


def test_no_unfinished_run_is_said_with_what_differs(tmp_path: Path) -> None:
    found, note = latest_unfinished(Config(), results=tmp_path)
    assert (found, "new one" in said(note)) == (None, True)
    folder = write(tmp_path, other(profiler={"seed": 7}))
    found, note = latest_unfinished(Config(), results=tmp_path)
    assert found is None and note is not None
    assert f"{folder.run_id} differs: profiler.seed: 7 then, 0 now" in said(note)


def test_altered_configuration_is_refused_with_each_difference(tmp_path: Path) -> None:
    folder = write(tmp_path, Config())
    altered = other(profiler={"seed": 7}, constraints={"latency_p99_ms": 5.0})
    with pytest.raises(ConfigError) as caught:
        unfinished_run(folder.run_id, altered, results=tmp_path)
    assert "profiler.seed: 0 then, 7 now" in caught.value.message
    assert "constraints.latency_p99_ms: 50.0 then, 5.0 now" in caught.value.message


def test_report_and_mlflow_may_be_altered(tmp_path: Path) -> None:
    folder = write(tmp_path, Config())
    altered = other(report={"language": "en"}, mlflow={"experiment": "other"})
    assert unfinished_run(folder.run_id, altered, results=tmp_path).folder == folder


def test_finished_run_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, Config(), "finished")
    with pytest.raises(ConfigError, match="is finished"):
        unfinished_run(folder.run_id, Config(), results=tmp_path)


def test_other_model_or_machine_is_refused_and_a_little_memory_does_not_matter(tmp_path: Path) -> None:
    found = unfinished_run(write(tmp_path, Config()).run_id, Config(), results=tmp_path)
    found.refuse_other(CONDITIONS)
    found.refuse_other({"rows": "noted by a newer hcopt only"})
    found.refuse_other_environment(replace(RECORD.environment, memory_mb=RECORD.environment.memory_mb - 1))
    with pytest.raises(ConfigError, match=r"model\.sha256: ab then, cd now"):
        found.refuse_other({"model": {"sha256": "cd"}})
    with pytest.raises(ConfigError, match=r"environment\.cpu_count: "):
        found.refuse_other_environment(replace(RECORD.environment, cpu_count=99))


def test_cpus_of_other_numbers_are_refused_unless_the_caller_says_that_they_do_not_matter(tmp_path: Path) -> None:
    found = unfinished_run(write(tmp_path, Config()).run_id, Config(), results=tmp_path)
    other_cpus = replace(RECORD.environment, cpuset="2-3")
    found.refuse_other_environment(other_cpus, but=("cpuset",))
    with pytest.raises(ConfigError, match=r"environment\.cpuset: 0-1 then, 2-3 now"):
        found.refuse_other_environment(other_cpus)


@pytest.mark.parametrize("conditions", [{}, {"environment": None}])
def test_run_that_had_come_to_no_server_meets_any(tmp_path: Path, conditions: dict[str, object]) -> None:
    folder = write(tmp_path, Config())
    folder.write_state("measuring", {"config": Config().model_dump(mode="json"), "conditions": conditions})
    unfinished_run(folder.run_id, Config(), results=tmp_path).refuse_other_environment(RECORD.environment)


def test_damaged_conditions_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, Config())
    conditions = {"environment": {"runtime": "docker"}}
    folder.write_state("measuring", {"config": Config().model_dump(mode="json"), "conditions": conditions})
    found = unfinished_run(folder.run_id, Config(), results=tmp_path)
    with pytest.raises(ConfigError, match="no conditions that this hcopt can read"):
        found.refuse_other_environment(RECORD.environment)


def test_memory_limit_is_a_setting_and_has_no_tolerance(tmp_path: Path) -> None:
    folder = write(tmp_path, other(runtime={"docker": {"memory_mb": 8000}}))
    with pytest.raises(ConfigError, match=r"runtime\.docker\.memory_mb: 8000 then, 7999 now"):
        unfinished_run(folder.run_id, other(runtime={"docker": {"memory_mb": 7999}}), results=tmp_path)
