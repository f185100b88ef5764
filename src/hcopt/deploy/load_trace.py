"""Reads a load over time from a CSV file."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hcopt.errors import ConfigError

COLUMNS = ("t_s", "infer_per_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTrace:
    """Points in time and the load there; straight lines between them.

    Attributes:
        times_s: Ascending, the first is the beginning.
        rates_infer_per_s: As many.
    """

    times_s: tuple[float, ...]
    rates_infer_per_s: tuple[float, ...]

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.times_s, self.times_s[1:], strict=False))
        if len(self.times_s) < 2 or len(self.times_s) != len(self.rates_infer_per_s) or not ascending:
            raise ValueError("a trace has at least two points, in ascending order of time")
        if not all(math.isfinite(rate) and rate >= 0 for rate in self.rates_infer_per_s):
            raise ValueError("rates are finite and not negative")

    @property
    def duration_s(self) -> float:
        """From the first point to the last."""
        return self.times_s[-1] - self.times_s[0]

    def rate_at(self, seconds: float) -> float:
        """The load so long after the beginning."""
        return float(np.interp(self.times_s[0] + seconds, self.times_s, self.rates_infer_per_s))


def read_trace(path: Path) -> LoadTrace:
    """Reads a CSV file with the columns t_s (seconds, ascending) and infer_per_s.

    Raises:
        ConfigError: It cannot be read, or is no such file; names the line.
    """
    remedy = f"A CSV file with a first line `{','.join(COLUMNS)}` and at least two lines of numbers, times ascending."
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not set(COLUMNS) <= set(reader.fieldnames or ()):
                raise ConfigError(f"{path} has no columns {' and '.join(COLUMNS)}", remedy=remedy)
            points = [_point(row, f"{path}, line {reader.line_num}", remedy) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"cannot read the trace {path}: {error}", remedy=remedy) from error
    try:
        return LoadTrace(times_s=tuple(t for t, _ in points), rates_infer_per_s=tuple(r for _, r in points))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}", remedy=remedy) from error


def _point(row: dict[str, str | None], place: str, remedy: str) -> tuple[float, float]:
    try:
        time, rate = (float(row[column] or "") for column in COLUMNS)
    except ValueError as error:
        raise ConfigError(f"{place}: {error}", remedy=remedy) from error
    if not (math.isfinite(time) and math.isfinite(rate) and rate >= 0):
        raise ConfigError(f"{place}: a time or a load that is no number", remedy=remedy)
    return time, rate
