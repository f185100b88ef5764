"""One perf_analyzer process a window: real rows, a fixed number of requests, throughput from the timestamps.

The driver never uses perf_analyzer's own figures: its clock looks up once a second, so that what it prints is the
number of requests over whole seconds. It hangs now and then, so each call has a time limit and one more try.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from hcopt import measurements
from hcopt.environment import read_cpu_times, steal_ratio
from hcopt.errors import ProfileError
from hcopt.measurements import RequestSamples, WindowFigures
from hcopt.process import Finished, last_lines
from hcopt.runtime.base import Tools
from hcopt.schema import LoadPoint, Measurement, ModelConfigVariant, Phase, ServerTimes

WARM_UP_RATIO = 0.1
# perf_analyzer ends on a whole second; what is over when the load starts and stops is lost to it.
_FILL_RATIO = 0.95
_GRACE_S = 15.0
_FEWEST_REQUESTS = 50
_MOST_REQUESTS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one window is for.

    Attributes:
        variant: What is being served; the caller has loaded it.
        load: The load to put on it.
        expected_infer_per_s: Sizes the number of requests, so that they fill the window.
        window_s: How long the load should last.
        phase: Which stage asks.
        block: Its block there.
    """

    variant: ModelConfigVariant
    load: LoadPoint
    expected_infer_per_s: float
    window_s: float
    phase: Phase
    block: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PerfAnalyzer:
    """Measures windows of one model through a runtime's tools.

    Attributes:
        tools: Where perf_analyzer is, and the server as it reaches it.
        model_name: The model on the server.
        input_arguments: perf_analyzer's options for the rows to send (`--input-data`, `--shape`).
        folder: The run's folder; samples go to `samples/`, logs to `logs/`.
        server_times: Reads the server's own times around a window: called before, and what it returns after.
    """

    tools: Tools
    model_name: str
    input_arguments: Sequence[str]
    folder: Path
    server_times: Callable[[], Callable[[], ServerTimes | None]]

    def measure(self, window: Window) -> Measurement:
        """One window; what cannot be measured is a Measurement with its reason, never an exception.

        Raises:
            RuntimeStartError: The server itself has died.
            OSError: The samples cannot be written.
        """
        started_at = _now()
        name = _sample_name(window)
        cpu_before, server_after = read_cpu_times(), self.server_times()
        try:
            finished, samples = self._samples(window, name)
            found = measurements.figures(samples, client_batch_size=window.load.client_batch_size)
        except ProfileError as error:
            return failed(window, error.message)
        measurements.write_samples(samples, self.folder / name)
        return _measured(
            window,
            found,
            started_at=started_at,
            server=server_after(),
            steal=steal_ratio(cpu_before, read_cpu_times()),
            client_cpu_ratio=_cpu_ratio(finished),
            samples_file=name,
        )

    def _samples(self, window: Window, name: str) -> tuple[Finished, RequestSamples]:
        """The window's samples, on the second try where the first one gave none.

        Raises:
            ProfileError: Neither try gave any.
        """
        export = self.folder / f"{name}.export.json"
        export.parent.mkdir(parents=True, exist_ok=True)
        log = self.folder / "logs" / "perf_analyzer.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._try(window, export, log)
        except ProfileError:
            return self._try(window, export, log)

    def _try(self, window: Window, export: Path, log: Path) -> tuple[Finished, RequestSamples]:
        limit_s = 2 * window.window_s + _GRACE_S
        try:
            finished = self.tools.run(
                "perf_analyzer", self._arguments(window, export), folder=self.folder, log=log, timeout_s=limit_s
            )
            if finished.timed_out:
                raise ProfileError(f"perf_analyzer hung twice, for {limit_s:.0f} s each, and was killed", log=log)
            if finished.returncode != 0:
                raise ProfileError(f"perf_analyzer ended with {finished.returncode}: {last_lines(log, 3)}", log=log)
            return finished, measurements.read_export(export, warm_up_ratio=WARM_UP_RATIO)
        finally:
            export.unlink(missing_ok=True)  # perf_analyzer refuses a file that exists, and it is large

    def _arguments(self, window: Window, export: Path) -> list[str]:
        return [
            "-m",
            self.model_name,
            "-u",
            self.tools.endpoint.grpc,
            "-i",
            "grpc",
            # Synchronous runs hang after their last request, up to 3 % of them at high concurrency.
            "--async",
            "-b",
            str(window.load.client_batch_size),
            "--concurrency-range",
            str(window.load.concurrency),
            "--request-count",
            str(request_count(window)),
            "--profile-export-file",
            self.tools.path(export),
            *self.input_arguments,
        ]


def request_count(window: Window) -> int:
    """How many requests fill the window at the expected rate; at least a few rounds of the concurrency."""
    rate = window.expected_infer_per_s / window.load.client_batch_size
    wanted = math.ceil(rate * window.window_s * _FILL_RATIO)
    return min(_MOST_REQUESTS, max(_FEWEST_REQUESTS, 4 * window.load.concurrency, wanted))


def _sample_name(window: Window) -> str:
    load = window.load
    block = "" if window.block is None else f"_block_{window.block}"
    stem = f"{window.variant.config_name}_c{load.concurrency}_b{load.client_batch_size}{block}_{time.monotonic_ns():x}"
    return f"samples/{window.phase}/{stem}.npz"


def _cpu_ratio(finished: Finished) -> float | None:
    if finished.cpu_s is None or finished.elapsed_s <= 0:
        return None
    return min(1.0, finished.cpu_s / (finished.elapsed_s * (os.cpu_count() or 1)))


def failed(window: Window, reason: str) -> Measurement:
    """The record of a window that gave no figures."""
    return Measurement(
        phase=window.phase,
        profiler="perf_analyzer",
        variant=window.variant,
        load=window.load,
        block=window.block,
        started_at=_now(),
        error=reason,
    )


def _measured(
    window: Window,
    found: WindowFigures,
    *,
    started_at: str,
    server: ServerTimes | None,
    steal: float | None,
    client_cpu_ratio: float | None,
    samples_file: str,
) -> Measurement:
    return Measurement(
        phase=window.phase,
        profiler="perf_analyzer",
        variant=window.variant,
        load=window.load,
        block=window.block,
        started_at=started_at,
        duration_s=found.duration_s,
        throughput_infer_per_s=found.throughput_infer_per_s,
        latency=found.latency,
        request_count=found.request_count,
        server=server,
        steal_ratio=steal,
        client_cpu_ratio=client_cpu_ratio,
        samples_file=samples_file,
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
