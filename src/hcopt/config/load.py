"""Reads config.yaml, `--set` and the environment into one Config; a ConfigError names key, value and remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import SecretStr, ValidationError

from hcopt.config.dotenv import ENV_FILE, beside, read_dotenv
from hcopt.config.sections import Config, KeyPath
from hcopt.errors import ConfigError
from hcopt.records.json import JsonObject
from hcopt.system.environ import environment_variables
from hcopt.system.redaction import without_credentials

DEFAULT_CONFIG_FILE = Path("config.yaml")
_SEE_CONFIG = "config.yaml in the repository comments every key with its unit and range."
# What PyYAML raises for a text: its own error, whatever the value's constructor stumbles over (2024-13-45 is a date to
# it, `!!int ""` a number), or no end of recursion where an alias stands inside of what it names.
NOT_YAML = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)
# Far more than there are keys; a few lines of aliases of aliases would be millions.
_MAX_BYTES = 1 << 18
_MAX_KEYS = 20_000
_NO_TEXT = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "null", "timestamp"))
_FAULTS = {
    "extra_forbidden": "unknown key",
    "tuple_type": "expected a list, such as [1, 2]",
    "model_type": "expected keys with values",
    "dict_type": "expected keys with values",
}


def load_config(
    path: Path | None = None,
    *,
    options: Mapping[str, object] = MappingProxyType({}),
    overrides: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    recorded: JsonObject | None = None,
) -> Config:
    """Reads a configuration.

    Args:
        path: The file; None takes ./config.yaml where there is one, else the defaults.
        options: Values by `section.key`; they win over the file.
        overrides: `section.key=value` each, the value in YAML; they win over all.
        environment: Fills what the file leaves null. Defaults to the process's own, and then to what ./.env says.
        recorded: What a run has kept of its own configuration, in place of any file.

    Raises:
        ConfigError: No such file, not YAML, an unknown key, a wrong type or range; names the key and the line.
    """
    dotenv = read_dotenv(ENV_FILE) if environment is None else {}
    real = environment_variables() if environment is None else environment
    dotenv = beside(dotenv, real)
    if recorded is None:
        source, text = _read(path)
        data, lines = _parse(text, source)
    else:
        source, data, lines = "the run's configuration", deepcopy(recorded), {}
    given = [(tuple(key.split(".")), value) for key, value in options.items()]
    for path_set, value in (*given, *map(_parsed, overrides)):
        _put(data, path_set, value)
        lines = {known: line for known, line in lines.items() if known[: len(path_set)] != path_set}
        lines |= {path_set[:length]: None for length in range(1, len(path_set) + 1) if path_set[:length] not in lines}
    _fill_from_environment(data, {**dotenv, **{name: value for name, value in real.items() if value}})
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise _explained(error, lines, source) from error
    config._dotenv = {name: SecretStr(value) for name, value in dotenv.items()}
    return config


def _read(path: Path | None) -> tuple[str, str]:
    if path is None and not DEFAULT_CONFIG_FILE.exists():
        return "the defaults", ""
    file = path or DEFAULT_CONFIG_FILE
    try:
        with file.open("rb") as content:
            text = content.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise ConfigError(f"{file} has more than {_MAX_BYTES} bytes: that is no configuration", remedy=_SEE_CONFIG)
        return str(file), text.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {file}: {error}", remedy="Give --config FILE.") from error


def _parse(text: str, source: str) -> tuple[JsonObject, dict[KeyPath, int | None]]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[KeyPath, int | None] = dict(islice(key_lines(root, source), _MAX_KEYS)) if root is not None else {}
        if len(lines) == _MAX_KEYS:
            raise ConfigError(
                f"{source} has {_MAX_KEYS} keys and values or more: do its aliases (*name) stand for each other?",
                remedy=_SEE_CONFIG,
            )
        data = yaml.safe_load(text)
    except NOT_YAML as error:
        raise ConfigError(f"{source} is not YAML: {error}", remedy=_SEE_CONFIG) from error
    if data is None:
        return {}, lines
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: expected keys at the top level, found {type(data).__name__}")
    return data, lines


def key_lines(node: yaml.Node, source: str, path: KeyPath = ()) -> Iterator[tuple[KeyPath, int]]:
    """Every key's path with its line, from 1.

    Raises:
        ConfigError: A key stands twice in a section, or is no text.
    """
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise ConfigError(f"{source}, line {line}: the key {name} stands twice")
            if key.tag in _NO_TEXT:
                raise ConfigError(f"{source}, line {line}: the key {name} is no text to YAML: put it in quotes")
            seen.add(name)
            yield (*path, name), line
            yield from key_lines(value, source, (*path, name))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from key_lines(item, source, (*path, index))


def _parsed(override: str) -> tuple[tuple[str, ...], object]:
    """The key's path and the value of one `section.key=value`."""
    keys, equals, text = override.partition("=")
    path = tuple(keys.strip().split("."))
    if not equals or not all(path):
        raise ConfigError(f"--set {override}: expected section.key=value, e.g. --set sweep.concurrency=[8,16]")
    try:
        return path, yaml.safe_load(text)
    except NOT_YAML as error:
        raise ConfigError(f"--set {override}: the value is not YAML: {error}") from error


def _put(data: JsonObject, path: tuple[str, ...], value: object) -> None:
    """Puts one value into the parsed file, in place."""
    *sections, last = path
    target: Any = data
    for section in sections:
        if target.get(section) is None:
            target[section] = {}
        target = target[section]
        if not isinstance(target, dict):
            raise ConfigError(f"--set {'.'.join(path)}: {section} is not a section")
    target[last] = value


def _fill_from_environment(data: JsonObject, environment: Mapping[str, str]) -> None:
    """Lets the field's own environment variables stand in for what the file leaves null."""
    for section, key, variable in (
        ("mlflow", "tracking_uri", "MLFLOW_TRACKING_URI"),
        ("mlflow", "ca_bundle", "MLFLOW_TRACKING_SERVER_CERT_PATH"),
        ("s3", "endpoint_url", "MLFLOW_S3_ENDPOINT_URL"),
        ("s3", "endpoint_url", "AWS_ENDPOINT_URL_S3"),
        ("s3", "endpoint_url", "AWS_ENDPOINT_URL"),
        ("s3", "region", "AWS_REGION"),
        ("s3", "region", "AWS_DEFAULT_REGION"),
        ("s3", "ca_bundle", "AWS_CA_BUNDLE"),
    ):
        values, value = data.setdefault(section, {}), environment.get(variable)
        # What a run has kept of its address is without the login that stands in the environment's.
        if isinstance(values, dict) and value and values.get(key) in (None, without_credentials(value)):
            values[key] = value


def _explained(error: ValidationError, lines: Mapping[KeyPath, int | None], source: str) -> ConfigError:
    """The first faults, each with its key and the line it stands on."""
    faults = [_fault(item["loc"], item["type"], item["msg"], lines, source) for item in error.errors()[:5]]
    return ConfigError("\n".join(faults), remedy=_SEE_CONFIG)


def _fault(loc: KeyPath, kind: str, message: str, lines: Mapping[KeyPath, int | None], source: str) -> str:
    known = next((loc[:length] for length in range(len(loc), 0, -1) if loc[:length] in lines), None)
    line = lines[known] if known is not None else None
    place = f"{source}, line {line}" if line is not None else "--set" if known is not None else source
    said = _FAULTS.get(kind) or message[:1].lower() + message[1:]
    return f"{place}: {'.'.join(str(part) for part in loc)}: {said}"
