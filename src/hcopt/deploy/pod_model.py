"""How one pod's latency grows with its load: a queue model fitted to a run's open-loop points. Pure, on SciPy.

p99(λ) = floor + slope · ρ / (1 − ρ) with ρ = λ / saturation: the waiting time of heavy traffic above a service time.
Beyond the measured rates nothing is extrapolated to be good: at saturation the queue grows without end.

Source: Kingman (1961), The single server queue in heavy traffic; waits there are about exponential.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from hcopt.analysis.p99_limit import ALLOWED_MISS_RATIO
from hcopt.deploy.capacity import lower_bound
from hcopt.records.verdict import Capacity, RatePoint

_PARAMETERS = 3
# A p99 far beyond the limit is that of a queue which never settled: it says how long the window was.
_SETTLED_LIMITS = 4.0
_NEAREST_SATURATION = 1.002
# A fit that is further off than this at points it has not seen says nothing of those in between either.
_MAX_ERROR_RATIO = 0.5
_FULL = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class PodModel:
    """One pod under Poisson arrivals.

    Attributes:
        saturation_infer_per_s: What it completes at most.
        floor_ms: p99 without any queue.
        slope_ms: How much p99 rises with ρ / (1 − ρ).
        limit_ms: The p99 limit.
        rows_per_request: Inferences a request.
        measured_misses: Rate and share over the limit of the measured points, ascending: rare stalls, which no queue
            explains, are in it.
        held_out_error_ratio: Median relative error of p99 at measured points that the fit has not seen; None where
            there are too few points to hold one out.
        point_count: Measured points that a fit could use.
        fitted: Whether this is the fit; else there were too few points, or it was too far off at those held out, and
            this is the worst that the run allows.
    """

    saturation_infer_per_s: float
    floor_ms: float
    slope_ms: float
    limit_ms: float
    rows_per_request: int = 1
    measured_misses: tuple[tuple[float, float], ...] = ()
    held_out_error_ratio: float | None = None
    point_count: int = 0
    fitted: bool = False

    def p99_ms(self, rate_infer_per_s: float) -> float:
        """The 99th percentile of latency at a rate; infinite from saturation on."""
        load = rate_infer_per_s / self.saturation_infer_per_s
        return self.floor_ms + self.slope_ms * load / (1 - load) if load < 1 else math.inf

    def miss_ratio(self, rate_infer_per_s: float, *, waiting_ms: float = 0.0) -> float:
        """Share of requests over the limit, when a request finds `waiting_ms` of earlier overload before it.

        Above the floor the time is exponential, so that exactly 1 % is over the limit where p99 is the limit.
        """
        left_ms = self.limit_ms - self.floor_ms - waiting_ms
        if left_ms <= 0:
            return 1.0
        spread_ms = self.p99_ms(min(rate_infer_per_s, _FULL * self.saturation_infer_per_s)) - self.floor_ms
        queued = 0.0 if spread_ms <= 0 else float(ALLOWED_MISS_RATIO ** (left_ms / spread_ms))
        return max(queued, self._measured_miss_ratio(rate_infer_per_s))

    def _measured_miss_ratio(self, rate_infer_per_s: float) -> float:
        """That of the nearest measured rate that is not below this one; of the highest beyond it."""
        above = (ratio for rate, ratio in self.measured_misses if rate >= rate_infer_per_s)
        return next(above, self.measured_misses[-1][1] if self.measured_misses else 0.0)

    def pending_requests(self, rate_infer_per_s: float) -> float:
        """Requests that wait on average, by Little's law; an exponential wait's mean is its p99 / ln 100."""
        rate = min(rate_infer_per_s, _FULL * self.saturation_infer_per_s)
        mean_wait_s = (self.p99_ms(rate) - self.floor_ms) / math.log(1 / ALLOWED_MISS_RATIO) / 1000
        return rate / self.rows_per_request * mean_wait_s


def fit_pod_model(capacity: Capacity) -> PodModel:
    """The model of a run's capacity, with its error at points that were held out one after another."""
    points = tuple(
        point
        for point in capacity.points
        if 0 < point.latency_p99_ms <= _SETTLED_LIMITS * capacity.latency_p99_limit_ms and point.rate_infer_per_s > 0
    )
    error = _held_out_error(points, capacity)
    if error is None or error > _MAX_ERROR_RATIO:
        return replace(_through_lower_bound(capacity), held_out_error_ratio=error, point_count=len(points))
    return replace(_fit(points, capacity), held_out_error_ratio=error, point_count=len(points), fitted=True)


