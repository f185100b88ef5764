"""One perf_analyzer process a window: real rows, a load kept up for a fixed time, throughput from the timestamps.

The load is closed-loop here; `open_loop` brings one by arrival times.

Never with `--request-count`: perf_analyzer starts its workers before it empties its record of answers, then waits for
that many in the record. Where an answer came in between it waits for ever; on two busy cores that was one run in ten.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from hcopt.errors import ProfileError
from hcopt.measure.memory_watch import MemoryWatch, ReadMemory, not_readable
from hcopt.records.measurement import FailureCause, LoadPoint, Measurement, Phase, ServerTimes
from hcopt.records.model import ModelConfigVariant
from hcopt.store import measurements
from hcopt.store.measurements import NoAnswerError, RequestSamples, WindowFigures
from hcopt.system.machine import read_cpu_times, steal_ratio, throttled_ratio
from hcopt.system.process import Finished, last_lines
from hcopt.system.wall_clock import WallClock
from hcopt.triton.base import Tools

WARM_UP_RATIO = 0.1
# perf_analyzer compares three windows, and sleeps 1.2 intervals in each (Measure in its inference_profiler.cc).
_WINDOWS = 3
_OVERRUN_RATIO = 1.2
# A window without an answer makes perf_analyzer refuse the lot, so that each has to last for a few answers.
_MIN_ROUNDS = 2 * _WINDOWS
_GRACE_S = 15.0
# It keeps every request with its tensors in memory.
_MAX_REQUESTS = 200_000
# How it begins the line of a request that the server answered with an error, which ends it, and what it says where none
# was answered within a window.
_SERVER_ERROR = re.compile(r"Thread \[\d+\] had error: (.*)")
_NO_ANSWERS = "No valid requests recorded within time interval"
_MAX_LINES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one window is for.

    Attributes:
        variant: What is being served; the caller has loaded it.
        load: The load to put on it.
        expected_infer_per_s: Where answers are rare at this rate, the load lasts longer.
        window_s: How long the load should last.
        phase: Which stage asks.
        block: Its block there.
        reload: Whether the variant is loaded before it, even where it is there, so that all windows begin alike.
        keep_loaded: Whether it stays loaded for its next turn, and is taken as it was kept in place of a fresh load.
        rate_is_known: Whether the expected rate was measured. Where it is a guess, a window without answers may just be
            too short, and says nothing of the variant.
    """

    variant: ModelConfigVariant
    load: LoadPoint
    expected_infer_per_s: float
    window_s: float
    phase: Phase
    block: int | None = None
    reload: bool = True
    keep_loaded: bool = False
    rate_is_known: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How perf_analyzer makes one load, and how its export is read.

    Attributes:
        arguments: Its options for the load.
        lasts_s: How long it looks.
        limit_s: When it is killed.
        read: The samples of an export; ProfileError where it gives none.
        figures: What the samples show; a window of which this raises ProfileError is a failed one.
        tries: How often a window that gives no samples is tried.
        counts_unanswered: Whether the figures count what went unanswered among the requests and misses.
        may_outlast: Whether the server may be too slow for the load, so that a time limit says nothing about it.
    """

    arguments: Sequence[str]
    lasts_s: float
    limit_s: float
    read: Callable[[Path], RequestSamples]
    figures: Callable[[RequestSamples], WindowFigures]
    tries: int = 2
    counts_unanswered: bool = False
    may_outlast: bool = False


class _TimeLimitError(NoAnswerError):
    """perf_analyzer hung, or waited for answers in vain."""


class _RefusedError(Exception):
    """The server answered requests with errors: an outcome, and no reason for a further try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerfAnalyzer:
    """Measures windows of one model through a runtime's tools.

    Attributes:
        tools: Where perf_analyzer is, and the server as it reaches it.
        model_name: Tells the name by which the server has what is measured.
        input_arguments: perf_analyzer's options for the rows to send (`--input-data`, `--shape`).
        folder: The run's folder; samples go to `samples/`, logs to `logs/`.
        server_times: Reads the server's own times of a window: called before it, and what that returns after it.
        latency_p99_limit_ms: Requests that take longer are counted as misses; None counts none.
        clock: Tells whether perf_analyzer's clock was set in between.
        memory_mb: The server's memory, where it is that of what is measured alone; see `Server.memory_mb`.
        unanswered: Takes what has left all requests unanswered, see `Server.mark_unhealthy`.
        stall_s: How long the server itself may leave requests, see `queue_stall_s`.
        refused_share: Says which share of a load the server answers with errors, where it can be counted.
    """

    tools: Tools
    model_name: Callable[[], str]
    input_arguments: Sequence[str]
    folder: Path
    server_times: Callable[[], Callable[[], ServerTimes | None]]
    latency_p99_limit_ms: float | None = None
    clock: Callable[[], WallClock] = WallClock
    memory_mb: ReadMemory = not_readable
    unanswered: Callable[[str], None] = lambda _: None
    stall_s: float = 0.0
    refused_share: Callable[[ModelConfigVariant, LoadPoint], str | None] = lambda _, __: None

    def measure(self, window: Window) -> Measurement:
        """One closed-loop window; what cannot be measured is a Measurement with its reason, never an exception.

        Raises:
            RuntimeStartError: The server itself has died.
            OSError: The samples cannot be written.
        """
        lasts_s = load_s(window, stall_s=self.stall_s)
        load = LoadOptions(
            arguments=closed_loop(window.load),
            lasts_s=lasts_s,
            limit_s=2 * lasts_s + _GRACE_S,
            read=lambda export: measurements.read_export(export, warm_up_ratio=WARM_UP_RATIO),
            figures=lambda samples: measurements.figures(
                samples,
                client_batch_size=window.load.client_batch_size,
                latency_limit_ms=self.latency_p99_limit_ms,
            ),
        )
        return self.measure_load(window, load)

    def measure_load(self, window: Window, load: LoadOptions) -> Measurement:
        """As `measure`, with a load of any kind.

        Raises:
            RuntimeStartError: The server itself has died.
            OSError: The samples cannot be written.
        """
        # Until there are figures it is a failed one: a measurement has either figures or an error.
        started = failed(window, "not measured yet")
        name = sample_name(window.phase, window.variant, window.load, window.block)
        cpu_before, server_after = read_cpu_times(), self.server_times()
        try:
            with MemoryWatch(self.memory_mb) as memory:
                finished, samples = self._samples(window, load, name, answers=lambda: server_after() is not None)
            found = load.figures(samples)
        except _RefusedError as error:
            return failed(
                window, with_share(str(error), self.refused_share(window.variant, window.load)), cause="refused"
            )
        except NoAnswerError as error:
            return failed(window, error.message, cause="unanswered" if window.rate_is_known else "other")
        except ProfileError as error:
            return failed(window, error.message)
        cpu_after = read_cpu_times()
        measurements.write_samples(samples, self.folder / name)
        return replace(
            started,
            error=None,
            failure_cause=None,
            duration_s=found.duration_s,
            throughput_infer_per_s=found.throughput_infer_per_s,
            latency=found.latency,
            request_count=found.request_count,
            error_count=0 if load.counts_unanswered else samples.failed_count,
            miss_count=found.miss_count,
            late_ratio=found.late_ratio,
            server=server_after(),
            steal_ratio=steal_ratio(cpu_before, cpu_after),
            throttled_ratio=throttled_ratio(cpu_before, cpu_after),
            client_cpu_ratio=cpu_ratio(finished, cpu_count=self.tools.cpu_count),
            server_memory_mb=memory.peak_mb(),
            samples_file=name,
        )

    def _samples(
        self, window: Window, load: LoadOptions, name: str, *, answers: Callable[[], bool]
    ) -> tuple[Finished, RequestSamples]:
        """The window's samples, on a further try where one gave none.

        Args:
            window: What it is for.
            load: How it is made.
            name: The samples' file.
            answers: Whether the server has answered anything since the window began: then it is slow, and well.

        Raises:
            _RefusedError: The server answered with errors.
            ProfileError: No try gave any.
        """
        export = self.folder / f"{name}.export.json"
        export.parent.mkdir(parents=True, exist_ok=True)
        log = self.folder / "logs" / "perf_analyzer.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(load.tries - 1):
            with suppress(ProfileError):
                return self._try(window, load, export, log)
        try:
            return self._try(window, load, export, log)
        except _TimeLimitError:
            if not load.may_outlast and not answers():
                self.unanswered(f"{window.variant.config_name} does not answer")
            raise

    def _try(self, window: Window, load: LoadOptions, export: Path, log: Path) -> tuple[Finished, RequestSamples]:
        arguments, clock, said = self._arguments(window, load, export), self.clock(), deque[str](maxlen=_MAX_LINES)
        try:
            finished = self.tools.run(
                "perf_analyzer",
                arguments,
                folder=self.folder,
                log=log,
                timeout_s=load.limit_s,
                on_line=said.append,
            )
            if finished.timed_out:
                raise _TimeLimitError(f"perf_analyzer did not end within {load.limit_s:.0f} s and was killed", log=log)
            if finished.returncode != 0:
                raise _ended(finished.returncode, said, log)
            if (set_clock := clock.said()) is not None:
                raise ProfileError(set_clock)
            return finished, load.read(export)
        finally:
            export.unlink(missing_ok=True)  # perf_analyzer refuses a file that exists, and it is large

    def _arguments(self, window: Window, load: LoadOptions, export: Path) -> list[str]:
        interval_ms = math.ceil(1000 * load.lasts_s / _WINDOWS / _OVERRUN_RATIO)
        timed = ("--measurement-interval", str(interval_ms), "--max-trials", str(_WINDOWS))
        return self.arguments(self.model_name(), window.load, (*load.arguments, *timed), export=export)

    def arguments(self, model_name: str, load: LoadPoint, options: Iterable[str], *, export: Path) -> list[str]:
        """Its command line for a load on a model; `options` are those that make the load and say how long it lasts."""
        return [
            "-m",
            model_name,
            "-u",
            self.tools.endpoint.grpc,
            "-i",
            "grpc",
            "--async",
            "-b",
            str(load.client_batch_size),
            *options,
            "--measurement-mode",
            "time_windows",
            # Stable whatever they show: judging noise is the caller's work.
            "--stability-percentage",
            "1000000",
            "--profile-export-file",
            self.tools.path(export),
            *self.input_arguments,
        ]


