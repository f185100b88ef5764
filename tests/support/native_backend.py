"""A real Triton with the native onnxruntime backend of this checkout, asked over gRPC and HTTP."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime
import pytest
from tritonclient import grpc, http
from tritonclient.utils import np_to_triton_dtype

from hcopt.system import process
from hcopt.triton.base import Endpoint
from hcopt.triton.control import ModelControl
from hcopt.triton.ports import HOST, Ports, free_ports
from hcopt.triton.programs import find_triton
from hcopt.triton.ready import health
from hcopt.triton.supervised import server_options
from scripts import build_backend
from tests.support.triton import Arrays, Triton

_START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class NativeServer:
    """A tritonserver whose backend `onnxruntime` is the native one."""

    process: process.Program
    ports: Ports
    log: Path

    @property
    def endpoint(self) -> Endpoint:
        return self.ports.endpoint()


def installed_onnxruntime(package: Path = Path(onnxruntime.__file__).parent) -> Path:
    """The library of ONNX Runtime inside its package."""
    (library,) = (package / "capi").glob("libonnxruntime.so.*")
    return library


def built_backend(folder: Path) -> Path:
    """The native backend of this checkout: as the package has it, if that is no older than its sources, or built."""
    sources = [*build_backend.FOLDER.glob("*.cc"), *build_backend.FOLDER.glob("*.h"), build_backend.EXPORTS]
    newest = max(source.stat().st_mtime for source in sources)
    if build_backend.LIBRARY.is_file() and build_backend.LIBRARY.stat().st_mtime >= newest:
        return build_backend.LIBRARY
    return build_backend.build(folder / build_backend.LIBRARY.name)


@contextmanager
def native_server(folder: Path, backend: Path, *, options: Sequence[str] | None = None) -> Iterator[NativeServer]:
    """Starts a server on the repository `folder / "model repository"`, and ends it.

    Args:
        folder: Where everything of it is; it exists.
        backend: The library of the native backend.
        options: What stands behind `--backend-config=onnxruntime,`; by default the installed ONNX Runtime.
    """
    (folder / "model repository").mkdir()
    (folder / "backends" / "onnxruntime").mkdir(parents=True)
    shutil.copy(backend, folder / "backends" / "onnxruntime" / build_backend.LIBRARY.name)
    ports, log = free_ports(), folder / "tritonserver.log"
    argv = [
        str(find_triton().tritonserver),
        *server_options(str(folder / "model repository"), ports),
        "--exit-timeout-secs=5",
        f"--backend-directory={folder / 'backends'}",
        *(f"--backend-config=onnxruntime,{option}" for option in options or [f"library={installed_onnxruntime()}"]),
        *(f"--{service}-address={HOST}" for service in ("http", "grpc", "metrics")),
    ]
    with process.service(argv, log=log, env=os.environ, cwd=folder) as program:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while (found := health(ports.endpoint().http)) is None or not found.ready:
            assert program.poll() is None, process.last_lines(log)
            assert time.monotonic() < deadline, process.last_lines(log)
            time.sleep(0.05)
        yield NativeServer(program, ports, log)


@contextmanager
def triton_with(folder: Path, backend: Path, options: Sequence[str] | None = None) -> Iterator[Triton]:
    """The same with its clients."""
    with (
        native_server(folder, backend, options=options) as server,
        ModelControl(server.endpoint, log=server.log) as control,
        grpc.InferenceServerClient(server.endpoint.grpc) as client,
    ):
        yield Triton(server, folder / "model repository", control, client)


@pytest.fixture(scope="session")
def native_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The native backend of this checkout."""
    return built_backend(tmp_path_factory.mktemp("native_backend"))


@pytest.fixture(scope="module")
def native_triton(native_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """One server, in a folder whose path is full of what programs stumble over."""
    folder = tmp_path_factory.mktemp("native") / "a run's = folder, with a comma"
    folder.mkdir()
    library = folder / "libonnxruntime.so"
    library.symlink_to(installed_onnxruntime())
    with triton_with(folder, native_library, options=[f"library={library}"]) as triton:
        yield triton


@dataclass(frozen=True)
class Client:
    """One of Triton's two protocols; what both can do is called the same."""

    module: ModuleType
    connection: grpc.InferenceServerClient | http.InferenceServerClient

    def infer(
        self,
        name: str,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        datatypes: Mapping[str, str] | None = None,
    ) -> dict[str, np.ndarray]:
        """One request.

        Args:
            name: The model.
            inputs: Its inputs.
            outputs: Those that are asked for; None: all.
            datatypes: The types of inputs whose arrays do not tell: BF16 is sent out of an FP32 array.
        """
        asked = None if outputs is None else [self.module.InferRequestedOutput(output) for output in outputs]
        tensors = []
        for input_name, array in inputs.items():
            datatype = (datatypes or {}).get(input_name) or np_to_triton_dtype(array.dtype)
            tensor = self.module.InferInput(input_name, list(array.shape), datatype)
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        result = self.connection.infer(name, tensors, outputs=asked)
        answered = result.get_response()
        names = (
            [one["name"] for one in answered["outputs"]] if self.module is http else [o.name for o in answered.outputs]
        )
        return {output: result.as_numpy(output) for output in names}


@contextmanager
def connected(triton: Triton, protocol: str) -> Iterator[Client]:
    """A client that speaks `grpc` or `http`."""
    module = {"grpc": grpc, "http": http}[protocol]
    endpoint = getattr(triton.server.endpoint, protocol)
    with module.InferenceServerClient(endpoint) as connection:
        yield Client(module, connection)
