"""JSON as its standard has it: Python's own reader takes NaN, Infinity and 1e999 for numbers too.

pydantic_core.from_json takes 1e999 for a number as well, and refuses the lone surrogates that stand for the bytes of a
file name that is no text.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def loads(text: str | bytes) -> Any:
    """Parses a text.

    Raises:
        ValueError: It is no JSON, holds a number that is none, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is no number")


def _finite(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise ValueError(f"{literal[:40]} is no finite number")
    return value
