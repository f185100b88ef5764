"""Figures become text: units, signs, digits. The same in every language but for how a range is written."""

from __future__ import annotations

from hcopt.records.verdict import Estimate
from hcopt.words import Text

_MINUS = "−"


def throughput(value: float) -> str:
    """`value` in infer/s; digits beyond the third decimal place of a small figure are noise."""
    return f"{value:,.{0 if value >= 1000 else 1 if value >= 100 else 2}f}"


def latency(value: float) -> str:
    """`value` in ms."""
    return f"{value:,.{3 if value < 1 else 2 if value < 100 else 1}f}"


def cost(value: float) -> str:
    """A sum of money in whatever currency, with three digits, or all those before its point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def limit(value: float) -> str:
    """A limit in ms, as exactly as the user gave it; figure and unit stay on one line."""
    return f"{value:.12g}\u00a0ms"


def share(ratio: float) -> str:
    """A share of 0-1 as a percentage, with what it takes to tell it from a limit of 1 %."""
    percent = 100 * ratio
    if 0 < percent < 0.005:
        return "<0.01%"
    return f"{percent:.0f}%" if percent >= 10 else f"{percent:.2f}".rstrip("0").rstrip(".") + "%"


def rough(ratio: float) -> str:
    """A ratio of 0-1 that is itself an estimate, as a percentage with two digits."""
    percent = 100 * ratio
    return f"{percent:.0f}%" if percent >= 10 else f"{percent:.2g}%"


def share_range(ratio: Estimate, text: Text) -> str | None:
    """The bounds of a share; None where there are none."""
    if ratio.ci_low is None or ratio.ci_high is None:
        return None
    return text["range"].format(low=share(ratio.ci_low), high=share(ratio.ci_high))


def difference(value_ms: float) -> str:
    """A difference of times in ms, with its sign."""
    digits = latency(abs(value_ms))
    if not digits.strip("0."):
        return f"{digits} ms"
    return f"{'+' if value_ms > 0 else _MINUS}{digits}\u00a0ms"


def difference_range(value_ms: Estimate, text: Text) -> str | None:
    """The bounds of a difference of times; None where there are none."""
    if value_ms.ci_low is None or value_ms.ci_high is None:
        return None
    return text["range"].format(low=difference(value_ms.ci_low), high=difference(value_ms.ci_high))


def change(ratio: float) -> str:
    """A ratio as a signed percentage: 1.3 is +30%."""
    return _signed_percent((ratio - 1) * 100, _decimals(ratio))


def excess(ratio: float) -> str:
    """How far a ratio lies over 1, as a percentage without a sign."""
    return change(ratio).lstrip("+")


def shortfall(ratio: float) -> str:
    """How far a ratio lies under 1, as a percentage without a sign."""
    return change(ratio).lstrip(_MINUS)


def change_range(ratio: Estimate, text: Text) -> str | None:
    """A ratio's interval as signed percentages, with as many digits as `change` gives its estimate."""
    if ratio.ci_low is None or ratio.ci_high is None:
        return None
    low, high = (
        _signed_percent((bound - 1) * 100, _decimals(ratio.estimate)) for bound in (ratio.ci_low, ratio.ci_high)
    )
    return text["range"].format(low=low, high=high)


def p_value(value: float) -> str:
    """A p-value with two digits."""
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


def _decimals(ratio: float) -> int:
    return 1 if abs(ratio - 1) < 0.0995 else 0


def _signed_percent(percent: float, decimals: int) -> str:
    digits = f"{abs(percent):,.{decimals}f}"
    if not digits.strip("0."):
        return f"{digits}%"
    return f"{'+' if percent > 0 else _MINUS}{digits}%"
