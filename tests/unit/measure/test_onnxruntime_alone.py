"""What Triton costs: who is measured, with what, and what becomes of a run where that fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcopt.config.sections import Config
from hcopt.errors import RuntimeStartError
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import PerfAnalyzer
from hcopt.measure.onnxruntime_alone import BLOCKS, expected_s, measure_alone, short_pace
from hcopt.measure.turns.pace import QUICK, Pace
from hcopt.measure.turns.taker import TurnTaker
from hcopt.measure.window import WindowRunner
from hcopt.model.base_config import BaseConfiguration
from hcopt.model.inputs.values import LoadData, LoadTensor
from hcopt.model.prepare import Prepared
from hcopt.model.triton_config import parse_text
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ExecutionAccelerator, ModelConfigVariant, ModelSignature, TensorSpec
from hcopt.records.verdict import ConfirmedVariant, ModelAlone
from hcopt.store.replay import Replay
from hcopt.system.process import Finished
from tests.support.fakes import Call, FakeTools, RecordedProgress, ends
from tests.support.notes import said
from tests.support.records import run_record
from tests.unit.measure.turns.test_turns import TakesTurns

RUN = run_record()
THREADS = (("intra_op_thread_count", "3"),)
PBTXT = """
name: "M" platform: "onnxruntime_onnx" max_batch_size: 8
input [{ name: "x" data_type: TYPE_FP32 dims: [2] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [2] }]
optimization { graph { level: 1 } }
"""


def prepared(pbtxt: str = PBTXT, rows: int = 3) -> Prepared:
    spec = TensorSpec(name="x", datatype="FP32", shape=(-1, 2))
    signature = ModelSignature(inputs=(spec,), outputs=(replace(spec, name="y"),))
    values = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    return Prepared(
        artifact=replace(RUN.model, folder=Path("/models/M"), onnx_file="model.onnx", signature=signature),
        base=BaseConfiguration(config=parse_text(pbtxt)),
        load=LoadData(tensors=(LoadTensor(name="x", datatype="FP32", rows=values),), origin="synthetic"),
        plan=RUN.plan,
        notes=(),
    )


def best(**changes: Any) -> ConfirmedVariant:
    found = RUN.confirmation.best
    assert found is not None
    variant = replace(found.variant, parameters=THREADS)
    return replace(found, variant=variant, load=LoadPoint(concurrency=32, client_batch_size=2), **changes)


@dataclass
class Served:
    """Loads what it is told, and says so."""

    loaded: list[ModelConfigVariant] = field(default_factory=list)
    refuses: bool = False

    def load_alone(self, variant: ModelConfigVariant) -> tuple[str, str]:
        if self.refuses:
            raise RuntimeStartError("the server does not answer")
        self.loaded.append(variant)
        return "M", "{}"

    def forget_all(self) -> None:
        """For a server that has died."""


@dataclass
class Both(TakesTurns):
    """Takes the turns of both sides, and keeps what ONNX Runtime was to do."""

    alone: dict[str, Any] = field(default_factory=dict)
    rows: list[np.ndarray] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    def __call__(self, call: Call) -> Finished:
        finished = super().__call__(call)
        (side,) = [one for one in self.plans[-1]["sides"] if "ready" in one]
        self.command = side["command"]
        self.alone = json.loads(Path(self.command[-1]).read_text())
        with np.load(self.alone["rows"]) as rows:
            self.rows = [rows[name] for name in rows.files]
        return finished


@dataclass
class Place:
    """A runner on fakes, and what it was told."""

    folder: Path
    play: Callable[[Call], Finished] = field(default_factory=Both)
    known: Sequence[Measurement] = ()
    served: Served = field(default_factory=Served)
    died: Exception | None = None
    takes_turns: bool = True
    recorded: list[Measurement] = field(default_factory=list)
    progress: RecordedProgress = field(default_factory=RecordedProgress)

    def restart_if_dead(self) -> None:
        if self.died is not None:
            raise self.died

    def measure(self, *, config: str = "{}", runtime: str = "embedded", **what: Any) -> ModelAlone | None:
        perf_analyzer = PerfAnalyzer(
            tools=FakeTools([self.play]),
            model_name=lambda: "unused",
            input_arguments=(),
            folder=self.folder,
            server_times=lambda: lambda: None,
        )
        runner = WindowRunner(
            served=self.served,  # type: ignore[arg-type]
            perf_analyzer=perf_analyzer,
            restart_server_if_dead=self.restart_if_dead,
            context=RunContext(
                record=self.recorded.append, note=self.progress.note, progress=self.progress, replay=Replay(self.known)
            ),
            turns=TurnTaker(served=self.served, perf_analyzer=perf_analyzer, row_bytes=100)  # type: ignore[arg-type]
            if self.takes_turns
            else None,
        )
        return measure_alone(
            runner,
            what.get("best", best()),
            what.get("prepared", prepared()),
            Config.model_validate_json(config),
            replace(RUN.environment, runtime=runtime),
        )

    @property
    def said(self) -> list[str]:
        return [said(note) for note in self.progress.notes]


def test_winner_and_onnxruntime_take_turns_with_one_request_under_way(tmp_path: Path) -> None:
    both = Both()
    place = Place(tmp_path, both)
    found = place.measure()
    assert found is not None
    assert found.block_count == BLOCKS
    assert found.request_ms.estimate == found.model_ms.estimate == pytest.approx(2.0), "as the fake has it"
    assert place.served.loaded == [best().variant]
    assert len(place.recorded) == 2 * BLOCKS
    assert {one.load for one in place.recorded} == {LoadPoint(concurrency=1, client_batch_size=2)}
    assert {(one.profiler, one.server is None) for one in place.recorded} == {
        ("perf_analyzer", False),
        ("onnxruntime", True),
    }
    assert {one.client_cpu_ratio for one in place.recorded} == {None}, "ONNX Runtime's time is no load generator's"
    assert place.progress.phases == [("onnxruntime_alone", 2 * BLOCKS)]
    assert place.said == []


def test_onnxruntime_has_the_winner_s_options_rows_and_cpus(tmp_path: Path) -> None:
    both = Both()
    Place(tmp_path, both).measure()
    assert both.alone["model"] == "/models/M/model.onnx"
    assert both.alone["parameters"] == {"intra_op_thread_count": "3"}
    assert (both.alone["graph_level"], both.alone["inputs"]) == ("1", ["x"])
    # Two rows a request: 0 and 1, then 2 and 0 again.
    (requests,) = both.rows
    assert requests.tolist() == [[[0, 1], [2, 3]], [[4, 5], [0, 1]]]
    assert RUN.environment.cpuset == "0-1" and "0,1" in both.command
    assert both.command[-3:-1] == ["-m", "hcopt.measure.turns.onnxruntime_program"]


def test_model_that_does_not_batch_gets_its_rows_one_by_one(tmp_path: Path) -> None:
    both = Both()
    alone = replace(best().variant, max_batch_size=0)
    Place(tmp_path, both).measure(best=replace(best(), variant=alone, load=LoadPoint(concurrency=8)))
    (requests,) = both.rows
    assert requests.shape[0] == 3


@pytest.mark.parametrize(
    ("runtime", "config", "accelerator", "why"),
    [
        ("remote", "{}", "none", "would not have the CPUs of the remote server"),
        ("docker", "{}", "none", "a container that has no ONNX Runtime"),
        ("embedded", '{"instance_kind": "KIND_GPU"}', "none", "on GPUs"),
        ("embedded", "{}", "openvino", "an accelerator"),
    ],
)
def test_no_figure_is_given_where_onnxruntime_here_is_no_match(
    tmp_path: Path, runtime: str, config: str, accelerator: ExecutionAccelerator, why: str
) -> None:
    # On a server of somebody else's only one variant may be loaded.
    place = Place(tmp_path, takes_turns=runtime != "remote")
    served = replace(best().variant, execution_accelerator=accelerator)
    assert place.measure(runtime=runtime, config=config, best=replace(best(), variant=served)) is None
    assert place.recorded == []
    (note,) = place.said
    assert why in note


def test_requests_that_take_long_are_not_measured_and_that_is_said(tmp_path: Path) -> None:
    slow = replace(best().throughput_infer_per_s, estimate=2.0)
    place = Place(tmp_path)
    assert place.measure(best=best(throughput_infer_per_s=slow)) is None
    assert ["take too long" in note for note in place.said] == [True]


def test_nothing_is_measured_or_said_where_it_is_switched_off_or_nobody_has_won(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.measure(config='{"confirmation": {"onnxruntime_alone": false}}') is None
    assert place.measure(best=None) is None
    assert (place.said, place.recorded) == ([], [])


@pytest.mark.parametrize(
    "place",
    [
        lambda folder: Place(folder, ends(Finished(returncode=1, elapsed_s=1.0), "no such module")),
        lambda folder: Place(folder, served=Served(refuses=True)),
        lambda folder: Place(folder, TakesTurns(lost_turns=1), died=RuntimeStartError("it cannot be started")),
    ],
    ids=["the program fails", "the server refuses", "the server cannot be brought back"],
)
def test_failure_is_a_note_and_never_the_end_of_a_run(tmp_path: Path, place: Callable[[Path], Place]) -> None:
    failing = place(tmp_path)
    assert failing.measure() is None
    (note,) = failing.said
    assert note.startswith("What Triton costs, beside ONNX Runtime alone, is not measured: ")


def test_resumed_run_measures_nothing_that_is_known(tmp_path: Path) -> None:
    first = Place(tmp_path)
    found = first.measure()
    resumed = Place(tmp_path, known=first.recorded)
    assert resumed.measure() == found
    assert (resumed.recorded, resumed.served.loaded) == ([], [])
    assert resumed.progress.known_count == 2 * BLOCKS


def test_block_that_an_interruption_has_torn_is_measured_again(tmp_path: Path) -> None:
    first = Place(tmp_path)
    first.measure()
    resumed = Place(tmp_path, known=first.recorded[:5])
    found = resumed.measure()
    assert found is not None
    assert found.block_count == BLOCKS
    assert {one.block for one in resumed.recorded} == {2, 3, 4, 5}


def test_turns_are_short_and_as_many_as_the_export_has_room_for() -> None:
    assert short_pace(QUICK) == replace(QUICK, passes=1, blocks=BLOCKS)
    slow = short_pace(Pace(turn_s=0.9, passes=1, lead_s=0.09))
    assert slow is not None and slow.turn_s == pytest.approx(0.3)
    assert short_pace(Pace(turn_s=0.1, passes=2, lead_s=0.01, blocks=2)) is None
    assert expected_s() <= 5
