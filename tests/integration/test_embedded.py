"""The embedded runtime with the real tritonserver: it starts, serves, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from tritonclient.grpc import InferenceServerClient

from hcopt.errors import RuntimeStartError
from hcopt.records.note import Note
from hcopt.system.cpu_list import format_cpu_list
from hcopt.system.topology import read_cores
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.backends import find_native_backend
from hcopt.triton.embedded.runtime import EmbeddedRuntime, EmbeddedServer
from hcopt.triton.ports import free_ports
from hcopt.words.notes import sentence
from tests.support import onnx_models as models
from tests.support.triton import PYTHON_BASED, Triton, input_and_output, request_inputs

SERVE = """
import signal, sys, time
from pathlib import Path
from hcopt.triton.control import ModelControl
from tests.support.triton import PYTHON_BASED

class Terminated(Exception):
    pass

def terminate(number, frame):
    raise Terminated

signal.signal(signal.SIGTERM, terminate)
try:
    with PYTHON_BASED.serve(Path(sys.argv[1]), Path(sys.argv[2])) as server:
        with ModelControl(server.endpoint) as control:
            control.load("identity")
        print(server.process.pid, Path(server.tools.program("perf_analyzer")).parent, flush=True)
        # In steps: a signal that comes just before a sleep begins is dealt with when that sleep ends.
        while True:
            time.sleep(0.1)
