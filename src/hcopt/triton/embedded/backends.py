"""The backend `onnxruntime` of the embedded Triton: hcopt's native one, or the Python-based one in its place."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Protocol

from hcopt.errors import RuntimeStartError
from hcopt.records.measurement import Backend
from hcopt.triton.local_tools import first_on_path
from hcopt.triton.programs import TritonFiles, find_libpython, find_stub, installed_version

_NAME = "onnxruntime"
_LIBRARY = "libtriton_onnxruntime.so"


class NativeBackendError(RuntimeStartError):
    """The native backend is not here, or does not serve."""


class EmbeddedBackend(Protocol):
    """What a tritonserver of hcopt's own needs to serve ONNX models."""

    record: ClassVar[Backend]

    def install(self, folder: Path) -> None:
        """Lays the backend into `backends/` of the server's private folder; Triton refuses links there."""

    def options(self, folder: Path) -> list[str]:
        """Its part of tritonserver's command line."""

    def environment(self, folder: Path, inherited: Mapping[str, str]) -> dict[str, str]:
        """The variables that it needs, over those of this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeBackend:
    """A shared library of hcopt's own over the ONNX Runtime of this Python's environment.

    Attributes:
        library: The backend.
        onnxruntime: ONNX Runtime's own library.
        openvino: That of its plugin for OpenVINO, where the package onnxruntime-ep-openvino is installed.
    """

    record: ClassVar[Backend] = Backend(name=_NAME, implementation="hcopt-native")

    library: Path
    onnxruntime: Path
    openvino: Path | None = None

    def install(self, folder: Path) -> None:
        """See `EmbeddedBackend.install`."""
        backend = folder / "backends" / _NAME
        backend.mkdir(parents=True)
        shutil.copyfile(self.library, backend / _LIBRARY)

    def options(self, folder: Path) -> list[str]:  # noqa: ARG002
        """See `EmbeddedBackend.options`."""
        libraries = {"library": self.onnxruntime, "openvino_library": self.openvino}
        return [f"--backend-config={_NAME},{key}={path}" for key, path in libraries.items() if path is not None]

    def environment(self, folder: Path, inherited: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002
        """See `EmbeddedBackend.environment`: nothing."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonBackend:
    """A `model.py` of hcopt's own that Triton's Python backend runs, in a process for each instance.

    Attributes:
        triton: Where Triton's parts are.
        stub: The program that runs a model's Python code, for the running Python.
        libpython: What that links.
    """

    record: ClassVar[Backend] = Backend(name=_NAME, implementation="python")

    triton: TritonFiles
    stub: Path
    libpython: Path

    def install(self, folder: Path) -> None:
        """See `EmbeddedBackend.install`."""
        python, ours, libraries = (folder / name for name in ("backends/python", f"backends/{_NAME}", "lib"))
        ours.mkdir(parents=True)
        libraries.mkdir()
        shutil.copytree(self.triton.python_backend, python)
        stub = python / self.stub.name
        shutil.copyfile(self.stub, stub)
        stub.chmod(0o700)
        (ours / "model.py").write_bytes(_resource("model.py").read_bytes())
        (libraries / self.libpython.name).symlink_to(self.libpython)

    def options(self, folder: Path) -> list[str]:
        """See `EmbeddedBackend.options`."""
        return [f"--backend-config=python,shm-region-prefix-name={folder.name}_"]

    def environment(self, folder: Path, inherited: Mapping[str, str]) -> dict[str, str]:
        """See `EmbeddedBackend.environment`."""
        libraries = (str(self.triton.libraries), str(folder / "lib"), inherited.get("LD_LIBRARY_PATH"))
        modules = (str(folder / "backends" / _NAME), inherited.get("PYTHONPATH"))
        return {
            # The stub takes its packages from the `python3` that is first on the path.
            "PATH": first_on_path(inherited),
            "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
            # In front, or any other module called `model` would be taken for the backend.
            "PYTHONPATH": ":".join(filter(None, modules)),
            # Each load is a new Python: where it finds no compiled modules, it takes 0.5 s instead of 0.1 s.
            "PYTHONPYCACHEPREFIX": str(folder / "pycache"),
            # Empty is unset.
            "PYTHONDONTWRITEBYTECODE": "",
        }


def find_native_backend() -> NativeBackend:
    """The native backend that hcopt was installed with.

    Raises:
        NativeBackendError: It was not built, or ONNX Runtime is not as PyPI's wheels have it.
    """
    library = _resource(_LIBRARY)
    if not library.is_file():
        raise NativeBackendError("hcopt was installed without it")
    onnxruntime = _library_of("onnxruntime", "capi/libonnxruntime.so.*")
    if onnxruntime is None:
        raise NativeBackendError(f"onnxruntime {installed_version('onnxruntime')} brings no shared library")
    openvino = _library_of("onnxruntime_ep_openvino", "libonnxruntime_providers_openvino_plugin.so")
    return NativeBackend(library=library, onnxruntime=onnxruntime, openvino=openvino)


def find_python_backend(triton: TritonFiles) -> PythonBackend:
    """The Python-based backend, with what it needs of this Python.

    Raises:
        RuntimeStartError: A part is missing.
    """
    return PythonBackend(triton=triton, stub=find_stub(triton), libpython=find_libpython())


def _library_of(package: str, pattern: str) -> Path | None:
    spec = find_spec(package)
    found = [] if spec is None or spec.origin is None else sorted(Path(spec.origin).parent.glob(pattern))
    return found[0] if found else None


def _resource(name: str) -> Path:
    return Path(str(resources.files("hcopt.triton").joinpath(f"onnxruntime_backend/{name}")))
