"""What a node is sent: to look at itself, or to measure a stage of one model, or a shard of its sweep."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hcopt.config.sections import Config
from hcopt.errors import BusyError, HcoptError, ModelSourceError
from hcopt.job.cluster.values import Files, Outcome
from hcopt.job.stages import ModelRun, ServedStages, served_stages
from hcopt.measure.context import RunContext
from hcopt.model.base_config import BaseConfiguration
from hcopt.model.inputs.values import LoadData
from hcopt.model.onnx_file import sha256_of
from hcopt.model.prepare import Prepared
from hcopt.model.triton_config import parse_text
from hcopt.records.json import JsonObject
from hcopt.records.measurement import Measurement, SweepPlan
from hcopt.records.model import ModelArtifact, ModelVariant
from hcopt.records.note import Note
from hcopt.records.run import RunFailure
from hcopt.records.verdict import Noise, Ranking
from hcopt.store.replay import Replay
from hcopt.system.environ import remove_variables
from hcopt.system.files import write_whole_bytes
from hcopt.system.machine import read_cpu_times, steal_ratio
from hcopt.system.machine_lock import measuring_alone
from hcopt.system.process import temporary_folder
from hcopt.system.progress import Progress
from hcopt.triton.choose import choose_runtime

Stage = Literal["noise", "sweep", "proof"]

# In a node's folder: the model, what its config.pbtxt names, and a folder for each variant.
_MODEL, _NAMED, _VARIANTS = "model", "named", "variants"
# What was measured there before may still be ending.
_PATIENCE_S = 60.0
_BETWEEN_TRIES_S = 0.5
# Measurements come back as values; the rest only this task's work needed.
_STAYS = ("measurements.jsonl", "input.json", "repository", "work")
# Ray limits the threads of what runs in its workers; a server is to have those of the machine.
_NOT_FOR_SERVERS = ("OMP_NUM_THREADS",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A node looks at itself: it starts the configured runtime without a model, as it would for a task.

    Attributes:
        config: The configuration, as JSON and without a login.
    """

    config: JsonObject

    def perform(self, files: Files) -> Outcome:  # noqa: ARG002 - as Task
        """See `Task.perform`."""
        notes = list[Note]()
        before = read_cpu_times()
        try:
            with _alone("hcopt, looking at this node"), temporary_folder() as folder:
                (folder / "repository").mkdir()
                config = Config.model_validate(self.config)
                choice = choose_runtime(config, progress=Progress(), note=notes.append)
                with choice.runtime.serve(folder / "repository", folder) as server:
                    found = server.environment
        except HcoptError as error:
            return Outcome(notes=tuple(notes), failure=RunFailure.of(error))
        return Outcome(environment=found, notes=tuple(notes), steal_ratio=steal_ratio(before, read_cpu_times()))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTask:
    """These variants under these loads, on one node: a stage of one model's run, or a share of its sweep.

    Attributes:
        stage: Which.
        config: The configuration, as JSON and without a login.
        artifact: The model; its files come beside it.
        config_pbtxt: The default configuration.
        load: The rows to send.
        plan: Of this task.
        node: The name that its measurements get.
        known: What was measured before of this task; not measured again, and not in the outcome.
        noise: From the stage before.
        ranking: Of the sweep, for the proof.
    """

    stage: Stage
    config: JsonObject
    artifact: ModelArtifact
    config_pbtxt: str
    load: LoadData
    plan: SweepPlan
    node: str = ""
    known: tuple[Measurement, ...] = ()
    noise: Noise | None = None
    ranking: Ranking | None = None

    def perform(self, files: Files) -> Outcome:
        """See `Task.perform`.

        Raises:
            OSError: The node's disk takes nothing.
        """
        taken, notes = list[Measurement](), list[Note]()
        context = RunContext(record=taken.append, note=notes.append, replay=Replay(self.known))
        before = read_cpu_times()
        with temporary_folder() as folder:
            outcome = Outcome()
            try:
                with _alone(f"hcopt, {self.stage} of {self.artifact.name}"):
                    run = ModelRun(
                        config=Config.model_validate(self.config),
                        folder=folder / "run",
                        prepared=self._prepared(_unpacked(self.artifact, files, folder)),
                        context=context,
                    )
                    with served_stages(run) as stages:
                        outcome = replace(outcome, environment=stages.environment)
                        outcome = replace(outcome, found=self._staged(stages))
            except HcoptError as error:
                outcome = replace(outcome, failure=RunFailure.of(error))
            return replace(
                outcome,
                measurements=tuple(replace(one, node=self.node) for one in taken),
                notes=tuple(notes),
                elapsed_s=context.stopwatch.elapsed_s,
                files=dict(_left_in(folder / "run")),
                steal_ratio=steal_ratio(before, read_cpu_times()),
            )

    def _prepared(self, artifact: ModelArtifact) -> Prepared:
        base = BaseConfiguration(config=parse_text(self.config_pbtxt))
        return Prepared(artifact=artifact, base=base, load=self.load, plan=self.plan, notes=())

    def _staged(self, stages: ServedStages) -> object:
        if self.stage == "noise":
            return stages.noise()
        if self.stage == "sweep":
            stages.sweep(self.noise)
            return None
        assert self.ranking is not None  # a proof has one
        return stages.prove(self.ranking, self.noise)


@contextmanager
def _alone(command: str) -> Iterator[None]:
    """Nobody else measures on this machine; waits a while for one that is ending.

    Raises:
        BusyError: Somebody does.
    """
    remove_variables(_NOT_FOR_SERVERS)
    ends_at = time.monotonic() + _PATIENCE_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(measuring_alone(command, force=False, note=lambda _: None))
                break
            except BusyError:
                if time.monotonic() > ends_at:
                    raise
                time.sleep(_BETWEEN_TRIES_S)
        yield


def _unpacked(artifact: ModelArtifact, files: Files, folder: Path) -> ModelArtifact:
    """The model in a folder of this node.

    Raises:
        ModelSourceError: Its files are not those that were planned with.
    """
    target = folder / _MODEL
    (folder / "run").mkdir()
    for name, content in files.items():
        write_whole_bytes(folder / name, content)
    _check(artifact.name, target, artifact)
    variants = tuple(
        replace(variant, folder=folder / _VARIANTS / variant.name) for variant in artifact.measured_variants
    )
    for variant in variants:
        _check(f"{artifact.name}, variant {variant.name},", variant.folder, variant)
    named = folder / _NAMED if artifact.named_files else None
    return replace(artifact, folder=target, named_folder=named, variants=variants)


def _check(name: str, folder: Path, sent: ModelArtifact | ModelVariant) -> None:
    found = sha256_of(folder, sent.files)
    if found != sent.sha256:
        raise ModelSourceError(
            f"{name} came to the node with SHA-256 {found}, and {sent.sha256} was sent",
            remedy="Run it again; is the cluster's object store full?",
        )


def model_files(artifact: ModelArtifact) -> dict[str, bytes]:
    """The model as it travels, by paths in a node's folder."""
    files = {f"{_MODEL}/{name}": artifact.folder / name for name in artifact.files}
    if artifact.named_folder is not None:
        files |= {f"{_NAMED}/{name}": artifact.named_folder / name for name in artifact.named_files}
    for variant in artifact.measured_variants:
        files |= {f"{_VARIANTS}/{variant.name}/{name}": variant.folder / name for name in variant.files}
    return {name: path.read_bytes() for name, path in files.items()}


def _left_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not path.is_symlink() and name.parts[0] not in _STAYS:
            yield str(name), path.read_bytes()
