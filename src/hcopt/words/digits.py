"""How many digits a rate has, wherever it is shown."""

from __future__ import annotations

import math


def throughput(value: float) -> str:
    """`value` in infer/s; digits beyond the third decimal place of a small figure are noise, but for slow models."""
    if 0 < abs(value) < 0.1:
        return f"{value:.2g}"
    return f"{value:,.{0 if value >= 1000 else 1 if value >= 100 else 2}f}"


def whole_throughput(value: float) -> str:
    """The same where digits after the point say nothing: only those of a slow model's rate do."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def rounded_down(value: float) -> str:
    """A rate that must not be more than it is, with two digits after the point for a slow model."""
    return f"{math.floor(value):,}" if value >= 10 else f"{math.floor(100 * value) / 100:g}"
