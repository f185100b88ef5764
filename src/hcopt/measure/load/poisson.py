"""Seeded Poisson arrivals, and the file of them that perf_analyzer's `--request-intervals` takes.

The file holds whole µs between successive requests, one a line, and perf_analyzer goes round in it (its docs/cli.md and
CustomLoadManager). Before the first arrival there is silence, because perf_analyzer empties its record after it has
started its workers. Behind the last one there is silence too, in which what is under way can be answered, and then a
trickle: a thread that sleeps cannot be ended, and an overloaded server makes perf_analyzer late, which without it would
send the whole load again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# perf_analyzer's threads take the requests in turn. Its default of 16 wakes more of them than two cores can serve.
THREADS = 4
LEAD_S = 0.2
# perf_analyzer's own waiting is a few ms longer than what it is asked for.
_SLACK_S = 0.05
_TRICKLE_EVERY_S = 0.25
_TRICKLE_S = 30.0
_US = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """When the requests of one window are meant to be sent.

    Attributes:
        intended_ns: Intended send times, in ns from the start of perf_analyzer's workers; whole µs; shape (n,).
        warm_up_ns: Requests meant for earlier count as warm-up.
        load_end_ns: The end of the load.
        drain_end_ns: Until then answers are awaited.
    """

    intended_ns: NDArray[np.int64]
    warm_up_ns: int
    load_end_ns: int
    drain_end_ns: int

    @property
    def watched_s(self) -> float:
        """How long perf_analyzer has to look."""
        return self.drain_end_ns / 1e9

    @property
    def trickle_ns(self) -> int:
        """When the trickle begins."""
        return self.drain_end_ns + round(_SLACK_S * 1e9)

    def intervals_us(self) -> NDArray[np.int64]:
        """What the file says: the arrivals, then the trickle of one request for each thread at a time."""
        import numpy as np

        ticks = self.trickle_ns // 1000 + np.arange(0, _TRICKLE_S * _US, _TRICKLE_EVERY_S * _US).astype(np.int64)
        return np.diff(np.concatenate([self.intended_ns // 1000, np.repeat(ticks, THREADS)]), prepend=0)

    def text(self) -> str:
        """The file."""
        return "".join(f"{interval}\n" for interval in self.intervals_us().tolist())


def poisson_schedule(
    rate_per_s: float, *, load_s: float, warm_up_ratio: float, drain_s: float, seed: int, index: int
) -> Schedule:
    """Arrivals at independent, exponentially distributed intervals.

    Args:
        rate_per_s: Mean requests a second.
        load_s: How long the load lasts.
        warm_up_ratio: This share of it, at its start, is warm-up.
        drain_s: How long answers are awaited after it.
        seed: The run's.
        index: The window's number at this rate; each has its own arrivals, by seed, rate and index.

    Raises:
        ValueError: There is no load.
    """
    import numpy as np

    if not (rate_per_s > 0 and load_s > 0 and math.isfinite(rate_per_s * load_s)):
        raise ValueError(f"not a load: {rate_per_s} requests a second for {load_s} s")
    random = np.random.default_rng([seed, round(rate_per_s * 1000), index])
    # Given how many there are, the arrivals of a Poisson process are independent and uniform (Ross, Introduction to
    # Probability Models, section 5.3.5).
    count = max(1, int(random.poisson(rate_per_s * load_s)))
    arrivals_us = np.sort(random.integers(0, max(1, round(load_s * _US)), size=count))
    lead_us = round(LEAD_S * _US)
    load_end_us = lead_us + round(load_s * _US)
    return Schedule(
        intended_ns=(lead_us + arrivals_us) * 1000,
        warm_up_ns=(lead_us + round(load_s * warm_up_ratio * _US)) * 1000,
        load_end_ns=load_end_us * 1000,
        drain_end_ns=(load_end_us + round(drain_s * _US)) * 1000,
    )
