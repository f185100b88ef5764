"""Searches for the highest arrival rate that keeps the p99 limit. Pure: measuring and the clock are given.

Probes of one window each rise from half of the closed-loop throughput until one fails, then halve the bracket. They
only propose. What is said of a rate rests on several windows with fresh arrivals at that rate, judged in blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hcopt.analysis import p99_limit
from hcopt.records.measurement import Measurement
from hcopt.records.verdict import Estimate, Feasibility, RatePoint

# Rising probes: from this share of the closed-loop throughput, by this factor, at most to this multiple of it.
_FIRST_SHARE = 0.5
_STEP = 1.25
_CEILING = 2.0
# Falling ones, where the first already fails.
_FALL = 0.6
_MIN_SHARE = 0.02
# A bracket narrower than this is beyond what one window can tell.
_NARROW = 1.08
# The rest of the time is for the verdicts.
_PROBE_TIME_RATIO = 0.45
# The highest rate that passed a probe passed by luck as well. The first candidate is so far below it, each further one
# so far below the one before.
_MARGIN = 0.92
# Nor does it come nearer than this to the closed-loop throughput, whatever the probes say: a queue that near to
# saturation does not recover from a stall of the machine, and one such window leaves the verdict open.
_MAX_SHARE = 0.8
_BACK_OFF = 0.85
# As many blocks as in the confirmation, fewer where the time is short or nothing but a failure is to be shown.
_WINDOWS = 8
_MIN_WINDOWS = 4
# A machine that stalls for a moment must not end the ascent, nor a verdict.
_TRIES = 3
_FAILURES_OF_A_VERDICT = 3

Measure = Callable[[float, int], Measurement]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the search keeps to.

    Attributes:
        max_s: No window begins that would end after this.
        alpha: Probability of a `ci_low` that the server does not sustain, all verdicts together.
    """

    max_s: float = 75.0
    alpha: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRate:
    """What a search found.

    Attributes:
        sustainable_rate_infer_per_s: `ci_low`, the highest rate shown to keep the limit, is None where none was: then
            nothing can be promised. `ci_high` is the lowest rate shown to break it, or None. `estimate` is the highest
            rate below that whose observed share of misses is within the limit; 0 where there is none.
        points: Each rate with a valid window, in ascending order.
        unmeasured: Each rate without figures, in ascending order, and why: the load generator lagged, or the variant
            failed.
        window_count: Valid windows.
        out_of_time: The time ended before the search did.
    """

    sustainable_rate_infer_per_s: Estimate
    points: tuple[RatePoint, ...]
    unmeasured: tuple[tuple[float, str], ...]
    window_count: int
    out_of_time: bool


class _OutOfTimeError(Exception):
    """No further window fits."""


@dataclass
class _Rate:
    """The windows of one rate; once it has been examined, only those of the examination speak for it."""

    probes: list[Measurement] = field(default_factory=list)
    examined: list[Measurement] = field(default_factory=list)
    alpha: float = 0.0
    attempts: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def speaking(self) -> list[Measurement]:
        return self.examined or self.probes


