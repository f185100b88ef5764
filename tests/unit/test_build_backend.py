"""How the native backend is built: wherever the checkout lies, and where nobody may write beside it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from scripts import build_backend, build_hook
from scripts.build_hook import BackendHook

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "src"
# As the hook has imported it.
bring_perf_analyzer = build_hook.bring_perf_analyzer
# Writes what it was told to mark its output with.
COMPILER = """
import sys
from pathlib import Path
marks = [bytes.fromhex(text.partition("0x")[2]) for text in sys.argv if text.startswith("--build-id=0x")]
Path(sys.argv[sys.argv.index("-o") + 1]).write_bytes(b"library" + b"".join(marks))
"""


def no_compiler() -> NoReturn:
    raise ModuleNotFoundError("no ziglang")


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has no home."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")


def test_library_stays_where_the_compiler_is_gone_and_the_user_has_no_cache(
    no_cache: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = tmp_path / "library.so"
    library.write_text("of other sources")
    monkeypatch.setattr(build_backend, "zig", lambda: (sys.executable, "-c", COMPILER))
    build_backend.put_in_place(library)
    made = library.read_bytes()
    monkeypatch.setattr(build_backend, "zig", no_compiler)
    build_backend.put_in_place(library)
    assert library.read_bytes() == made


def test_library_of_other_sources_does_not_stay(
    no_cache: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = tmp_path / "library.so"
    library.write_text("of other sources")
    monkeypatch.setattr(build_backend, "zig", no_compiler)
    with pytest.raises(ModuleNotFoundError):
        build_backend.put_in_place(library)
    assert not library.exists()


def test_backend_is_compiled_in_a_folder_of_any_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "a user's = folder, with a comma"
    folder.mkdir()
    source = folder / "empty.cc"
    source.touch()
    monkeypatch.setattr(build_backend, "FOLDER", folder)
    monkeypatch.setattr(build_backend, "SOURCES", (source,))
    monkeypatch.setattr(build_backend, "EXPORTS", Path(shutil.copy(build_backend.EXPORTS, folder)))
    assert build_backend.build(folder / "library.so").stat().st_size > 0


@pytest.mark.parametrize("version", ["standard", "editable"])
def test_wheel_alone_takes_what_it_brings_from_outside_of_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str
) -> None:
    made: list[Path] = []

    def put_in_place(library: Path) -> None:
        made.append(library)
        library.touch()

    def bring(folder: Path) -> None:
        made.append(folder)
        folder.mkdir(parents=True)
        for name in bring_perf_analyzer.NAMES:
            (folder / name).touch()

    # A checkout that nobody measures with.
    source = tmp_path / "src"
    monkeypatch.setattr("scripts.build_hook._SOURCE", source)
    monkeypatch.setattr("scripts.build_hook.LIBRARY", source / build_backend.LIBRARY.relative_to(SOURCE))
    monkeypatch.setattr(bring_perf_analyzer, "FOLDER", source / bring_perf_analyzer.FOLDER.relative_to(SOURCE))
    monkeypatch.setattr("scripts.build_hook.put_in_place", put_in_place)
    monkeypatch.setattr(bring_perf_analyzer, "bring", bring)
    hook = BackendHook(str(REPOSITORY), {}, None, None, "", "")  # type: ignore[arg-type]
    build_data: dict[str, Any] = {"force_include": {}, "artifacts": []}
    hook.initialize(version, build_data)
    hook.finalize(version, build_data, "")
    assert [path.is_relative_to(source) for path in made] == [version == "editable"] * 2
    assert list(build_data["force_include"].values()) == [
        "hcopt/triton/onnxruntime_backend/libtriton_onnxruntime.so",
        "hcopt/triton/perf_analyzer/perf_analyzer",
        "hcopt/triton/perf_analyzer/LICENSE.txt",
    ]


def test_wheel_without_the_program_is_refused_and_an_editable_installation_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(_: Path) -> None:
        raise ModuleNotFoundError("tritonclient")

    monkeypatch.setattr("scripts.build_hook.put_in_place", missing)
    monkeypatch.setattr(bring_perf_analyzer, "bring", missing)
    hook = BackendHook(str(REPOSITORY), {}, None, None, "", "")  # type: ignore[arg-type]
    hook.initialize("editable", {"force_include": {}})
    hook.finalize("editable", {}, "")
    with pytest.raises(ModuleNotFoundError):
        hook.initialize("standard", {"force_include": {}})
    hook.finalize("standard", {}, "")
