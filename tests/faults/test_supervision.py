"""What is measured, or measures, dies, hangs, grows or does not load: that costs its windows, and no others."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from hcopt.analysis.plan import plan_sweep
from hcopt.config.sections import SweepSection
from hcopt.errors import ProfileError, RuntimeStartError
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import PerfAnalyzer, Window
from hcopt.measure.model_analyzer.profiler import ModelAnalyzer
from hcopt.measure.profiler import ProfileJob
from hcopt.measure.served_model import ServedModel
from hcopt.measure.window import WindowRunner
from hcopt.model.triton_config import apply_variant, parse_text, to_json, variant_of
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.store.measurements import read_measurements
from hcopt.store.run_folder import find_run, read_state
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.runtime import EmbeddedRuntime, EmbeddedServer
from hcopt.triton.local_tools import LocalTools
from hcopt.triton.ports import HOST
from tests.support import onnx_models as models
from tests.support.command import TINY, workplace
from tests.support.fakes import FakeServer, FakeTools
from tests.support.notes import said
from tests.support.relay import port_relay
from tests.support.triton import PYTHON_BASED, ImpatientTools, input_and_output

NAME = "model"
CONFIG = (
    f'name: "{NAME}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 4\n{input_and_output()}'
    "instance_group { count: 1 kind: KIND_CPU }\ndynamic_batching { }\n"
)
INPUT = ("--input-data", "zero")
# In which a program that hangs has certainly begun.
PATIENCE_S = 3.0


@dataclass(frozen=True, kw_only=True)
class Stand:
    """A real server with one model on it."""

    server: EmbeddedServer
    runner: WindowRunner
    recorded: list[Measurement] = field(default_factory=list)
    notes: list[Note]

    def window(self, **changes: object) -> Window:
        window = Window(
            variant=variant_of(parse_text(CONFIG), f"{NAME}_config_default"),
            load=LoadPoint(concurrency=2),
            expected_infer_per_s=10_000,
            window_s=0.3,
            phase="confirmation",
            block=0,
        )
        return replace(window, **changes)  # type: ignore[arg-type]

    def stubs(self) -> list[psutil.Process]:
        return [one for one in psutil.Process(self.server.process.pid).children() if f"/{NAME}/" in _command(one)]

    def measure_while(self, harm: Callable[[], object]) -> Measurement:
        """A window of a model that is loaded, in which something is done that ends it long before its time."""
        self.runner.served.reload(self.window().variant)
        timer = threading.Timer(0.4, harm)
        timer.start()
        measured = self.runner.measure(self.window(reload=False, window_s=20.0))
        timer.join()
        return measured


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def stand(
    folder: Path,
    proto: onnx.ModelProto | None = None,
    *,
    runtime: EmbeddedRuntime | None = None,
    patience_s: float = 60.0,
) -> Iterator[Stand]:
    models.save(proto or models.identity_model(), folder / "repository" / NAME / "1")
    (folder / "repository" / NAME / "config.pbtxt").write_text(CONFIG)
    notes, recorded = list[Note](), list[Measurement]()
    runtime = replace(runtime or EmbeddedRuntime(), note=notes.append)
    with runtime.serve(folder / "repository", folder) as server, ModelControl(server.endpoint) as control:
        base = parse_text(CONFIG)
        served = ServedModel(control, NAME, lambda v: to_json(apply_variant(base, v, "KIND_CPU")))
        driver = PerfAnalyzer(
            tools=ImpatientTools(server.tools, patience_s),
            model_name=lambda: NAME,
            input_arguments=INPUT,
            folder=folder,
            server_times=served.watch,
            unanswered=server.mark_unhealthy,
        )
        runner = WindowRunner(
            served=served,
            perf_analyzer=driver,
            restart_server_if_dead=server.restart_if_dead,
            context=RunContext(record=recorded.append),
        )
        yield Stand(server=server, runner=runner, recorded=recorded, notes=notes)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One server for what does not end it for good."""
    with stand(tmp_path_factory.mktemp("stand")) as found:
        yield found