class Search:
    """One search.

    Args:
        measure: Measures one window at a rate in inferences per second, with the arrivals of that window's number.
        clock: Seconds that only grow.
        limits: What to keep to.
    """

    def __init__(self, measure: Measure, clock: Callable[[], float], limits: Limits) -> None:
        self._measure = measure
        self._clock = clock
        self._limits = limits
        self._started = clock()
        self._durations_s: list[float] = []
        self._rates: dict[float, _Rate] = {}
        self._alpha_left = limits.alpha

    def run(self, closed_loop_infer_per_s: float) -> FoundRate:
        """Searches until the bracket is narrow and both its ends are judged, or the time is over.

        Args:
            closed_loop_infer_per_s: The confirmed closed-loop throughput.

        Raises:
            ValueError: That is no throughput.
        """
        if not (closed_loop_infer_per_s > 0 and math.isfinite(closed_loop_infer_per_s)):
            raise ValueError(f"not a throughput: {closed_loop_infer_per_s}")
        out_of_time = False
        try:
            candidate = self._narrow(*self._bracket(closed_loop_infer_per_s))
            if candidate:
                self._examine(candidate, closed_loop_infer_per_s)
        except _OutOfTimeError:
            out_of_time = True
        return _found(self._rates, self._limits, out_of_time=out_of_time)

    def _bracket(self, closed_loop: float) -> tuple[float, float | None]:
        """The highest rate whose probe passed, 0 for none, and the lowest above it whose probe did not."""
        passing, failing, rate = 0.0, None, _rounded(_FIRST_SHARE * closed_loop)
        while rate <= _CEILING * closed_loop and self._may_probe():
            if not self._passes(rate, tries=_TRIES):
                failing = rate
                break
            passing, rate = rate, _rounded(rate * _STEP)
        while not passing and failing is not None and failing * _FALL >= _MIN_SHARE * closed_loop:
            rate = _rounded(failing * _FALL)
            if self._passes(rate, tries=_TRIES):
                passing = rate
            else:
                failing = rate
        return passing, failing

    def _narrow(self, passing: float, failing: float | None) -> float:
        while passing and failing is not None and failing > passing * _NARROW and self._may_probe():
            middle = _rounded(math.sqrt(passing * failing))
            if self._passes(middle, tries=1):
                passing = middle
            else:
                failing = middle
        return passing

    def _may_probe(self) -> bool:
        return self._clock() - self._started < _PROBE_TIME_RATIO * self._limits.max_s

    def _passes(self, rate: float, *, tries: int) -> bool:
        """Whether one window at a rate leaves room below the limit; a rate without a valid window does not."""
        for _ in range(tries):
            measured = self._window(rate)
            if measured is not None:
                self._rates[rate].probes.append(measured)
                return p99_limit.leaves_room(_share([measured]))
        return False

    def _examine(self, passing: float, closed_loop: float) -> None:
        """Judges a rate below the highest that passed a probe, lower ones until one is feasible, then both ends.

        Each verdict that may raise `ci_low` has half of the error rate that is left, so that all of them together keep
        it. The one on a rate that clearly fails has all of it, for `ci_high`.
        """
        candidate = _rounded(min(passing * _MARGIN, closed_loop * _MAX_SHARE))
        while self._judge(candidate, _WINDOWS, self._next_alpha(), to_promise=True) != "feasible":
            candidate = _rounded(candidate * _BACK_OFF)
            if candidate < _MIN_SHARE * closed_loop:
                return
        failing = [rate for rate, taken in self._rates.items() if p99_limit.clearly_breaks(_share(taken.probes))]
        if failing:
            self._judge(min(failing), _MIN_WINDOWS, self._limits.alpha)
        if not self._rates[passing].examined:
            self._judge(passing, _WINDOWS, self._next_alpha(), to_promise=True)

    def _next_alpha(self) -> float:
        self._alpha_left /= 2
        return self._alpha_left

    def _judge(self, rate: float, count: int, alpha: float, *, to_promise: bool = False) -> Feasibility:
        """The verdict on fresh windows at a rate: judged once, on as many as time and load generator allow.

        A rate `to_promise` is given up at the first window that leaves its verdict open whatever the others show.
        """
        count = min(count, self._windows_left())
        if count < _MIN_WINDOWS:
            raise _OutOfTimeError
        taken, failures = self._rates.setdefault(rate, _Rate()), 0
        taken.alpha = alpha
        while len(taken.examined) < count and failures <= _FAILURES_OF_A_VERDICT:
            measured = self._window(rate)
            if measured is None:
                failures += 1
                continue
            taken.examined.append(measured)
            if to_promise and p99_limit.clearly_breaks(_share([measured])):
                break
        return _verdict(taken, alpha)[0] if taken.examined else "undecided"

    def _windows_left(self) -> int:
        if not self._durations_s:
            return _WINDOWS
        left_s = self._limits.max_s - (self._clock() - self._started)
        return int(left_s / (math.fsum(self._durations_s) / len(self._durations_s)))

    def _window(self, rate: float) -> Measurement | None:
        """One window with arrivals of its own; None where it failed for another's sake than the variant's.

        Raises:
            _OutOfTimeError: There is no time for it.
        """
        if self._windows_left() < 1:
            raise _OutOfTimeError
        taken, began = self._rates.setdefault(rate, _Rate()), self._clock()
        taken.attempts += 1
        measured = self._measure(rate, taken.attempts - 1)
        self._durations_s.append(max(self._clock() - began, 1e-9))
        if measured.failed_by_variant or (measured.error is None and measured.miss_count is not None):
            return measured
        taken.failures.append(measured.error or "misses were not counted")
        return None


