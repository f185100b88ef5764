"""The confirmation on a running server: finalists measured in blocks, an infeasible winner replaced by the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from hcopt import confirmation
from hcopt.config import Config
from hcopt.confirmation import Finalists
from hcopt.errors import RuntimeStartError
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
        check_server: Raises where the server has died.
        record: Takes each measurement.
        note: Takes what the user has to know about how it went.
        progress: Told what is under way.
    """

    config: Config
    plan: SweepPlan
    ranking: Ranking
    served: ServedModel
    perf_analyzer: PerfAnalyzer
    check_server: Callable[[], None]
    record: Callable[[Measurement], None]
    note: Callable[[Note], None]
    progress: Progress

    def run(self) -> Confirmation:
        """Measures until a winner keeps the limit on fresh data too, or none is left.

        Raises:
            RuntimeStartError: The server died.
        """
        limit_ms = self.config.constraints.latency_p99_ms
        default, excluded = find_default(self.plan, self.ranking), set[str]()
        for round_number in count():
            finalists = confirmation.choose_finalists(self.ranking.feasible, default, excluded=excluded)
            if finalists is None:
                closest = self.ranking.ranked[0] if self.ranking.ranked else None
                return confirmation.nothing_feasible(closest, limit_ms or 0.0)
            found = self._confirm(finalists, round_number)
            if found.best is None or found.best.feasible:
                return found
            excluded.add(finalists.best.variant.config_name)
            self.note(_replaced(found.best))
        raise AssertionError("count() does not end")

    def _confirm(self, finalists: Finalists, round_number: int) -> Confirmation:
        settings = self.config.confirmation
        blocks = fewest_blocks(settings.alpha, confirmation.COMPARISONS)
        self.progress.phase("confirmation", steps=blocks * len(finalists.entries))
        rates = {e.variant.config_name: e.throughput_infer_per_s for e in finalists.entries}

        def measure(variant: ModelConfigVariant, load: LoadPoint, block: int) -> Measurement:
            return self._measure(variant, load, block, rates[variant.config_name])

        first = round_number * blocks
        taken = list(
            confirmation.run_blocks(
                finalists, measure, blocks=range(first, first + blocks), max_s=60 * settings.max_minutes
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
            self.check_server()
            measurement = failed(window, error.message)
        self.record(measurement)
        self.progress.measured(measurement)
        return measurement


def _replaced(refuted: ConfirmedVariant) -> Note:
    name, p99 = refuted.variant.config_name, f"{refuted.latency_p99_ms.estimate:.3g} ms"
    return Note(
        en=f"{name} misses the p99 limit on fresh data ({p99}): the next one is confirmed instead.",
        ko=f"{name} 설정이 검증 측정에서 p99 한도 초과({p99}): 다음 순위 설정으로 검증 진행.",
    )
