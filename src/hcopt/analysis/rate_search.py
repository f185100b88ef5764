"""Searches for the highest arrival rate that keeps the p99 limit. Pure: measuring and the clock are given.

Probes of one window each go where they tell most of the boundary; `rate_fit` reads them. They only propose. What is
said of a rate rests on a proof: several windows with fresh arrivals at that rate, judged in blocks. After one that
fails a lower rate is proposed, by all that was measured; after one that passes a higher one, where that is likely to
pass too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hcopt.analysis import p99_limit
from hcopt.analysis.rate_fit import RateFit
from hcopt.records.measurement import Measurement
from hcopt.records.verdict import Estimate, Feasibility, RatePoint

# Probes end where a rate is likely to pass its proof that is so near to the boundary, and after so many.
_NEAR = 0.87
_PROBES = 7
# How likely a rate must be to pass its proof before one is begun.
_LIKELY = 0.8
# A proof may pass in a good moment of the machine: so probable at least must all windows together let its rate be.
_SUPPORT = 0.3
# A further proof is of a rate that is lower by so much at least, or higher: a little more is not worth its time.
_LOWER = 1.06
_HIGHER = 1.1
# One that was refused is stepped back from by so much at most: what the fit asks for beyond that is caution.
_BACK_OFF = 0.7
# As many blocks as in the confirmation, fewer where the time is short or nothing but a failure is to be shown.
_WINDOWS = 8
_MIN_WINDOWS = 4
# A machine that stalls for a moment makes the load generator late; a rate at which it mostly is cannot be measured.
_FAILURES = 3
_MEASURABLE = 0.8

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
            nothing can be promised. `ci_high` is the lowest rate shown to break it, or None. `estimate` is that of
            the boundary, between the two; 0 where there is none.
        boundary_infer_per_s: The rate at which just 1 % is over the limit, by the fit to all windows, which proves
            nothing; bounds by 90 %, None beyond what was looked at. None where no rate was seen to keep the limit.
        points: Each rate with a valid window, in ascending order.
        unmeasured: Each rate without figures, in ascending order, and why: the load generator lagged, or the variant
            failed.
        window_count: Valid windows.
        out_of_time: The time ended before the search did.
    """

    sustainable_rate_infer_per_s: Estimate
    boundary_infer_per_s: Estimate | None
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
    to_promise: bool = False
    attempts: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def unmeasurable(self) -> bool:
        """Whether the load generator fails here more often than not."""
        return len(self.failures) >= max(_FAILURES, len(self.probes) + len(self.examined))

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
        self._asked_s: list[float] = []
        self._alpha_left = limits.alpha

    def run(self, closed_loop_infer_per_s: float) -> FoundRate:
        """Searches until no further proof is likely to pass, or the time is over.

        Args:
            closed_loop_infer_per_s: The confirmed closed-loop throughput.

        Raises:
            ValueError: That is no throughput.
        """
        if not (closed_loop_infer_per_s > 0 and math.isfinite(closed_loop_infer_per_s)):
            raise ValueError(f"not a throughput: {closed_loop_infer_per_s}")
        self._fit = RateFit(closed_loop_infer_per_s)
        out_of_time = False
        try:
            self._prove()
            self._refute()
        except _OutOfTimeError:
            out_of_time = True
        return _found(self._rates, self._limits, self._fit, out_of_time=out_of_time)

    def _prove(self) -> None:
        """Proves a rate, lower ones until one is feasible, then higher ones while they are likely to be.

        Each verdict has half of the error rate that is left, so that all of them together keep it.
        """
        probes, verdicts = 0, dict[float, Feasibility]()
        while True:
            boundary = self._fit.boundary().estimate
            passed = (rate for rate, verdict in verdicts.items() if verdict == "feasible")
            proved = {rate for rate in passed if self._fit.supports(rate) >= _SUPPORT}
            refused = min(verdicts.keys() - proved, default=math.inf)
            above = max(proved) * _HIGHER if proved else _BACK_OFF * refused if verdicts else 0.0
            below = min(refused / _LOWER, self._measurable_below())
            candidate = self._highest(_LIKELY, above, below)
            near = candidate is not None and candidate >= _NEAR * min(boundary, below)
            # Before any verdict a probe is better than nothing; later it is only for the proof after it.
            pays = not verdicts or self._windows_left() > _MIN_WINDOWS
            if not near and probes < _PROBES and pays and self._probe(above, below):
                probes += 1
                continue
            if candidate is None and not proved:
                candidate = self._best_bet(above, below)
            if candidate is None or not self._provable(candidate):
                return
            verdicts[candidate] = self._judge(candidate, _WINDOWS, self._next_alpha(), to_promise=True)

    def _probe(self, above: float, below: float) -> bool:
        """One window at the rate between two where it tells most; False where none is there."""
        tells = zip(self._fit.rates, self._fit.tells(), strict=True)
        rates = {rate: told for rate, told in tells if above < rate < below}
        if not rates:
            return False
        rate = _rounded(max(rates, key=rates.__getitem__))
        measured = self._window(rate)
        if measured is not None:
            self._rates[rate].probes.append(measured)
        return True

    def _provable(self, rate: float) -> bool:
        """Whether windows without any miss would do, as many as there is time for."""
        asked = round(rate * max(self._asked_s, default=0.0))
        count = min(_WINDOWS, self._windows_left())
        if not asked or count < _MIN_WINDOWS:
            return True  # nobody knows yet, or the time is up, which `_judge` says
        return p99_limit.judge_counts([0] * count, [asked] * count, alpha=self._alpha_left / 2)[0] == "feasible"

    def _refute(self) -> None:
        """Shows of the lowest rate that clearly fails that it does, with all of the error rate, for `ci_high`."""
        probed = [(rate, taken) for rate, taken in self._rates.items() if not taken.examined]
        failing = [rate for rate, taken in probed if p99_limit.clearly_breaks(_share(taken.probes))]
        if failing:
            self._judge(min(failing), _MIN_WINDOWS, self._limits.alpha)

    def _highest(self, likely: float, above: float, below: float) -> float | None:
        """The highest rate between two that passes a proof with such a probability."""
        passes = zip(self._fit.rates, self._fit.passes(_WINDOWS), strict=True)
        rates = [_rounded(rate) for rate, chance in passes if chance >= likely and above < rate < below]
        return max(rates, default=None)

    def _best_bet(self, above: float, below: float) -> float | None:
        """Where no rate is likely to pass, the one that promises most on average."""
        passes = zip(self._fit.rates, self._fit.passes(_WINDOWS), strict=True)
        bets = {rate: rate * chance for rate, chance in passes if above < rate < below}
        return _rounded(max(bets, key=bets.__getitem__)) if bets else None

    def _measurable_below(self) -> float:
        """So far below where the load generator fails; infinite where it did not."""
        return _MEASURABLE * min((rate for rate, taken in self._rates.items() if taken.unmeasurable), default=math.inf)

    def _next_alpha(self) -> float:
        self._alpha_left /= 2
        return self._alpha_left

    def _judge(self, rate: float, count: int, alpha: float, *, to_promise: bool = False) -> Feasibility:
        """The verdict on fresh windows at a rate: judged once, on as many as time and load generator allow.

        A rate `to_promise` is given up at the window after which its verdict would stay open whatever the others show.
        """
        count = min(count, self._windows_left())
        if count < _MIN_WINDOWS:
            raise _OutOfTimeError
        taken = self._rates.setdefault(rate, _Rate())
        taken.alpha, taken.to_promise = alpha, to_promise
        while len(taken.examined) < count and not taken.unmeasurable and self._windows_left() >= 1:
            measured = self._window(rate)
            if measured is None:
                continue
            taken.examined.append(measured)
            if to_promise and not _may_pass(taken, count, alpha):
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
            if (counted := p99_limit.counts([measured])) is not None:
                [missed], [asked] = counted
                self._fit.add(rate, missed, asked)
                self._asked_s.append(asked / rate)
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
    """Of the windows that speak for a rate. Probes, and a proof that was cut short, show nothing in its favour, nor do
    windows that were to show the opposite: no part of the error rate was spent on that.

    That it breaks the limit is shown only by windows in which the load generator was not late itself.
    """
    missed, asked = p99_limit.counts(taken.speaking) or ([], [])
    verdict, share = p99_limit.judge_counts(missed, asked, alpha=alpha)
    punctual = p99_limit.counts([one for one in taken.examined if _punctual(one)])
    if verdict == "infeasible":
        verdict = "undecided" if punctual is None else p99_limit.judge_counts(*punctual, alpha=alpha)[0]
    if verdict == "feasible" and not (taken.to_promise and len(taken.examined) >= _MIN_WINDOWS):
        verdict = "undecided"
    return verdict, share