def _rounded(rate: float) -> float:
    """Three digits are more than can be told apart, and a rate that is told is the one that was measured."""
    return float(f"{rate:.3g}")


def _share(windows: Sequence[Measurement]) -> float:
    """Share of misses; 0 where there is no window."""
    missed, asked = p99_limit.counts(windows) or ([], [])
    return sum(missed) / max(1, sum(asked))


def _verdict(taken: _Rate, alpha: float) -> tuple[Feasibility, Estimate]:
    missed, asked = p99_limit.counts(taken.speaking) or ([], [])
    return p99_limit.judge_counts(missed, asked, alpha=alpha)


def _found(rates: dict[float, _Rate], limits: Limits, *, out_of_time: bool) -> FoundRate:
    spoken = {rate: taken for rate, taken in sorted(rates.items()) if taken.speaking}
    points = tuple(_point(rate, taken, limits) for rate, taken in spoken.items() if _with_figures(taken))
    failing = {rate: taken for rate, taken in spoken.items() if not _with_figures(taken)}
    broken = [rate for rate, taken in failing.items() if _verdict(taken, limits.alpha)[0] == "infeasible"]
    lost = {rate: taken.failures for rate, taken in sorted(rates.items()) if not taken.speaking and taken.failures}
    lost |= {rate: [one.error or "" for one in taken.speaking] for rate, taken in failing.items()}
    return FoundRate(
        sustainable_rate_infer_per_s=_sustainable(points, broken),
        points=points,
        unmeasured=tuple((rate, failures[-1]) for rate, failures in sorted(lost.items())),
        window_count=sum(one.error is None for taken in rates.values() for one in (*taken.probes, *taken.examined)),
        out_of_time=out_of_time,
    )


def _with_figures(taken: _Rate) -> bool:
    return any(measured.error is None for measured in taken.speaking)


def _point(rate: float, taken: _Rate, limits: Limits) -> RatePoint:
    verdict, miss_ratio = _verdict(taken, taken.alpha or limits.alpha)
    p99s = [measured.latency.p99_ms for measured in taken.speaking if measured.latency is not None]
    return RatePoint(
        rate_infer_per_s=rate,
        window_count=len(taken.speaking),
        miss_ratio=miss_ratio,
        latency_p99_ms=math.fsum(p99s) / len(p99s),
        verdict=verdict,
    )


def _sustainable(points: Sequence[RatePoint], broken: Sequence[float]) -> Estimate:
    """See `FoundRate`; where a rate is shown infeasible, nothing above it counts.

    Args:
        points: The rates with figures.
        broken: Those at which the variant failed too often to have any.
    """
    infeasible = [point.rate_infer_per_s for point in points if point.verdict == "infeasible"]
    high = min((*infeasible, *broken), default=math.inf)
    below = [point for point in points if point.rate_infer_per_s < high]
    feasible = [point.rate_infer_per_s for point in below if point.verdict == "feasible"]
    within = [point.rate_infer_per_s for point in below if p99_limit.is_within(point.miss_ratio.estimate)]
    return Estimate(
        estimate=max(within, default=0.0),
        ci_low=max(feasible, default=None),
        ci_high=high if math.isfinite(high) else None,
    )