def _ended(returncode: int | None, said: Iterable[str], log: Path) -> Exception:
    """perf_analyzer's end with an error, told apart by what it says of the server's answers."""
    lines = list(said)
    refused = next((match[1].strip() for line in lines if (match := _SERVER_ERROR.search(line))), None)
    if refused is not None:
        return _RefusedError(f"the server answered with an error: {refused}")
    kind = NoAnswerError if any(_NO_ANSWERS in line for line in lines) else ProfileError
    return kind(f"perf_analyzer ended with {returncode}: {last_lines(log, 3)}", log=log)


def closed_loop(load: LoadPoint) -> list[str]:
    """perf_analyzer's options for so many requests under way at once."""
    return ["--concurrency-range", str(load.concurrency)]


def load_s(window: Window, *, stall_s: float = 0.0) -> float:
    """How long to keep up the load: as asked, but for some answers to every request slot, and not for too many."""
    requests_per_s = window.expected_infer_per_s / window.load.client_batch_size
    min_s = _MIN_ROUNDS * max(window.load.concurrency / requests_per_s, stall_s)
    return max(min_s, min(window.window_s, _MAX_REQUESTS / requests_per_s))


def sample_name(phase: Phase, variant: ModelConfigVariant, load: LoadPoint, block_number: int | None) -> str:
    """A new file for raw samples, relative to the run's folder."""
    block = "" if block_number is None else f"_block_{block_number}"
    amount = f"c{load.concurrency}" if load.request_rate_per_s is None else f"r{load.request_rate_per_s:.0f}"
    stem = f"{variant.config_name}_{amount}_b{load.client_batch_size}{block}_{time.monotonic_ns():x}"
    return f"samples/{phase}/{stem}.npz"


