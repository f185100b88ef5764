"""Figures as text: units, signs, digits, intervals. The same in every language but for how a range is written."""

from __future__ import annotations

from collections.abc import Callable

from hcopt.records.verdict import Estimate
from hcopt.words import Text
from hcopt.words.digits import throughput, whole_throughput

__all__ = ["throughput", "whole_throughput"]

Digits = Callable[[float], str]

_MINUS = "−"


def latency(value: float) -> str:
    """`value` in ms."""
    return f"{value:,.{3 if value < 1 else 2 if value < 100 else 1}f}"


def rate(infer_per_s: float) -> str:
    """A throughput with its unit."""
    return f"{throughput(infer_per_s)} infer/s"


def milliseconds(value_ms: float) -> str:
    """A latency with its unit."""
    return f"{latency(value_ms)} ms"


def whole(value: float) -> str:
    """A figure without digits behind the point, as those of memory in MB are."""
    return f"{value:,.0f}"


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


def percent(ratio: float) -> str:
    """A share of 0-1 with as many digits as the others of its row."""
    return f"{ratio:.2%}"


def rough(ratio: float) -> str:
    """A ratio of 0-1 that is itself an estimate, as a percentage with two digits."""
    percent = 100 * ratio
    return f"{percent:.0f}%" if percent >= 10 else f"{percent:.2g}%"


def times(ratio: float) -> str:
    """A ratio as a factor."""
    return f"{ratio:.3f}"


def difference(value_ms: float) -> str:
    """A difference of times in ms, with its sign."""
    digits = latency(abs(value_ms))
    if not digits.strip("0."):
        return f"{digits} ms"
    return f"{'+' if value_ms > 0 else _MINUS}{digits}\u00a0ms"


def change(ratio: float) -> str:
    """A ratio as a signed percentage: 1.3 is +30%."""
    return _signed_percent((ratio - 1) * 100, _decimals(ratio))


def excess(ratio: float) -> str:
    """How far a ratio lies over 1, as a percentage without a sign."""
    return change(ratio).lstrip("+")


def shortfall(ratio: float) -> str:
    """How far a ratio lies under 1, as a percentage without a sign."""
    return change(ratio).lstrip(_MINUS)


def p_value(value: float) -> str:
    """A p-value with two digits."""
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


def bounds(figure: Estimate, digits: Digits, text: Text) -> str | None:
    """An interval as text; None where there is none."""
    if figure.ci_low is None or figure.ci_high is None:
        return None
    return text["range"].format(low=digits(figure.ci_low), high=digits(figure.ci_high))


def change_bounds(ratio: Estimate, text: Text) -> str | None:
    """A ratio's interval as signed percentages, with as many digits as `change` gives its estimate."""
    decimals = _decimals(ratio.estimate)
    return bounds(ratio, lambda bound: _signed_percent((bound - 1) * 100, decimals), text)


def change_with_bounds(ratio: Estimate, text: Text) -> str:
    """A ratio as a change, with its interval where it has one."""
    return followed(change(ratio.estimate), change_bounds(ratio, text))


def followed(shown: str, interval: str | None) -> str:
    """A figure and its interval in brackets, where it has one."""
    return shown if interval is None else f"{shown} ({interval})"


def bracketed(figure: Estimate, digits: Digits) -> str:
    """A figure and its interval for plain text and tables; a bound that is not known is left open."""
    if figure.ci_low is None and figure.ci_high is None:
        return digits(figure.estimate)
    low, high = ("…" if bound is None else digits(bound) for bound in (figure.ci_low, figure.ci_high))
    return f"{digits(figure.estimate)} [{low}, {high}]"


def _decimals(ratio: float) -> int:
    return 1 if abs(ratio - 1) < 0.0995 else 0


def _signed_percent(percent: float, decimals: int) -> str:
    digits = f"{abs(percent):,.{decimals}f}"
    if not digits.strip("0."):
        return f"{digits}%"
    return f"{'+' if percent > 0 else _MINUS}{digits}%"
