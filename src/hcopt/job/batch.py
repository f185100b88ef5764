"""Several models in one run: what becomes of one does not stop the others. So do several kinds of machines.

Each has a run of its own inside of the folder of the whole; the whole adds an overview, one summary.json, and one run
in MLflow that theirs are under.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from itertools import count
from pathlib import Path

from hcopt.config.sections import Config
from hcopt.errors import BusyError, HcoptError, InterruptedRunError, OutputError, SeveralModelsError
from hcopt.job.executors import Executor, Executors
from hcopt.job.own_folder import own_folder
from hcopt.job.plan import open_tracking
from hcopt.job.run import FinishedRun, Job, profile
from hcopt.job.summary import summarize_batch
from hcopt.records.json import JsonObject
from hcopt.records.note import Note
from hcopt.records.run import ModelOutcome, RunFailure
from hcopt.report.render.html import write_overview
from hcopt.store.measurements import FILE_NAME
from hcopt.store.run_folder import RunFolder, read_record, read_state
from hcopt.store.unfinished import how_to_resume, unfinished_run
from hcopt.system.files import link_tree, write_whole
from hcopt.system.progress import MemberProgress, Progress
from hcopt.system.redaction import without_credentials
from hcopt.tracking.log import TrackedRun, log_batch_run
from hcopt.tracking.registry import resolve_tracking

OVERVIEW = "reports/summaries/overview.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedBatch:
    """A run of several models, or on several kinds of machines, whose results are on disk.

    Attributes:
        folder: Its place.
        outcomes: What became of each model, in order.
        tracked: Where MLflow has it, or None where it could not be handed over.
        error: What to say at the end: models that have not ended well, or a hand-over that failed.
    """

    folder: RunFolder
    outcomes: tuple[ModelOutcome, ...]
    tracked: TrackedRun | None
    error: HcoptError | None = None


def profile_all(job: Job, executors: Executors, progress: Progress) -> FinishedRun | FinishedBatch:
    """The whole job, for each model and on each executor. Its results are on disk and shown in `results/` afterwards.

    A single model on a single executor is a run by itself, with no run of a whole around it. A run that is gone on
    with stays what it is, whatever kinds of machines there are now.

    Args:
        job: What to do.
        executors: Where each model is measured.
        progress: Shows what is under way.

    Raises:
        HcoptError: See `profile`; of several models, what becomes of one is an outcome.
        OutputError: The results cannot be written.
        InterruptedRunError: What is finished and measured is kept.
    """
    if job.config.models or (len(executors.all) > 1 if job.unfinished is None else "parts" in job.state):
        with own_folder(job.results, job.unfinished, executors.opened, turn=nullcontext()) as folder:
            return _Batch(job=job, executors=executors, folder=folder, progress=progress).execute()
    tracking_uri = open_tracking(job.config, results=job.results, progress=progress)
    executor = executors.named(job.state.get("hardware"))
    return profile(replace(job, tracking_uri=tracking_uri, executor=executor), progress, executors.opened)


@dataclass(slots=True, kw_only=True)
class _Batch:
    """The run under way."""

    job: Job
    executors: Executors
    folder: RunFolder
    progress: Progress
    started_at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    command: str = ""
    outcomes: list[ModelOutcome] = field(default_factory=list)
    tracked: TrackedRun | None = None
    # Of this object's own state and what it shows, and of what only one run at a time may do.
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.started_at = self.job.state.get("started_at", self.started_at)
        self.command = self.job.state.get("command", self.job.command)

    def execute(self) -> FinishedBatch:
        with self._interruptible():
            members = [(config, executor) for config in self.job.config.each() for executor in self.executors.all]
            self.outcomes = [_waiting(config, executor) for config, executor in members]
            for index, run_id in enumerate(self._begun_before()):
                self._take_up(index, run_id)
            self._write_state("measuring")
            self._run_models(members)
            return self._hand_over()

    def _run_models(self, members: Sequence[tuple[Config, Executor]]) -> None:
        left = [index for index, outcome in enumerate(self.outcomes) if outcome.record is None]
        if self.executors.at_once == 1:
            for index in left:
                self.progress.phase(f"Model {index + 1} of {len(members)}: {self.outcomes[index].source_uri}")
                self._run_model(index, *members[index], progress=self.progress)
            return
        self.progress.phase("cluster")
        with ThreadPoolExecutor(self.executors.at_once) as threads:
            try:
                futures = []
                for index in left:
                    progress = MemberProgress(self.progress, _name_of(self.outcomes[index]))
                    futures.append(threads.submit(self._run_model, index, *members[index], progress=progress))
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self.executors.stop()
                threads.shutdown(cancel_futures=True)
                raise

    def _begun_before(self) -> list[str | None]:
        """For each member, the run that an interrupted batch has begun for it."""
        parts = self.job.state.get("parts", [])
        # Its kinds of machines may have been others, or in another order.
        kinds = len({part.get("hardware") for part in parts}) or 1
        models = [index // kinds for index in range(len(parts))]
        begun = {(model, part.get("hardware")): part.get("run_id") for model, part in zip(models, parts, strict=True)}
        here = len(self.executors.all)
        return [begun.get((index // here, outcome.hardware)) for index, outcome in enumerate(self.outcomes)]

    def _take_up(self, index: int, run_id: str | None) -> None:
        if run_id is None or not (self.folder.path / "runs" / run_id / "run.json").is_file():
            return
        folder = RunFolder(results=self.folder.path, run_id=run_id)
        if read_state(folder).get("state") == "finished":
            self._finished(index, FinishedRun(folder=folder, record=read_record(folder), tracked=None))
        else:
            self.outcomes[index] = replace(self.outcomes[index], run_id=run_id)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except (KeyboardInterrupt, InterruptedRunError) as interruption:
            what = str(interruption) or "interrupted by Ctrl-C"
            if all(outcome.run_id is None for outcome in self.outcomes):
                self.folder.discard()
                raise InterruptedRunError(what) from interruption
            self._write_state("interrupted")
            raise InterruptedRunError(what, remedy=self._how_to_resume) from interruption

    @property
    def _how_to_resume(self) -> str:
        return how_to_resume(self.job.program, self.command, self.folder.run_id)

    def _run_model(self, index: int, config: Config, executor: Executor, *, progress: Progress) -> None:
        before = self.outcomes[index]

        def begun(path: Path) -> None:
            with self._lock:
                self.outcomes[index] = replace(before, run_id=path.name, record=None, failure=None)
                self._write_state("measuring")

        try:
            unfinished = None
            if before.run_id is not None and before.record is None:
                there = str(self.folder.path / "runs" / before.run_id)
                unfinished = unfinished_run(there, config, results=self.folder.path)
            with self._turn:
                tracking_uri = open_tracking(config, results=self.job.results, progress=progress)
            job = replace(
                self.job,
                config=config,
                results=self.folder.path,
                command=self.command,
                unfinished=unfinished,
                tracking_uri=tracking_uri,
                executor=executor,
                turn=self._turn,
            )
            finished = profile(job, progress, begun)
        except (InterruptedRunError, BusyError):
            raise
        except HcoptError as error:
            with self._lock:
                self._failed(index, error)
                self._show()
            return
        with self._lock:
            self._finished(index, finished)
            self._show()
        if isinstance(finished.failure, InterruptedRunError):
            raise finished.failure

    def _failed(self, index: int, error: HcoptError) -> None:
        outcome = replace(self.outcomes[index], failure=RunFailure.of(error))
        if outcome.run_id is not None and not (self.folder.path / "runs" / outcome.run_id).is_dir():
            # It had measured nothing.
            outcome = replace(outcome, run_id=None)
        self.outcomes[index] = outcome
        self.progress.note(Note.of("model_failed", name=_name_of(outcome), reason=error.message))

    def _finished(self, index: int, finished: FinishedRun) -> None:
        error = finished.error
        taken = {one.label for other, one in enumerate(self.outcomes) if other != index and one.record is not None}
        name = finished.record.model.name
        if len(self.executors.all) > 1:
            name = f"{name}-{finished.record.environment.slug}"
        self.outcomes[index] = replace(
            self.outcomes[index],
            label=next(label for label in _labels(name, index + 1) if label not in taken),
            run_id=finished.folder.run_id,
            record=finished.record,
            failure=None if error is None else RunFailure.of(error),
        )
        _show_part(self.folder, self.outcomes[index].label, finished)

    def _show(self) -> None:
        """Brings what the whole run shows up to date."""
        self._write_state("measuring")
        self._write_summary()
        write_overview(
            self.outcomes,
            run_id=self.folder.run_id,
            started_at=self.started_at,
            language=self.job.config.report.language,
            price_of=self.job.config.report.price_of,
            path=self.folder.path / OVERVIEW,
        )

    def _write_summary(self) -> None:
        tracked = self.tracked
        where = None if tracked is None else {"tracking_uri": tracked.tracking_uri, "run_id": tracked.run_id}
        self.folder.write_summary(
            summarize_batch(
                self.outcomes,
                run_id=self.folder.run_id,
                started_at=self.started_at,
                command=self.command,
                tracking=where,
                price_of=self.job.config.report.price_of,
            )
        )

    def _hand_over(self) -> FinishedBatch:
        self._show()
        _join_measurements(self.folder, self.outcomes)
        self.folder.show_as_latest()
        unlogged: OutputError | None = None
        try:
            self.tracked = log_batch_run(
                self.outcomes,
                run_id=self.folder.run_id,
                started_at=self.started_at,
                tracking_uri=resolve_tracking(self.job.config, self.job.results).tracking_uri,
                config=self.job.config,
                artifacts=[self.folder.path / OVERVIEW, self.folder.summary],
            )
            self._write_summary()
        except OutputError as error:
            unlogged = error
        failed = [outcome for outcome in self.outcomes if outcome.failure is not None]
        again = unlogged is not None or any(outcome.record is None for outcome in failed)
        self._write_state("failed" if again else "finished")
        return FinishedBatch(
            folder=self.folder,
            outcomes=tuple(self.outcomes),
            tracked=self.tracked,
            error=_error_of(failed, unlogged, len(self.outcomes), self._how_to_resume if again else ""),
        )

    def _write_state(self, state: str) -> None:
        details: JsonObject = {
            "started_at": self.started_at,
            "command": self.command,
            "config": self.job.config.model_dump(mode="json"),
            "parts": [_without_record(outcome) for outcome in self.outcomes],
        }
        self.folder.write_state(state, details)


def _labels(name: str, number: int) -> Iterator[str]:
    """The name, then with a number after it, until nobody else has it."""
    yield name
    yield from (f"{name}-{further}" for further in count(number))


def _waiting(config: Config, executor: Executor) -> ModelOutcome:
    uri = without_credentials(config.model.uri)
    return ModelOutcome(source_uri=uri, label=uri, hardware=executor.name)


def _without_record(outcome: ModelOutcome) -> JsonObject:
    values = asdict(replace(outcome, record=None))
    del values["record"]
    return values


def _name_of(outcome: ModelOutcome) -> str:
    return outcome.source_uri if outcome.hardware is None else f"{outcome.source_uri} on {outcome.hardware}"


def _error_of(
    failed: list[ModelOutcome], unlogged: OutputError | None, count: int, how_to_resume: str
) -> HcoptError | None:
    """What to say at the end; None where all went well."""
    if not failed:
        return unlogged
    faults = [
        (_name_of(outcome) if outcome.record is None else outcome.label, outcome.failure)
        for outcome in failed
        if outcome.failure is not None
    ]
    said = [f"\n  {label} ({failure.exit_code}): {failure.message}" for label, failure in faults]
    said += [] if unlogged is None else [f"\n  {unlogged.message}"]
    # What each of them would say alone names a run of its own.
    remedies = dict.fromkeys(failure.remedy for _, failure in faults if failure.remedy)
    own = " ".join(remedy for remedy in remedies if "--resume" not in remedy)
    then = f"Then {how_to_resume}" if own and how_to_resume else how_to_resume
    return SeveralModelsError(
        f"{len(failed)} of {count} models did not end well:{''.join(said)}", remedy=f"{own} {then}".strip() or None
    )


def _show_part(whole: RunFolder, label: str, finished: FinishedRun) -> None:
    """The part's results beside those of the others; a folder that a container mounts has to hold the files."""
    part, name = finished.folder, finished.record.model.name
    folders = [
        (part.report_folder(name), whole.report_folder(label)),
        (part.golden / name, whole.golden / label),
        *((variant, whole.output_models / variant.name) for variant in part.output_models.glob("*")),
    ]
    for source, target in folders:
        if source.is_dir():
            link_tree(source, target)
        else:
            shutil.rmtree(target, ignore_errors=True)


def _join_measurements(whole: RunFolder, outcomes: list[ModelOutcome]) -> None:
    """All measurements in one file, in the order of the models; each names its variant, and so its model."""
    files = [whole.path / "runs" / outcome.run_id / FILE_NAME for outcome in outcomes if outcome.run_id is not None]
    write_whole(whole.path / FILE_NAME, "".join(file.read_text(encoding="utf-8") for file in files if file.is_file()))
