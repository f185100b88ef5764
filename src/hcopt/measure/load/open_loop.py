"""One perf_analyzer process a window of Poisson arrivals, with latency counted from the intended send times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hcopt.measure.load.open_loop_times import aligned, open_loop_figures
from hcopt.measure.load.perf_analyzer import LoadOptions, PerfAnalyzer, Window
from hcopt.measure.load.poisson import THREADS, Schedule, poisson_schedule
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.store.measurements import RequestSamples, WindowFigures, read_pairs
from hcopt.system.files import write_whole

# The queue is empty at first, so it takes a while until it is as long as it is going to be.
WARM_UP_RATIO = 0.2
WINDOW_S = 2.5
_DRAIN_S = 0.2
# Each of perf_analyzer's three windows needs an answer, so the drain must not fill the last one.
_LIMITS_OF_LOAD = 4.0
_LIMITS_OF_DRAIN = 1.2
# A window lasts several times the limit, and a verdict takes several windows.
_LIMITS_OF_CHECK = 20.0
_MIN_REQUESTS = 40
_MAX_REQUESTS = 200_000
# Beyond what the server can do perf_analyzer waits for it to catch up; another try would wait as long.
_GRACE_S = 8.0


def min_check_s(latency_p99_limit_ms: float) -> float:
    """The least time in which a check can come to a verdict on a limit."""
    return _LIMITS_OF_CHECK * latency_p99_limit_ms / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Measures one variant, which is being served, under Poisson arrivals.

    Attributes:
        perf_analyzer: Runs the load; its own limit does not count here.
        variant: What is being served.
        client_batch_size: Rows a request.
        latency_p99_limit_ms: The limit.
        seed: Of all schedules.
        window_s: How long a load lasts; longer where the limit is long or requests are rare.
    """

    perf_analyzer: PerfAnalyzer
    variant: ModelConfigVariant
    client_batch_size: int
    latency_p99_limit_ms: float
    seed: int
    window_s: float = WINDOW_S

    def measure(self, rate_infer_per_s: float, window_index: int) -> Measurement:
        """One window; latency counts from the intended send times.

        A window in which the load generator lagged has an `error` that says so, and no figures.

        Raises:
            RuntimeStartError: The server itself has died.
            OSError: The schedule or the samples cannot be written.
        """
        window, schedule = self.window(rate_infer_per_s, window_index), self.schedule(rate_infer_per_s, window_index)
        file = self.perf_analyzer.folder / "arrivals.txt"
        write_whole(file, schedule.text())
        try:
            return self.perf_analyzer.measure_load(window, self._load(schedule, file))
        finally:
            file.unlink(missing_ok=True)  # it can be made again from the seed

    def window(self, rate_infer_per_s: float, window_index: int) -> Window:
        """What the window is for."""
        return Window(
            variant=self.variant,
            load=LoadPoint(
                request_rate_per_s=rate_infer_per_s / self.client_batch_size, client_batch_size=self.client_batch_size
            ),
            expected_infer_per_s=rate_infer_per_s,
            window_s=self.window_s,
            phase="open_loop",
            block=window_index,
        )

    def schedule(self, rate_infer_per_s: float, window_index: int) -> Schedule:
        """The arrivals of one window, always the same ones for the same seed, rate and index."""
        rate_per_s, limit_s = rate_infer_per_s / self.client_batch_size, self.latency_p99_limit_ms / 1000
        wanted_s = max(self.window_s, _LIMITS_OF_LOAD * limit_s, _MIN_REQUESTS / rate_per_s)
        return poisson_schedule(
            rate_per_s,
            load_s=min(wanted_s, _MAX_REQUESTS / rate_per_s),
            warm_up_ratio=WARM_UP_RATIO,
            drain_s=max(_DRAIN_S, _LIMITS_OF_DRAIN * limit_s),
            seed=self.seed,
            index=window_index,
        )

    def _load(self, schedule: Schedule, file: Path) -> LoadOptions:
        def figures(samples: RequestSamples) -> WindowFigures:
            return open_loop_figures(
                samples,
                client_batch_size=self.client_batch_size,
                latency_limit_ms=self.latency_p99_limit_ms,
                drain_end_ns=schedule.drain_end_ns,
            )

        path = self.perf_analyzer.tools.path(file)
        return LoadOptions(
            arguments=["--request-intervals", path, "--max-threads", str(THREADS)],
            lasts_s=schedule.watched_s,
            limit_s=2 * schedule.watched_s + _GRACE_S,
            read=lambda export: aligned(read_pairs(export), schedule),
            figures=figures,
            tries=1,
            counts_unanswered=True,
            may_outlast=True,
        )
