"""The profiler `adaptive`: a search on a running server, each of whose decisions is a line of decisions.jsonl."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from hcopt.analysis.ranking import why_nothing_was_measured
from hcopt.errors import ProfileError
from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.profiler import ProfileJob
from hcopt.measure.search.values import SearchSettings
from hcopt.measure.unknown_speed import LONGER_S, UNKNOWN_RATE_INFER_PER_S, first_with_figures
from hcopt.records.measurement import LoadPoint, Measurement, SweepPlan
from hcopt.records.model import ModelConfigVariant
from hcopt.records.verdict import Ranking
from hcopt.store.decisions import DECISIONS_NAME, append_decision

# What other variants reach may be more than this one does.
_CAUTION = 0.5


@dataclass(frozen=True, slots=True)
class Adaptive:
    """The profiler `adaptive`: measures what may be best of the plan, and says of the rest why it did not."""

    settings: SearchSettings

    measures_whole_plan: ClassVar[bool] = False

    def profile(self, job: ProfileJob) -> None:
        """See `Profiler.profile`.

        Raises:
            ProfileError: Nothing could be measured.
            RuntimeStartError: The server died.
        """
        from hcopt.measure.search.search import search

        if job.measure_window is None:
            raise ProfileError("the adaptive profiler has nothing to measure windows with")
        # A resumed search makes the decisions of the interrupted one again.
        (job.folder / DECISIONS_NAME).unlink(missing_ok=True)
        measured = search(
            job.plan,
            measure=_Windows(job.measure_window).measure,
            clock=job.context.replay.clock,
            settings=self.settings,
            decided=partial(append_decision, job.folder),
        )
        if all(one.error is not None for one in measured):
            raise ProfileError(why_nothing_was_measured(job.plan, measured), log=job.folder / "logs")

    def rank(self, plan: SweepPlan, swept: Iterable[Measurement]) -> Ranking:
        """See `Profiler.rank`; a search measures some points often, and the plain order would reward a lucky window."""
        from hcopt.measure.search.order import rank_windows

        return rank_windows(plan, swept, latency_p99_limit_ms=self.settings.latency_p99_limit_ms)


@dataclass(slots=True)
class _Windows:
    """Windows of a search, as long as the rates that were seen so far ask for; loads of one visit share its start."""

    measure_window: Callable[[Window], Measurement]
    rates: dict[str, float] = field(default_factory=dict)
    visited: tuple[str, int] | None = None

    def measure(self, variant: ModelConfigVariant, load: LoadPoint, window_s: float, block: int) -> Measurement:
        """One window; the very first is tried again, longer, where it was too short for the model."""
        lengths_s = (window_s,) if self.rates else (window_s, *LONGER_S)
        windows = (self._window(variant, load, length_s, block) for length_s in lengths_s)
        return first_with_figures(windows, self._taken)[1]

    def _window(self, variant: ModelConfigVariant, load: LoadPoint, window_s: float, block: int) -> Window:
        return Window(
            variant=variant,
            load=load,
            expected_infer_per_s=self._expected(variant),
            window_s=window_s,
            phase="sweep",
            block=block,
            reload=(variant.config_name, block) != self.visited,
            keep_loaded=True,
            rate_is_known=variant.config_name in self.rates,
        )

    def _taken(self, window: Window) -> Measurement:
        measured, name = self.measure_window(window), window.variant.config_name
        # Who knows what is being served after a failure.
        self.visited = None if measured.error is not None or window.block is None else (name, window.block)
        if measured.throughput_infer_per_s is not None:
            self.rates[name] = min(self.rates.get(name, float("inf")), measured.throughput_infer_per_s)
        return measured

    def _expected(self, variant: ModelConfigVariant) -> float:
        if not self.rates:
            return UNKNOWN_RATE_INFER_PER_S
        own = self.rates.get(variant.config_name)
        return own if own is not None else _CAUTION * statistics.median(self.rates.values())