def _through_lower_bound(capacity: Capacity) -> PodModel:
    """The worst that the run allows: p99 reaches the limit at the lower bound, and capacity ends soon after it."""
    lower = lower_bound(capacity)
    saturation = max(capacity.sustainable_rate_infer_per_s.ci_high or 0.0, 1.05 * lower)
    load = lower / saturation
    return PodModel(
        saturation_infer_per_s=saturation,
        floor_ms=0.0,
        slope_ms=capacity.latency_p99_limit_ms * (1 - load) / load,
        limit_ms=capacity.latency_p99_limit_ms,
        rows_per_request=capacity.client_batch_size,
        measured_misses=_worst_misses(capacity),
    )


def _worst_misses(capacity: Capacity) -> tuple[tuple[float, float], ...]:
    """Upper bounds of the misses up to the lower bound, and 1 % there: all that the verdict says."""
    lower = lower_bound(capacity)
    bounds = {
        point.rate_infer_per_s: point.miss_ratio.ci_high
        for point in capacity.points
        if point.rate_infer_per_s <= lower and point.miss_ratio.ci_high is not None
    }
    return tuple(sorted(({lower: ALLOWED_MISS_RATIO} | bounds).items()))


def _measured_misses(capacity: Capacity) -> tuple[tuple[float, float], ...]:
    """Those up to the lower bound; beyond it the queue model is the worse."""
    lower = lower_bound(capacity)
    found = ((point.rate_infer_per_s, point.miss_ratio.estimate) for point in capacity.points)
    return tuple(sorted(pair for pair in found if pair[0] <= lower))


def _fit(points: Sequence[RatePoint], capacity: Capacity) -> PodModel:
    """Least squares of log p99; parameters as logarithms, so that all stay positive."""
    from scipy.optimize import least_squares

    rates = np.array([point.rate_infer_per_s for point in points])
    observed = np.log([point.latency_p99_ms for point in points])
    nearest = _NEAREST_SATURATION * float(rates.max())

    def residuals(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        above, floor, slope = (math.exp(parameter) for parameter in parameters)
        load = rates / (nearest * (1 + above))
        difference: NDArray[np.float64] = np.log(floor + slope * load / (1 - load)) - observed
        return difference

    lowest = min(point.latency_p99_ms for point in points)
    begin = np.log([0.05, lowest / 2, lowest / 2])
    bounds = (np.log([1e-6, 1e-4 * lowest, 1e-4 * lowest]), np.log([10.0, 2 * lowest, 100 * lowest]))
    found = least_squares(residuals, begin, bounds=bounds)
    above, floor, slope = (float(value) for value in np.exp(found.x))
    return PodModel(
        saturation_infer_per_s=nearest * (1 + above),
        floor_ms=floor,
        slope_ms=slope,
        limit_ms=capacity.latency_p99_limit_ms,
        rows_per_request=capacity.client_batch_size,
        measured_misses=_measured_misses(capacity),
    )


def _held_out_error(points: Sequence[RatePoint], capacity: Capacity) -> float | None:
    """Each point but the outermost two predicted from all others; None where a fit would then have too few."""
    if len(points) <= _PARAMETERS:
        return None
    inner = sorted(points, key=lambda point: point.rate_infer_per_s)[1:-1]
    errors = []
    for held_out in inner:
        model = _fit([point for point in points if point is not held_out], capacity)
        errors.append(abs(model.p99_ms(held_out.rate_infer_per_s) / held_out.latency_p99_ms - 1))
    return median(errors)
