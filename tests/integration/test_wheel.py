"""The package as users get it: built, installed into environments of its own, run from folders without a repository."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts import build_backend
from tests.support.command import REPOSITORY, SAMPLE_MODEL, TINY, workplace

UV = Path(sys.executable).parent / "uv"
LIBRARY = build_backend.LIBRARY.relative_to(REPOSITORY / "src").as_posix()
COMPILERS = re.compile(r"(.*-)?(cc|c\+\+|gcc|g\+\+|clang|clang\+\+|cpp|tcc|ld|lld|as|zig)(-[\d.]+)?")


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path


@dataclass(frozen=True)
class Installed:
    wheel: Path
    environment: Path

    @property
    def bin(self) -> Path:
        return self.environment / "bin"


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    finished = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=600
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def no_compiler(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH to the programs of this machine, its compilers left out."""
    folder = tmp_path_factory.mktemp("programs")
    for directory in ("/usr/bin", "/bin"):
        for program in Path(directory).iterdir():
            link = folder / program.name
            if not COMPILERS.fullmatch(program.name) and not link.is_symlink():
                link.symlink_to(program)
    assert shutil.which("rm", path=str(folder))
    assert [name for name in ("cc", "c++", "gcc", "g++", "ld") if shutil.which(name, path=str(folder))] == []
    return str(folder)