def _punctual(measured: Measurement) -> bool:
    return measured.late_ratio is None or measured.late_ratio <= p99_limit.ALLOWED_MISS_RATIO


def _may_pass(taken: _Rate, count: int, alpha: float) -> bool:
    """Whether the limit would be shown to hold if no further window had a miss."""
    missed, asked = p99_limit.counts(taken.examined) or ([], [])
    further = count - len(missed)
    missed, asked = [*missed, *[0] * further], [*asked, *[max(asked, default=1)] * further]
    return p99_limit.judge_counts(missed, asked, alpha=alpha)[0] == "feasible"


def _found(rates: dict[float, _Rate], limits: Limits, fit: RateFit, *, out_of_time: bool) -> FoundRate:
    spoken = {rate: taken for rate, taken in sorted(rates.items()) if taken.speaking}
    points = tuple(_point(rate, taken, limits, fit) for rate, taken in spoken.items() if _with_figures(taken))
    failing = {rate: taken for rate, taken in spoken.items() if not _with_figures(taken)}
    broken = [rate for rate, taken in failing.items() if _verdict(taken, limits.alpha)[0] == "infeasible"]
    lost = {rate: taken.failures for rate, taken in sorted(rates.items()) if not taken.speaking and taken.failures}
    lost |= {rate: [one.error or "" for one in taken.speaking] for rate, taken in failing.items()}
    boundary = fit.boundary() if any(p99_limit.is_within(point.miss_ratio.estimate) for point in points) else None
    return FoundRate(
        sustainable_rate_infer_per_s=_sustainable(points, broken, boundary),
        boundary_infer_per_s=boundary,
        points=points,
        unmeasured=tuple((rate, failures[-1]) for rate, failures in sorted(lost.items())),
        window_count=sum(one.error is None for taken in rates.values() for one in (*taken.probes, *taken.examined)),
        out_of_time=out_of_time,
    )


