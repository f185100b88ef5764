from __future__ import annotations

import platform
import re
import shutil
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from hcopt.config.sections import Config, CpusetSection, NoiseSection, RuntimeSection
from hcopt.doctor import machine, programs, services
from hcopt.doctor.examination import examine, probes
from hcopt.doctor.findings import Finding, Probe, as_json, find, ok
from hcopt.errors import RuntimeStartError
from hcopt.system.machine import CpuTimes
from hcopt.system.topology import Core
from hcopt.triton import choose
from hcopt.triton.embedded.backends import NativeBackendError


def test_probe_that_breaks_with_an_error_of_ours_is_an_error_with_its_remedy() -> None:
    def look() -> Finding:
        raise RuntimeStartError("no Triton", remedy="Install it.")

    assert find(Probe(name="p", look=look)) == Finding(status="error", said="no Triton", remedy="Install it.")


def test_probe_that_hangs_is_given_up() -> None:
    release = threading.Event()

    def look() -> Finding:
        release.wait()
        return ok("late")

    found = find(Probe(name="p", look=look, limit_s=0.05))
    release.set()
    assert (found.status, found.said) == ("error", "no answer within 0.05 s")


def test_findings_for_machines_say_whether_all_is_well() -> None:
    warning = Finding(status="warning", said="b", remedy="c")
    good = as_json({"x": ok("a"), "y": warning})
    assert good["ok"] is True
    assert good["findings"] == [
        {"name": "x", "status": "ok", "said": "a", "remedy": None},
        {"name": "y", "status": "warning", "said": "b", "remedy": "c"},
    ]
    assert as_json({"x": Finding(status="error", said="e")})["ok"] is False


# --- the machine -----------------------------------------------------------------------------------------------------


def test_python_of_the_tests_is_good_and_another_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.look_at_python().status == "ok"
    monkeypatch.setattr(sys, "version_info", (3, 13, 0))
    assert machine.look_at_python().status == "error"


@pytest.mark.parametrize(
    ("system", "processor", "libc", "status"),
    [
        ("Linux", "x86_64", ("glibc", "2.35"), "ok"),
        ("Linux", "x86_64", ("glibc", "2.41"), "ok"),
        ("Linux", "x86_64", ("glibc", "2.34"), "error"),
        ("Linux", "x86_64", ("", ""), "error"),  # musl
        ("Linux", "aarch64", ("glibc", "2.41"), "error"),
        ("Darwin", "x86_64", ("", ""), "error"),
    ],
)
def test_platform_is_judged_by_what_triton_needs(
    monkeypatch: pytest.MonkeyPatch, system: str, processor: str, libc: tuple[str, str], status: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    found = machine.look_at_platform()
    assert found.status == status
    assert (found.remedy is None) == (status == "ok")


@pytest.mark.parametrize(("cpus", "status"), [({0}, "warning"), ({0, 1}, "ok")])
def test_one_cpu_is_a_warning(monkeypatch: pytest.MonkeyPatch, cpus: set[int], status: str) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: cpus)
    assert machine.look_at_cpus(CpusetSection()).status == status


def test_configured_cpus_that_are_not_there_are_an_error() -> None:
    probe = Probe(name="CPUs", look=lambda: machine.look_at_cpus(CpusetSection(client="100000")))
    found = find(probe)
    assert (found.status, "runtime.cpuset.client is 100000" in found.said) == ("error", True)


@pytest.mark.parametrize(
    ("runtime", "status", "said"),
    [
        (
            {},
            "ok",
            "4 cores, SMT siblings 0-3+4-7, NUMA node 0; server on the CPUs 0-2,4-6, load generator on 3,7",
        ),
        (
            {"cpuset": {"server": None}},
            "ok",
            "4 cores, SMT siblings 0-3+4-7, NUMA node 0; server and load generator share the CPUs 0-7",
        ),
        (
            {"cpuset": {"server": "0-3", "client": "7"}},
            "warning",
            "4 cores, SMT siblings 0-3+4-7, NUMA node 0; server on the CPUs 0-3, load generator on 7: "
            "they share physical cores (3,7)",
        ),
        ({"kind": "remote"}, "ok", "4 cores, SMT siblings 0-3+4-7, NUMA node 0; the server is elsewhere"),
    ],
)
def test_cores_are_named_with_whose_they_would_be(
    monkeypatch: pytest.MonkeyPatch, runtime: dict[str, object], status: str, said: str
) -> None:
    cores = tuple(Core(cpus=frozenset({cpu, cpu + 4})) for cpu in range(4))
    for module in (machine, choose):
        monkeypatch.setattr(module, "read_cores", lambda _: cores)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(choose, "read_cpu_quota", lambda: None)
    config = Config.model_validate({"runtime": {"kind": "embedded", **runtime}})
    found = machine.look_at_cores(config)
    assert (found.status, found.said) == (status, said)


def test_machine_that_hides_its_cores_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (machine, choose):
        monkeypatch.setattr(module, "read_cores", lambda _: ())
    found = machine.look_at_cores(Config())
    assert found.status == "ok"
    assert found.said.startswith("the machine does not show its cores; server and load generator share the CPUs")


@pytest.mark.parametrize(
    ("governor", "status"), [(None, "ok"), ("performance", "ok"), ("powersave", "warning"), ("a,b", "warning")]
)
def test_governor_that_changes_the_clock_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, governor: str | None, status: str
) -> None:
    monkeypatch.setattr(machine, "read_governor", lambda _: governor)
    assert machine.look_at_governor().status == status


