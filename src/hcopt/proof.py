"""The confirmation on a running server: finalists measured in blocks, an infeasible winner replaced by the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from hcopt import confirmation
from hcopt.config import Config
from hcopt.confirmation import Finalists
from hcopt.errors import RuntimeStartError
from hcopt.profiler.base import with_reason
from hcopt.profiler.perf_analyzer import PerfAnalyzer, Window, failed
from hcopt.progress import Progress
from hcopt.ranking import find_default
from hcopt.schema import (
    Confirmation,
    ConfirmedVariant,
    LoadPoint,
    Measurement,
    ModelConfigVariant,
    Note,
    Ranking,
    SweepPlan,
)
from hcopt.serving import ServedModel
from hcopt.statistics import fewest_blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Confirms a ranking.

    Attributes:
        config: Its `confirmation`, limits and window length count.
        plan: What was swept.
        ranking: The sweep's order.
        served: Switches the server from variant to variant.
        perf_analyzer: Measures the windows.
        revive_server: See `Server.revive`.
        record: Takes each measurement.
        note: Takes what the user has to know about how it went.
        progress: Told what is under way.
        clock: Seconds that only grow.
    """

    config: Config
    plan: SweepPlan
    ranking: Ranking
    served: ServedModel
    perf_analyzer: PerfAnalyzer
    revive_server: Callable[[], str | None]
    record: Callable[[Measurement], None]
    note: Callable[[Note], None]
    progress: Progress
    clock: Callable[[], float] = time.monotonic

    def run(self) -> Confirmation:
        """Measures until a winner keeps the limit on fresh data too, or none is left.

        Raises:
            RuntimeStartError: The server died.
        """
        default, refuted = find_default(self.plan, self.ranking), list[Confirmation]()
        ends_at = self.clock() + 60 * self.config.confirmation.max_minutes
        for round_number in count():
            excluded = [found.best.variant.config_name for found in refuted if found.best is not None]
            finalists = confirmation.choose_finalists(self.ranking.feasible, default, excluded=excluded)
            if finalists is None:
                return self._nothing_feasible(refuted)
            found = self._confirm(finalists, round_number, max_s=ends_at - self.clock())
            if found.best is None or found.best.feasible:
                return found
            refuted.append(found)
            self.note(_replaced(found.best))
        raise AssertionError("count() does not end")

    def _nothing_feasible(self, refuted: Sequence[Confirmation]) -> Confirmation:
        """What the sweep found feasible, and fresh data did not, stands with its fresh figures."""
        fresh = {found.best.variant.config_name: found.best.latency_p99_ms.estimate for found in refuted if found.best}
        entries = [
            replace(entry, latency_p99_ms=fresh.get(entry.variant.config_name, entry.latency_p99_ms))
            for entry in self.ranking.ranked
        ]
        return confirmation.nothing_feasible(
            min(entries, key=lambda entry: entry.latency_p99_ms, default=None),
            self.config.constraints.latency_p99_ms or 0.0,
            default=refuted[-1].default if refuted else None,
            block_count=refuted[-1].block_count if refuted else 0,
        )

    def _confirm(self, finalists: Finalists, round_number: int, *, max_s: float) -> Confirmation:
        settings = self.config.confirmation
        blocks = fewest_blocks(settings.alpha, confirmation.COMPARISONS)
        self.progress.phase("confirmation", steps=blocks * len(finalists.entries))
        rates = {e.variant.config_name: e.throughput_infer_per_s for e in finalists.entries}

        def measure(variant: ModelConfigVariant, load: LoadPoint, block: int) -> Measurement:
            return self._measure(variant, load, block, rates[variant.config_name])

        first = round_number * blocks
        taken = list(
            confirmation.run_blocks(
                finalists, measure, blocks=range(first, first + blocks), max_s=max_s, clock=self.clock
            )
        )
        return confirmation.decide(
            finalists, taken, latency_p99_limit_ms=self.config.constraints.latency_p99_ms, settings=settings
        )

    def _measure(
        self, variant: ModelConfigVariant, load: LoadPoint, block: int, expected_infer_per_s: float
    ) -> Measurement:
        self.progress.started(f"{variant.config_name}, concurrency {load.concurrency}, block {block + 1}")
        window = Window(
            variant=variant,
            load=load,
            expected_infer_per_s=expected_infer_per_s,
            window_s=self.config.profiler.measurement_interval_ms / 1000,
            phase="confirmation",
            block=block,
        )
        try:
            self.served.switch_to(variant)
            measurement = self.perf_analyzer.measure(window)
        except RuntimeStartError as error:
            measurement = failed(window, error.message)
        try:
            measurement = with_reason(measurement, self.revive_server())
        finally:
            self.record(measurement)
            self.progress.measured(measurement)
        return measurement


def _replaced(refuted: ConfirmedVariant) -> Note:
    name, p99 = refuted.variant.config_name, f"{refuted.latency_p99_ms.estimate:.3g} ms"
    return Note(
        en=f"{name} misses the p99 limit on fresh data ({p99}), so it is no longer a candidate.",
        ko=f"{name} 설정이 검증 측정에서 p99 한도 초과({p99}): 후보에서 제외.",
    )