@pytest.fixture(scope="module")
def built(no_compiler: str, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist, and the wheel that is built from it. It is compiled here, though the user's cache may have it."""
    folder = tmp_path_factory.mktemp("built")
    with build_backend.user_cache() as kept:
        zig = dict.fromkeys(("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"), str(kept / "zig"))
    uv = {"UV_CACHE_DIR": run(UV, "cache", "dir").strip()}
    environment = {**os.environ, "PATH": no_compiler, "XDG_CACHE_HOME": str(folder / "cache"), **zig, **uv}
    run(UV, "build", "--python", sys.executable, "--out-dir", folder, REPOSITORY, env=environment)
    (compiled,) = folder.glob("cache/hcopt/*.so")
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as contents:
        assert contents.read(LIBRARY) == compiled.read_bytes()
    return Built(sdist, wheel)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in a fresh environment, which has hcopt's requirements from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = built.wheel
    environment = folder / "an environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    (packages,) = environment.glob("lib/python3*/site-packages")
    there = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    # What a .pth file adds comes after the environment's own packages, and the .pth files in it are not read.
    (packages / "requirements.pth").write_text("\n".join(sorted(there)), encoding="utf-8")
    run(UV, "pip", "install", "--quiet", "--no-deps", "--python", environment / "bin" / "python", wheel)
    return Installed(wheel, environment)


def test_wheel_holds_what_a_run_needs_and_nothing_of_the_tests(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = set(wheel.namelist())
        mode = wheel.getinfo("hcopt/triton/perf_analyzer/perf_analyzer").external_attr >> 16
    assert mode & 0o111, "perf_analyzer is a program"
    assert names >= {
        "hcopt/py.typed",
        "hcopt/triton/onnxruntime_backend/model.py",
        LIBRARY,
        "hcopt/triton/perf_analyzer/LICENSE.txt",
        "hcopt/report/templates/report.typ",
        "hcopt/report/templates/report.html.jinja",
        "hcopt/report/vega/vega-embed.js",
        "hcopt/report/vega/LICENSE.txt",
        "hcopt/report/fonts/HcoptGothic-Regular.ttf",
        "hcopt/report/fonts/HcoptGothic-Bold.ttf",
        "hcopt/report/fonts/OFL.txt",
        "hcopt/schemas/config.schema.json",
        "hcopt/schemas/summary.schema.json",
        f"hcopt/sample/{SAMPLE_MODEL}/1/model.onnx",
        f"hcopt/sample/{SAMPLE_MODEL}/config.pbtxt",
        f"hcopt/sample/{SAMPLE_MODEL}/input_example.json",
    }
    (information,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
    assert f"{information}/licenses/LICENSE" in names
    assert {name.partition("/")[0] for name in names} == {"hcopt", information}
    source = {path.relative_to(REPOSITORY / "src").as_posix() for path in (REPOSITORY / "src").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == source
    assert [name for name in names if name.endswith((".cc", ".h", ".map"))] == []


def test_backend_in_the_wheel_needs_nothing_but_the_c_library_that_its_tag_names(built: Built, tmp_path: Path) -> None:
    assert built.wheel.name.endswith("-py3-none-manylinux_2_28_x86_64.whl")
    with zipfile.ZipFile(built.wheel) as wheel:
        library = wheel.extract(LIBRARY, tmp_path)
    needed = re.findall(r"NEEDED\s+(\S+)", run("objdump", "--private-headers", library))
    assert {name.split(".")[0] for name in needed} <= {"libc", "libdl", "libm", "libpthread", "ld-linux-x86-64"}
    symbols = [line.split() for line in run("objdump", "--dynamic-syms", library).splitlines() if " *UND*\t" in line]
    versions = [re.fullmatch(r"\(GLIBC_([\d.]+)\)", word) for words in symbols for word in words[-2:-1]]
    found = {tuple(map(int, version[1].split("."))) for version in versions if version}
    assert found
    assert max(found) <= (2, 28)
    # The others are Triton's, and weak ones that may be missing.
    others = {words[-1] for words, version in zip(symbols, versions, strict=True) if not version and "w" not in words}
    assert {name.split("_")[0] for name in others} == {"TRITONBACKEND", "TRITONSERVER"}


def test_sdist_has_what_the_backend_is_built_from_and_not_what_was_built_here(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    sources = (*build_backend.SOURCES, build_backend.EXPORTS)
    assert names >= {path.relative_to(REPOSITORY).as_posix() for path in sources}
    assert [name for name in names if name.endswith(".so")] == []


def test_installed_wheel_is_what_is_imported_there(installed: Installed) -> None:
    imported = run(installed.bin / "python", "-I", "-c", "import hcopt; print(hcopt.__file__)")
    assert installed.environment in Path(imported).parents


def install(environment: Path, what: str) -> Path:
    """Installs a package and, from the index, all that it requires; returns the folder of its programs."""
    pins = REPOSITORY / "requirements.txt"
    # Whatever this machine's uv is told: to compile all packages takes longer than the test, which imports a part.
    options = ("--quiet", "--no-compile-bytecode", "--constraint", pins)
    run(UV, "pip", "install", *options, "--python", environment / "bin" / "python", what)
    return environment / "bin"


def python_of(version: str) -> str:
    """A Python of this machine."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for python in (sys.executable, *pyenv.glob(f"versions/{version}.*/bin/python"), f"python{version}"):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            asked = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            if subprocess.check_output(asked, text=True, stderr=subprocess.DEVNULL).strip() == version:
                return str(python)
    pytest.skip(f"this machine has no Python {version}")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12"])
def test_what_the_sdist_became_names_the_extra_that_it_lacks_and_with_it_does_the_whole_job_without_a_compiler(
    built: Built, no_compiler: str, tmp_path: Path, version: str
) -> None:
    """In an empty environment. An installer builds an sdist as `built` does, into a wheel."""
    environment = tmp_path / "an environment"
    run(UV, "venv", "--quiet", "--python", python_of(version), environment)
    programs = install(environment, str(built.wheel))
    place = workplace(tmp_path, program=programs / "hcopt", PATH=f"{programs}:{no_compiler}")
    assert not list(environment.glob("lib/python3*/site-packages/*pytriton"))
    assert run(programs / "hcopt", "--version").startswith("hcopt ")
    answer = place.run("profile", "--runtime", "embedded", *TINY)
    assert answer.returncode == 4, answer.stderr
    assert "the package nvidia-pytriton, which carries Triton, is missing" in answer.stderr
    assert "pip install 'hcopt[embedded]'" in answer.stderr

    install(environment, f"{built.wheel}[embedded]")
    doctor = place.run("doctor", "--set", "runtime.kind=embedded", "--json")
    found = {finding["name"]: finding for finding in json.loads(doctor.stdout)["findings"]}
    assert {found[name]["status"] for name in ("Triton", "perf_analyzer", "Model Analyzer")} == {"ok"}, doctor
    answer = place.run("profile", *TINY)
    assert answer.returncode == 0, answer.stderr
    assert answer.left == ()
    summary = json.loads((place.results / "summary.json").read_text(encoding="utf-8"))
    assert summary["measurements"]["failed"] == 0
    assert summary["environment"]["backend"] == {"name": "onnxruntime", "implementation": "hcopt-native"}
    assert summary["models"][0]["model"]["source_uri"] == f"models:/{SAMPLE_MODEL}@prod"
    report = place.results / "reports" / "summaries" / SAMPLE_MODEL / "result_summary.pdf"
    assert report.read_bytes().startswith(b"%PDF-")


@pytest.mark.timeout(900)
def test_wheel_runs_by_uvx(built: Built, tmp_path: Path) -> None:
    pins = REPOSITORY / "requirements.txt"
    options = ("--quiet", "--python", sys.executable, "--constraints", pins)
    assert "profile" in run(UV, "tool", "run", *options, "--from", built.wheel, "hcopt", "--help", cwd=tmp_path)
