"""A disk that fills up while hcopt measures, and again while it reports; and a quota that a report does not fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from hcopt.config.sections import Config
from hcopt.store.measurements import FILE_NAME, read_measurements
from hcopt.store.run_folder import find_run, read_record
from tests.support.command import HCOPT, SAMPLE_FOLDER, TINY, Answer, workplace
from tests.support.disks import fill, mounted
from tests.support.finished_run import write_finished_run

ARGUMENTS = ("profile", *TINY, f"--model={SAMPLE_FOLDER}")
POINTS = 2
FULL = "No space left on device"


@dataclass(frozen=True)
class Story:
    """What each command said, with the lines of measurements.jsonl after it, and the errors that were recorded."""

    measuring: tuple[Answer, list[str]]
    reporting: tuple[Answer, list[str]]
    report: Answer
    mended: tuple[Answer, list[str]]
    run_id: str
    errors: set[str | None]
    partial: list[str]
    has_report: bool


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = workplace(tmp_path_factory.mktemp("full"))

    def ran(*arguments: str, until: str | None = None) -> tuple[Answer, list[str]]:
        acts = [] if until is None else [(until, lambda: fill(place.results))]
        answer = place.run(*arguments, acts=acts)
        return answer, (place.runs[0] / FILE_NAME).read_text().splitlines()

    with mounted(place.results, "size=100m"):
        measuring = ran(*ARGUMENTS, until=f"[1/{POINTS}]")
        (place.results / "filler").unlink(missing_ok=True)
        run_id = place.runs[0].name
        reporting = ran(*ARGUMENTS, "--resume", until="Writing the report")
        report, _ = ran("report", run_id)
        (place.results / "filler").unlink(missing_ok=True)
        mended = ran(*ARGUMENTS, "--resume", run_id)
        folder = place.runs[0]
        read_record(find_run(run_id, results=place.results))
        return Story(
            measuring=measuring,
            reporting=reporting,
            report=report,
            mended=mended,
            run_id=run_id,
            errors={one.error for one in read_measurements(folder)},
            partial=[path.name for path in folder.rglob(".*")],
            has_report=(place.results / "reports").is_dir() and any(folder.rglob("result_summary.pdf")),
        )


def test_full_disk_ends_the_measuring_with_all_that_was_measured_and_the_command_that_goes_on(story: Story) -> None:
    answer, lines = story.measuring
    assert answer.returncode == 7, answer.stderr
    assert FULL in answer.stderr
    assert "1 measurements are kept in" in answer.stderr
    assert f"Make room. Then `{HCOPT} profile" in answer.stderr
    assert f"--resume {story.run_id}`" in answer.stderr
    assert len(lines) == 1
    assert answer.left == ()


def test_point_that_was_measured_on_a_full_disk_is_no_failed_one(story: Story) -> None:
    assert story.errors == {None}


def test_full_disk_at_the_report_keeps_all_measurements_and_says_what_to_do(story: Story) -> None:
    answer, lines = story.reporting
    assert answer.returncode == 7, answer.stderr
    assert FULL in answer.stderr
    assert "Make room. Then " in answer.stderr
    assert lines[:1] == story.measuring[1]
    assert len(lines) > POINTS
    assert answer.left == ()


def test_report_on_a_full_disk_is_refused_plainly(story: Story) -> None:
    assert story.report.returncode == 7, story.report.stderr
    assert f"{FULL}\n" in story.report.stderr
    assert f"Then `hcopt report {story.run_id}` makes it." in story.report.stderr


def test_run_is_complete_once_there_is_room_and_nothing_was_measured_again(story: Story) -> None:
    answer, lines = story.mended
    assert answer.returncode == 0, answer.stderr
    assert lines == story.reporting[1]
    assert story.has_report
    assert story.partial == []


def test_report_beyond_a_quota_leaves_the_older_one_whole(tmp_path: Path) -> None:
    limited = tmp_path / "limited"
    # In blocks of 512 bytes: less than any report takes.
    limited.write_text(f'#!/bin/sh\nulimit -f 100\nexec {HCOPT} "$@"\n')
    limited.chmod(0o755)
    place = workplace(tmp_path / "place", program=limited)
    folder = write_finished_run(place.results, Config())
    older = folder.report_folder("HomeCreditDefaultModel") / "result_summary.pdf"
    older.parent.mkdir(parents=True)
    older.write_bytes(b"older")
    answer = place.run("report", folder.run_id)
    assert answer.returncode == 7, answer.stderr
    assert "File too large" in answer.stderr
    assert "Make room" in answer.stderr
    assert older.read_bytes() == b"older"
    assert [path.name for path in older.parent.iterdir()] == ["result_summary.pdf"]
