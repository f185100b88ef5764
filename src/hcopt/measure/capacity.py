"""The open-loop check on a running server: which rate of random arrivals one variant sustains within the p99 limit."""

from __future__ import annotations

from hcopt.analysis.rate_search import FoundRate, Limits, Search
from hcopt.config.sections import Config
from hcopt.errors import RuntimeStartError
from hcopt.measure.load.open_loop import OpenLoop, min_check_s
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import Measurement
from hcopt.records.note import Note
from hcopt.records.verdict import Capacity, ConfirmedVariant
from hcopt.words.digits import whole_throughput


def find_capacity(runner: WindowRunner, best: ConfirmedVariant | None, config: Config) -> Capacity | None:
    """The rate that the best sustains; None where there is no best, no limit, no time, or no valid window.

    Args:
        runner: Measures and records the windows; its `note` gets why no rate can be promised.
        best: Whom the confirmation recommends.
        config: Its `capacity`, limit, seed and α count.

    Raises:
        OSError: A schedule or samples cannot be written.
    """
    limit_ms, note = config.constraints.latency_p99_ms, runner.context.note
    max_s = 60 * config.capacity.max_minutes
    if best is None or limit_ms is None or max_s == 0:
        return None
    if min_check_s(limit_ms) > max_s:
        note(Note.of("capacity_failed", reason=f"a limit of {limit_ms:g} ms needs a longer capacity.max_minutes"))
        return None
    open_loop = OpenLoop(
        perf_analyzer=runner.perf_analyzer,
        variant=best.variant,
        client_batch_size=best.load.client_batch_size,
        latency_p99_limit_ms=limit_ms,
        seed=config.profiler.seed,
    )
    limits = Limits(max_s=max_s, alpha=config.confirmation.alpha)
    try:
        found = find_rate(runner, open_loop, best.throughput_infer_per_s.estimate, limits)
    except RuntimeStartError as error:
        # All that was confirmed stands without it.
        note(Note.of("capacity_failed", reason=error.message))
        return None
    if found.sustainable_rate_infer_per_s.ci_low is None:
        note(Note.of("no_rate_in_time" if found.out_of_time else "no_rate_within_limit", windows=found.window_count))
    if found.unmeasured:
        rate, reason = found.unmeasured[0]
        note(Note.of("rates_invalid", rate=whole_throughput(rate), reason=reason))
    if not found.points:
        return None
    return Capacity(
        config_name=best.variant.config_name,
        sustainable_rate_infer_per_s=found.sustainable_rate_infer_per_s,
        latency_p99_limit_ms=limit_ms,
        client_batch_size=open_loop.client_batch_size,
        seed=open_loop.seed,
        points=found.points,
        boundary_infer_per_s=found.boundary_infer_per_s,
    )


def find_rate(runner: WindowRunner, open_loop: OpenLoop, closed_loop_infer_per_s: float, limits: Limits) -> FoundRate:
    """Serves the variant and searches from its confirmed closed-loop throughput; every window is recorded.

    Args:
        runner: The server; its limit on the latency does not count here.
        open_loop: Measures the windows.
        closed_loop_infer_per_s: Where the search begins.
        limits: Time and error rate.

    Raises:
        RuntimeStartError: The variant cannot be loaded, or the server died and cannot be brought back.
        OSError: A schedule or samples cannot be written.
    """
    variant = open_loop.variant

    def measure(rate_infer_per_s: float, window_index: int) -> Measurement:
        return runner.measure_by(
            lambda: open_loop.measure(rate_infer_per_s, window_index),
            open_loop.window(rate_infer_per_s, window_index),
            what=f"{variant.config_name}, {whole_throughput(rate_infer_per_s)} infer/s, window {window_index + 1}",
            on_restart=lambda: runner.served.reload(variant),
        )

    runner.context.progress.phase("open_loop")
    runner.served.reload(variant)
    return Search(measure, runner.context.replay.clock, limits).run(closed_loop_infer_per_s)
