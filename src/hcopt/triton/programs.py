"""Finds Triton, its Python stub, perf_analyzer and Model Analyzer among the running Python's own packages, and the
libraries that they miss.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from hcopt.errors import RuntimeStartError
from hcopt.system.environ import environment_variable

REINSTALL = "Install hcopt again into this environment: pip install --force-reinstall 'hcopt[embedded]'"
_INSTALL = "Install it: pip install 'hcopt[embedded]'. Or use --runtime docker, whose images have Triton and its tools."
# Put there by scripts/bring_perf_analyzer.py, which has the version too.
_OWN_PERF_ANALYZER, _OWN_PERF_ANALYZER_VERSION = Path(__file__).with_name("perf_analyzer") / "perf_analyzer", "2.43.0"
_LOADER_FOLDERS = (
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/lib",
)
_LOADER_CONFIGURATION = Path("/etc/ld.so.conf.d")


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonFiles:
    """The parts of Triton inside the `nvidia-pytriton` wheel.

    Attributes:
        tritonserver: The program.
        python_backend: The folder of the Python backend, without its stub.
        stubs: The folder of the programs that run a model's Python code, one for each Python.
        libraries: The folder of the shared libraries that came with the wheel.
    """

    tritonserver: Path
    python_backend: Path
    stubs: Path
    libraries: Path


def find_triton() -> TritonFiles:
    """Triton as the running Python's environment has it.

    Raises:
        RuntimeStartError: It is not installed, or incomplete.
    """
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise RuntimeStartError("the package nvidia-pytriton, which carries Triton, is missing", remedy=_INSTALL)
    return triton_in(Path(spec.origin).parent)


def triton_libraries() -> Path | None:
    """The folder of the shared libraries that came with Triton's wheel, where that is installed."""
    spec = find_spec("pytriton")
    return None if spec is None or spec.origin is None else Path(spec.origin).parents[1] / "nvidia_pytriton.libs"


def triton_in(package: Path) -> TritonFiles:
    """Triton inside the folder of the package `pytriton`.

    Raises:
        RuntimeStartError: A part is missing.
    """
    root = package / "tritonserver"
    files = TritonFiles(
        tritonserver=root / "bin" / "tritonserver",
        python_backend=root / "backends" / "python",
        stubs=root / "python_backend_stubs",
        libraries=package.parent / "nvidia_pytriton.libs",
    )
    for part in (files.tritonserver, files.python_backend, files.stubs, files.libraries):
        if not part.exists():
            raise RuntimeStartError(f"nvidia-pytriton is incomplete: no {part}", remedy=REINSTALL)
    return files


def find_stub(triton: TritonFiles) -> Path:
    """The program that runs a model's Python code, for the running Python.

    Raises:
        RuntimeStartError: Triton has none for it.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = triton.stubs / version / "triton_python_backend_stub"
    if not stub.is_file():
        known = ", ".join(sorted(folder.name for folder in triton.stubs.iterdir()))
        raise RuntimeStartError(
            f"nvidia-pytriton has no stub for Python {version} (it has {known})",
            remedy="Use Python 3.10, 3.11 or 3.12, or --runtime docker.",
        )
    return stub


@dataclass(frozen=True, slots=True)
class LoadGenerator:
    """perf_analyzer.

    Attributes:
        program: The file.
        version: That of tritonclient, of which it is.
        exports_tensors: Whether its `--profile-export-file` has every row and answer, and not times alone.
    """

    program: Path
    version: str
    exports_tensors: bool


def find_perf_analyzer() -> LoadGenerator:
    """The one that hcopt brings; in a checkout that has not been set up, that of the installed tritonclient.

    Raises:
        RuntimeStartError: Neither is there.
    """
    if os.access(_OWN_PERF_ANALYZER, os.X_OK):
        return LoadGenerator(_OWN_PERF_ANALYZER, _OWN_PERF_ANALYZER_VERSION, exports_tensors=False)
    version = installed_version("tritonclient") or "unknown"
    return LoadGenerator(find_program("tritonclient", "perf_analyzer"), version, exports_tensors=True)


def find_program(distribution: str, name: str) -> Path:
    """A program that an installed distribution brought, wherever its installer put programs.

    Raises:
        RuntimeStartError: The distribution is not installed, or brought no such program.
    """
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError as error:
        raise RuntimeStartError(f"the package {distribution} is missing", remedy=_INSTALL) from error
    for file in files:
        program = Path(str(file.locate()))
        # Packages also have folders of the program's name, with the same file name inside.
        if file.name == name and program.is_file() and os.access(program, os.X_OK):
            return program.resolve()
    raise RuntimeStartError(f"the package {distribution} is here, but its program {name} is not", remedy=REINSTALL)


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def find_libpython(folders: Iterable[Path] | None = None) -> Path:
    """The shared library of the running Python, which Triton's stub links and no wheel brings.

    Not by the package find-libpython: it loads what it finds into this process, starts compilers as it looks, and takes
    the system's library before this Python's own.

    Args:
        folders: Where to look; by default this Python's own folder first, then those of the dynamic loader.

    Raises:
        RuntimeStartError: There is none; says what to install.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = f"libpython{version}.so.1.0"
    for folder in library_folders() if folders is None else folders:
        if (folder / name).is_file():
            return folder / name
    raise RuntimeStartError(
        f"Triton's Python stub needs {name}, and neither this Python ({sys.executable}) nor the system has it",
        remedy=f"Install it (Debian, Ubuntu: apt-get install libpython{version}), or use a Python that brings it: "
        f"uv venv --python {version} --managed-python",
    )


def library_folders() -> tuple[Path, ...]:
    """Where a shared library of this Python may be: its own folders, then what the dynamic loader knows."""
    own = (sysconfig.get_config_var("LIBDIR"), str(Path(sys.base_prefix) / "lib"))
    from_environment = (environment_variable("LD_LIBRARY_PATH") or "").split(":")
    folders = (*own, *from_environment, *_LOADER_FOLDERS, *_configured_folders())
    return tuple(Path(folder) for folder in folders if folder)


def _configured_folders() -> list[str]:
    try:
        texts = [file.read_text(errors="replace") for file in sorted(_LOADER_CONFIGURATION.glob("*.conf"))]
    except OSError:
        return []
    return [line.strip() for text in texts for line in text.splitlines() if line.startswith("/")]


def find_system_library(name: str) -> Path:
    """A library that perf_analyzer links, on a machine without Triton's wheel.

    Raises:
        RuntimeStartError: The system does not have it.
    """
    for folder in library_folders():
        if (folder / name).is_file():
            return folder / name
    raise RuntimeStartError(
        f"perf_analyzer needs {name}, which this system does not have",
        remedy="Triton's wheel brings it: pip install 'hcopt[embedded]'. Or install it by itself: libb64.so.0d is in "
        "the package libb64-0d (Debian, Ubuntu), libcudart.so.12 in NVIDIA's CUDA 12.",
    )


def find_library(folder: Path, pattern: str) -> Path:
    """The one file of a folder that matches a pattern; wheels put a hash into the names of their libraries.

    Raises:
        RuntimeStartError: There is none.
    """
    for file in sorted(folder.glob(pattern)):
        return file
    raise RuntimeStartError(f"no {pattern} in {folder}", remedy=REINSTALL)
