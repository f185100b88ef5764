"""Samples of an open-loop export whose latency counts from the send time that its schedule intended.

A server that stalls makes a load generator late, and a latency that counts from the late sending hides the stall; one
that counts from the intended time does not. Source: Tene, "How NOT to Measure Latency" (coordinated omission); MLPerf
LoadGen counts from the scheduled time too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcopt.analysis.p99_limit import ALLOWED_MISS_RATIO
from hcopt.errors import ProfileError
from hcopt.store.measurements import NO_ANSWER, NoAnswerError, RequestSamples, WindowFigures, summarised

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hcopt.measure.load.poisson import Schedule

# So many requests at the start may be missing from the export, on a machine that stalled just then.
_MAX_LOST = 64
LAG_TOLERANCE_MS = 1.0
# A request that is later by this share of the limit is late; one that is later by the second makes its window invalid.
LAG_TOLERANCE_RATIO = 0.1
MOST_LAG_RATIO = 0.5
# The claim is about one request in a hundred, so no more of them may be the generator's fault.
LAG_SHARE = ALLOWED_MISS_RATIO


def aligned(pairs: NDArray[np.int64], schedule: Schedule) -> RequestSamples:
    """Gives each request of an export its intended send time.

    The requests are those of the schedule in its order, but for some at the start that perf_analyzer did not record and
    some at the end that were not answered in time. How many are missing at the start is where the lags add up to least;
    the workers' start is where the smallest lag is 0. Exports of perf_analyzer 2.51 on a busy machine agree with that
    start within 0.15 ms.

    Args:
        pairs: Sent and answered, in ns of any clock; see `measurements.read_pairs`.
        schedule: What was to be sent.

    Raises:
        ProfileError: The export holds no request of the schedule.
    """
    import numpy as np

    if not len(pairs):
        raise ProfileError("perf_analyzer's export holds no request")
    # What comes after them is the trickle.
    until_ns = pairs[0, 0] - schedule.intended_ns[0] + (schedule.drain_end_ns + schedule.trickle_ns) // 2
    pairs = pairs[pairs[:, 0] < until_ns][: len(schedule.intended_ns)]
    first, start_ns = _offset_and_start(pairs[:, 0], schedule.intended_ns)
    intended = schedule.intended_ns[first : first + len(pairs)]
    answered = pairs[:, 1] != NO_ANSWER
    counted = int(np.count_nonzero(schedule.intended_ns[first:] >= schedule.warm_up_ns))
    seen = int(np.count_nonzero(intended[answered] >= schedule.warm_up_ns))
    return RequestSamples(
        sent_ns=intended[answered],
        latency_ns=(pairs[:, 1] - start_ns - intended)[answered],
        lag_ns=(pairs[:, 0] - start_ns - intended)[answered],
        warm_up_ns=schedule.warm_up_ns,
        end_ns=schedule.load_end_ns,
        failed_count=counted - seen,
    )


def _offset_and_start(sent_ns: NDArray[np.int64], intended_ns: NDArray[np.int64]) -> tuple[int, int]:
    """How many requests are missing at the start, and when the workers started by the export's clock."""

    def differences(offset: int) -> NDArray[np.int64]:
        return sent_ns - intended_ns[offset : offset + len(sent_ns)]

    def total_lag_ns(offset: int) -> int:
        return int((differences(offset) - differences(offset).min()).sum())

    missing = min(len(intended_ns) - len(sent_ns), _MAX_LOST)
    found = min(range(missing + 1), key=total_lag_ns)
    return found, int(differences(found).min())


def open_loop_figures(
    samples: RequestSamples, *, client_batch_size: int, latency_limit_ms: float, drain_end_ns: int
) -> WindowFigures:
    """Figures of the requests that were meant to be sent between warm-up and the end of the load.

    A request that was not answered until `drain_end_ns` counts as a request, as a miss, and in the percentiles with the
    latency that it had reached by then, which is at least the drain.

    Raises:
        ProfileError: The load generator lagged, or nothing was answered.
    """
    import numpy as np

    check_lag(samples, latency_limit_ms)
    inside = samples.sent_ns >= samples.warm_up_ns
    received = samples.sent_ns + samples.latency_ns
    completed = int(np.count_nonzero((received > samples.warm_up_ns) & (received <= samples.end_ns)))
    if not inside.any() or not completed:
        raise NoAnswerError(
            f"the window is too short: {len(samples.sent_ns)} requests, none answered after the warm-up"
        )
    reached = np.full(samples.failed_count, drain_end_ns - samples.end_ns)
    latencies_ms = np.concatenate([samples.latency_ns[inside], reached]) / 1e6
    duration_s = (samples.end_ns - samples.warm_up_ns) / 1e9
    return WindowFigures(
        duration_s=duration_s,
        throughput_infer_per_s=completed * client_batch_size / duration_s,
        latency=summarised(latencies_ms),
        request_count=len(latencies_ms),
        miss_count=int(np.count_nonzero(samples.latency_ns[inside] / 1e6 > latency_limit_ms)) + samples.failed_count,
        late_ratio=late_ratio(samples, _tolerance_ms(latency_limit_ms, LAG_TOLERANCE_RATIO)),
    )


def check_lag(samples: RequestSamples, latency_limit_ms: float) -> None:
    """Does nothing where the load generator kept to its schedule well enough for a promise.

    The lag is part of the latency, so that it makes a rate look worse and never better (in a queue that serves in turn,
    a later arrival makes nobody's answer earlier). On a busy machine a generator is late by some ms in most windows;
    a rate that keeps the limit all the same does keep it. That a rate breaks the limit is another claim, and needs a
    smaller lag: see `Measurement.late_ratio`. Where more than `LAG_SHARE` of the requests went out more than half the
    limit after their time, the window is invalid, whatever its latencies: to judge by them would select windows by
    their outcome.

    Raises:
        ProfileError: It lagged; says how much.

    Source: Kogias, Mallon, Bugnion, "Lancet: A self-correcting Latency Measuring Tool" (USENIX ATC 2019), for checking
    the arrivals themselves; the tolerances are ours.
    """
    tolerance_ms = _tolerance_ms(latency_limit_ms, MOST_LAG_RATIO)
    ratio = late_ratio(samples, tolerance_ms)
    if ratio is not None and ratio > LAG_SHARE:
        assert samples.lag_ns is not None
        raise ProfileError(
            f"the load generator lagged: {ratio:.1%} of the requests were sent more than {tolerance_ms:.3g} ms"
            f" late, the latest {samples.lag_ns[samples.sent_ns >= samples.warm_up_ns].max() / 1e6:.3g} ms"
        )


def late_ratio(samples: RequestSamples, tolerance_ms: float) -> float | None:
    """Share of the requests after the warm-up that went out later by more than that; None where nobody knows."""
    import numpy as np

    if samples.lag_ns is None:
        return None
    lag_ms = samples.lag_ns[samples.sent_ns >= samples.warm_up_ns] / 1e6
    return float(np.mean(lag_ms > tolerance_ms)) if len(lag_ms) else 0.0


def _tolerance_ms(latency_limit_ms: float, ratio: float) -> float:
    return max(LAG_TOLERANCE_MS, ratio * latency_limit_ms)
