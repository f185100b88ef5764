"""The main job, stage by stage: model, plan, sweep, ranking, confirmation, golden configuration, report, MLflow.

Composes the stages and formats nothing.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import InitVar, asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from hcopt.analysis.confirmation import unmeasured_default_first, with_outputs
from hcopt.analysis.noise import client_notes, noise_notes
from hcopt.analysis.plan import thread_notes
from hcopt.analysis.ranking import unmeasured, why_nothing_was_measured
from hcopt.config.sections import Config
from hcopt.errors import (
    HcoptError,
    InterruptedRunError,
    NoFeasibleConfigError,
    OutputError,
    ProfileError,
    RuntimeStartError,
)
from hcopt.job.executors import Executor
from hcopt.job.handover import log_finished_run, write_report
from hcopt.job.own_folder import own_folder, unwritten
from hcopt.job.stages import ModelRun, Proof
from hcopt.job.summary import summarize
from hcopt.measure.choose import choose_profiler
from hcopt.measure.context import RunContext
from hcopt.model.inputs.values import sent_rows
from hcopt.model.prepare import Prepared, config_text, delivered_config, prepare
from hcopt.model.repository import write_repository
from hcopt.records.json import JsonObject
from hcopt.records.measurement import OWN_CONDITIONS, Environment, Measurement
from hcopt.records.note import Note
from hcopt.records.run import RunRecord, SentRows
from hcopt.records.verdict import Noise, Ranking
from hcopt.services.mlflow import ready_database
from hcopt.store.decisions import read_decisions
from hcopt.store.measurements import append_measurement
from hcopt.store.replay import Replay
from hcopt.store.run_folder import RunFolder, read_record, record_json
from hcopt.store.unfinished import Unfinished, how_to_resume, remove_work_files, resumed_note
from hcopt.system.files import check_room, write_whole
from hcopt.system.progress import Progress
from hcopt.tracking.log import TrackedRun
from hcopt.tracking.registry import check_tracking
from hcopt.triton.choose import server_cores
from hcopt.words.notes import sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a run is asked to do.

    Attributes:
        config: The configuration.
        results: The folder that shows results; runs lie in `runs/` under it.
        command: The command line, for the report.
        program: How this program is called where the user is; `command` begins with its plain name.
        unfinished: The run to go on with; None begins a new one.
        tracking_uri: The MLflow to read from and to log to.
        executor: Where it is measured.
        turn: Entered while a stage has to be alone among runs of this process: it talks to a registry, whose clients
            know one login a process.
    """

    config: Config
    results: Path
    command: str
    program: str = "hcopt"
    unfinished: Unfinished | None = None
    tracking_uri: str = ""
    executor: Executor = field(default_factory=Executor)
    turn: AbstractContextManager[object] = field(default_factory=nullcontext)

    @property
    def state(self) -> JsonObject:
        """run.json of the run to go on with; empty for a new one."""
        return {} if self.unfinished is None else self.unfinished.state


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run whose results are on disk.

    Attributes:
        folder: Its place.
        record: Everything that it found.
        tracked: Where MLflow has it, or None where it could not be handed over.
        failure: What kept the report from being written or MLflow from taking it: a fault, or an interruption.
    """

    folder: RunFolder
    record: RunRecord
    tracked: TrackedRun | None
    failure: HcoptError | None = None

    @property
    def error(self) -> HcoptError | None:
        """What to say at the end: the hand-over failed, nothing keeps the limit, or nothing could be proved."""
        found = self.record.confirmation
        if self.failure is not None:
            return self.failure
        if found.verdict == "no_feasible_config":
            limited = self.record.ranking.latency_p99_limit_ms is not None
            if found.reason.code in ("nothing_fits_memory", "memory_of_none_known"):
                remedy = "Raise constraints.memory_mb, or sweep fewer instances."
                return NoFeasibleConfigError(sentence(found.reason), remedy=remedy)
            remedy = "Raise constraints.latency_p99_ms, lower sweep.concurrency, or give the model more CPUs."
            return NoFeasibleConfigError(
                sentence(found.reason),
                remedy=remedy if limited else "Lower sweep.concurrency, or see why the server refuses requests.",
            )
        if found.best is None:
            return ProfileError(
                sentence(found.reason),
                remedy="The failed measurements in the report and the logs say why.",
                log=self.folder.path / "logs",
            )
        return None


def profile(job: Job, progress: Progress, opened: Callable[[Path], None] = lambda _: None) -> FinishedRun:
    """The whole job. Its results are on disk and shown in `results/` when it returns.

    Args:
        job: What to do.
        progress: Shows what is under way.
        opened: Takes the run's folder as soon as there is one.

    Raises:
        ConfigError, ModelSourceError: Nothing was measured, and nothing of the run is left under `results/`.
        RuntimeStartError, ProfileError: The run's folder keeps its logs and what was measured.
        OutputError: MLflow's database has another schema, or nobody would find what is logged; or the results cannot be
            written, and the run's folder keeps what was measured, if anything was.
    """
    with job.turn:
        ready_database(job.tracking_uri, config=job.config)
        check_tracking(job.tracking_uri, config=job.config)
    with own_folder(job.results, job.unfinished, opened, turn=job.turn) as folder:
        return _executed(_Run(job=job, folder=folder, progress=progress))


def _executed(run: _Run) -> FinishedRun:
    try:
        return run.execute()
    except KeyboardInterrupt as error:
        what = str(error) or "interrupted by Ctrl-C"
        run.end("interrupted")
        if not run.taken:
            raise
        raise InterruptedRunError(f"{what}; {run.kept}", remedy=run.how_to_resume) from error
    except OSError as error:
        run.end("failed")
        if not run.taken:
            raise
        message = f"{unwritten(error, run.job.results)}; {run.kept}"
        raise OutputError(message, remedy=f"Make room. Then {run.how_to_resume}") from error
    except HcoptError as error:
        run.end("failed", has_logs=isinstance(error, (RuntimeStartError, ProfileError)))
        if run.taken and isinstance(error, OutputError):
            error.message, error.remedy = f"{error.message}; {run.kept}", f"Make room. Then {run.how_to_resume}"
        elif run.newly_measured and error.remedy is None:
            error.remedy = run.how_to_resume
        raise


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run under way; each method is a stage."""

    job: Job
    folder: RunFolder
    progress: InitVar[Progress]
    started_at: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    taken: list[Measurement] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    conditions: JsonObject = field(default_factory=dict)
    command: str = ""
    context: RunContext = field(init=False)
    record: RunRecord | None = None
    rows: SentRows | None = None

    def __post_init__(self, progress: Progress) -> None:
        self.started_at = self.job.state.get("started_at", self.started_at)
        self.command = self.job.state.get("command", self.job.command)
        self.conditions = self.job.state.get("conditions", {})
        if self.job.unfinished is not None:
            self.taken = list(self.job.unfinished.measurements)
        self.context = RunContext(
            record=self._record_measurement, note=self._note, progress=progress, replay=Replay(self.taken)
        )

    @property
    def _swept(self) -> list[Measurement]:
        return [one for one in self.taken if one.phase == "sweep"]

    @property
    def newly_measured(self) -> bool:
        """Whether this process has measured anything."""
        return len(self.taken) > len(self.context.replay)

    @property
    def kept(self) -> str:
        """What is there after an end before the end."""
        return f"{len(self.taken)} measurements are kept in {self.folder.path}"

    @property
    def how_to_resume(self) -> str:
        """The exact command."""
        return how_to_resume(self.job.program, self.command, self.folder.part_of or self.folder.run_id)

    def execute(self) -> FinishedRun:
        if (unfinished := self.job.unfinished) is not None:
            if unfinished.is_measured:
                return self._hand_over_again()
            remove_work_files(self.folder, self.taken)
            self._note(resumed_note(unfinished))
        with self.job.turn:
            prepared = self._prepare()
        self.rows = sent_rows(prepared.load)
        self._meet(_model_conditions(prepared, self.rows))
        record = self._measure(prepared)
        self._write_results(prepared, record)
        with self.job.turn:
            return self._hand_over(record)

    def _hand_over_again(self) -> FinishedRun:
        self.record = record = read_record(self.folder)
        remove_work_files(self.folder, record.measurements)
        self.folder.write_summary(summarize(record, tracking=None))
        with self.job.turn:
            return self._hand_over(record)

    def end(self, state: str, *, has_logs: bool = False) -> None:
        """Leaves what was measured, with a state that says how it ended; or nothing, where nothing was."""
        shutil.rmtree(self.folder.path / "model", ignore_errors=True)
        if self.newly_measured or self.record is not None:
            with suppress(OSError):
                # What is measured and decided stays so: only the report, or MLflow, is missing then.
                self._write_state(state, self.record)
        elif self.job.unfinished is None and not has_logs:
            self.folder.discard()

    def _meet(self, conditions: JsonObject) -> None:
        """Notes the conditions of the run; a run that is resumed has to meet those that it began with."""
        if self.job.unfinished is not None:
            self.job.unfinished.refuse_other(conditions)
        self._note_conditions(conditions)

    def _meet_environment(self, environment: Environment) -> None:
        """The same of the machine and the server."""
        if self.job.unfinished is not None:
            # Its nodes need not be the same, only of the same kind.
            but = () if self.job.executor.name is None else OWN_CONDITIONS
            self.job.unfinished.refuse_other_environment(environment, but=but)
        self._note_conditions({"environment": asdict(environment)})

    def _note_conditions(self, conditions: JsonObject) -> None:
        self.conditions = {**conditions, **self.conditions}
        self._write_state("measuring")

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self.context.progress.phase(name)
        with self.context.stopwatch.phase(name):
            yield

    def _prepare(self) -> Prepared:
        with self._phase("fetch"):
            prepared = prepare(
                self.job.config,
                into=self.folder.path / "model",
                tracking_uri=self.job.tracking_uri,
                server_cores=self.job.executor.server_cores or server_cores(self.job.config),
            )
            for variant in prepared.plan.all_variants:
                text = config_text(prepared, variant)
                write_whole(self.folder.output_models / variant.config_name / "config.pbtxt", text)
        for note in prepared.notes:
            self._note(note)
        return prepared

    def _note(self, note: Note) -> None:
        self.notes.append(note)
        self.context.progress.note(note)

    def _record_measurement(self, measurement: Measurement) -> None:
        if measurement.error is not None:
            # A program that finds the disk full says so in its own words, or leaves a file that is cut: no fault of the
            # configuration, which is to be measured when there is room.
            check_room(self.folder.path)
        append_measurement(self.folder.path, measurement)
        self.taken.append(measurement)

    def _measure(self, prepared: Prepared) -> RunRecord:
        """Noise, sweep, ranking, confirmation and capacity, in this order, wherever the servers are."""
        run = ModelRun(config=self.job.config, folder=self.folder.path, prepared=prepared, context=self.context)
        with self.job.executor.stages(run) as stages:
            self._meet_environment(stages.environment)
            for note in thread_notes(prepared.plan, stages.environment):
                self._note(note)
            prepared = run.on(stages.environment).prepared
            noise = stages.noise()
            stages.sweep(noise)
            ranking = self._rank(prepared, noise)
            proof = stages.prove(ranking, noise)
            environment = stages.environment
        return self._record(prepared, environment, noise, ranking, proof)

    def _rank(self, prepared: Prepared, noise: Noise | None) -> Ranking:
        ranking = choose_profiler(self.job.config, noise).rank(prepared.plan, self._swept)
        if not ranking.ranked:
            raise ProfileError(why_nothing_was_measured(prepared.plan, self._swept), log=self.folder.path / "logs")
        if (missing := unmeasured(prepared.plan, ranking)) is not None:
            self._note(missing)
        return ranking

    def _record(
        self, prepared: Prepared, environment: Environment, noise: Noise | None, ranking: Ranking, proof: Proof
    ) -> RunRecord:
        best = proof.confirmation.best
        for note in (*noise_notes(self.taken, self.job.config.noise), *client_notes(self.taken)):
            self._note(note)
        return RunRecord(
            run_id=self.folder.run_id,
            folder=self.folder.path,
            started_at=self.started_at,
            command=self.command,
            model=prepared.artifact,
            plan=prepared.plan,
            environment=environment,
            measurements=tuple(self.taken),
            ranking=ranking,
            confirmation=with_outputs(
                unmeasured_default_first(proof.confirmation, prepared.plan, self._swept), prepared.artifact
            ),
            alpha=self.job.config.confirmation.alpha,
            indifference_ratio=self.job.config.confirmation.indifference_ratio,
            default_config_pbtxt=config_text(prepared, prepared.plan.default),
            best_config_pbtxt=None if best is None else config_text(prepared, best.variant),
            noise=noise,
            capacity=proof.capacity,
            alone=proof.alone,
            elapsed_s=self.context.stopwatch.elapsed_s,
            decisions=read_decisions(self.folder.path),
            notes=tuple(self.notes),
            rows=self.rows,
            memory_limit_mb=self.job.config.constraints.memory_mb,
        )

    def _write_results(self, prepared: Prepared, record: RunRecord) -> None:
        best = record.confirmation.best
        if best is not None:
            config = delivered_config(prepared, best.variant)
            write_repository(self.folder.golden, prepared.artifact.served_from(best.variant.model_file), config)
        shutil.rmtree(self.folder.path / "model", ignore_errors=True)
        # Before the report: should that fail or be cut off, `hcopt report` and `hcopt log` can still make it good.
        self._write_state("measured", record)
        self.record = record
        self.folder.write_summary(summarize(record, tracking=None))

    def _hand_over(self, record: RunRecord) -> FinishedRun:
        """Report and MLflow; what stops either leaves a run that is complete on disk."""
        tracked: TrackedRun | None = None
        failure: HcoptError | None = None
        try:
            try:
                with self._phase("report"):
                    drawn = write_report(self.job.config, self.folder, record)
            finally:
                self.folder.show_as_latest()
            with self._phase("log"):
                tracked = log_finished_run(
                    self.job.config, self.folder, record, tracking_uri=self.job.tracking_uri, drawn=drawn
                )
        except OutputError as error:
            failure = error
        except KeyboardInterrupt as interruption:
            failure = InterruptedRunError(
                f"{interruption or 'interrupted by Ctrl-C'}; the results on disk are complete",
                remedy=f"`hcopt report {self.folder.path}` and `hcopt log {self.folder.path}` do what is missing.",
            )
        self._write_state("finished", record)
        return FinishedRun(folder=self.folder, record=record, tracked=tracked, failure=failure)

    def _write_state(self, state: str, record: RunRecord | None = None) -> None:
        details: JsonObject = {
            "started_at": self.started_at,
            "command": self.command,
            "conditions": self.conditions,
            "hardware": self.job.executor.name,
            "config": self.job.config.model_dump(mode="json"),
        }
        if record is not None:
            details["record"] = record_json(record)
        self.folder.write_state(state, details)


def _model_conditions(prepared: Prepared, rows: SentRows) -> JsonObject:
    """What else than the configuration decides on what is measured."""
    variants = "".join(config_text(prepared, variant) for variant in prepared.plan.all_variants)
    files = {variant.name: variant.sha256 for variant in prepared.artifact.measured_variants}
    return {
        "model": {
            "sha256": prepared.artifact.sha256,
            "config.pbtxt": config_text(prepared, prepared.plan.default),
            "variants": hashlib.sha256(variants.encode()).hexdigest(),
            "rows": rows.sha256,
            **({"variant_files": files} if files else {}),
        }
    }
