"""Writes the JSON Schema of config.yaml: types, ranges and defaults from `Config`, the words from the file's comments.

It is kept in the repository and the wheel because editors read it there, and docs/references.py; a test compares them.
"""

from __future__ import annotations

import json
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema

from hcopt.config.load import key_lines
from hcopt.config.sections import Config, KeyPath

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "config.yaml"
TARGET = REPOSITORY / "src" / "hcopt" / "schemas" / "config.schema.json"


def comments(text: str) -> dict[KeyPath, str]:
    """What a configuration says of each key: the comment above the key's line, or the one on it.

    Several keys on one line have its comment in common.
    """
    lines = text.splitlines()
    keys = key_lines(yaml.compose(text), SOURCE.name)
    return {path: said for path, line in keys if (said := _comment(lines[: line - 1], lines[line - 1]))}


def _comment(before: list[str], line: str) -> str:
    above = takewhile(lambda one: one.lstrip().startswith("#"), reversed(before))
    said = [one.strip(" #") for one in above if not one.startswith("#   ")]  # an example begins so
    return " ".join(reversed(said)) or line.partition(" # ")[2].strip()


def schema(said: dict[KeyPath, str]) -> dict[str, Any]:
    """The schema of a configuration, with what is said of each key.

    Raises:
        ValueError: Nothing is said of a key.
    """
    made = Config.model_json_schema()
    _describe(made, made, said, ())
    # An entry of `models` has keys of the whole file.
    _describe(made["$defs"]["ModelEntry"], made, said, ())
    return GenerateJsonSchema().sort(made)


def _describe(section: dict[str, Any], whole: dict[str, Any], said: dict[KeyPath, str], path: KeyPath) -> None:
    """Puts its words to each key of a section, in place and in their order; those of a section to its definition."""
    order = list(said)
    section["properties"] = dict(sorted(section["properties"].items(), key=lambda one: order.index((*path, one[0]))))
    for key, found in section["properties"].items():
        value = whole["$defs"][found["$ref"].rpartition("/")[2]] if "$ref" in found else found
        value["description"] = said[(*path, key)]
        if "properties" in value:
            _describe(value, whole, said, (*path, key))


def text() -> str:
    """The file, as it has to be."""
    made = schema(comments(SOURCE.read_text(encoding="utf-8")))
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"wrote {TARGET}")