def _with_figures(taken: _Rate) -> bool:
    return any(measured.error is None for measured in taken.speaking)


def _point(rate: float, taken: _Rate, limits: Limits, fit: RateFit) -> RatePoint:
    verdict, miss_ratio = _verdict(taken, taken.alpha or limits.alpha)
    if verdict == "feasible" and fit.supports(rate) < _SUPPORT:
        verdict = "undecided"  # it passed in a good moment of the machine: all windows together say otherwise
    p99s = [measured.latency.p99_ms for measured in taken.speaking if measured.latency is not None]
    return RatePoint(
        rate_infer_per_s=rate,
        window_count=len(taken.speaking),
        miss_ratio=miss_ratio,
        latency_p99_ms=math.fsum(p99s) / len(p99s),
        verdict=verdict,
    )


def _sustainable(points: Sequence[RatePoint], broken: Sequence[float], boundary: Estimate | None) -> Estimate:
    """See `FoundRate`; where a rate is shown infeasible, nothing above it counts.

    Args:
        points: The rates with figures.
        broken: Those at which the variant failed too often to have any.
        boundary: What the fit says; None where no rate was seen to keep the limit.
    """
    infeasible = [point.rate_infer_per_s for point in points if point.verdict == "infeasible"]
    high = min((*infeasible, *broken), default=math.inf)
    feasible = (point.rate_infer_per_s for point in points if point.verdict == "feasible")
    low = max((rate for rate in feasible if rate < high), default=None)
    return Estimate(
        estimate=0.0 if boundary is None else min(max(boundary.estimate, low or 0.0), high),
        ci_low=low,
        ci_high=high if math.isfinite(high) else None,
    )
