"""The stages of one model on nodes of one kind: noise and proof on one node each, the sweep on as many as there are.

What a task brings back is written and recorded here, all of it or nothing.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from hcopt.analysis.plan_shards import cut_into_shards
from hcopt.errors import HcoptError, ProfileError, RuntimeStartError
from hcopt.job.cluster.pool import Pool
from hcopt.job.cluster.tasks import Stage, StageTask, model_files
from hcopt.job.cluster.values import Node, Outcome
from hcopt.job.stages import ModelRun, Proof
from hcopt.measure.choose import choose_profiler
from hcopt.model.triton_config import to_text
from hcopt.records.measurement import Environment, Measurement, Phase, SweepPlan
from hcopt.records.run import RunFailure
from hcopt.records.verdict import Noise, Ranking
from hcopt.system.files import write_whole, write_whole_bytes

_SHARD_COUNT = "blocks.json"
# Where a run on one machine has them, too; all else of a task goes to a folder of its own.
_SHARED_PLACES = ("samples", "decisions.jsonl")
_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_STAGE_ERRORS: dict[int, type[HcoptError]] = {error.exit_code: error for error in (RuntimeStartError, ProfileError)}


@contextmanager
def cluster_stages(run: ModelRun, *, pool: Pool, kind: Environment, max_shards: int = 1) -> Iterator[ClusterStages]:
    """The stages of a model on nodes of one kind; see `Executor.stages`.

    Args:
        run: The model.
        pool: The nodes.
        kind: Their fingerprint.
        max_shards: Into how many shards a sweep is cut at most: the nodes that this model may count on.
    """
    run = run.on(kind)
    shared = pool.cluster.share(model_files(run.prepared.artifact))
    stages = ClusterStages(pool=pool, environment=kind, run=run, shared=shared, plans=_plans(run, max_shards))
    run.context.progress.phase("cluster", steps=2 + len(stages.plans))
    try:
        yield stages
    finally:
        # What still runs for this model is wanted by nobody.
        stages.over.set()


def _plans(run: ModelRun, max_shards: int) -> tuple[SweepPlan, ...]:
    """The sweep's shards; a resumed run has those that it began with, whatever nodes there are now."""
    if not choose_profiler(run.config).measures_whole_plan:
        # Each window depends on those before.
        return (run.prepared.plan,)
    file, count = run.folder / _SHARD_COUNT, max_shards
    try:
        count = int(json.loads(file.read_text(encoding="utf-8"))["sweep_blocks"])
    except FileNotFoundError:
        write_whole(file, json.dumps({"sweep_blocks": count}) + "\n")
    return cut_into_shards(run.prepared.plan, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStages:
    """See `Stages`.

    Attributes:
        pool: The nodes.
        environment: Their fingerprint, which every figure has.
        run: What is measured.
        shared: The model, as the cluster has it.
        plans: The sweep's shards.
        over: Set when nothing of this is wanted any more.
    """

    pool: Pool
    environment: Environment
    run: ModelRun
    shared: object
    plans: tuple[SweepPlan, ...]
    over: threading.Event = field(default_factory=threading.Event)

    def noise(self) -> Noise | None:
        """See `Stages.noise`."""
        node, outcome = self._on_node("noise", self.run.context.replay.of("noise"))
        self._take(node, outcome, "noise")
        # The first two are what a pod would take.
        self._count_time(outcome, "serve", "load", "noise")
        assert outcome.found is None or isinstance(outcome.found, Noise)
        return outcome.found

    def _count_time(self, outcome: Outcome, *names: str) -> None:
        """As the node has counted it, which knows what an interrupted run had taken."""
        self.run.context.stopwatch.elapsed_s.update({name: outcome.elapsed_s.get(name, 0.0) for name in names})

    def sweep(self, found_noise: Noise | None) -> None:
        """See `Stages.sweep`."""
        known = [self._known(number) for number in range(len(self.plans))]
        open_shards = [number for number, plan in enumerate(self.plans) if not _is_measured(plan, known[number])]
        with self.run.context.stopwatch.phase("sweep"):
            self._sweep(open_shards, known, found_noise)

    def _sweep(
        self, open_shards: Sequence[int], known: Sequence[tuple[Measurement, ...]], found_noise: Noise | None
    ) -> None:
        if not open_shards:
            return
        with ThreadPoolExecutor(len(open_shards)) as threads:
            try:
                futures: dict[Future[tuple[Node, Outcome]], int] = {
                    threads.submit(
                        self._on_node,
                        "sweep",
                        known[number],
                        plan=self.plans[number],
                        noise=found_noise,
                        number=number,
                    ): number
                    for number in open_shards
                }
                for future in as_completed(tuple(futures)):
                    node, outcome = future.result()
                    # What it has brought is on disk soon: nobody keeps it for longer.
                    number = futures.pop(future)
                    self._take(node, outcome, f"sweep-{number + 1}", shard=self._number(number))
            except BaseException:
                self.over.set()
                raise

    def _number(self, number: int) -> int | None:
        """What tells the default's measurements of several shards apart."""
        return number if len(self.plans) > 1 else None

    def _known(self, number: int) -> tuple[Measurement, ...]:
        swept = self.run.context.replay.of("sweep")
        return swept if len(self.plans) == 1 else tuple(one for one in swept if one.block == number)

    def prove(self, ranking: Ranking, found_noise: Noise | None) -> Proof:
        """See `Stages.prove`: finalists and default on one and the same node."""
        replay = self.run.context.replay
        phases: tuple[Phase, ...] = ("memory", "confirmation", "onnxruntime_alone", "open_loop")
        known = tuple(one for phase in phases for one in replay.of(phase))
        node, outcome = self._on_node("proof", known, noise=found_noise, ranking=ranking)
        self._take(node, outcome, "proof")
        self._count_time(outcome, "confirmation", "onnxruntime_alone", "open_loop")
        assert isinstance(outcome.found, Proof)
        return outcome.found

    def _on_node(
        self,
        stage: Stage,
        known: tuple[Measurement, ...],
        *,
        plan: SweepPlan | None = None,
        noise: Noise | None = None,
        ranking: Ranking | None = None,
        number: int = 0,
    ) -> tuple[Node, Outcome]:
        prepared, context = self.run.prepared, self.run.context
        task = StageTask(
            stage=stage,
            config=self.run.config.model_dump(mode="json"),
            artifact=prepared.artifact,
            config_pbtxt=to_text(prepared.base.config),
            load=prepared.load,
            plan=prepared.plan if plan is None else plan,
            known=known,
            noise=noise,
            ranking=ranking,
        )
        said = _described(stage, number, len(self.plans))

        node, outcome = self.pool.run(
            lambda node: replace(task, node=node.name),
            self.shared,
            self.environment,
            begun=lambda node: context.progress.told(f"{said} begins on {node.name}"),
            note=context.note,
            ended=self.over.is_set,
        )
        context.progress.told(f"{said} on {node.name}: {len(outcome.measurements)} measurements", steps=1)
        return node, outcome

    def _take(self, node: Node, outcome: Outcome, name: str, *, shard: int | None = None) -> None:
        """The files first, so that no record is without its samples.

        Raises:
            HcoptError: The task failed; what it had measured is recorded.
        """
        own = PurePosixPath("blocks") / f"{name}-{_NO_NAME.sub('-', node.name).strip('-')}"
        for file, content in outcome.files.items():
            at_its_place = file.split("/")[0] in _SHARED_PLACES or (
                len(self.plans) == 1 and file.startswith("reports/")
            )
            write_whole_bytes(self.run.folder / (file if at_its_place else own / file), content)
        for measurement in outcome.measurements:
            self.run.context.record(measurement if shard is None else replace(measurement, block=shard))
        for note in outcome.notes:
            self.run.context.note(note)
        if outcome.failure is not None:
            raise _error_of(outcome.failure, node, self.run.folder / own / "logs")


def _described(stage: Stage, number: int, count: int) -> str:
    if stage == "sweep":
        return "sweep" if count == 1 else f"sweep, shard {number + 1} of {count}"
    return {"noise": "noise", "proof": "confirmation and capacity"}[stage]


def _is_measured(plan: SweepPlan, known: Sequence[Measurement]) -> bool:
    points = {(variant.config_name, load) for variant in plan.all_variants for load in plan.loads}
    return points <= {(one.variant.config_name, one.load) for one in known}


def _error_of(failure: RunFailure, node: Node, logs: Path) -> HcoptError:
    kind = _STAGE_ERRORS.get(failure.exit_code, ProfileError)
    return kind(f"{node.name}: {failure.message}", remedy=failure.remedy, log=logs if logs.is_dir() else None)
