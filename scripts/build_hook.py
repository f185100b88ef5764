"""hatchling's hook: compiles hcopt's Triton backend for the wheel, and for an editable installation."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))
from build_backend import FOLDER, LIBRARY, WHEEL_TAG, put_in_place


class BackendHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the library where the package has it, and says which machines the wheel is for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files."""
        self.folder = TemporaryDirectory()
        # For a wheel it stays out of the checkout, which may be somebody else's.
        library = LIBRARY if version == "editable" else Path(self.folder.name) / LIBRARY.name
        try:
            put_in_place(library)
        except ModuleNotFoundError:
            # Without pip's own environment, by scripts/setup.sh, which has tried before and has told it.
            if version != "editable":
                raise
            return
        build_data["force_include"][str(library)] = str(LIBRARY.relative_to(FOLDER.parents[2]))
        build_data["pure_python"] = False
        build_data["tag"] = WHEEL_TAG

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Called by hatchling when the wheel is there."""
        self.folder.cleanup()