def cpu_ratio(finished: Finished, *, cpu_count: int) -> float | None:
    """Share of the CPU time of so many CPUs that a program used while it ran."""
    if finished.cpu_s is None or finished.elapsed_s <= 0:
        return None
    return min(1.0, finished.cpu_s / (finished.elapsed_s * cpu_count))


def failed(window: Window, reason: str, *, cause: FailureCause = "other") -> Measurement:
    """The record of a window that gave no figures."""
    return Measurement(
        phase=window.phase,
        profiler="perf_analyzer",
        variant=window.variant,
        load=window.load,
        block=window.block,
        started_at=_now(),
        error=reason,
        failure_cause=cause,
    )


def with_share(error: str, share: str | None) -> str:
    """What a request was refused with, after the share of those that were."""
    return error if share is None else f"{share}: {error}"


def with_reason(measurement: Measurement, died: str | None) -> Measurement:
    """The measurement; where it failed as something had died (see `Server.restart_if_dead`), with that as its reason.

    Why a server has died nobody can tell, so that this counts against no variant. One that left requests unanswered
    was ended by hcopt for that, which does.
    """
    if measurement.error is None or died is None:
        return measurement
    cause: FailureCause = "unanswered" if measurement.failure_cause == "unanswered" else "other"
    return replace(measurement, error=f"{died}: {measurement.error}", failure_cause=cause)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
