"""run_analyzer.sh and run_tests.sh on machines that are not this one: its programs are replaced by small scripts."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from scripts import build_backend

REPOSITORY = Path(__file__).parents[2]
SOURCES = (".cc", ".h", ".map")
# What the scripts use beside the programs that a test replaces.
TOOLS = ("bash", "cat", "cut", "dirname", "env", "head", "pwd", "rm", "sh", "sha256sum", "sleep", "sort")
EXPORT = "uv export --quiet --frozen --no-emit-project --no-annotate"
MAIN = f"{EXPORT} --group build --no-default-groups --extra embedded"
UV_PIP = "uv pip install --quiet --python .venv/bin/python"
BUILD = "python scripts/build_backend.py --wheel"
CLIENT = "--target .venv/perf_analyzer --no-deps --require-hashes -r scripts/perf_analyzer.txt"
BROUGHT = "python scripts/bring_perf_analyzer.py .venv/perf_analyzer"
# The second word of each call.
INSTALLED = ["export", "scripts/build_backend.py", "pip", "pip", "scripts/bring_perf_analyzer.py", "pip"]
# What a build does where the library has to be compiled first, and no compiler is there.
NOT_YET = 'if [ -z "$PYTHONPATH" ]; then exit 3; fi'
UNAME = 'case "$1" in -m) echo {machine};; *) echo {system};; esac'
# A virtual environment as far as the scripts look at it. Its Python answers questions about itself, and notes the rest.
MAKE_VENV = f"""
mkdir -p .venv/bin
cat >.venv/bin/python <<'END'
#!/bin/sh
if [ "$1" = -c ]; then exec "{sys.executable}" "$@"; fi
echo "python $*" >>"$LOG"
if [ "$1" = scripts/build_backend.py ]; then eval "$BUILD"; fi
END
printf '#!/bin/sh\necho hcopt "$@"\n' >.venv/bin/hcopt
printf '#!/bin/sh\necho ".venv/bin/uv $*" >>"$LOG"\n' >.venv/bin/uv
chmod +x .venv/bin/*
"""
UV = f"""
echo "uv $*" >>"$LOG"
if [ "$1" = venv ]; then {MAKE_VENV} fi
"""


class Machine:
    """A checkout in a folder, and a PATH that holds nothing else than what a test puts there."""

    def __init__(self, root: Path) -> None:
        self.checkout = root / "a checkout"
        self.bin = root / "bin"
        self.log = root / "log"
        self.log.touch()
        self.build = ":"
        self.bin.mkdir()
        for tool in (*TOOLS, "mkdir", "chmod"):
            self.bin.joinpath(tool).symlink_to(str(shutil.which(tool)))
        backend = [path.relative_to(REPOSITORY) for path in build_backend.FOLDER.glob("*") if path.suffix in SOURCES]
        scripts = [path.relative_to(REPOSITORY) for path in (REPOSITORY / "scripts").glob("*.*")]
        for name in (*scripts, *backend, "run_analyzer.sh", "run_tests.sh", "uv.lock", "pyproject.toml"):
            self.checkout.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, self.checkout / name)
        self.program("uname", UNAME.format(system="Linux", machine="x86_64"))
        self.program("getconf", "echo glibc 2.36")

    def program(self, name: str, script: str) -> None:
        file = self.bin / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.checkout / script), *arguments],
            cwd="/",
            env={"PATH": str(self.bin), "LOG": str(self.log), "BUILD": self.build},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @property
    def noted(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def assert_refused(answer: subprocess.CompletedProcess[str], *said: str) -> None:
    assert answer.returncode == 2, answer.stderr
    assert "run_analyzer.sh: " in answer.stderr
    assert "what to do: " in answer.stderr
    for part in said:
        assert part in answer.stderr
    assert answer.stdout == ""


def test_python_that_does_not_fit_is_refused_with_what_to_install(machine: Machine) -> None:
    machine.program("python3", 'if [ "$1" = --version ]; then echo Python 3.13.1; else exit 1; fi')
    answer = machine.run("run_analyzer.sh")
    assert_refused(answer, "needs Python 3.10, 3.11 or 3.12", "found Python 3.13.1", "apt-get install", "uv")
    assert not (machine.checkout / ".venv").exists()


def test_no_python_at_all_is_refused(machine: Machine) -> None:
    assert_refused(machine.run("run_analyzer.sh"), "found no Python 3", "apt-get install")


def test_python_that_cannot_make_environments_is_refused(machine: Machine) -> None:
    machine.program("python3.11", '[ "$1" = -c ]')
    assert_refused(machine.run("run_analyzer.sh"), "cannot make a virtual environment", "python3-venv")


@pytest.mark.parametrize(
    ("system", "machine_name", "said"),
    [
        ("Linux", "aarch64", ("x86-64", "aarch64")),
        ("Darwin", "x86_64", ("needs Linux", "Darwin", "docker run")),
    ],
)
def test_foreign_platform_is_refused(machine: Machine, system: str, machine_name: str, said: tuple[str, ...]) -> None:
    machine.program("uname", UNAME.format(system=system, machine=machine_name))
    assert_refused(machine.run("run_analyzer.sh"), *said)


def test_another_c_library_is_refused(machine: Machine) -> None:
    machine.program("getconf", "exit 1")
    assert_refused(machine.run("run_analyzer.sh"), "needs glibc", "docker run")


@pytest.mark.parametrize(("version", "fits"), [("2.34", False), ("2.4", False), ("2.35", True), ("2.100", True)])
def test_glibc_has_to_be_new_enough(machine: Machine, version: str, fits: bool) -> None:
    machine.program("getconf", f"echo glibc {version}")
    machine.program("uv", UV)
    answer = machine.run("run_analyzer.sh")
    if fits:
        assert answer.returncode == 0, answer.stderr
    else:
        assert_refused(answer, f"glibc 2.35 or newer, this system has {version}")


def test_setup_with_uv_installs_once_and_runs_the_job(machine: Machine) -> None:
    machine.program("uv", UV)
    answer = machine.run("run_analyzer.sh", "--dry-run", "--set", "a=b c")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "hcopt profile --dry-run --set a=b c\n"
    installed = [
        "uv venv --quiet --clear --python >=3.10,<3.13 .venv",
        MAIN,
        BUILD,
        f"{UV_PIP} --no-deps --require-hashes -r .venv/pins-main.txt",
        f"{UV_PIP} {CLIENT}",
        BROUGHT,
        f"{UV_PIP} --no-deps --no-build-isolation -e .",
    ]
    assert machine.noted == installed
    again = machine.run("run_analyzer.sh", "--dry-run")
    assert (again.returncode, again.stdout, again.stderr) == (0, "hcopt profile --dry-run\n", "")
    assert machine.noted == installed, "nothing was installed again"


def test_setup_without_uv_uses_pip(machine: Machine) -> None:
    machine.program("python3.12", f'if [ "$1" = -m ]; then {MAKE_VENV} fi')
    answer = machine.run("run_analyzer.sh")
    assert answer.returncode == 0, answer.stderr
    pip = "python -m pip install --quiet --disable-pip-version-check"
    assert machine.noted == [
        f"{pip} --require-hashes -r scripts/uv.txt",
        f".venv/bin/{MAIN}",
        BUILD,
        f"{pip} --no-deps --require-hashes -r .venv/pins-main.txt",
        f"{pip} {CLIENT}",
        BROUGHT,
        f"{pip} --no-deps --no-build-isolation -e .",
    ]


def test_backend_is_compiled_beside_the_installation_where_it_is_not_kept_yet(machine: Machine) -> None:
    machine.program("uv", UV)
    machine.build = f'{NOT_YET}; echo "with $PYTHONPATH" >>"$LOG"'
    answer = machine.run("run_analyzer.sh")
    assert answer.returncode == 0, answer.stderr
    assert "Building hcopt's Triton backend meanwhile" in answer.stderr
    assert "note:" not in answer.stderr
    beside = [
        f"{EXPORT} --only-group compiler",
        f"{UV_PIP} --target .venv/compiler --no-deps --require-hashes -r .venv/pins-compiler.txt",
        BUILD,
        "with .venv/compiler",
    ]
    assert [line for line in machine.noted[3:] if line in beside] == beside
    assert machine.noted[-1] == f"{UV_PIP} --no-deps --no-build-isolation -e .", "hcopt comes after its backend"
    assert not (machine.checkout / ".venv" / "compiler").exists()


@pytest.mark.parametrize("failing", ["no ziglang", "no compilation"])
def test_backend_that_cannot_be_built_leaves_the_rest_installed(machine: Machine, failing: str) -> None:
    no_compiler = 'case "$*" in *.venv/compiler*) exit 1;; esac' if failing == "no ziglang" else ""
    machine.program("uv", UV + no_compiler)
    machine.build = f"{NOT_YET}; mkdir -p .venv/compiler; exit 1"
    answer = machine.run("run_analyzer.sh")
    assert (answer.returncode, answer.stdout) == (0, "hcopt profile\n")
    assert "note: hcopt's Triton backend could not be built: see .venv/backend.log" in answer.stderr
    assert "a Python-based backend is measured" in answer.stderr
    assert machine.noted[-1] == f"{UV_PIP} --no-deps --no-build-isolation -e ."
    assert not (machine.checkout / ".venv" / "compiler").exists()
    assert machine.run("run_analyzer.sh").stderr == "", "it is not tried at each call"


def test_perf_analyzer_that_cannot_be_had_leaves_the_rest_installed(machine: Machine) -> None:
    machine.program("uv", UV + 'case "$*" in *scripts/perf_analyzer.txt*) exit 1;; esac')
    answer = machine.run("run_analyzer.sh")
    assert (answer.returncode, answer.stdout) == (0, "hcopt profile\n")
    assert "that of tritonclient takes its place" in answer.stderr
    assert BROUGHT not in machine.noted
    assert machine.run("run_analyzer.sh").stderr == "", "it is not tried at each call"


def test_compiler_ends_with_an_installation_that_fails(machine: Machine, tmp_path: Path) -> None:
    began = tmp_path / "began"
    machine.build = f'{NOT_YET}; sleep 600 & echo $! >"{began}"; wait'
    wait = f'while ! [ -s "{began}" ]; do sleep 0.01; done; exit 1'
    machine.program("uv", f'{UV}\ncase "$*" in *pins-main.txt*) {wait};; esac')
    assert_refused(machine.run("run_analyzer.sh"), "requirements of uv.lock could not be installed")
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(began.read_text())).wait(timeout=30)


def test_changed_source_of_the_backend_is_built_again(machine: Machine) -> None:
    machine.program("uv", UV)
    machine.run("run_analyzer.sh")
    with (machine.checkout / build_backend.SOURCES[0].relative_to(REPOSITORY)).open("a") as file:
        file.write("// changed\n")
    assert machine.run("run_analyzer.sh").returncode == 0
    assert machine.noted.count(BUILD) == 2


def test_changed_requirements_are_installed_into_the_environment_that_is_there(machine: Machine) -> None:
    machine.program("uv", UV)
    machine.run("run_analyzer.sh")
    with (machine.checkout / "uv.lock").open("a") as file:
        file.write("# changed\n")
    assert machine.run("run_analyzer.sh").returncode == 0
    assert [line.split()[1] for line in machine.noted] == ["venv", *INSTALLED * 2]


def test_environment_of_a_moved_checkout_is_made_again(machine: Machine) -> None:
    machine.program("uv", UV)
    machine.run("run_analyzer.sh")
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("moved"))
    assert machine.run("run_analyzer.sh").returncode == 0
    assert [line.split()[1] for line in machine.noted] == ["venv", *INSTALLED] * 2


def test_failed_installation_is_told_and_tried_again(machine: Machine) -> None:
    machine.program("uv", UV + 'case "$*" in *--require-hashes*) exit 1;; esac')
    assert_refused(machine.run("run_analyzer.sh"), "requirements of uv.lock could not be installed", "package index")
    machine.program("uv", UV)
    assert machine.run("run_analyzer.sh").returncode == 0


def test_uv_that_cannot_read_the_lock_is_told(machine: Machine) -> None:
    machine.program("uv", UV + 'case "$*" in *export*) exit 2;; esac')
    assert_refused(machine.run("run_analyzer.sh"), "uv cannot read uv.lock", "uv self update")


def test_machine_that_gets_no_uv_is_told(machine: Machine) -> None:
    machine.program("python3.12", f'if [ "$1" = -m ]; then {MAKE_VENV.replace("echo", "exit 1; echo", 1)} fi')
    assert_refused(machine.run("run_analyzer.sh"), "uv, which reads the pinned requirements", "package index")


def test_tests_install_all_that_is_locked_and_no_system_packages(machine: Machine) -> None:
    machine.program("uv", UV)
    machine.program("apt-get", 'echo "apt-get $*" >>"$LOG"')
    machine.program("id", f"echo {os.getuid()}")
    answer = machine.run("run_tests.sh", "-q")
    assert answer.returncode == 0, answer.stderr
    assert machine.noted[1:] == [
        f"{EXPORT} --group build",
        BUILD,
        f"{UV_PIP} --no-deps --require-hashes -r .venv/pins-tests.txt",
        f"{UV_PIP} {CLIENT}",
        BROUGHT,
        f"{UV_PIP} --no-deps --no-build-isolation -e .",
        "python -m pytest -q",
    ]
