"""The remote runtime against a real Triton that somebody else has started: a run, and the model left as it was."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from hcopt.errors import RuntimeStartError
from hcopt.model.triton_config import parse_text
from hcopt.records.note import Note
from hcopt.triton.base import Endpoint
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded import runtime
from hcopt.triton.embedded.runtime import EmbeddedRuntime, EmbeddedServer
from hcopt.triton.ports import Ports, free_ports
from hcopt.triton.programs import find_triton
from hcopt.triton.remote import RemoteRuntime
from tests.integration.test_main_job import assert_valid
from tests.support.command import SAMPLE_FOLDER, SAMPLE_MODEL, TINY, Answer, workplace
from tests.support.notes import said
from tests.support.stores import with_store
from tests.support.triton import request_inputs


@dataclass(frozen=True)
class Elsewhere:
    """Somebody's server with the sample model in its repository."""

    server: EmbeddedServer
    repository: Path
    control: ModelControl

    @property
    def endpoint(self) -> Endpoint:
        return self.server.endpoint


def ports_in_a_row() -> Ports:
    """As Triton has them by default."""
    grpc = free_ports().grpc
    return Ports(http=grpc - 1, grpc=grpc, metrics=grpc + 1)


def started_with(monkeypatch: pytest.MonkeyPatch, change: Callable[[list[str]], list[str]]) -> None:
    """Servers of this test have another command line."""
    command = runtime.server_command
    monkeypatch.setattr(runtime, "server_command", lambda *arguments: change(command(*arguments)))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """A server with a response cache, which its model uses."""
    root = tmp_path_factory.mktemp("elsewhere")
    repository = root / "models"
    shutil.copytree(SAMPLE_FOLDER, repository / SAMPLE_MODEL)
    with (repository / SAMPLE_MODEL / "config.pbtxt").open("a") as config:
        config.write("response_cache { enable: true }\n")
    caches = find_triton().tritonserver.parents[1] / "caches"
    cache = ["--cache-config=local,size=1048576", f"--cache-directory={caches}"]
    # Without a file no trace can be asked for.
    traces = f"--trace-config=triton,file={root / 'traces.json'}"
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        started_with(patch, lambda command: [*command, *cache, traces])
        server = stack.enter_context(EmbeddedRuntime(choose_ports=ports_in_a_row).serve(repository, root))
        patch.undo()
        yield Elsewhere(server, repository, stack.enter_context(ModelControl(server.endpoint)))


@dataclass(frozen=True)
class Finished:
    """A whole run while the server serves the model in its own way.

    Attributes:
        answer: Of the command.
        folder: The run's.
        before: How the server served the model.
        after: The same after the run.
        lookups: How often Triton has asked its cache until then, by its own metric.
    """

    answer: Answer
    folder: Path
    before: str
    after: str
    lookups: list[str]