@pytest.mark.parametrize(("stolen_s", "status"), [(0.0, "ok"), (0.125, "ok"), (0.25, "warning")])
def test_steal_above_the_configured_ratio_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, stolen_s: float, status: str
) -> None:
    readings: Iterator[CpuTimes] = iter((CpuTimes(total_s=10, steal_s=1), CpuTimes(total_s=12, steal_s=1 + stolen_s)))
    monkeypatch.setattr(machine, "read_cpu_times", lambda: next(readings))
    monkeypatch.setattr("time.sleep", lambda _: None)
    found = machine.look_at_steal(NoiseSection(max_steal_ratio=0.0625))
    assert found.status == status
    assert f"{50 * stolen_s:.1f} %" in found.said


@pytest.mark.parametrize(
    ("quota", "memory_mb", "status"),
    [(None, 8192, "ok"), (2.0, 8192, "ok"), (1.5, 8192, "warning"), (None, 1024, "warning")],
)
def test_limits_below_the_machine_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, memory_mb: int, status: str
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(machine, "read_cpu_quota", lambda: quota)
    monkeypatch.setattr(machine, "read_memory_mb", lambda: memory_mb)
    assert machine.look_at_cgroup().status == status


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("free_gb", "status"), [(10.0, "ok"), (1.0, "warning"), (0.1, "error")])
def test_room_is_that_of_the_folder_that_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_gb: float, status: str
) -> None:
    asked: list[Path] = []

    def usage(path: Path) -> Usage:
        asked.append(path)
        return Usage(0, 0, int(free_gb * (1 << 30)))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    found = machine.look_at_disk(tmp_path / "not" / "there")
    assert (found.status, asked) == (status, [tmp_path])


# --- programs and services -------------------------------------------------------------------------------------------


def test_programs_of_this_environment_are_found() -> None:
    assert programs.look_at_triton().status == "ok"
    assert programs.look_at_model_analyzer().said[0].isdigit()
    found = programs.look_at_perf_analyzer()
    assert (found.status, found.said) == ("ok", "2.43.0")


def test_missing_wkhtmltopdf_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = programs.look_at_wkhtmltopdf()
    assert (found.status, "apt-get install wkhtmltopdf" in str(found.remedy)) == ("warning", True)


@pytest.mark.parametrize(("kind", "status"), [("auto", "warning"), ("docker", "error")])
def test_engine_that_does_not_answer_is_as_bad_as_the_runtime_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, status: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    config = Config(runtime=RuntimeSection(kind=kind))  # type: ignore[arg-type]
    found = services.look_at_docker(config)
    assert (found.status, found.remedy is None) == (status, False)


def test_nothing_of_the_engine_is_asked_where_none_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    wanted = ("Docker", "images", "leftovers")
    some = tuple(probe for probe in probes(Config(), tmp_path, fix=False) if probe.name in wanted)
    monkeypatch.setattr("hcopt.doctor.examination.probes", lambda *_, **__: some)
    assert [name for name, _ in examine(Config(), tmp_path, fix=False)] == ["Docker"]


def test_services_that_nobody_configured_are_well(tmp_path: Path) -> None:
    assert services.look_at_mlflow(Config(), tmp_path).status == "ok"
    assert services.look_at_s3(Config()).status == "ok"
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


@pytest.mark.parametrize(("kind", "status"), [("embedded", "error"), ("docker", "warning")])
def test_what_the_embedded_runtime_needs_matters_to_it_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, status: str
) -> None:
    def missing(*_: object) -> NoReturn:
        raise RuntimeStartError("no libpython", remedy="Install it.")

    def not_built() -> NoReturn:
        raise NativeBackendError("it is not built")

    monkeypatch.setattr(programs, "find_native_backend", not_built)
    config = Config(runtime=RuntimeSection(kind=kind))  # type: ignore[arg-type]
    (probe,) = (probe for probe in probes(config, tmp_path, fix=False) if probe.name == "Triton")
    found = find(probe)
    assert (found.status, "without hcopt's native backend: it is not built" in found.said) == ("warning", True)
    assert "In a checkout: rm .venv/.installed-*" in str(found.remedy)
    monkeypatch.setattr(programs, "find_python_backend", missing)
    assert find(probe) == Finding(status=status, said="no libpython", remedy="Install it.")  # type: ignore[arg-type]


def test_native_backend_is_named_with_its_onnxruntime() -> None:
    assert re.search(r"with hcopt's native backend over ONNX Runtime [0-9.]+$", programs.look_at_triton().said)


@pytest.mark.parametrize(("kind", "status"), [("remote", "error"), ("docker", "warning")])
@pytest.mark.parametrize("name", ["perf_analyzer", "Model Analyzer"])
def test_missing_tools_matter_where_this_machine_measures_with_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, status: str, name: str
) -> None:
    def missing(*_: object) -> Path:
        raise RuntimeStartError("no such program", remedy="Install it.")

    monkeypatch.setattr(programs, "find_program", missing)
    monkeypatch.setattr(programs, "install_tools", missing)
    config = Config(runtime=RuntimeSection(kind=kind))  # type: ignore[arg-type]
    (probe,) = (probe for probe in probes(config, tmp_path, fix=False) if probe.name == name)
    assert find(probe) == Finding(status=status, said="no such program", remedy="Install it.")  # type: ignore[arg-type]
