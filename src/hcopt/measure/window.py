"""One model on a running server, measured window by window: every window is a Measurement that is recorded at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hcopt.errors import ModelLoadError, RuntimeStartError
from hcopt.measure.perf_analyzer import PerfAnalyzer, Window, failed
from hcopt.measure.profiler import with_reason
from hcopt.measure.served_model import ServedModel
from hcopt.records.measurement import Measurement
from hcopt.store.replay import Earlier
from hcopt.system.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Measures windows of any variant of one model.

    Attributes:
        served: Switches the server from variant to variant.
        perf_analyzer: Measures the windows.
        restart_server_if_dead: See `Server.restart_if_dead`.
        record: Takes each measurement.
        progress: Told what is under way.
        earlier: What an interrupted run had measured, which is not measured again.
    """

    served: ServedModel
    perf_analyzer: PerfAnalyzer
    restart_server_if_dead: Callable[[], str | None]
    record: Callable[[Measurement], None]
    progress: Progress
    earlier: Earlier = field(default_factory=Earlier)

    def measure(self, window: Window) -> Measurement:
        """One window, on a freshly loaded variant unless it says otherwise; a failure is a Measurement with its reason.

        Raises:
            RuntimeStartError: The server died and cannot be brought back.
        """

        def measured() -> Measurement:
            # One that goes on with a visit may be the first to be measured of it: the others were known.
            if window.reload or self.served.serving != window.variant:
                (self.served.load_or_reuse if window.keep_loaded else self.served.reload)(window.variant)
            found = self.perf_analyzer.measure(window)
            if found.error is not None and window.keep_loaded:
                self.served.invalidate()
            return found

        return self.measure_by(measured, window, said=_described(window), revived=self.served.lost)

    def measure_by(
        self,
        measured: Callable[[], Measurement],
        window: Window,
        *,
        said: str,
        revived: Callable[[], None] = lambda: None,
    ) -> Measurement:
        """A window in whatever way it is measured, unless it is known; a new one is recorded.

        Args:
            measured: Measures it.
            window: What is measured.
            said: That, for the progress.
            revived: Called where the server had died and is there again.

        Raises:
            RuntimeStartError: The server died and cannot be brought back.
        """
        known = self.earlier.take(window.phase, window.variant, window.load, window.block)
        if known is not None:
            self.progress.known()
            return known
        self.progress.started(said)
        began = self.earlier.begin()
        try:
            measurement = measured()
        except ModelLoadError as error:
            measurement = failed(window, error.message, cause="refused")
        except RuntimeStartError as error:
            measurement = failed(window, error.message)
        try:
            died = self.restart_server_if_dead()
            measurement = with_reason(measurement, died)
            if died is not None:
                revived()
        finally:
            measurement = replace(measurement, elapsed_s=self.earlier.end(window.phase, began))
            self.record(measurement)
            self.progress.measured(measurement)
        return measurement


def _described(window: Window) -> str:
    block = "" if window.block is None else f", block {window.block + 1}"
    return f"{window.variant.config_name}, concurrency {window.load.concurrency}{block}"
