"""How the native backend is built: wherever the checkout lies, and where nobody may write beside it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from scripts import build_backend
from scripts.build_hook import BackendHook

REPOSITORY = Path(__file__).parents[2]
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
def test_wheel_alone_takes_the_library_from_outside_of_the_checkout(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    made: list[Path] = []
    monkeypatch.setattr("scripts.build_hook.put_in_place", made.append)
    hook = BackendHook(str(REPOSITORY), {}, None, None, "", "")  # type: ignore[arg-type]
    build_data: dict[str, Any] = {"force_include": {}, "artifacts": []}
    hook.initialize(version, build_data)
    hook.finalize(version, build_data, "")
    (library,) = made
    assert library.is_relative_to(build_backend.FOLDER) == (version == "editable")
    assert build_data["force_include"] == {str(library): "hcopt/triton/onnxruntime_backend/libtriton_onnxruntime.so"}
