"""The open-loop check on a running server: which rate of random arrivals one variant sustains within the p99 limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from hcopt.analysis.rate_search import FoundRate, Limits, Search
from hcopt.measure.open_loop import OpenLoop
from hcopt.measure.window import Bench
from hcopt.records.measurement import Measurement
from hcopt.records.note import Note
from hcopt.records.verdict import Capacity


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityCheck:
    """Finds the rate that one variant sustains.

    Attributes:
        bench: The server; its limit on the latency does not count here.
        open_loop: Measures the windows.
        limits: Time and error rate.
        clock: Seconds that only grow.
    """

    bench: Bench
    open_loop: OpenLoop
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], float] = time.monotonic

    def run(self, closed_loop_infer_per_s: float) -> FoundRate:
        """Serves the variant and searches from its confirmed closed-loop throughput; every window is recorded.

        Raises:
            RuntimeStartError: The variant cannot be loaded, or the server died and cannot be brought back.
            OSError: A schedule or samples cannot be written.
        """
        self.bench.progress.phase("open_loop")
        self.bench.served.reload(self.open_loop.variant)
        return Search(self._measure, self.clock, self.limits).run(closed_loop_infer_per_s)

    def capacity(self, found: FoundRate) -> Capacity | None:
        """What is to be published; None where no window was valid."""
        if not found.points:
            return None
        return Capacity(
            config_name=self.open_loop.variant.config_name,
            sustainable_rate_infer_per_s=found.sustainable_rate_infer_per_s,
            latency_p99_limit_ms=self.open_loop.latency_p99_limit_ms,
            client_batch_size=self.open_loop.client_batch_size,
            seed=self.open_loop.seed,
            points=found.points,
        )

    def _measure(self, rate_infer_per_s: float, window_index: int) -> Measurement:
        variant = self.open_loop.variant
        return self.bench.measure_by(
            lambda: self.open_loop.measure(rate_infer_per_s, window_index),
            self.open_loop.window(rate_infer_per_s, window_index),
            said=f"{variant.config_name}, {rate_infer_per_s:,.0f} infer/s, window {window_index + 1}",
            revived=lambda: self.bench.served.reload(variant),
        )


def capacity_notes(found: FoundRate) -> Iterator[Note]:
    """What the user has to know about a search that could not promise a rate, or met the load generator's own end."""
    if found.sustainable_rate_infer_per_s.ci_low is None:
        yield Note.of("no_rate_in_time" if found.out_of_time else "no_rate_within_limit", windows=found.window_count)
    if found.unmeasured:
        rate, reason = found.unmeasured[0]
        yield Note.of("rates_invalid", rate=rate, reason=reason)


def capacity_failed(reason: str) -> Note:
    """The server died meanwhile."""
    return Note.of("capacity_failed", reason=reason)
