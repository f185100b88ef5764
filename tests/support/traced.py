"""Whether each number of a manifest is what its comment says: a key of summary.json, an option, or a formula."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

# A number that stands as it is in a template depends on nothing: its comment says why it is that.
_CONSTANTS = frozenset(
    line.strip()
    for template in (files("hcopt.deploy.kubernetes") / "templates").iterdir()
    for line in template.read_text(encoding="utf-8").splitlines()
)
_NUMBER = re.compile(
    r"(?:- )?(?:--)?[\w.-]+[:=] ?\"?(?P<value>[0-9]+(?:\.[0-9]+)?)(?P<unit>Mi|s|m)?\"?(?P<rest>  # .*)?"
)
_FACT = re.compile(r"# (?P<name>\w+) = (?P<value>[0-9.e+-]+)[^:]*: (?P<source>.+)")
_KEY = re.compile(r"(?:models\[0\]|environment|elapsed_phases_s)(?:\.\w+)+")
# A load of a whole number of targets may be a hair more once both have been computed.
_FUNCTIONS = {"max": max, "ceil": lambda number: math.ceil(number - 1e-9), "floor": math.floor, "ln": math.log}


@dataclass
class Trace:
    """Follows the comments of a file.

    Attributes:
        summary: The run's summary.json.
        options: Numbers that the command was given, or has by default, by option.
        traced: Every number with its source, constants left out.
        facts: What the file's first lines define.
    """

    summary: Mapping[str, Any]
    options: Mapping[str, float]
    traced: dict[str, float] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)

    def check(self, text: str) -> None:
        """Raises an AssertionError where a number has no comment, or is not what that says."""
        for line in text.splitlines():
            if fact := _FACT.fullmatch(line):
                self._same(line, float(fact["value"]), fact["source"])
                self.facts[fact["name"]] = self._value(fact["source"])
        for line in outside_of_blocks(text):
            found = _NUMBER.fullmatch(line.strip())
            if found is None:
                continue
            assert found["rest"], f"{line.strip()} does not say where it comes from"
            if line.strip() not in _CONSTANTS:
                source = found["rest"].removeprefix("  # ")
                self._same(line, float(found["value"]), source)
                self.traced[line.strip()] = float(found["value"])

    def _same(self, line: str, value: float, source: str) -> None:
        # Figures that were computed show six digits; what summary.json has is shown whole.
        tolerance = 0.0 if source.startswith(("summary.json: ", "--")) else 1e-5
        assert math.isclose(self._value(source), value, rel_tol=tolerance), line

    def _value(self, source: str) -> float:
        formula = source.partition(";")[0].removeprefix("summary.json: ")
        if formula.startswith("--"):
            return float(self.options[formula])
        with_values = _KEY.sub(lambda key: repr(lookup(self.summary, key[0])), formula).replace("·", "*")
        return float(eval(with_values, {"__builtins__": {}}, {**_FUNCTIONS, **self.facts}))


def lookup(summary: Mapping[str, Any], key: str) -> float:
    """A number of summary.json by its path, such as `models[0].capacity.seed`."""
    value: Any = summary
    for part in key.split("."):
        name, bracket, _ = part.partition("[0]")
        value = value[name][0] if bracket else value[name]
    return float(value)


def outside_of_blocks(text: str) -> Iterator[str]:
    """Lines of a YAML file that are no part of a block scalar, and no comments."""
    block: int | None = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if block is not None and (not line.strip() or indent > block):
            continue
        block = indent if line.rstrip().endswith("|") else None
        if line.strip() and not line.lstrip().startswith("#"):
            yield line
