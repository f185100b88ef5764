"""The confirmation on a running server: finalists measured in blocks, an infeasible winner replaced by the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hcopt.analysis import confirmation
from hcopt.analysis.finalists import Finalists, choose_finalists
from hcopt.analysis.p99_limit import fails_too_often
from hcopt.analysis.ranking import find_default, pooled
from hcopt.config.sections import Config
from hcopt.measure.perf_analyzer import Window
from hcopt.measure.window import Bench
from hcopt.records.measurement import LoadPoint, Measurement, SweepPlan
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.records.verdict import Confirmation, Ranking


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Confirms a ranking.

    A resumed run goes on with the blocks that an interrupted one has measured, the one that was cut in two included.
    That is sound: looks spend their part of the error rates by the time used, which `Earlier.clock` goes on counting,
    and not by what was seen; the interruption knows nothing of the figures either. Within the block that was cut, the
    gap adds noise to its differences. Its sign is as likely to favour either candidate, as orders balance:
    the sign-flip test, which asks for symmetric differences and not for equal variances, stays exact. To measure the
    blocks again instead would give up data, and a second chance to whoever interrupts.

    Attributes:
        config: Its `confirmation`, limits and window length count.
        plan: What was swept.
        ranking: The sweep's order.
        bench: Measures and records the windows.
        note: Takes what the user has to know about how it went.
        window_s: Length of a window in seconds; None: the configuration's measurement interval.
        clock: Seconds that only grow.
    """

    config: Config
    plan: SweepPlan
    ranking: Ranking
    bench: Bench
    note: Callable[[Note], None]
    window_s: float | None = None
    clock: Callable[[], float] = time.monotonic

    def run(self) -> Confirmation:
        """Measures until a winner is not refuted by fresh data, or none is left.

        Raises:
            RuntimeStartError: The server died.
        """
        default, refuted, taken = find_default(self.plan, self.ranking), list[Confirmation](), list[Measurement]()
        ends_at = self.clock() + 60 * self.config.confirmation.max_minutes
        while True:
            excluded = [found.refuted for found in refuted if found.refuted is not None]
            finalists = choose_finalists(self.ranking.feasible, default, excluded=excluded)
            if finalists is None:
                return self._nothing_feasible(refuted)
            found = self._confirm(finalists, taken, max_s=ends_at - self.clock())
            failures = tuple(failed for one in (*refuted, found) for failed in one.failures)
            if found.refuted is None:
                return replace(self._not_alone(found), failures=failures)
            refuted.append(found)
            self.note(_replaced(found))

    def _not_alone(self, found: Confirmation) -> Confirmation:
        """The verdict, unless the default won because nothing else could be measured: that shows nothing."""
        alone = {entry.variant.settings for entry in self.ranking.ranked} == {self.plan.default.settings}
        if found.verdict != "tied" or not alone or len(pooled(self.plan)) == 1:
            return found
        return replace(found, verdict="undecided", reason=Note.of("default_alone"))

    def _nothing_feasible(self, refuted: Sequence[Confirmation]) -> Confirmation:
        """What the sweep found feasible, and fresh data did not, stands with its fresh figures."""
        fresh = {found.best.variant.config_name: found.best.latency_p99_ms.estimate for found in refuted if found.best}
        failures = tuple(failed for found in refuted for failed in found.failures)
        failing = {failed.config_name for failed in failures if failed.variant_count}
        entries = [
            replace(entry, latency_p99_ms=fresh.get(entry.variant.config_name, entry.latency_p99_ms))
            for entry in self.ranking.ranked
            # A low p99 of few answers is no short distance from the limit.
            if not fails_too_often(entry.failed_ratio) and entry.variant.config_name not in failing
        ]
        return confirmation.nothing_feasible(
            min(entries, key=lambda entry: entry.latency_p99_ms, default=None),
            self.config.constraints.latency_p99_ms,
            default=refuted[-1].default if refuted else None,
            block_count=refuted[-1].block_count if refuted else 0,
            failures=failures,
            least_failing=min(self.ranking.ranked, key=lambda entry: entry.failed_ratio, default=None),
        )

    def _confirm(self, finalists: Finalists, taken: list[Measurement], *, max_s: float) -> Confirmation:
        """One round; adds what it measures to `taken`, after which it numbers its blocks."""
        settings = self.config.confirmation
        self.bench.progress.phase("confirmation", steps=confirmation.first_window_count(finalists, settings))
        rates = {e.variant.config_name: e.throughput_infer_per_s for e in finalists.entries}

        def measure(variant: ModelConfigVariant, load: LoadPoint, block: int) -> Measurement:
            measurement = self.bench.measure(self._window(variant, load, block, rates[variant.config_name]))
            taken.append(measurement)
            return measurement

        return confirmation.confirm(
            finalists,
            measure,
            latency_p99_limit_ms=self.config.constraints.latency_p99_ms,
            settings=settings,
            max_s=max_s,
            first_block=1 + max((one.block for one in taken if one.block is not None), default=-1),
            extend=self.bench.progress.extended,
            clock=self.clock,
        )

    def _window(self, variant: ModelConfigVariant, load: LoadPoint, block: int, expected_infer_per_s: float) -> Window:
        interval_s = self.config.profiler.measurement_interval_ms / 1000
        return Window(
            variant=variant,
            load=load,
            expected_infer_per_s=expected_infer_per_s,
            window_s=interval_s if self.window_s is None else self.window_s,
            phase="confirmation",
            block=block,
        )


def _replaced(refuted: Confirmation) -> Note:
    """That a candidate is out, by the reason of its verdict."""
    name, why = refuted.refuted or "", refuted.reason.values["why"]
    assert isinstance(why, Note)  # as in every `refuted`
    if why.code == "fails_windows":
        said = why.values
        return Note.of(
            "refuted_by_failures", name=name, failed=said["failed"], windows=said["windows"], reason=said["reason"]
        )
    if why.code == "answers_with_errors":
        return Note.of("refuted_by_errors", name=name)
    assert refuted.best is not None  # it has a p99 that is too high
    return Note.of("refuted_by_p99", name=name, p99_ms=refuted.best.latency_p99_ms.estimate)