def test_server_that_is_killed_in_a_window_costs_that_window_and_is_started_again(there: Stand) -> None:
    before, notes = there.server.endpoint, len(there.notes)
    failed = there.measure_while(there.server.process.kill)
    assert failed.error is not None
    assert failed.error.startswith("tritonserver has ended by itself with -9 (logs/tritonserver.log): ")
    # Not loaded afresh by itself, as the windows of one visit are; but nothing is loaded any more.
    assert there.runner.measure(there.window(reload=False)).error is None
    assert [one.error is None for one in there.recorded[-2:]] == [False, True]
    assert there.server.endpoint == before
    assert [said(note).endswith("failed or is taken again.") for note in there.notes[notes:]] == [True]


def test_backend_stub_that_is_killed_costs_that_window_and_the_next_has_another(tmp_path: Path) -> None:
    with stand(tmp_path, runtime=PYTHON_BASED) as there:
        notes = len(there.notes)
        failed = there.measure_while(lambda: [stub.kill() for stub in there.stubs()])
        assert failed.error is not None
        assert "is not healthy" in failed.error
        assert there.runner.measure(there.window()).error is None
        assert len(there.notes) == notes


def test_server_that_hangs_is_killed_and_started_again(there: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    hung = there.server.process
    hung.send_signal(signal.SIGSTOP)
    with monkeypatch.context() as impatient:
        # No longer than it is needed: on a busy machine a server that lives may take a second too.
        impatient.setattr(there.server, "silence_s", 1.0)
        assert "tritonserver has not answered for 1 s" in (there.server.restart_if_dead() or "")
    assert hung.returncode == -signal.SIGKILL
    assert there.runner.measure(there.window()).error is None


def test_variant_that_does_not_load_fails_with_triton_s_reason_and_the_next_is_measured(there: Stand) -> None:
    notes = len(there.notes)
    variant = replace(there.window().variant, parameters=(("intra_op_thread_count", "two"),))
    failed = there.runner.measure(there.window(variant=variant))
    assert failed.error is not None
    assert "intra_op_thread_count is 'two'" in failed.error
    assert there.runner.measure(there.window()).error is None
    assert len(there.notes) == notes


def endless_model() -> onnx.ModelProto:
    """One whose only answer would come after some centuries."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["going_on"]), helper.make_node("Identity", ["value"], ["same"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, None),
        ],
    )
    rounds = numpy_helper.from_array(np.array(10**17, dtype=np.int64), "rounds")
    loop = helper.make_node("Loop", ["rounds", "", "input"], ["output"], body=body)
    return models.model([loop], [models.tensor("input")], [models.tensor("output")], [rounds])


def test_instance_that_never_answers_is_gone_before_the_next_window(tmp_path: Path) -> None:
    with stand(tmp_path, endless_model(), patience_s=PATIENCE_S) as there:
        there.runner.served.reload(there.window().variant)
        hung = [there.server.process.pid, *(stub.pid for stub in there.stubs())]
        failed = there.runner.measure(there.window(reload=False))
        assert failed.error is not None
        assert failed.error.startswith("tritonserver was ended: model_config_default does not answer")
        assert "did not end within" in failed.error
        _wait_until_gone(hung)
        assert there.server.restart_if_dead() is None


def test_server_that_grows_beyond_what_it_may_hold_is_started_again_but_not_for_ever(tmp_path: Path) -> None:
    with stand(tmp_path, runtime=EmbeddedRuntime(memory_mb=1)) as there:
        for _ in range(3):
            assert "and 1 MB is the most" in (there.server.restart_if_dead() or "")
        with pytest.raises(RuntimeStartError, match="after 3 restarts in a row") as caught:
            there.server.restart_if_dead()
        assert caught.value.log == there.server.log
        assert len(there.notes) == 3


def test_run_whose_server_dies_again_and_again_ends_cleanly_with_all_that_was_measured(tmp_path: Path) -> None:
    place = workplace(tmp_path)

    def kill_server() -> None:
        for process in psutil.process_iter(["name"]):
            if process.info["name"] == "tritonserver" and _lives_in(process, place.temporary):
                process.kill()

    restarts = 3 * [("started again", kill_server)]
    # Windows so long that no server has finished one before it is killed.
    window = "--set=profiler.measurement_interval_ms=5000"
    arguments = ("profile", f"--model={_small_model(tmp_path)}", *TINY, window, "--set=noise.gate=warn")
    answer = place.run(*arguments, acts=(("[ 1/25]", kill_server), *restarts))
    assert answer.returncode == 4, answer.stderr
    assert "tritonserver has ended by itself with -9" in answer.stderr
    assert "after 3 restarts in a row" in answer.stderr
    assert "goes on where it stopped" in answer.stderr
    assert answer.left == ()
    (run,) = place.runs
    taken = read_measurements(run)
    assert [one.error is None for one in taken] == [True, False, False, False, False]
    assert read_state(find_run(str(run), results=run))["state"] == "failed"


def _lives_in(process: psutil.Process, temporary: Path) -> bool:
    try:
        return process.environ().get("TMPDIR") == str(temporary)
    except psutil.Error:
        return False


def _small_model(folder: Path) -> Path:
    models.save(models.identity_model(), folder / "small" / "1")
    (folder / "small" / "config.pbtxt").write_text(CONFIG.replace(f'"{NAME}"', '"small"'))
    return folder / "small"


def test_model_analyzer_that_hangs_is_killed_with_what_it_started_in_sessions_of_their_own(tmp_path: Path) -> None:
    pids, hanging = tmp_path / "pids", tmp_path / "hanging"
    # Its perf_analyzer has a session of its own, and takes no notice of a request to end.
    hanging.write_text(
        f"#!/bin/sh\nsetsid sh -c \"trap '' TERM; echo \\$\\$ >>{pids}; sleep 600\" &\n"
        f"echo $$ >>{pids}\nexec sleep 600\n"
    )
    hanging.chmod(0o755)
    (tmp_path / "logs").mkdir()
    endpoint = FakeTools([]).endpoint
    local = LocalTools(
        endpoint=endpoint,
        programs={"model-analyzer": hanging, "perf_analyzer": hanging},
        private_folder=tmp_path,
    )
    job = ProfileJob(
        plan=plan_sweep(SweepSection(), _default(), model_name=NAME, instance_kind="KIND_CPU"),
        server=FakeServer(tools=ImpatientTools(local, PATIENCE_S)),  # type: ignore[arg-type]
        repository=tmp_path,
        folder=tmp_path,
        input_arguments=INPUT,
        context=RunContext(),
    )
    with pytest.raises(ProfileError, match="Model Analyzer did not end in time"):
        ModelAnalyzer(interval_ms=200, latency_p99_limit_ms=None).profile(job)
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    _wait_until_gone(started)


def test_server_that_dies_as_model_analyzer_loads_a_variant_costs_no_point(tmp_path: Path) -> None:
    with stand(tmp_path) as there:
        died = list[int]()

        def dies_at_the_first_override(sent: bytes) -> bool:
            if b"instance_group" in sent and not died:
                died.append(there.server.process.pid)
                there.server.process.kill()
                while there.server.listens():
                    time.sleep(0.01)
            return True

        with closing(socket.create_server((HOST, 0))) as unused:
            port = unused.getsockname()[1]
        with port_relay(port, there.server.ports.grpc, dies_at_the_first_override):
            endpoint = replace(there.server.endpoint, grpc=f"{HOST}:{port}")
            server = SimpleNamespace(
                tools=replace(there.server.tools, endpoint=endpoint),
                restart_if_dead=there.server.restart_if_dead,
                mark_unhealthy=there.server.mark_unhealthy,
                memory_mb=there.server.memory_mb,
            )
            plan = plan_sweep(
                SweepSection(max_batch_size=(4,), instance_count=(2,), max_queue_delay_us=(100,), concurrency=(1, 3)),
                _default(),
                model_name=NAME,
                instance_kind="KIND_CPU",
            )
            recorded = list[Measurement]()
            job = ProfileJob(
                plan=plan,
                server=server,  # type: ignore[arg-type]
                repository=tmp_path / "repository",
                folder=tmp_path,
                input_arguments=INPUT,
                context=RunContext(record=recorded.append),
            )
            ModelAnalyzer(interval_ms=200, latency_p99_limit_ms=None).profile(job)
        assert len(died) == 1
        assert [one.error for one in recorded] == 4 * [None]
        assert len({(one.variant.config_name, one.load) for one in recorded}) == 4
        assert [said(note).endswith("failed or is taken again.") for note in there.notes] == [True]


def _default() -> ModelConfigVariant:
    return variant_of(parse_text(CONFIG), f"{NAME}_config_default")


def _wait_until_gone(pids: Sequence[int]) -> None:
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < deadline, "a program that hung is left"
        time.sleep(0.05)
