"""The example files for CI and the cluster, and the hcopt commands in them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "examples" / "ci"


def documents(name: str) -> list[dict[str, Any]]:
    """All documents of a YAML file."""
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def commands(name: str) -> list[list[str]]:
    """Every command of a file, as its words."""
    return [shlex.split(line) for document in documents(name) for line in _lines(document)]


def hcopt_arguments(name: str) -> list[list[str]]:
    """What the file's hcopt commands are given, shell operators left out."""
    found = [words for words in commands(name) if words[0] == "hcopt"]
    return [words[1 : words.index("||")] if "||" in words else words[1:] for words in found]


def _lines(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for one in part:
            yield from _lines(one)
    if not isinstance(part, dict):
        return
    if isinstance(part.get("run"), str):
        yield from part["run"].splitlines()
    for key in ("script", "before_script"):
        for entry in part.get(key, ()):
            yield from entry.splitlines()
    if isinstance(part.get("command"), list):
        yield shlex.join([*part["command"], *part.get("args", ())])
    for value in part.values():
        yield from _lines(value)
