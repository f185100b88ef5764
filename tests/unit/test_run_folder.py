"""A run's files give back the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcopt.errors import ConfigError
from hcopt.measurements import MeasurementLog
from hcopt.run_folder import RunFolder, find_run, new_run, read_record, record_json
from hcopt.schema import RunRecord
from tests.records import no_feasible_config_record, run_record, tied_record, undecided_record


def _written(results: Path, record: RunRecord) -> RunFolder:
    run = new_run(results)
    for measurement in record.measurements:
        MeasurementLog(run.path).append(measurement)
    run.write_state("finished", {"record": record_json(record)})
    return run


@pytest.mark.parametrize(
    "record",
    [run_record(), tied_record(), undecided_record(), no_feasible_config_record()],
    ids=lambda record: record.confirmation.verdict,
)
def test_record_read_back_is_the_one_that_was_written(tmp_path: Path, record: RunRecord) -> None:
    run = _written(tmp_path, record)
    assert read_record(find_run(run.run_id, results=tmp_path)) == record


def test_record_of_an_unfinished_run_is_an_error_that_says_how_far_it_is(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.write_state("measuring", {})
    with pytest.raises(ConfigError, match=r"not finished \(state: measuring\)"):
        read_record(run)


def test_damaged_record_is_an_error(tmp_path: Path) -> None:
    run = _written(tmp_path, run_record())
    run.write_state("finished", {"record": {**record_json(run_record()), "notes": ["a sentence"]}})
    with pytest.raises(ConfigError, match=r"run\.json is damaged"):
        read_record(run)
