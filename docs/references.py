"""The tables of the reference pages, made from the program: command line, configuration, summary.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

# Bounds that only say what a 32-bit or 64-bit integer holds tell a reader nothing.
_BOUNDS_OF_INTEGERS = {2**31 - 1, 2**63 - 1, -(2**63)}


def command_line() -> str:
    """Every command with its arguments and options, those that a missing library hides included."""
    return "\n".join(line for name, command in _commands() for line in _command(name, command))


def _commands() -> Iterator[tuple[str, Any]]:
    import typer

    from hcopt.cli.app import app

    yield from typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    usage = [one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments]
    needed = [f"{one.opts[0]} {_value(one)}" for one in options if one.required]
    yield from (f"## hcopt {name}", "", "```text", " ".join(["hcopt", name, *usage, *needed, "[OPTIONS]"]), "```", "")
    yield from (" ".join(part.split()) + "\n" for part in command.help.split("\n\n"))
    for one in arguments:
        yield from _definition(f"`{one.name.upper()}`", one.help)
    for one in options:
        names = ", ".join(f"`{option}`" for option in (*one.opts, *one.secondary_opts))
        value = "" if one.is_flag else f" {_value(one)}"
        yield from _definition(f"{names}{value}", f"{one.help or ''} {_marks(one)}")


def _marks(option: Any) -> str:
    """What holds for an option beside its words."""
    default = None if option.is_flag else option.default
    if option.is_flag and option.secondary_opts:
        default = option.opts[0] if option.default else option.secondary_opts[0]
    said = "Required." if option.required else f"Default: `{default}`." if default not in (None, [], ()) else ""
    return f"{said} May be given several times." if option.multiple and "several" not in option.help else said


def _value(option: Any) -> str:
    kind = option.type_descriptor.annotation
    return {int: "INTEGER", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")


def configuration() -> str:
    """Every key of config.yaml: what its comment says, its type and default."""
    return "\n".join(_sections(_schema("config")))


def _schema(name: str) -> dict[str, Any]:
    text = resources.files("hcopt").joinpath(f"schemas/{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _sections(schema: dict[str, Any]) -> Iterator[str]:
    for name, found in schema["properties"].items():
        section = _resolved(found, schema)
        yield from (f"## {name}", "")
        if "properties" in section:
            yield from (section["description"], "")
        yield from _keys(name, found, schema)


def _keys(path: str, value: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    resolved = _resolved(value, schema)
    said = resolved["description"]
    if "properties" in resolved:
        inner = resolved["properties"]
        # Keys of a section that stand on one line say what it says.
        if "." in path and all(_resolved(one, schema)["description"] != said for one in inner.values()):
            yield from _definition(f"`{path}`", said)
        for key, one in inner.items():
            yield from _keys(f"{path}.{key}", one, schema)
        return
    kind, default = _type(value, schema), _yaml(_default_of(value))
    yield from _definition(f"`{path}`", f"{said.removesuffix('.')}. *{kind}; default* `{default}`")


def _default_of(value: dict[str, Any]) -> Any:
    # A default that is made anew each time (of a list or mapping) is empty, and not in the schema.
    return value["default"] if "default" in value else {} if value.get("type") == "object" else None


def _resolved(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in value:
        resolved: dict[str, Any] = schema["$defs"][value["$ref"].rpartition("/")[2]]
        return resolved
    return value


def _type(value: dict[str, Any], schema: dict[str, Any]) -> str:
    value = _resolved(value, schema)
    if "anyOf" in value:
        return " or ".join(_type(one, schema) for one in value["anyOf"])
    if "enum" in value or "const" in value:
        return ", ".join("null" if one is None else f"`{one}`" for one in value.get("enum", [value.get("const")]))
    kind = value.get("type")
    if isinstance(kind, list):
        return " or ".join(_type({**value, "type": one}, schema) for one in kind)
    if kind == "array":
        return f"list of: {_type(value['items'], schema)}" if value.get("items") else "list"
    if kind == "object":
        inner = value.get("additionalProperties")
        return f"mapping to: {_type(inner, schema)}" if isinstance(inner, dict) else "keys with values"
    names = {"string": "text", "boolean": "true or false", "null": "null"}
    return names.get(str(kind), "") or f"{kind}{_bounds(value)}"


def _bounds(value: dict[str, Any]) -> str:
    low, high = value.get("minimum"), value.get("maximum")
    low, high = (None if one in _BOUNDS_OF_INTEGERS else one for one in (low, high))
    said = []
    if low is not None and high is not None:
        said.append(f"{low:,} to {high:,}")
    elif low is not None:
        said.append(f"{low:,} or more")
    if "exclusiveMinimum" in value:
        said.append(f"above {value['exclusiveMinimum']:g}")
    if "exclusiveMaximum" in value:
        said.append(f"below {value['exclusiveMaximum']:g}")
    return f", {' and '.join(said)}" if said else ""


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("\n").removesuffix("\n...")


def summary_schema() -> str:
    """Every key of summary.json, a table for each object."""
    schema = _schema("summary")
    return "\n".join(_object("summary.json", schema, schema))


def _object(title: str, value: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    inner: list[tuple[str, dict[str, Any]]] = []
    yield from (f"### {title}", "")
    if value.get("description"):
        yield from (value["description"], "")
    yield from ("| key | value | meaning |", "| --- | --- | --- |")
    for key, found in value["properties"].items():
        for path, leaf in _leaves(key, found):
            yield _row(f"`{path}`", _shown_type(leaf, schema), leaf.get("description", ""))
    yield ""
    inner = list(schema["$defs"].items()) if value is schema else []
    for name, definition in inner:
        if "properties" in definition:
            yield from _object(name, definition, schema)


def _leaves(path: str, value: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A key, and those of objects that are written out at their place."""
    yield path, value
    options = [value, *value.get("anyOf", ()), value.get("items", {})]
    for one in options:
        suffix = "[]" if one is value.get("items") else ""
        for key, inner in one.get("properties", {}).items():
            yield from _leaves(f"{path}{suffix}.{key}", inner)


def _shown_type(value: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name})" if "properties" in _resolved(value, schema) else _type(value, schema)
    if "anyOf" in value:
        return " or ".join(_shown_type(one, schema) for one in value["anyOf"])
    if value.get("type") == "array" and value.get("items"):
        return f"list of: {_shown_type(value['items'], schema)}"
    return _type(value, schema)


def _definition(term: str, text: str) -> Iterator[str]:
    yield from (term, f":   {' '.join(text.replace('<', '&lt;').split())}", "")


def _row(*cells: str) -> str:
    """A row of a table; its last cell is plain text."""
    *others, last = (" ".join(cell.replace("|", "&#124;").split()) for cell in cells)
    return f"| {' | '.join((*others, last.replace('<', '&lt;')))} |"
