"""Several runs that go on at once: models, kinds of machines, or both; what each run does is played."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from hcopt.config.sections import Config
from hcopt.errors import InterruptedRunError, OutputError, RuntimeStartError, SeveralModelsError
from hcopt.job import batch
from hcopt.job.batch import FinishedBatch, profile_all
from hcopt.job.executors import Executor, Executors
from hcopt.job.run import FinishedRun, Job
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.store.run_folder import RunFolder, new_run, read_state
from hcopt.store.unfinished import unfinished_run
from hcopt.system.progress import Progress
from hcopt.tracking.log import TrackedRun
from tests.support.fakes import RecordedProgress
from tests.support.finished_run import write_finished_run
from tests.support.notes import said
from tests.support.records import model_artifact, run_record

FAST, SLOW = "Fast CPU, 8 CPUs, 32 GB", "Slow CPU, 4 CPUs, 16 GB"
TRACKED = TrackedRun(tracking_uri="sqlite://", experiment_id="1", run_id="whole", page_command="mlflow ui")
LIMIT_S = 30.0

# What one run does, from its begin on; `Story.finish` ends it well.
Play = Callable[["Story", Job, Progress], None]


def goes_well(story: Story, job: Job, progress: Progress) -> None:
    return


@dataclass
class Story:
    """Two models on two kinds of machines, all at once."""

    results: Path
    plays: dict[tuple[str, str | None], Play] = field(default_factory=dict)
    kinds: Sequence[str] = (FAST, SLOW)
    opens: bool = True
    progress: RecordedProgress = field(default_factory=RecordedProgress)
    begun: list[tuple[str, str | None]] = field(default_factory=list)
    resumed: list[tuple[str, str | None]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def profile(self, job: Job, progress: Progress, opened: Callable[[Path], None]) -> FinishedRun:
        """In the place of `run.profile`."""
        key = (job.config.model.uri, job.executor.name)
        self.begun.append(key)
        if job.unfinished is not None:
            self.resumed.append(key)
        with job.turn:
            folder = new_run(job.results) if job.unfinished is None else job.unfinished.folder
        folder.write_state("measuring", {"config": job.config.model_dump(mode="json")})
        if self.opens:
            opened(folder.path)
        self.plays.get(key, goes_well)(self, job, progress)
        with job.turn:
            written = write_finished_run(job.results, job.config, self.record(job))
        return FinishedRun(folder=written, record=self.record(job), tracked=None)

    @staticmethod
    def record(job: Job) -> RunRecord:
        """A run of this model on this kind."""
        found = run_record(model=model_artifact(name=job.config.model.uri, registered_version=None))
        name = job.executor.name or "CPU"
        return replace(found, environment=replace(found.environment, cpu_model=name.split(",")[0]))

    def run(self, unfinished: RunFolder | None = None) -> FinishedBatch:
        config = Config.model_validate({"models": [{"model": {"uri": uri}} for uri in ("one", "two")]})
        executors = Executors(
            all=tuple(Executor(name=name) for name in self.kinds), at_once=len(ALL), stop=self.stopped.set
        )
        again = None if unfinished is None else unfinished_run(unfinished.run_id, config, results=self.results)
        job = Job(config=config, results=self.results, command="hcopt profile", unfinished=again)
        finished = profile_all(job, executors, self.progress)
        assert isinstance(finished, FinishedBatch)
        return finished

    @property
    def folder(self) -> RunFolder:
        [path] = (self.results / "runs").iterdir()
        return RunFolder(results=self.results, run_id=path.name)

    @property
    def state(self) -> JsonObject:
        return read_state(self.folder)


ALL = [("one", FAST), ("one", SLOW), ("two", FAST), ("two", SLOW)]


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    """Nothing is fetched, measured or logged in it."""
    found = Story(tmp_path / "results")

    monkeypatch.setattr(batch, "profile", found.profile)
    monkeypatch.setattr(batch, "open_tracking", lambda *_, **__: "sqlite://")
    monkeypatch.setattr(batch, "log_batch_run", lambda *_, **__: TRACKED)
    found.results.mkdir()
    return found


def places_of(parts: Sequence[JsonObject]) -> list[tuple[str, str | None]]:
    return [(part["source_uri"], part["hardware"]) for part in parts]


def test_outcomes_are_in_order_whoever_ends_first(story: Story) -> None:
    ended = [threading.Event() for _ in ALL]

    def after_the_next(number: int) -> Play:
        def play(_: Story, job: Job, progress: Progress) -> None:
            progress.told("measured", steps=1)
            # The last ends first: all four are under way at once.
            assert number == len(ALL) - 1 or ended[number + 1].wait(LIMIT_S)
            ended[number].set()

        return play

    story.plays = {key: after_the_next(number) for number, key in enumerate(ALL)}
    finished = story.run()
    assert finished.error is None
    assert [(one.source_uri, one.hardware) for one in finished.outcomes] == ALL
    assert [one.label for one in finished.outcomes] == [
        "one-Fast-2",
        "one-Slow-2",
        "two-Fast-2",
        "two-Slow-2",
    ]
    assert all(one.record is not None and one.failure is None for one in finished.outcomes)
    assert sorted(line for line, _, _ in story.progress.lines) == [f"{uri} on {kind}: measured" for uri, kind in ALL]
    assert not story.stopped.is_set()


def test_state_says_what_is_under_way_and_what_became_of_it(story: Story) -> None:
    meeting = threading.Barrier(len(ALL))
    seen: list[JsonObject] = []

    def play(found: Story, job: Job, progress: Progress) -> None:
        meeting.wait(LIMIT_S)
        seen.append(found.state)
        meeting.wait(LIMIT_S)

    story.plays = dict.fromkeys(ALL, play)
    finished = story.run()
    for state in seen:
        assert state["state"] == "measuring"
        assert places_of(state["parts"]) == ALL
        assert all((story.folder.path / "runs" / part["run_id"]).is_dir() for part in state["parts"])
    assert story.state["state"] == "finished"
    assert [part["run_id"] for part in story.state["parts"]] == [one.run_id for one in finished.outcomes]
    summary = json.loads(story.folder.summary.read_text(encoding="utf-8"))
    assert [model["label"] for model in summary["models"]] == [one.label for one in finished.outcomes]


def test_failure_of_one_stops_no_other(story: Story) -> None:
    failed = threading.Event()

    def after_the_failure(_: Story, job: Job, progress: Progress) -> None:
        assert failed.wait(LIMIT_S)

    def play(_: Story, job: Job, progress: Progress) -> None:
        failed.set()
        raise RuntimeStartError("no node of this kind is left", remedy="Bring such nodes back.")

    story.plays = {**dict.fromkeys(ALL, after_the_failure), ("one", SLOW): play}
    finished = story.run()
    assert [one.failure is not None for one in finished.outcomes] == [False, True, False, False]
    assert [one.record is not None for one in finished.outcomes] == [True, False, True, True]
    failure = finished.outcomes[1].failure
    assert failure is not None
    assert (failure.exit_code, failure.message) == (4, "no node of this kind is left")
    assert isinstance(finished.error, SeveralModelsError)
    assert "1 of 4 models did not end well" in finished.error.message
    assert "Bring such nodes back." in (finished.error.remedy or "")
    assert story.state["state"] == "failed"
    assert not story.stopped.is_set()


def test_failure_names_its_kind_of_machine(story: Story) -> None:
    def play(_: Story, job: Job, progress: Progress) -> None:
        raise OutputError(f"no room for {job.executor.name}")

    story.plays = dict.fromkeys(ALL[:2], play)
    finished = story.run()
    assert finished.error is not None
    for kind in (FAST, SLOW):
        assert f"one on {kind} failed: no room for {kind}" in {said(note) for note in story.progress.notes}
        assert f"\n  one on {kind} (7): no room for {kind}" in finished.error.message


def test_interruption_of_one_ends_all(story: Story) -> None:
    meeting = threading.Barrier(len(ALL))

    def until_stopped(found: Story, job: Job, progress: Progress) -> None:
        meeting.wait(LIMIT_S)
        assert found.stopped.wait(LIMIT_S)
        raise InterruptedRunError("ended with the run")

    def interrupted(found: Story, job: Job, progress: Progress) -> None:
        meeting.wait(LIMIT_S)
        raise KeyboardInterrupt("ended by SIGTERM")

    story.plays = {**dict.fromkeys(ALL, until_stopped), ("one", SLOW): interrupted}
    with pytest.raises(InterruptedRunError, match="ended by SIGTERM") as caught:
        story.run()
    assert f"--resume {story.folder.run_id}" in (caught.value.remedy or "")
    assert story.stopped.is_set()
    assert story.state["state"] == "interrupted"
    assert all(part["run_id"] is not None and part["failure"] is None for part in story.state["parts"])


def test_interruption_before_anything_is_begun_leaves_nothing(story: Story) -> None:
    def interrupted(found: Story, job: Job, progress: Progress) -> None:
        raise KeyboardInterrupt

    story.plays = dict.fromkeys(ALL, interrupted)
    story.opens = False
    with pytest.raises(InterruptedRunError):
        story.run()
    assert list((story.results / "runs").iterdir()) == []


def test_resumed_run_goes_on_with_each_where_it_was_whatever_the_order_of_kinds(story: Story) -> None:
    meeting = threading.Barrier(len(ALL))

    def interrupted(found: Story, job: Job, progress: Progress) -> None:
        meeting.wait(LIMIT_S)
        raise KeyboardInterrupt("ended by SIGTERM")

    story.plays = dict.fromkeys(ALL, interrupted)
    with pytest.raises(InterruptedRunError):
        story.run()
    begun = {(part["source_uri"], part["hardware"]): part["run_id"] for part in story.state["parts"]}
    story.plays, story.begun, story.kinds = {}, [], (SLOW, FAST)
    finished = story.run(story.folder)
    assert finished.error is None
    assert sorted(story.resumed) == sorted(story.begun) == sorted(begun)
    assert [(one.source_uri, one.hardware) for one in finished.outcomes] == [
        ("one", SLOW),
        ("one", FAST),
        ("two", SLOW),
        ("two", FAST),
    ]
