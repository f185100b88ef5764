"""A real Triton for the integration tests: one embedded server for the whole session, models added as they are needed.

`tests/integration/conftest.py` makes the fixture known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnx
import psutil
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from benchmarks.support.tools import PassedOn
from hcopt.system.process import Finished
from hcopt.triton.base import Tool
from hcopt.triton.control import ModelControl, ModelStatistics
from hcopt.triton.embedded.backends import NativeBackendError
from hcopt.triton.embedded.runtime import EmbeddedRuntime, EmbeddedServer
from tests.support import onnx_models as models

Arrays = Mapping[str, np.ndarray]
Answer = dict[str, np.ndarray] | InferenceServerException


IO = """
input {{ name: "input" data_type: TYPE_{datatype} dims: [{dims}] }}
output {{ name: "output" data_type: TYPE_{datatype} dims: [{dims}] }}
"""


def input_and_output(datatype: str = "FP32", dims: str = "4") -> str:
    """The tensors `input` and `output`, both of one type and shape, for config.pbtxt."""
    return IO.format(datatype="STRING" if datatype == "BYTES" else datatype, dims=dims)


@dataclass(frozen=True)
class ImpatientTools(PassedOn):
    """The real tools, which wait for no program longer than a moment."""

    patience_s: float

    def run(
        self,
        tool: Tool,
        arguments: Sequence[str],
        *,
        folder: Path,
        log: Path,
        timeout_s: float,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        limit_s = min(self.patience_s, timeout_s)
        return self.tools.run(tool, arguments, folder=folder, log=log, timeout_s=limit_s, on_line=on_line)


@dataclass(frozen=True)
class Triton:
    """A running server, its repository, and a client."""

    server: EmbeddedServer
    repository: Path
    control: ModelControl
    client: InferenceServerClient
    names: list[str] = field(default_factory=list)

    def add(self, config: str, proto: onnx.ModelProto | None = None, *, max_batch_size: int = 8) -> str:
        """Puts a model into the repository, under a new name, without loading it."""
        name = f"model_{len(self.names)}"
        self.names.append(name)
        folder = self.repository / name
        if proto is not None:
            models.save(proto, folder / "1")
        head = f'name: "{name}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: {max_batch_size}\n'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.pbtxt").write_text(head + config)
        return name

    def load(self, config: str, proto: onnx.ModelProto, *, max_batch_size: int = 8) -> str:
        """Puts a model into the repository and loads it."""
        name = self.add(config, proto, max_batch_size=max_batch_size)
        self.control.load(name)
        return name

    def infer(self, name: str, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """One request; all outputs, or those that are asked for.

        Raises:
            InferenceServerException: It was answered with an error.
        """
        asked = None if outputs is None else [InferRequestedOutput(output) for output in outputs]
        return as_arrays(self.client.infer(name, request_inputs(inputs), outputs=asked, client_timeout=120))

    def infer_at_once(self, name: str, requests: Sequence[Arrays]) -> list[Answer]:
        """Many requests at the same time; for each its outputs or its error."""
        with ThreadPoolExecutor(max_workers=32) as pool:
            futures = [pool.submit(self.infer, name, inputs) for inputs in requests]
        return [_answer(future) for future in futures]

    def statistics(self, name: str, *, requests: int) -> ModelStatistics:
        """The counters of a loaded model, once they hold that many requests and rest.

        Triton counts after it has answered, and a batch after its requests.
        """
        deadline, before = time.monotonic() + 60, None
        while True:
            counts = self.control.statistics(name)
            complete = counts.success_count + counts.fail_count >= requests and counts == before
            if complete or time.monotonic() > deadline:
                return counts
            before = counts
            time.sleep(0.01)

    def stubs(self, name: str) -> list[psutil.Process]:
        """The processes of a model's instances."""
        children = psutil.Process(self.server.process.pid).children()
        return [child for child in children if f"/{name}/" in _command_line(child)]


def request_inputs(arrays: Arrays) -> list[InferInput]:
    inputs = []
    for name, array in arrays.items():
        one = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        one.set_data_from_numpy(array)
        inputs.append(one)
    return inputs


def as_arrays(result: InferResult) -> dict[str, np.ndarray]:
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # an instance that was unloaded before is just ending
        return ""


def _answer(future: Future[dict[str, np.ndarray]]) -> Answer:
    try:
        return future.result()
    except InferenceServerException as error:
        return error


def _no_native_backend() -> NoReturn:
    raise NativeBackendError("this test is about the Python-based one")


PYTHON_BASED = EmbeddedRuntime(find_native_backend=_no_native_backend)


@contextmanager
def running_triton(folder: Path, runtime: EmbeddedRuntime) -> Iterator[Triton]:
    """A server in a folder whose path is full of what shells and programs stumble over."""
    folder /= "a run's = folder"
    repository = folder / "model repository"
    repository.mkdir(parents=True)
    with (
        runtime.serve(repository, folder) as server,
        ModelControl(server.endpoint, log=server.log) as control,
        InferenceServerClient(server.endpoint.grpc) as client,
    ):
        yield Triton(server, repository, control, client)


@pytest.fixture(scope="session")
def embedded_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """One embedded Triton for all tests of a process."""
    with running_triton(tmp_path_factory.mktemp("triton"), EmbeddedRuntime()) as running:
        yield running


@pytest.fixture
def triton(embedded_triton: Triton) -> Iterator[Triton]:
    """The session's Triton; what a test has loaded is unloaded after it."""
    before = len(embedded_triton.names)
    yield embedded_triton
    for name in embedded_triton.names[before:]:
        embedded_triton.control.unload(name)
