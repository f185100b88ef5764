"""The package as users get it: built, installed into environments of its own, run from folders without a repository."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.command import REPOSITORY, SAMPLE_MODEL, TINY, workplace

UV = Path(sys.executable).parent / "uv"


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


def run(*command: str | Path, cwd: Path | None = None) -> str:
    finished = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False, timeout=600
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    run(UV, "build", "--quiet", "--python", sys.executable, "--out-dir", folder, REPOSITORY)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
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
    assert names >= {
        "hcopt/py.typed",
        "hcopt/triton/onnxruntime_backend/model.py",
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


def test_installed_wheel_does_the_whole_job_from_any_folder(installed: Installed, tmp_path: Path) -> None:
    imported = run(installed.bin / "python", "-I", "-c", "import hcopt; print(hcopt.__file__)")
    assert installed.environment in Path(imported).parents
    place = workplace(tmp_path, program=installed.bin / "hcopt")
    answer = place.run("profile", *TINY)
    assert answer.returncode == 0, answer.stderr
    assert answer.left == ()
    summary = json.loads((place.results / "summary.json").read_text(encoding="utf-8"))
    assert summary["measurements"]["failed"] == 0
    assert summary["models"][0]["model"]["source_uri"] == f"models:/{SAMPLE_MODEL}@prod"
    report = place.results / "reports" / "summaries" / SAMPLE_MODEL / "result_summary.pdf"
    assert report.read_bytes().startswith(b"%PDF-")


def install_into_empty(environment: Path, what: str) -> Path:
    """Installs a package and, from the index, all that it requires; returns the folder of its programs."""
    run(UV, "venv", "--quiet", "--python", sys.executable, environment)
    pins = REPOSITORY / "requirements.txt"
    run(UV, "pip", "install", "--quiet", "--python", environment / "bin" / "python", "--constraint", pins, what)
    return environment / "bin"


@pytest.mark.timeout(900)
def test_sdist_in_an_empty_environment_starts_and_names_the_extra_that_it_lacks(built: Built, tmp_path: Path) -> None:
    programs = install_into_empty(tmp_path / "empty", str(built.sdist))
    assert not list((tmp_path / "empty").glob("lib/python3*/site-packages/*pytriton"))
    assert run(programs / "hcopt", "--version").startswith("hcopt ")
    answer = workplace(tmp_path, program=programs / "hcopt").run("profile", "--runtime", "embedded", *TINY)
    assert answer.returncode == 4, answer.stderr
    assert "the package nvidia-pytriton, which carries Triton, is missing" in answer.stderr
    assert "pip install 'hcopt[embedded]'" in answer.stderr


@pytest.mark.timeout(900)
def test_wheel_with_its_extra_in_an_empty_environment_has_all_programs(built: Built, tmp_path: Path) -> None:
    programs = install_into_empty(tmp_path / "empty", f"{built.wheel}[embedded]")
    said = json.loads(run(programs / "hcopt", "doctor", "--set", "runtime.kind=embedded", "--json", cwd=tmp_path))
    found = {finding["name"]: finding["status"] for finding in said["findings"]}
    assert {found[name] for name in ("Triton", "perf_analyzer", "Model Analyzer")} == {"ok"}, said


@pytest.mark.timeout(900)
def test_wheel_runs_by_uvx(built: Built, tmp_path: Path) -> None:
    pins = REPOSITORY / "requirements.txt"
    options = ("--quiet", "--python", sys.executable, "--constraints", pins)
    assert "profile" in run(UV, "tool", "run", *options, "--from", built.wheel, "hcopt", "--help", cwd=tmp_path)
