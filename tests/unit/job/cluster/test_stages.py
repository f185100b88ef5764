"""Files and records of one run from what tasks bring back; on a cluster that only plays."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from hcopt.analysis.plan_shards import cut_into_shards
from hcopt.config.sections import Config
from hcopt.errors import HcoptError, ProfileError, RuntimeStartError
from hcopt.job.cluster import pool as pool_module
from hcopt.job.cluster.pool import Pool
from hcopt.job.cluster.stages import ClusterStages, cluster_stages
from hcopt.job.cluster.tasks import StageTask
from hcopt.job.cluster.values import Beat, Event, LostError, Node, Outcome, Task
from hcopt.job.stages import ModelRun, Proof
from hcopt.measure.context import RunContext, Stopwatch
from hcopt.model.base_config import BaseConfiguration
from hcopt.model.inputs.values import LoadData, LoadTensor
from hcopt.model.onnx_file import sha256_of
from hcopt.model.prepare import Prepared
from hcopt.model.triton_config import parse_text
from hcopt.records.measurement import Measurement, SweepPlan
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.records.run import RunFailure
from hcopt.records.verdict import Confirmation
from hcopt.store.replay import Replay
from tests.support.fake_cluster import KIND, Clock, FakeCluster, node
from tests.support.fakes import RecordedProgress
from tests.support.notes import said
from tests.support.records import (
    LIGHT,
    MODEL_NAME,
    config_pbtxt,
    default_variant,
    grid_variants,
    measurement,
    model_artifact,
    noise,
    run_record,
)

PLAN = SweepPlan(model_name=MODEL_NAME, default=default_variant(), variants=grid_variants(), loads=(LIGHT,))
HALVES = cut_into_shards(PLAN, 2)
ROWS = LoadTensor(name="input", datatype="FP32", rows=np.zeros((2, 10), np.float32))
RANKING = run_record().ranking
PROVED = Proof(
    confirmation=Confirmation(verdict="tied", reason=Note.of("default_has_most"), best=None, default=None),
    capacity=None,
)
NOTE = Note.of("synthetic_rows")
LOG = {"logs/tritonserver.log": b"ready"}
LIMIT_S = 30.0

Work = Callable[[StageTask, Node], Outcome]


def window(where: str, variant: ModelConfigVariant = PLAN.default, **changes: Any) -> Measurement:
    return measurement(variant, LIGHT, (1000.0, 5.0), node=where, **changes)


def measured(task: StageTask) -> tuple[Measurement, ...]:
    """What is not known yet, as the node tells it."""
    known = {one.variant for one in task.known}
    return tuple(window(task.node, variant) for variant in task.plan.all_variants if variant not in known)


def works(task: StageTask, where: Node) -> Outcome:
    """A node on which all goes well."""
    done = Outcome(environment=KIND, files=LOG, elapsed_s={"serve": 7.0, "load": 2.0})
    if task.stage == "noise":
        file = "samples/noise/1.npz"
        taken = window(task.node, phase="noise", samples_file=file, block=0)
        return replace(done, measurements=(taken,), files={**LOG, file: b"noise"}, found=noise(), notes=(NOTE,))
    if task.stage == "sweep":
        files = {**LOG, "reports/table.csv": b"1,2", "decisions.jsonl": b"{}\n"}
        return replace(done, measurements=measured(task), files=files)
    file = "samples/confirmation/1.npz"
    taken = window(task.node, phase="confirmation", samples_file=file, block=0)
    return replace(done, measurements=(taken,), files={**LOG, file: b"proof"}, found=PROVED)


@dataclass
class Scene:
    """A model to measure, a cluster, and what came of it."""

    folder: Path
    nodes: Sequence[str] = ("a", "b")
    work: Work = works
    config: Config = field(default_factory=Config)
    earlier: tuple[Measurement, ...] = ()
    recorded: list[Measurement] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    progress: RecordedProgress = field(default_factory=RecordedProgress)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    cluster: FakeCluster = field(init=False)

    def __post_init__(self) -> None:
        self.cluster = FakeCluster([node(name) for name in self.nodes], play=self._play)

    def _play(self, task: Task, where: Node) -> Iterator[Event | None]:
        yield Beat()
        yield self.work(cast("StageTask", task), where)

    def _record(self, found: Measurement) -> None:
        assert found.samples_file is None or (self.folder / found.samples_file).is_file(), "its samples come first"
        self.recorded.append(found)

    @property
    def model_run(self) -> ModelRun:
        source = self.folder / "model"
        source.mkdir(exist_ok=True)
        (source / "model.onnx").write_bytes(b"a model")
        artifact = model_artifact(folder=source, sha256=sha256_of(source, ("model.onnx",)))
        base = BaseConfiguration(config=parse_text(config_pbtxt(default_variant())))
        load = LoadData(tensors=(ROWS,), origin="synthetic")
        return ModelRun(
            config=self.config,
            folder=self.folder,
            prepared=Prepared(artifact=artifact, base=base, load=load, plan=PLAN, notes=()),
            context=RunContext(
                record=self._record,
                stopwatch=self.stopwatch,
                note=self.notes.append,
                progress=self.progress,
                replay=Replay(self.earlier),
            ),
        )

    @contextmanager
    def stages(self, max_shards: int = 1) -> Iterator[ClusterStages]:
        pool = Pool(cluster=self.cluster, config={}, note=self.notes.append, clock=Clock())
        [kind] = pool.classes()
        with cluster_stages(self.model_run, pool=pool, kind=kind.environment, max_shards=max_shards) as stages:
            yield stages
        assert all(running.canceled for running in self.cluster.started)

    @property
    def sent(self) -> list[StageTask]:
        return [cast("StageTask", running.task) for running in self.cluster.tasks]

    def files(self, *under: str) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for name in under
            for path in sorted(self.folder.glob(f"{name}/**/*"))
            if path.is_file()
        }


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_STEP_S", 0.001)


def swept(plan: SweepPlan, block: int | None = None) -> tuple[Measurement, ...]:
    """What an earlier process had measured of it."""
    return tuple(window("earlier", variant, block=block) for variant in plan.all_variants)


def names(found: Iterable[Measurement]) -> Counter[tuple[int | None, str]]:
    return Counter((one.block, one.variant.config_name) for one in found)


# --- one run ----------------------------------------------------------------------------------------------------------


def test_stages_hand_on_what_each_found(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with scene.stages() as stages:
        assert stages.environment == KIND
        assert stages.noise() == noise()
        stages.sweep(noise())
        assert stages.prove(RANKING, noise()) == PROVED
    assert [(task.stage, task.noise, task.ranking) for task in scene.sent] == [
        ("noise", None, None),
        ("sweep", noise(), None),
        ("proof", noise(), RANKING),
    ]
    assert Counter(one.phase for one in scene.recorded) == {"noise": 1, "sweep": 9, "confirmation": 1}
    assert [task.node for task in scene.sent] == scene.cluster.places
    assert scene.notes == [NOTE]


def test_model_is_shared_once_and_its_configuration_goes_as_text_without_a_login(tmp_path: Path) -> None:
    login = Config.model_validate({"mlflow": {"tracking_uri": "https://somebody:secret@mlflow.example.com"}})
    scene = Scene(tmp_path, config=login)
    with scene.stages() as stages:
        stages.noise()
        stages.sweep(None)
    assert [files for files in scene.cluster.shared if files] == [{"model/model.onnx": b"a model"}]
    for task in scene.sent:
        assert parse_text(task.config_pbtxt) == parse_text(config_pbtxt(default_variant()))
        assert Config.model_validate(task.config).mlflow.tracking_uri == "https://mlflow.example.com"
        assert "secret" not in json.dumps(task.config)


def test_files_of_one_sweep_lie_where_a_run_on_one_machine_has_them(tmp_path: Path) -> None:
    scene = Scene(tmp_path, nodes=("w 1 (10.0.0.1, ab12)",))
    with scene.stages() as stages:
        stages.noise()
        stages.sweep(None)
        stages.prove(RANKING, None)
    where = "w-1-10.0.0.1-ab12"
    assert scene.files("samples") == {"samples/confirmation/1.npz": b"proof", "samples/noise/1.npz": b"noise"}
    assert scene.files("reports") == {"reports/table.csv": b"1,2"}
    assert (tmp_path / "decisions.jsonl").read_bytes() == b"{}\n"
    assert scene.files("blocks") == {
        f"blocks/{name}-{where}/logs/tritonserver.log": b"ready" for name in ("noise", "proof", "sweep-1")
    }


def test_time_to_serve_and_to_load_is_that_of_the_node_and_each_stage_has_its_own(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with scene.stages() as stages:
        stages.noise()
        stages.sweep(None)
        stages.prove(RANKING, None)
    found = scene.stopwatch.elapsed_s
    assert (found["serve"], found["load"]) == (7.0, 2.0)
    assert set(found) == {"serve", "load", "noise", "sweep", "confirmation", "onnxruntime_alone", "open_loop"}


def test_progress_counts_tasks(tmp_path: Path) -> None:
    scene = Scene(tmp_path, nodes=("a",))
    with scene.stages(2) as stages:
        stages.noise()
        stages.sweep(None)
        stages.prove(RANKING, None)
    assert scene.progress.phases == [("cluster", 4)]
    assert sum(steps for _, steps, _ in scene.progress.lines) == 4
    lines = [line for line, _, _ in scene.progress.lines]
    assert lines[:2] == ["noise begins on a", "noise on a: 1 measurements"]
    assert "sweep, shard 2 of 2 on a: 5 measurements" in lines
    assert lines[-2:] == ["confirmation and capacity begins on a", "confirmation and capacity on a: 1 measurements"]


# --- several tasks ---------------------------------------------------------------------------------------------------


def test_tasks_of_a_sweep_are_measured_at_once_and_numbered(tmp_path: Path) -> None:
    meeting = threading.Barrier(2)

    def together(task: StageTask, where: Node) -> Outcome:
        meeting.wait(LIMIT_S)
        return works(task, where)

    scene = Scene(tmp_path, work=together)
    with scene.stages(2) as stages:
        stages.sweep(None)
    assert sorted(scene.cluster.places) == ["a", "b"]
    expected = [(number, one.config_name) for number, half in enumerate(HALVES) for one in half.all_variants]
    assert names(scene.recorded) == Counter(expected)
    places = {task.plan.variants: task.node for task in scene.sent}
    assert {one.node for one in scene.recorded if one.block == 0} == {places[HALVES[0].variants]}
    assert sorted(scene.files("blocks")) == sorted(
        f"blocks/sweep-{number + 1}-{places[half.variants]}/{file}"
        for number, half in enumerate(HALVES)
        for file in ("logs/tritonserver.log", "reports/table.csv")
    )


def test_one_task_of_a_sweep_has_no_number(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with scene.stages() as stages:
        stages.sweep(None)
    assert names(scene.recorded) == Counter((None, one.config_name) for one in PLAN.all_variants)


def test_adaptive_search_is_one_task_whatever_there_is(tmp_path: Path) -> None:
    scene = Scene(tmp_path, config=Config.model_validate({"profiler": {"kind": "adaptive"}}))
    with scene.stages(2) as stages:
        stages.sweep(None)
    assert [task.plan for task in scene.sent] == [PLAN]
    assert not (tmp_path / "blocks.json").exists()


# --- resumed ----------------------------------------------------------------------------------------------------------


def tasks_json(folder: Path) -> object:
    return json.loads((folder / "blocks.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("max_shards", [1, 2, 9])
def test_resumed_run_measures_the_missing_tasks_whatever_nodes_there_are_now(tmp_path: Path, max_shards: int) -> None:
    with Scene(tmp_path).stages(2):
        assert tasks_json(tmp_path) == {"sweep_blocks": 2}
    scene = Scene(tmp_path, nodes=("c",), earlier=swept(HALVES[0], block=0))
    with scene.stages(max_shards) as stages:
        stages.sweep(None)
    assert [(task.plan, task.known) for task in scene.sent] == [(HALVES[1], ())]
    assert names(scene.recorded) == Counter((1, one.config_name) for one in HALVES[1].all_variants)
    assert tasks_json(tmp_path) == {"sweep_blocks": 2}


def test_task_that_was_measured_in_part_gets_what_is_known_of_it(tmp_path: Path) -> None:
    with Scene(tmp_path).stages(2):
        pass
    part = swept(HALVES[1], block=1)[:2]
    scene = Scene(tmp_path, earlier=(*swept(HALVES[0], block=0), *part))
    with scene.stages(2) as stages:
        stages.sweep(None)
    assert [task.known for task in scene.sent] == [part]
    assert names((*part, *scene.recorded)) == Counter((1, one.config_name) for one in HALVES[1].all_variants)


def test_whole_sweep_that_is_known_is_sent_nowhere(tmp_path: Path) -> None:
    scene = Scene(tmp_path, earlier=swept(PLAN))
    with scene.stages() as stages:
        stages.sweep(None)
    assert scene.sent == []


def test_noise_and_proof_get_what_is_known_of_them(tmp_path: Path) -> None:
    earlier = tuple(
        window("earlier", phase=phase) for phase in ("noise", "confirmation", "onnxruntime_alone", "open_loop")
    )
    scene = Scene(tmp_path, earlier=(*earlier, *swept(PLAN)))
    with scene.stages() as stages:
        stages.noise()
        stages.prove(RANKING, None)
    assert [task.known for task in scene.sent] == [earlier[:1], earlier[1:]]


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit_code", "kind"), [(4, RuntimeStartError), (5, ProfileError), (3, ProfileError), (1, ProfileError)]
)
def test_failed_task_leaves_what_it_measured_and_says_where_it_failed(
    tmp_path: Path, exit_code: int, kind: type[HcoptError]
) -> None:
    def fails(task: StageTask, where: Node) -> Outcome:
        failure = RunFailure(exit_code=exit_code, message="Triton has ended", remedy="Look at the log.")
        done = works(task, where)
        return replace(done, measurements=done.measurements[:3], notes=(NOTE,), failure=failure)

    scene = Scene(tmp_path, nodes=("a",), work=fails)
    with pytest.raises(kind) as caught, scene.stages() as stages:
        stages.sweep(None)
    assert type(caught.value) is kind
    assert caught.value.message == "a: Triton has ended"
    assert caught.value.remedy == "Look at the log."
    assert caught.value.log == tmp_path / "blocks" / "sweep-1-a" / "logs"
    assert len(scene.recorded) == 3
    assert scene.notes == [NOTE]


def test_failed_task_ends_the_others(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    begun = threading.Event()

    def play(task: Task, where: Node) -> Iterator[Event | None]:
        task = cast("StageTask", task)
        yield Beat()
        if task.plan.variants == HALVES[0].variants:
            assert begun.wait(LIMIT_S)
            yield Outcome(failure=RunFailure(exit_code=4, message="Triton has ended"))
        begun.set()
        while True:
            yield None

    scene.cluster.play = play
    with pytest.raises(RuntimeStartError, match="Triton has ended"), scene.stages(2) as stages:
        stages.sweep(None)
    assert scene.recorded == []
    assert [running.canceled for running in scene.cluster.tasks] == [True, True]


def test_lost_task_is_noted_and_leaves_nothing_of_its_first_part(tmp_path: Path) -> None:
    def dies_once(task: StageTask, where: Node) -> Outcome:
        if where.name == "a":
            raise LostError("the process was killed")
        return works(task, where)

    scene = Scene(tmp_path, work=dies_once)
    with scene.stages() as stages:
        stages.noise()
    [lost, note] = scene.notes
    assert "lost on a (the process was killed)" in said(lost)
    assert note == NOTE
    assert [one.node for one in scene.recorded] == ["b"]
    assert list(scene.files("blocks")) == ["blocks/noise-b/logs/tritonserver.log"]
    assert [line for line, _, _ in scene.progress.lines] == [
        "noise begins on a",
        "noise begins on b",
        "noise on b: 1 measurements",
    ]


def test_what_still_runs_for_a_model_ends_with_its_context(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with scene.stages() as stages:
        assert not stages.over.is_set()
    assert stages.over.is_set()
    with pytest.raises(KeyboardInterrupt):
        stages.noise()
    assert scene.sent == []
