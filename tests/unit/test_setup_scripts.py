"""run_analyzer.sh and run_tests.sh on machines that are not this one: its programs are replaced by small scripts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# What the scripts use beside the programs that a test replaces.
TOOLS = ("bash", "cat", "cut", "dirname", "env", "head", "pwd", "rm", "sh", "sha256sum", "sort")
EXPORT = "uv export --quiet --frozen --no-emit-project --no-annotate"
UNAME = 'case "$1" in -m) echo {machine};; *) echo {system};; esac'
# A virtual environment as far as the scripts look at it. Its Python answers questions about itself, and notes the rest.
MAKE_VENV = f"""
mkdir -p .venv/bin
cat >.venv/bin/python <<'END'
#!/bin/sh
if [ "$1" = -c ]; then exec "{sys.executable}" "$@"; fi
echo "python $*" >>"$LOG"
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
        self.bin.mkdir()
        for tool in (*TOOLS, "mkdir", "chmod"):
            self.bin.joinpath(tool).symlink_to(str(shutil.which(tool)))
        for name in (
            "scripts/setup.sh",
            "run_analyzer.sh",
            "run_tests.sh",
            "scripts/uv.txt",
            "uv.lock",
            "pyproject.toml",
        ):
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
            env={"PATH": str(self.bin), "LOG": str(self.log)},
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
    pip = "uv pip install --quiet --python .venv/bin/python"
    assert machine.noted == [
        "uv venv --quiet --clear --python >=3.10,<3.13 .venv",
        f"{EXPORT} --no-default-groups --extra embedded",
        f"{pip} --no-deps --require-hashes -r .venv/pins-main.txt",
        f"{pip} --no-deps -e .",
    ]
    again = machine.run("run_analyzer.sh", "--dry-run")
    assert (again.returncode, again.stdout, again.stderr) == (0, "hcopt profile --dry-run\n", "")
    assert len(machine.noted) == 4, "nothing was installed again"


def test_setup_without_uv_uses_pip(machine: Machine) -> None:
    machine.program("python3.12", f'if [ "$1" = -m ]; then {MAKE_VENV} fi')
    answer = machine.run("run_analyzer.sh")
    assert answer.returncode == 0, answer.stderr
    pip = "python -m pip install --quiet --disable-pip-version-check"
    assert machine.noted == [
        f"{pip} --require-hashes -r scripts/uv.txt",
        f".venv/bin/{EXPORT} --no-default-groups --extra embedded",
        f"{pip} --no-deps --require-hashes -r .venv/pins-main.txt",
        f"{pip} --no-deps -e .",
    ]


def test_changed_requirements_are_installed_into_the_environment_that_is_there(machine: Machine) -> None:
    machine.program("uv", UV)
    machine.run("run_analyzer.sh")
    with (machine.checkout / "uv.lock").open("a") as file:
        file.write("# changed\n")
    assert machine.run("run_analyzer.sh").returncode == 0
    assert [line.split()[1] for line in machine.noted] == ["venv", *["export", "pip", "pip"] * 2]


def test_environment_of_a_moved_checkout_is_made_again(machine: Machine) -> None:
    machine.program("uv", UV)
    machine.run("run_analyzer.sh")
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("moved"))
    assert machine.run("run_analyzer.sh").returncode == 0
    assert [line.split()[1] for line in machine.noted] == ["venv", "export", "pip", "pip"] * 2


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
    pip = "uv pip install --quiet --python .venv/bin/python"
    assert machine.noted[1:] == [
        EXPORT,
        f"{pip} --no-deps --require-hashes -r .venv/pins-tests.txt",
        f"{pip} --no-deps -e .",
        "python -m pytest -q",
    ]
