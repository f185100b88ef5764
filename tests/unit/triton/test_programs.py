from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hcopt.errors import RuntimeStartError
from hcopt.triton import programs

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def wheel(folder: Path, *, stubs: tuple[str, ...] = (VERSION,)) -> Path:
    """The files of nvidia-pytriton that matter, all of them empty."""
    package = folder / "pytriton"
    for file in (
        "tritonserver/bin/tritonserver",
        "tritonserver/backends/python/libtriton_python.so",
        *(f"tritonserver/python_backend_stubs/{version}/triton_python_backend_stub" for version in stubs),
        "../nvidia_pytriton.libs/libb64-98cb6333.so.0d",
    ):
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).touch()
    return package


def test_triton_is_found_in_this_environment() -> None:
    triton = programs.find_triton()
    assert os.access(triton.tritonserver, os.X_OK)
    assert VERSION in programs.find_stub(triton).parts


def test_triton_has_a_stub_for_the_running_python(tmp_path: Path) -> None:
    found = programs.triton_in(wheel(tmp_path, stubs=("3.8", VERSION)))
    assert (
        programs.find_stub(found)
        == tmp_path / f"pytriton/tritonserver/python_backend_stubs/{VERSION}/triton_python_backend_stub"
    )
    assert found.libraries == tmp_path / "nvidia_pytriton.libs"


def test_triton_without_a_stub_for_the_running_python_names_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(RuntimeStartError, match=rf"no stub for Python {VERSION} \(it has 3.7, 3.8\)") as caught:
        programs.find_stub(programs.triton_in(wheel(tmp_path, stubs=("3.8", "3.7"))))
    assert caught.value.remedy is not None
    assert "docker" in caught.value.remedy


def test_triton_that_is_incomplete_names_the_missing_part(tmp_path: Path) -> None:
    package = wheel(tmp_path)
    (package / "tritonserver/bin/tritonserver").unlink()
    with pytest.raises(RuntimeStartError, match="bin/tritonserver"):
        programs.triton_in(package)


@pytest.mark.parametrize(
    ("distribution", "name"), [("tritonclient", "perf_analyzer"), ("triton-model-analyzer", "model-analyzer")]
)
def test_program_is_found_where_the_installer_put_it(distribution: str, name: str) -> None:
    program = programs.find_program(distribution, name)
    assert program.name == name
    assert os.access(program, os.X_OK)


def test_perf_analyzer_is_the_one_that_hcopt_brings_whose_export_has_times_alone() -> None:
    found = programs.find_perf_analyzer()
    assert (found.program.parent.name, found.version, found.exports_tensors) == ("perf_analyzer", "2.43.0", False)
    requirements = (Path(__file__).parents[3] / "scripts" / "perf_analyzer.txt").read_text(encoding="utf-8")
    assert f"tritonclient=={found.version} " in requirements


def test_checkout_that_was_not_set_up_has_the_perf_analyzer_of_tritonclient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_OWN_PERF_ANALYZER", tmp_path / "perf_analyzer")
    found = programs.find_perf_analyzer()
    assert found.program == programs.find_program("tritonclient", "perf_analyzer")
    assert (found.version, found.exports_tensors) == ("2.51.0", True)


def test_program_of_a_distribution_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(RuntimeStartError, match="no-such-distribution is missing") as caught:
        programs.find_program("no-such-distribution", "perf_analyzer")
    assert "pip install 'hcopt[embedded]'" in (caught.value.remedy or "")


def test_triton_that_is_not_installed_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda _: None)
    with pytest.raises(RuntimeStartError, match="nvidia-pytriton, which carries Triton, is missing") as caught:
        programs.find_triton()
    assert "pip install 'hcopt[embedded]'" in (caught.value.remedy or "")
    assert "--runtime docker" in (caught.value.remedy or "")


def test_program_that_the_distribution_lacks_is_an_error() -> None:
    with pytest.raises(RuntimeStartError, match="its program model-analyzer is not"):
        programs.find_program("tritonclient", "model-analyzer")


def test_version_is_unknown_for_a_distribution_that_is_not_installed() -> None:
    assert programs.installed_version("tritonclient") == "2.51.0"
    assert programs.installed_version("no-such-distribution") is None


def test_libpython_is_taken_from_the_first_folder_that_has_it(tmp_path: Path) -> None:
    name = f"libpython{VERSION}.so.1.0"
    folders = [tmp_path / folder for folder in ("a", "b", "c")]
    for folder in folders:
        folder.mkdir()
    (folders[1] / name).touch()
    (folders[2] / name).touch()
    assert programs.find_libpython(folders) == folders[1] / name


def test_libpython_that_is_nowhere_is_an_error_that_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(RuntimeStartError, match=rf"libpython{VERSION}\.so\.1\.0") as caught:
        programs.find_libpython([tmp_path, tmp_path / "missing"])
    assert caught.value.remedy is not None
    assert f"apt-get install libpython{VERSION}" in caught.value.remedy
    assert f"uv venv --python {VERSION}" in caught.value.remedy


def test_libpython_is_looked_for_beside_this_python_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/from/environment:")
    # Debian's own Python names a folder of the loader's.
    monkeypatch.setattr(programs.sysconfig, "get_config_var", lambda _: "/of/this/python")
    folders = programs.library_folders()
    assert folders[0] == Path("/of/this/python")
    assert folders.index(Path(sys.base_prefix, "lib")) < folders.index(Path("/from/environment"))
    assert folders.index(Path("/from/environment")) < folders.index(Path("/usr/lib/x86_64-linux-gnu"))
    assert Path() not in folders


def test_library_is_found_by_pattern(tmp_path: Path) -> None:
    libraries = wheel(tmp_path).parent / "nvidia_pytriton.libs"
    assert programs.find_library(libraries, "libb64-*.so.0d").name == "libb64-98cb6333.so.0d"
    with pytest.raises(RuntimeStartError, match=r"no libcudart-\*"):
        programs.find_library(libraries, "libcudart-*")
