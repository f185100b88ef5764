"""A run's files give back the run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hcopt.errors import ConfigError, ProfileError
from hcopt.records.run import RunRecord, SentRows
from hcopt.store.decisions import append_decision
from hcopt.store.measurements import FILE_NAME, append_measurement
from hcopt.store.run_folder import SHOWN, RunFolder, find_run, new_run, read_record, record_json, remove_stillborn
from hcopt.system.files import folder_lock
from tests.support.records import no_feasible_config_record, run_record, tied_record, undecided_record
from tests.support.search_records import searched_record


def _written(results: Path, record: RunRecord) -> RunFolder:
    run = new_run(results)
    for measurement in record.measurements:
        append_measurement(run.path, measurement)
    for decision in record.decisions:
        append_decision(run.path, decision)
    run.write_state("finished", {"record": record_json(record)})
    return run


@pytest.mark.parametrize(
    "record",
    [run_record(), tied_record(), undecided_record(), no_feasible_config_record(), searched_record()],
    ids=["better", "tied", "undecided", "no feasible", "searched"],
)
def test_record_read_back_is_the_one_that_was_written(tmp_path: Path, record: RunRecord) -> None:
    run = _written(tmp_path, replace(record, rows=SentRows(sha256="a" * 64, count=2, shapes=(("text", (1, 16)),))))
    found = read_record(find_run(run.run_id, results=tmp_path))
    assert found.rows is not None and str(found.rows) == "2 rows of text [1, 16], sha256 aaaaaaaaaaaa"
    assert replace(found, rows=None) == replace(record, folder=run.path)


def test_run_that_was_copied_lies_where_it_is_now(tmp_path: Path) -> None:
    run = _written(tmp_path / "here" / "results", run_record())
    shutil.copytree(tmp_path / "here", tmp_path / "there", symlinks=True)
    found = read_record(find_run(run.run_id, results=tmp_path / "there" / "results"))
    assert found.folder == tmp_path / "there" / "results" / "runs" / run.run_id


def test_run_of_an_older_hcopt_is_known_by_the_digest_of_its_rows(tmp_path: Path) -> None:
    run = _written(tmp_path, run_record())
    record = record_json(run_record())
    del record["rows"]
    run.write_state("finished", {"record": record, "conditions": {"model": {"rows": "b" * 64}}})
    assert read_record(run).rows == SentRows(sha256="b" * 64)
    run.write_state("finished", {"record": record})
    assert read_record(run).rows is None


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


def test_record_that_lacks_something_may_be_of_another_version(tmp_path: Path) -> None:
    run = _written(tmp_path, run_record())
    record = record_json(run_record())
    del record["confirmation"]["best"]["feasibility"]
    run.write_state("finished", {"record": record})
    with pytest.raises(ConfigError, match=r"or of another version of hcopt: confirmation\.best\.feasibility: "):
        read_record(run)


@pytest.mark.parametrize("confirmation", [None, 5, [], {"best": {"feasible": True}}])
def test_confirmation_that_is_damaged_is_an_error(tmp_path: Path, confirmation: object) -> None:
    run = _written(tmp_path, run_record())
    run.write_state("finished", {"record": {**record_json(run_record()), "confirmation": confirmation}})
    with pytest.raises(ConfigError, match=r"run\.json is damaged"):
        read_record(run)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b'{"record": 5}', b""])
def test_run_json_that_is_cut_or_something_else_is_an_error(tmp_path: Path, content: bytes) -> None:
    run = _written(tmp_path, run_record())
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"run\.json"):
        read_record(run)


def test_missing_measurements_are_an_error(tmp_path: Path) -> None:
    run = _written(tmp_path, run_record())
    (run.path / FILE_NAME).unlink()
    with pytest.raises(ProfileError, match=FILE_NAME):
        read_record(run)


def test_new_runs_have_folders_of_their_own_that_sort_by_time(tmp_path: Path) -> None:
    runs = [new_run(tmp_path) for _ in range(20)]
    assert len({run.run_id for run in runs}) == 20
    assert all(run.path.is_dir() and run.path.parent == tmp_path / "runs" for run in runs)
    stamps = [run.run_id.rpartition("-")[0] for run in runs]
    assert stamps == sorted(stamps)


def test_run_that_was_killed_before_it_had_planned_is_removed_and_no_other_folder_is(tmp_path: Path) -> None:
    stillborn, under_way, planned = (new_run(tmp_path) for _ in range(3))
    (stillborn.path / "model").mkdir()
    planned.write_state("measuring", {})
    (tmp_path / "runs" / "notes of mine").mkdir()
    with folder_lock(under_way.path):
        remove_stillborn(tmp_path)
    left = {path.name for path in (tmp_path / "runs").iterdir()}
    assert left == {under_way.run_id, planned.run_id, "notes of mine"}


def _finished(results: Path, text: str) -> RunFolder:
    """A run with something of all that results/ shows."""
    run = new_run(results)
    for name in SHOWN:
        if "." in name:
            (run.path / name).write_text(text)
        else:
            (run.path / name).mkdir()
            (run.path / name / "file").write_text(text)
    run.write_state("finished", {})
    run.show_as_latest()
    return run


def _shown(results: Path) -> set[str]:
    files = [results / name if "." in name else results / name / "file" for name in SHOWN]
    return {file.read_text() for file in files}


def test_results_show_the_latest_finished_run_whole(tmp_path: Path) -> None:
    first = _finished(tmp_path, "first")
    assert _shown(tmp_path) == {"first"}
    second = _finished(tmp_path, "second")
    assert _shown(tmp_path) == {"second"}
    assert (first.path / "summary.json").read_text() == "first"  # each run keeps its own
    assert find_run(str(tmp_path), results=tmp_path) == second


def test_results_moved_elsewhere_still_show_the_run(tmp_path: Path) -> None:
    _finished(tmp_path / "here", "text")
    (tmp_path / "here").rename(tmp_path / "there")
    assert _shown(tmp_path / "there") == {"text"}


def test_what_lies_in_the_way_is_kept_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("mine")
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "mine").touch()
    (tmp_path / "latest").mkdir()
    run = _finished(tmp_path, "ours")
    assert _shown(tmp_path) == {"ours"}
    assert (tmp_path / f"summary.json.before-{run.run_id}").read_text() == "mine"
    assert (tmp_path / f"golden.before-{run.run_id}" / "mine").exists()


def test_run_without_golden_configuration_can_be_shown(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.write_summary({"a": 1})
    run.show_as_latest()
    assert (tmp_path / "summary.json").is_file()
    assert not (tmp_path / "golden").exists()


def test_run_is_found_by_its_folder_its_id_and_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older, latest = _finished(tmp_path / "results", "older"), _finished(tmp_path / "results", "latest")
    monkeypatch.chdir(tmp_path)
    results = Path("results")
    for reference in (older.run_id, str(older.path), f"results/runs/{older.run_id}/"):
        assert find_run(reference, results=results) == older
    for reference in ("results", "results/", "results/latest", str(tmp_path / "results")):
        assert find_run(reference, results=results) == latest


@pytest.mark.parametrize("reference", ["nothing", "", "runs", "../results"])
def test_run_that_is_not_there_is_an_error_that_says_where_to_look(tmp_path: Path, reference: str) -> None:
    results = tmp_path / "empty"
    with pytest.raises(ConfigError, match="no run") as caught:
        find_run(reference, results=results)
    assert str(results / "runs") in (caught.value.remedy or "")


def test_discarded_run_leaves_nothing(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    (run.path / "logs").mkdir()
    run.discard()
    run.discard()
    assert list((tmp_path / "runs").iterdir()) == []


def test_summary_that_json_cannot_say_is_refused_and_the_old_one_kept(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.write_summary({"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        run.write_summary({"a": float("nan")})
    assert run.summary.read_text() == '{\n  "a": 1\n}\n'
