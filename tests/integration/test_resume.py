"""A run killed with SIGKILL, in the sweep and again in the confirmation, and gone on with each time by its command.

What kills it sits in its process (tests/faults/killed_hcopt.py): who waits for a line of it may come too late.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from hcopt.store.measurements import FILE_NAME, read_measurements
from hcopt.store.run_folder import find_run, read_record
from tests.faults.scenes import Aim, execute
from tests.support.command import TINY, Answer, Workplace, workplace
from tests.support.notes import said
from tests.support.stores import with_store

ARGUMENTS = ("profile", *TINY, "--set=sweep.concurrency=[4,8]")
POINTS, FINALISTS = 4, 2
_MEASUREMENTS = f"runs/RUN/{FILE_NAME}"
# Two points are measured and the third not written; the second measurement is written and nobody has been told.
IN_THE_SWEEP = Aim(stage="sweep", operation="open", name=_MEASUREMENTS, nth=3)
IN_THE_CONFIRMATION = Aim(stage="confirmation", operation="open", name=_MEASUREMENTS, nth=2, calls=12)


@dataclass(frozen=True)
class Story:
    """What each of the parts said, and the lines of measurements.jsonl after it."""

    place: Workplace
    killed: tuple[Answer, Answer]
    refused: Answer
    finished: Answer
    lines: tuple[list[str], list[str], list[str]]

    @property
    def folder(self) -> Path:
        (folder,) = self.place.runs
        return folder


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = with_store(workplace(tmp_path_factory.mktemp("resume")))

    def lines() -> list[str]:
        return (place.runs[0] / FILE_NAME).read_text().splitlines()

    def killed(aim: Aim, *more: str) -> Answer:
        ended = execute(place, (*ARGUMENTS[1:], *more), aim)
        left = place.left_by_the_killed()
        place.end_what_is_left()
        return Answer(returncode=ended.returncode, stdout="", stderr=ended.stderr, left=left)

    first = killed(IN_THE_SWEEP)
    after_first = lines()
    # As a loss of power may leave it.
    with (place.runs[0] / FILE_NAME).open("a") as file:
        file.write('{"phase": "swe')
    refused = place.run(*ARGUMENTS, "--set=sweep.concurrency=[4,16]", "--resume", place.runs[0].name)
    second = killed(IN_THE_CONFIRMATION, "--resume")
    after_second = lines()
    last = place.run(*ARGUMENTS, "--resume", place.runs[0].name)
    return Story(place, (first, second), refused, last, (after_first, after_second, lines()))


@pytest.mark.parametrize("number", [0, 1])
def test_kill_leaves_no_process_no_temporary_file_and_no_shared_memory(story: Story, number: int) -> None:
    assert story.killed[number].returncode == -signal.SIGKILL, story.killed[number].stderr
    assert story.killed[number].left == ()


def test_resumed_run_is_complete(story: Story) -> None:
    assert story.finished.returncode == 0, story.finished.stderr
    assert story.finished.left == ()
    assert (story.place.results / "latest").resolve() == story.folder
    record = read_record(find_run(str(story.folder), results=Path("elsewhere")))
    assert record.command == shlex.join(["hcopt", *ARGUMENTS])
    assert "was resumed: " in said(record.notes[0])
    assert not {"model", "repository", "work"} & {path.name for path in story.folder.iterdir()}


def test_nothing_is_measured_twice_and_nothing_is_lost(story: Story) -> None:
    first, second, last = story.lines
    assert len(first) == 2
    assert len(second) == POINTS + FINALISTS + 2
    assert second[: len(first)] == first
    assert last[: len(second)] == second
    taken = read_measurements(story.folder)
    assert {one.error for one in taken} == {None}
    counts = Counter((one.phase, one.variant.config_name, one.load, one.block) for one in taken)
    assert set(counts.values()) == {1}
    assert sum(one.phase == "sweep" for one in taken) == POINTS
    assert sum(one.phase == "memory" for one in taken) == FINALISTS
    blocks = Counter(one.block for one in taken if one.phase == "confirmation")
    assert len(set(blocks.values())) == 1, "whole blocks"
    assert sorted(blocks) == list(range(len(blocks)))


def test_model_analyzer_s_own_report_has_the_whole_grid(story: Story) -> None:
    (table,) = (story.folder / "reports").rglob("metrics-model-inference.csv")
    assert len(table.read_text().strip().splitlines()) == 1 + POINTS


def test_what_was_measured_before_is_not_shown_as_new(story: Story) -> None:
    again = re.findall(r"\[ *(\d+)/4\]", story.killed[1].stderr)
    assert [int(number) for number in again] == list(range(len(story.lines[0]) + 1, POINTS + 1))


def test_altered_configuration_is_refused_with_the_difference(story: Story) -> None:
    assert story.refused.returncode == 2
    assert "sweep.concurrency: [4, 8] then, [4, 16] now" in story.refused.stderr


def test_finished_run_and_run_without_resume_are_refused(story: Story) -> None:
    again = story.place.run(*ARGUMENTS, "--resume", story.folder.name)
    assert (again.returncode, "is finished" in again.stderr) == (2, True)
    named = story.place.run("profile", story.folder.name)
    assert (named.returncode, "--resume" in named.stderr) == (2, True)


def test_second_run_on_this_machine_is_refused_and_told_whose_the_first_is(story: Story) -> None:
    import fcntl

    lock = story.place.temporary / "hcopt.lock"
    owner = {"command": "hcopt profile --other", "folder": "/there", "since": "2026-01-01", "pid": 7, "user": "me"}
    lock.write_text(json.dumps(owner))
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = story.place.run(*ARGUMENTS)
    lock.unlink()
    assert answer.returncode == 9
    assert "process 7 of me, `hcopt profile --other` in /there, since 2026-01-01" in answer.stderr
    assert "--force" in answer.stderr
    assert len(story.place.runs) == 1
