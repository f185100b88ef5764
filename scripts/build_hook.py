"""hatchling's hook: compiles hcopt's Triton backend for the wheel, and for an editable installation."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))
from build_backend import LIBRARY, WHEEL_TAG, build, zig


class BackendHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the library where the package has it, and says which machines the wheel is for."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files."""
        # scripts/setup.sh has built it already, or has said that it could not.
        if version == "editable" and find_spec("ziglang") is None:
            return
        build(LIBRARY, zig())
        build_data["artifacts"].append(str(LIBRARY.relative_to(self.root)))
        build_data["pure_python"] = False
        build_data["tag"] = WHEEL_TAG
