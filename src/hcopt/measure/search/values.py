"""What a search is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant

# How far windows of one point vary where nobody knows better.
NOISE = 0.08
# Variant, load, length of the window in s, number of the block: windows of a block lie close together in time.
Measure = Callable[[ModelConfigVariant, LoadPoint, float, int], Measurement]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """How a search goes about it.

    Attributes:
        latency_p99_limit_ms: What a point has to keep; None where there is no limit.
        window_s: Length of a window.
        budget_s: When to stop by the clock; None: no such limit.
        seed: Of everything that is drawn.
        alpha: Probability of dropping the best variant, over all looks together.
        indifference_ratio: The search ends when what is still to be gained is expected to be below a tenth of this.
        noise_ratio: How far windows of one point vary, where an A/A measurement has told; it only starts the fit.
    """

    latency_p99_limit_ms: float | None
    window_s: float = 0.5
    budget_s: float | None = None
    seed: int = 0
    alpha: float = 0.01
    indifference_ratio: float = 0.02
    noise_ratio: float = NOISE
