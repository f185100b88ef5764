"""hatchling's hook: compiles hcopt's Triton backend, and brings perf_analyzer, for wheel and editable installation."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))
import bring_perf_analyzer
from build_backend import FOLDER, LIBRARY, WHEEL_TAG, put_in_place

_SOURCE = FOLDER.parents[2]


class BackendHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts library and program where the package has them, and says which machines the wheel is for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files."""
        self.folder = TemporaryDirectory()
        # For a wheel they stay out of the checkout, which may be somebody else's.
        place = _SOURCE if version == "editable" else Path(self.folder.name)
        library = place / LIBRARY.relative_to(_SOURCE)
        program = place / bring_perf_analyzer.FOLDER.relative_to(_SOURCE)
        library.parent.mkdir(parents=True, exist_ok=True)
        # Without pip's own environment, by scripts/setup.sh, which has tried before and has told it.
        missing = () if version != "editable" else (ModuleNotFoundError,)
        with suppress(*missing):
            put_in_place(library)
        with suppress(*missing):
            bring_perf_analyzer.bring(program)
        for path in (library, *(program / name for name in bring_perf_analyzer.NAMES)):
            if path.exists():
                build_data["force_include"][str(path)] = str(path.relative_to(place))
        build_data["pure_python"] = False
        build_data["tag"] = WHEEL_TAG

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Called by hatchling when the wheel is there."""
        self.folder.cleanup()