@pytest.fixture(scope="module")
def finished(elsewhere: Elsewhere, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    elsewhere.control.load(SAMPLE_MODEL, own_way(elsewhere))
    before = elsewhere.control.active_config(SAMPLE_MODEL)
    place = with_store(workplace(tmp_path_factory.mktemp("remote")))
    model = elsewhere.repository / SAMPLE_MODEL
    options = (*TINY, f"--model={model}", f"--endpoint=grpc://{elsewhere.endpoint.grpc}")
    answer = place.run("profile", *options)
    metrics = urlopen(elsewhere.endpoint.metrics_url).read().decode()
    lookups = re.findall(r"^nv_cache_num_lookups (.*)$", metrics, re.MULTILINE)
    return Finished(answer, place.runs[-1], before, elsewhere.control.active_config(SAMPLE_MODEL), lookups)


def own_way(elsewhere: Elsewhere) -> str:
    elsewhere.control.load(SAMPLE_MODEL)
    return elsewhere.control.active_config(SAMPLE_MODEL).replace('"count": 1', '"count": 2')


def test_run_against_a_remote_server_ends_well(finished: Finished) -> None:
    assert finished.answer.returncode == 0, finished.answer.stderr
    assert finished.answer.left == ()
    found = json.loads((finished.folder / "summary.json").read_text(encoding="utf-8"))
    assert_valid(found)
    assert found["measurements"]["failed"] == 0
    environment = found["environment"]
    assert (environment["runtime"], environment["backend"]) == (
        "remote",
        {"name": "onnxruntime", "implementation": "native"},
    )


def test_model_that_was_loaded_is_put_back_as_it_was(finished: Finished) -> None:
    assert '"count": 2' in finished.before
    assert json.loads(finished.before)["response_cache"] == {"enable": True}
    assert finished.after == finished.before


def test_answers_of_the_servers_cache_are_not_measured(finished: Finished) -> None:
    assert "response_cache is off while hcopt measures" in finished.answer.stderr
    assert finished.lookups == ["0"]
    golden = (finished.folder / "golden" / SAMPLE_MODEL / "config.pbtxt").read_text(encoding="utf-8")
    assert parse_text(golden).response_cache.enable
    found = json.loads((finished.folder / "summary.json").read_text(encoding="utf-8"))
    assert found["environment"]["server_settings"] == "response_cache"


def test_cache_answers_where_the_model_is_loaded_as_its_owner_has_it(elsewhere: Elsewhere) -> None:
    """Else the run would show nothing."""
    elsewhere.control.load(SAMPLE_MODEL)
    rows = request_inputs({"input": np.ones((1, 10), dtype=np.float32)})
    with InferenceServerClient(elsewhere.endpoint.grpc) as client:
        for _ in range(3):
            client.infer(SAMPLE_MODEL, rows)
        statistics = client.get_inference_statistics(SAMPLE_MODEL).model_stats[0].inference_stats
    assert statistics.cache_hit.count == 2


def test_what_the_server_has_on_is_named(elsewhere: Elsewhere, tmp_path: Path) -> None:
    """Both settings can be changed while it runs."""
    address, taken = f"http://{elsewhere.endpoint.http}", remote(elsewhere.endpoint)
    try:
        post(f"{address}/v2/logging", {"log_verbose_level": 1})
        post(f"{address}/v2/trace/setting", {"trace_level": ["TIMESTAMPS"]})
        with taken.runtime.serve(elsewhere.repository, tmp_path) as server:
            settings = server.environment.server_settings
    finally:
        post(f"{address}/v2/logging", {"log_verbose_level": 0})
        post(f"{address}/v2/trace/setting", {"trace_level": ["OFF"]})
    assert settings == "trace_level=TIMESTAMPS, trace_rate=1000, log_verbose_level=1, response_cache"
    assert [note.code for note in taken.notes] == ["remote_own_copy", "remote_settings"]
    assert "trace_rate=1000, log_verbose_level=1, which" in said(taken.notes[1])


def test_traces_of_the_models_own_are_named_and_stay(elsewhere: Elsewhere, tmp_path: Path) -> None:
    """Triton keeps them while the model is unloaded, and does not tell of them then."""
    traces = f"http://{elsewhere.endpoint.http}/v2/models/{SAMPLE_MODEL}/trace/setting"
    elsewhere.control.load(SAMPLE_MODEL)
    try:
        post(traces, {"trace_level": ["TIMESTAMPS"], "trace_rate": "7"})
        elsewhere.control.unload(SAMPLE_MODEL)
        with remote(elsewhere.endpoint).runtime.serve(elsewhere.repository, tmp_path) as server:
            assert server.environment.server_settings == "trace_level=TIMESTAMPS, trace_rate=7, response_cache"
    finally:
        elsewhere.control.load(SAMPLE_MODEL)
        # An empty value is that of the server again.
        post(traces, {"trace_level": None, "trace_rate": None})


def post(url: str, body: dict[str, Any]) -> None:
    urlopen(Request(url, data=json.dumps(body).encode(), method="POST")).read()


@dataclass
class Taken:
    """A remote runtime, and what it told."""

    runtime: RemoteRuntime
    notes: list[Note]


def remote(endpoint: Endpoint) -> Taken:
    notes: list[Note] = []
    return Taken(RemoteRuntime(endpoint=endpoint, note=notes.append), notes)


def test_model_that_was_not_loaded_is_not_afterwards(elsewhere: Elsewhere, tmp_path: Path) -> None:
    elsewhere.control.unload(SAMPLE_MODEL)
    taken = remote(elsewhere.endpoint)
    with taken.runtime.serve(elsewhere.repository, tmp_path):
        elsewhere.control.load(SAMPLE_MODEL)
    assert not elsewhere.control.is_ready(SAMPLE_MODEL)
    (note,) = taken.notes
    assert "in its own repository" in said(note)


def test_model_is_put_back_after_an_error_too(elsewhere: Elsewhere, tmp_path: Path) -> None:
    before = own_way(elsewhere)
    elsewhere.control.load(SAMPLE_MODEL, before)
    with (
        pytest.raises(KeyboardInterrupt),
        remote(elsewhere.endpoint).runtime.serve(elsewhere.repository, tmp_path) as server,
    ):
        elsewhere.control.load(SAMPLE_MODEL)
        assert server.restart_if_dead() is None
        raise KeyboardInterrupt
    assert elsewhere.control.active_config(SAMPLE_MODEL) == before


def failure(endpoint: Endpoint, repository: Path, folder: Path) -> RuntimeStartError:
    with pytest.raises(RuntimeStartError) as caught, remote(endpoint).runtime.serve(repository, folder):
        pass
    return caught.value


def test_model_that_the_server_lacks_is_named_with_what_to_copy_where(elsewhere: Elsewhere, tmp_path: Path) -> None:
    (tmp_path / "repository" / "Other").mkdir(parents=True)
    error = failure(elsewhere.endpoint, tmp_path / "repository", tmp_path)
    assert error.message.endswith(f"has no model Other in its repository, only: {SAMPLE_MODEL}")
    assert error.remedy is not None
    assert "copy results/model_repository/Other into the server's model repository" in error.remedy


def test_server_that_does_not_answer_is_named(elsewhere: Elsewhere, tmp_path: Path) -> None:
    http = f"127.0.0.1:{free_ports().http}"
    error = failure(replace(elsewhere.endpoint, http=http), elsewhere.repository, tmp_path)
    assert error.message == f"no Triton answers at http://{http}"
    assert error.remedy is not None and "runtime.remote.http" in error.remedy


def test_wrong_metrics_url_is_named(elsewhere: Elsewhere, tmp_path: Path) -> None:
    url = f"http://{elsewhere.endpoint.http}/v2"
    error = failure(replace(elsewhere.endpoint, metrics_url=url), elsewhere.repository, tmp_path)
    assert error.message.startswith(f"Triton's metrics are not at {url}")
    assert error.remedy is not None and "runtime.remote.metrics" in error.remedy


def test_server_without_explicit_model_control_is_told_what_its_owner_has_to_do(
    elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    option = "--model-control-mode"
    started_with(monkeypatch, lambda command: [word for word in command if not word.startswith(option)])
    with EmbeddedRuntime().serve(elsewhere.repository, tmp_path) as server:
        error = failure(server.endpoint, elsewhere.repository, tmp_path)
    assert error.message.endswith("does not let models be loaded and unloaded")
    assert error.remedy is not None and "--model-control-mode=explicit" in error.remedy


def test_server_that_stops_is_an_error(elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hcopt.triton.remote._PATIENCE_S", 0.0)
    with EmbeddedRuntime().serve(elsewhere.repository, tmp_path / "server") as stopping:
        taken = remote(stopping.endpoint)
        with taken.runtime.serve(elsewhere.repository, tmp_path) as server:
            stopping.process.kill()
            stopping.process.wait()
            with pytest.raises(RuntimeStartError, match="does not answer any more"):
                server.restart_if_dead()
    assert said(taken.notes[-1]).startswith(f"The model '{SAMPLE_MODEL}' could not be put back")
