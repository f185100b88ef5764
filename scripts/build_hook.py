"""hatchling's hook: compiles hcopt's Triton backend for the wheel, and for an editable installation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))
from build_backend import LIBRARY, WHEEL_TAG, put_in_place


class BackendHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the library where the package has it, and says which machines the wheel is for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files."""
        try:
            put_in_place(LIBRARY)
        except ModuleNotFoundError:
            # Without pip's own environment, by scripts/setup.sh, which has tried before and has told it.
            if version != "editable":
                raise
            return
        build_data["artifacts"].append(str(LIBRARY.relative_to(self.root)))
        build_data["pure_python"] = False
        build_data["tag"] = WHEEL_TAG