except (Terminated, KeyboardInterrupt):
    sys.exit(75)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one small model."""
    folder = tmp_path / "repository"
    models.save(models.identity_model(), folder / "identity" / "1")
    config = 'name: "identity"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 8\n' + input_and_output()
    (folder / "identity" / "config.pbtxt").write_text(config)
    return folder


def private_folder(server: EmbeddedServer) -> Path:
    return Path(server.tools.program("perf_analyzer")).parent


def shared_memory(folder: Path) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{folder.name}*"))


def group(leader: int) -> list[psutil.Process]:
    """The processes of a group that still run."""
    return [process for process in psutil.process_iter() if runs_in_group(process, leader)]


def runs_in_group(process: psutil.Process, leader: int) -> bool:
    try:
        return os.getpgid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ProcessLookupError):
        return False


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_server_listens_on_loopback_only(triton: Triton) -> None:
    connections = psutil.Process(triton.server.process.pid).net_connections(kind="inet")
    listening = {connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN}
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    endpoint = triton.server.endpoint
    assert {f"127.0.0.1:{address.port}" for address in listening} >= {endpoint.grpc, endpoint.http}


def test_environment_names_what_serves(triton: Triton) -> None:
    environment = triton.server.environment
    assert (environment.runtime, str(environment.backend)) == ("embedded", "onnxruntime (native, hcopt's own)")
    assert environment.triton_version == triton.control.server_version() == "2.51.0"
    assert environment.perf_analyzer_version == "2.43.0"
    assert environment.onnxruntime_version


ABORTING = "#include <stdlib.h>\n__attribute__((constructor)) void end() { abort(); }"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, r"\(Not found: unable to load shared library: \S+/libtriton_onnxruntime.so: file too short\)"),
        (ABORTING, r"\((?!Triton cannot load).+\)"),
    ],
    ids=["no library", "ends the server"],
)
def test_native_backend_that_does_not_serve_is_replaced_and_told(
    repository: Path, tmp_path: Path, code: str | None, said: str
) -> None:
    library = tmp_path / "library.so"
    library.write_text("no library")
    if code is not None:
        compiler = ["g++", "-shared", "-fPIC", "-x", "c++", "-", "-o", library]
        subprocess.run(compiler, input=code, text=True, check=True)
    notes: list[Note] = []
    runtime = EmbeddedRuntime(
        find_native_backend=lambda: replace(find_native_backend(), library=library), note=notes.append
    )
    with runtime.serve(repository, tmp_path) as server, ModelControl(server.endpoint) as control:
        assert str(server.environment.backend) == "onnxruntime (Python-based)"
        control.load("identity")
    (note,) = notes
    assert re.search(f"does not serve here {said}: the Python-based one takes its place", sentence(note))


def test_nothing_is_loaded_before_it_is_asked_for(triton: Triton) -> None:
    name = triton.add(input_and_output(), models.identity_model())
    assert not triton.control.is_ready(name)
    triton.control.load(name)
    assert triton.control.is_ready(name)
    triton.control.unload(name)
    assert not triton.control.is_ready(name)


def test_configuration_of_a_load_takes_the_place_of_the_file(triton: Triton) -> None:
    name = triton.load(input_and_output(), models.identity_model(), max_batch_size=8)
    changed = triton.control.active_config(name).replace('"max_batch_size": 8', '"max_batch_size": 3')
    triton.control.load(name, changed)
    assert '"max_batch_size": 3' in triton.control.active_config(name)
    triton.control.load(name)
    assert '"max_batch_size": 8' in triton.control.active_config(name)


def test_load_starts_the_counters_again(triton: Triton) -> None:
    name = triton.load(input_and_output(), models.identity_model())
    triton.infer(name, {"input": np.zeros((3, 4), np.float32)})
    counts = triton.statistics(name, requests=1)
    assert (counts.success_count, counts.inference_count, counts.execution_count) == (1, 3, 1)
    assert counts.success_ns > counts.compute_infer_ns > 0
    triton.control.load(name)
    assert triton.control.statistics(name).success_count == 0


def test_model_that_is_not_there_is_an_error_in_tritons_words(triton: Triton) -> None:
    with pytest.raises(RuntimeStartError, match="Triton cannot load the model nowhere: failed to load 'nowhere'"):
        triton.control.load("nowhere")
    with pytest.raises(RuntimeStartError, match="Triton has no statistics of the model nowhere"):
        triton.control.statistics("nowhere")


def test_configuration_that_triton_refuses_is_an_error_with_the_reason_from_its_log(triton: Triton) -> None:
    with pytest.raises(RuntimeStartError, match="preferred size must be <= max batch size") as caught:
        triton.load("dynamic_batching { preferred_batch_size: 9 }\n" + input_and_output(), models.identity_model())
    assert caught.value.log == triton.server.log


def test_load_error_is_tritons_without_the_traceback_of_the_backend(triton: Triton) -> None:
    with pytest.raises(RuntimeStartError, match="TYPE_FP32 in the model, TYPE_INT32 here") as caught:
        triton.load(input_and_output("INT32"), models.identity_model("FP32"))
    assert "model.py" not in caught.value.message


def test_perf_analyzer_measures_the_server_and_exports(triton: Triton, tmp_path: Path) -> None:
    name = triton.load(input_and_output(), models.identity_model())
    tools = triton.server.tools
    export = tmp_path / "an export = file.json"
    arguments = ["-m", name, "-u", tools.endpoint.grpc, "-i", "grpc", "--async", "--input-data", "zero"]
    arguments += [
        "--measurement-mode",
        "time_windows",
        "--measurement-interval",
        "200",
        "--stability-percentage",
        "1e6",
    ]
    finished = tools.run(
        "perf_analyzer",
        [*arguments, "--profile-export-file", tools.path(export)],
        folder=tmp_path,
        log=tmp_path / "perf_analyzer.log",
        timeout_s=300,
    )
    assert finished.returncode == 0, (tmp_path / "perf_analyzer.log").read_text()
    assert '"response_timestamps"' in export.read_text()


def test_programs_have_paths_that_model_analyzer_can_pass_on(triton: Triton) -> None:
    program = triton.server.tools.program("perf_analyzer")
    assert not set(program) & set(" =\t")
    assert os.access(program, os.X_OK)
    assert os.access(triton.server.tools.program("model-analyzer"), os.X_OK)


def test_two_servers_at_once_serve_the_same_repository(repository: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(PYTHON_BASED.serve(repository, tmp_path / run)) for run in ("a", "b")]
        controls = [stack.enter_context(ModelControl(server.endpoint)) for server in servers]
        for control in controls:
            control.load("identity")
        folders = [private_folder(server) for server in servers]
        assert all(len(shared_memory(folder)) > 0 for folder in folders)
        controls[0].unload("identity")
        assert [control.is_ready("identity") for control in controls] == [False, True]
    assert not any(folder.exists() for folder in folders)
    assert not any(shared_memory(folder) for folder in folders)


@pytest.mark.parametrize("failing", [False, True], ids=["success", "error"])
def test_nothing_is_left_behind_after(repository: Path, tmp_path: Path, failing: bool) -> None:
    with ExitStack() as expected:
        if failing:
            expected.enter_context(pytest.raises(ZeroDivisionError))
        with PYTHON_BASED.serve(repository, tmp_path) as server:
            with ModelControl(server.endpoint) as control:
                control.load("identity")
            folder, leader = private_folder(server), server.process.pid
            assert len(group(leader)) > 1
            _ = 1 / (not failing)
    assert group(leader) == []
    assert not folder.exists()
    assert shared_memory(folder) == []
    assert server.log == tmp_path / "logs" / "tritonserver.log"
    assert "successfully loaded 'identity'" in server.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_behind_after_a_signal(repository: Path, tmp_path: Path, number: signal.Signals) -> None:
    argv = [sys.executable, "-c", SERVE, str(repository), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as client:
        assert client.stdout is not None
        leader, folder = client.stdout.readline().split()
        assert len(group(int(leader))) > 1
        client.send_signal(number)
        assert client.wait(timeout=300) == 75
    assert group(int(leader)) == []
    assert not Path(folder).exists()
    assert shared_memory(Path(folder)) == []


def test_shared_memory_of_a_server_that_was_killed_is_removed(repository: Path, tmp_path: Path) -> None:
    with PYTHON_BASED.serve(repository, tmp_path) as server:
        with ModelControl(server.endpoint) as control:
            control.load("identity")
        folder, leader = private_folder(server), server.process.pid
        assert shared_memory(folder)
        os.killpg(leader, signal.SIGKILL)
    assert shared_memory(folder) == []


def test_server_whose_port_was_taken_meanwhile_cannot_be_started_again(repository: Path, tmp_path: Path) -> None:
    with EmbeddedRuntime().serve(repository, tmp_path) as server, socket.socket() as other:
        assert server.restart_if_dead() is None
        server.process.kill()
        server.process.wait()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(server.endpoint.grpc.partition(":")[2])))
        other.listen()
        with pytest.raises(RuntimeStartError, match="another program has taken one of its ports") as caught:
            server.restart_if_dead()
    assert "already in use" in caught.value.message
    assert caught.value.log == server.log


@pytest.mark.parametrize("service", ["http", "grpc", "metrics"])
def test_port_that_is_taken_in_between_is_left_to_its_owner(repository: Path, tmp_path: Path, service: str) -> None:
    with taken_port() as port:
        choices = [replace(free_ports(), **{service: port}), free_ports()]
        runtime = EmbeddedRuntime(choose_ports=lambda: choices.pop(0))
        with runtime.serve(repository, tmp_path) as server:
            assert server.restart_if_dead() is None
            assert f":{port}" not in str(server.endpoint)
    assert choices == []
    assert "already in use" in server.log.read_text()


def test_ports_that_are_always_taken_are_an_error(repository: Path, tmp_path: Path) -> None:
    with taken_port() as port:
        runtime = EmbeddedRuntime(choose_ports=lambda: replace(free_ports(), http=port))
        with (
            pytest.raises(RuntimeStartError, match="no free ports in 5 tries") as caught,
            runtime.serve(repository, tmp_path),
        ):
            pass
    assert "already in use" in caught.value.message


def test_server_that_is_not_ready_in_time_is_an_error_and_ends(repository: Path, tmp_path: Path) -> None:
    runtime = EmbeddedRuntime(start_timeout_s=0)
    with pytest.raises(RuntimeStartError, match="not ready after 0 s") as caught, runtime.serve(repository, tmp_path):
        pass
    assert caught.value.log == tmp_path / "logs" / "tritonserver.log"


def test_repository_that_is_not_there_is_an_error_in_tritons_words(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeStartError, match="instead of getting ready") as caught,
        EmbeddedRuntime().serve(tmp_path / "missing", tmp_path),
    ):
        pass
    assert "failed to stat file" in caught.value.message
    assert caught.value.log == tmp_path / "logs" / "tritonserver.log"


def test_server_and_its_instances_stay_on_their_cpus(repository: Path, tmp_path: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    with replace(PYTHON_BASED, cpuset_server=str(cpu)).serve(repository, tmp_path) as server:
        with ModelControl(server.endpoint) as control:
            control.load("identity")
        assert [os.sched_getaffinity(process.pid) for process in group(server.process.pid)] == [{cpu}] * 3
        assert (server.environment.cpuset, server.environment.cpu_count) == (str(cpu), 1)


@pytest.mark.parametrize("runtime", [EmbeddedRuntime(), PYTHON_BASED], ids=["native", "Python-based"])
@pytest.mark.parametrize("count", [1, 2])
def test_threads_that_are_left_to_onnxruntime_go_by_the_cores_of_the_server(
    repository: Path, tmp_path: Path, runtime: EmbeddedRuntime, count: int
) -> None:
    """By itself it takes a thread for each core of the machine, and pins it to that core."""
    own = [sorted(core.cpus) for core in read_cores(os.sched_getaffinity(0))[:count]]
    if len(own) < count:
        pytest.skip("needs two physical cores")
    cpus = {cpu for core in own for cpu in core}
    bound = replace(runtime, cpuset_server=format_cpu_list(cpus), cpuset_client=format_cpu_list(cpus))
    with bound.serve(repository, tmp_path) as server, ModelControl(server.endpoint) as control:
        control.load("identity")
        found = affinities(server)
        environment = server.environment
    assert all(set(one) <= cpus for one in found)
    # The first core is the caller's, which is pinned to nothing.
    assert {tuple(core) for core in own[1:]} <= set(found)
    assert environment.onnxruntime_thread_count == count
    assert environment.client_cpuset == environment.cpuset == format_cpu_list(cpus)


def affinities(server: EmbeddedServer) -> list[tuple[int, ...]]:
    """The CPUs of each thread of the server and its children."""
    threads = (thread.id for process in group(server.process.pid) for thread in process.threads())
    return [tuple(sorted(os.sched_getaffinity(thread))) for thread in threads]


def test_module_of_the_name_model_elsewhere_is_not_taken_for_the_backend(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoy = tmp_path / "decoy"
    decoy.mkdir()
    (decoy / "model.py").write_text("raise RuntimeError('the wrong model.py')\n")
    monkeypatch.setenv("PYTHONPATH", str(decoy))
    with (
        PYTHON_BASED.serve(repository, tmp_path) as server,
        ModelControl(server.endpoint) as control,
        InferenceServerClient(server.endpoint.grpc) as client,
    ):
        control.load("identity")
        array = np.ones((1, 4), np.float32)
        answer = client.infer("identity", request_inputs({"input": array})).as_numpy("output")
    np.testing.assert_array_equal(answer, array)
