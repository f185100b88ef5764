"""A model of unknown speed: longer and longer windows until one is long enough to show how fast it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hcopt.measure.load.perf_analyzer import Window
from hcopt.records.measurement import Measurement

# A first window without figures is followed by windows that last as long as this.
LONGER_S = (5.0, 25.0)
# A rate at which the driver does not make a window longer than it is asked for.
UNKNOWN_RATE_INFER_PER_S = 20_000.0


def first_with_figures(
    windows: Iterable[Window], measure: Callable[[Window], Measurement], *, refusal_ends: bool = False
) -> tuple[Window, Measurement]:
    """The first window with figures, and those; where none has any, the last one with its reason.

    Args:
        windows: At least one, each longer than the one before. The next is only taken once one had no figures.
        measure: Measures one of them.
        refusal_ends: Whether a window that failed on the variant's own account is the last: where that it answers with
            errors is a result, longer windows show nothing more.
    """
    for window in windows:
        measured = measure(window)
        if measured.error is None or (refusal_ends and measured.failed_by_variant):
            break
    return window, measured
