from __future__ import annotations

import errno
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from hcopt.errors import RuntimeStartError
from hcopt.triton import local_tools
from hcopt.triton.base import Endpoint
from hcopt.triton.local_tools import LocalTools

ENDPOINT = Endpoint(grpc="127.0.0.1:1", http="127.0.0.1:2", metrics_url="http://127.0.0.1:3/metrics")


def tools(program: Path, cpuset: str | None = None) -> LocalTools:
    return LocalTools(
        endpoint=ENDPOINT, programs={"perf_analyzer": program}, private_folder=program.parent, cpuset=cpuset
    )


def script(folder: Path, text: str) -> Path:
    file = folder / "program"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o700)
    return file


def output(folder: Path, text: str, *arguments: str, cpuset: str | None = None) -> list[str]:
    lines: list[str] = []
    finished = tools(script(folder, text), cpuset).run(
        "perf_analyzer", arguments, folder=folder, log=folder / "log", timeout_s=20, on_line=lines.append
    )
    assert finished.returncode == 0
    return lines


def test_tool_runs_in_its_folder_with_its_arguments(tmp_path: Path) -> None:
    assert output(tmp_path, 'pwd; printf "%s\\n" "$@"', "a b", "c=d") == [str(tmp_path), "a b", "c=d"]


def test_tool_runs_only_on_its_cpus(tmp_path: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    printing = f'exec {sys.executable} -c "import os; print(os.sched_getaffinity(0))"'
    assert output(tmp_path, printing, cpuset=str(cpu)) == [f"{{{cpu}}}"]


def test_tool_sees_this_pythons_programs_first_and_the_rest_of_the_path(tmp_path: Path) -> None:
    (path,) = output(tmp_path, 'echo "$PATH"')
    assert path.split(":") == [str(Path(sys.executable).parent), *os.environ["PATH"].split(":")]


def test_tool_reaches_the_server_past_any_proxy() -> None:
    environment = local_tools.tools_environment({"no_proxy": "example.com", "PATH": "/bin"})
    assert environment["no_proxy"] == "example.com,127.0.0.1,localhost"
    assert environment["NO_PROXY"] == "127.0.0.1,localhost"


def test_tool_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeStartError, match="cannot run perf_analyzer"):
        tools(tmp_path / "missing").run("perf_analyzer", [], folder=tmp_path, log=tmp_path / "log", timeout_s=5)


def test_no_room_for_the_log_is_no_fault_of_the_tool(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        tools(script(tmp_path, "echo said")).run(
            "perf_analyzer", [], folder=tmp_path, log=Path("/dev/full"), timeout_s=20
        )


def test_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tools(tmp_path).path(Path("export.json")) == str(tmp_path / "export.json")


@pytest.mark.parametrize("name", ["with space", "a=b", "a;b", "$HOME", "ünïcode"])
def test_path_that_model_analyzer_cannot_take_leads_through_a_link(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "work"
    folder.mkdir(parents=True)
    (folder / "input.json").write_text("there")
    paths = [tools(tmp_path / "program").path(folder / file) for file in ("input.json", "not_yet")]
    assert all(local_tools._PLAIN_PATH.fullmatch(path) for path in paths)
    assert Path(paths[0]).read_text() == "there"
    Path(paths[1]).mkdir()
    assert (folder / "not_yet").is_dir()


def test_tool_leaves_its_temporary_files_where_they_are_removed(tmp_path: Path) -> None:
    assert output(tmp_path, 'echo "$TMPDIR"') == [str(tmp_path)]


def test_perf_analyzer_alone_gets_the_libraries_that_it_misses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = tmp_path / "nvidia_pytriton.libs"
    libraries.mkdir()
    for name in ("libb64-1.so.0d", "libcudart-2.so.12.6.77"):
        (libraries / name).touch()
    monkeypatch.setattr(local_tools, "triton_libraries", lambda: libraries)
    programs = local_tools.install_tools(tmp_path)
    text = programs["perf_analyzer"].read_text()
    folder = tmp_path / "perf_analyzer_libraries"
    assert f"LD_LIBRARY_PATH={folder}" in text
    assert {link.name: link.readlink().name for link in folder.iterdir()} == {
        "libb64.so.0d": "libb64-1.so.0d",
        "libcudart.so.12": "libcudart-2.so.12.6.77",
    }


def test_perf_analyzer_without_tritons_wheel_gets_the_systems_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system"
    system.mkdir()
    (system / "libb64.so.0d").touch()
    monkeypatch.setattr("hcopt.triton.programs.find_spec", lambda _: None)
    monkeypatch.setattr("hcopt.triton.programs.library_folders", lambda: (tmp_path, system))
    (tmp_path / "first").mkdir()
    with pytest.raises(RuntimeStartError, match=r"perf_analyzer needs libcudart\.so\.12") as caught:
        local_tools.install_tools(tmp_path / "first")
    assert "pip install 'hcopt[embedded]'" in (caught.value.remedy or "")
    (system / "libcudart.so.12").touch()
    (tmp_path / "second").mkdir()
    programs = local_tools.install_tools(tmp_path / "second")
    links = (programs["perf_analyzer"].parent / "perf_analyzer_libraries").iterdir()
    assert {link.readlink() for link in links} == {system / "libb64.so.0d", system / "libcudart.so.12"}


def test_private_folder_is_gone_afterwards() -> None:
    with local_tools.private_folder() as folder:
        (folder / "file").touch()
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


@pytest.mark.parametrize("name", ["with space", "a=b", "a;b", "$HOME", "ünïcode"])
def test_private_folder_has_a_path_that_needs_no_quotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
    with local_tools.private_folder() as folder:
        assert tmp_path not in folder.parents
        assert folder.is_dir()


def test_private_folder_is_in_the_temporary_folder_where_that_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(plain))
    with local_tools.private_folder() as folder:
        assert folder.parent == plain


def test_private_folder_is_elsewhere_where_the_temporary_folder_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = local_tools.process.temporary_folder

    def full(*, parent: Path) -> AbstractContextManager[Path]:
        if parent == tmp_path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return made(parent=parent)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(local_tools.process, "temporary_folder", full)
    with local_tools.private_folder() as folder:
        assert folder.is_dir()
        assert tmp_path not in folder.parents


def test_cpuset_that_this_process_may_not_use_is_an_error() -> None:
    allowed = max(os.sched_getaffinity(0))
    local_tools.check_cpuset("runtime.cpuset.server", None)
    local_tools.check_cpuset("runtime.cpuset.server", str(allowed))
    with pytest.raises(RuntimeStartError, match=r"runtime\.cpuset\.server is 9999, but this process may only use"):
        local_tools.check_cpuset("runtime.cpuset.server", "9999")


def test_tools_inherit_no_secret() -> None:
    assert "HF_TOKEN" not in local_tools.tools_environment({"PATH": "/bin", "HF_TOKEN": "planted"})
