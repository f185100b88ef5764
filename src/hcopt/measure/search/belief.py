"""What the windows so far say of every point of the grid: throughput, and whether the limit holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from hcopt.analysis.p99_limit import ALLOWED_MISS_RATIO
from hcopt.measure.search.grid import Grid
from hcopt.measure.search.surface import Array, Integers, Prior, Surface, Windows, draw, fit
from hcopt.measure.search.values import NOISE

_MS_PER_S = 1000
_SPEED = {"signal": 0.5, "point": 0.12, "block": 0.05}
_TAIL = Prior(signal=0.3, point=0.05, block=0.05, noise=0.15)
# With which probability a point has to keep the limit to be proposed.
SURE = 0.996
# By how much the share of requests over the limit grows with p99, as a power of it; and how many windows that is worth.
_STEEPNESS = 5.0
_STEEPNESS_WINDOWS = 4.0
_MAX_SKEW = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One measured window: its point, its block, logarithms of its throughput and of its tail ratio.

    The tail ratio is p99 over the mean latency, which at a closed-loop load is rows under way / throughput (Little).
    """

    point: int
    block: int
    log_throughput: float
    log_tail: float
    miss_ratio: float | None = None


@dataclass(frozen=True)
class Belief:
    """Two surfaces over one grid.

    Attributes:
        grid: The points.
        limit_ms: The p99 limit; None where there is none.
        speed: Of the logarithm of throughput.
        tail: Of the logarithm of p99 over mean latency.
        steepness: The share of requests over the limit grows with this power of p99.
        failing: Points at which too many requests failed on the variant's own account, whatever the others took.
    """

    grid: Grid
    limit_ms: float | None
    speed: Surface
    tail: Surface
    steepness: float
    failing: frozenset[int] = frozenset()
    _known: dict[int, tuple[Array, Array]] = field(default_factory=dict, repr=False)

    @cached_property
    def log_throughput(self) -> tuple[Array, Array]:
        """Means and standard deviations at all points."""
        return self.speed.marginals(np.arange(len(self.grid)))

    @cached_property
    def log_latency(self) -> tuple[Array, Array]:
        """Means and standard deviations of the logarithm of p99 in ms at all points."""
        tail, tail_sd = self.tail.marginals(np.arange(len(self.grid)))
        speed, speed_sd = self.log_throughput
        return self._latency(tail, speed, np.arange(len(self.grid))), np.hypot(tail_sd, speed_sd)

    def _latency(self, log_tail: Array, log_throughput: Array, points: Integers) -> Array:
        return log_tail + self.grid.log_rows[points] + math.log(_MS_PER_S) - log_throughput

    @cached_property
    def _log_limit(self) -> float:
        """What the typical window's p99 has to keep so that the requests of all windows together keep the limit.

        Bad windows add more late requests than good ones save: with log-normal windows, a share that grows with the
        power k of p99 has its mean where p99 is k/2 times the variance higher.
        """
        if self.limit_ms is None:
            return math.inf
        variance = sum(surface.noise**2 + surface.block**2 for surface in (self.tail, self.speed))
        return math.log(self.limit_ms) - min(_MAX_SKEW, 0.5 * self.steepness * variance)

    @cached_property
    def feasible(self) -> Array:
        """For all points, the probability that the limit holds, and that requests are answered."""
        mean, sd = self.log_latency
        found = np.asarray(ndtr((self._log_limit - mean) / sd))
        found[sorted(self.failing)] = 0.0
        return found

    def best(self, among: Integers, *, sure: float) -> int | None:
        """The point with the highest throughput among those that keep the limit with a probability of `sure`."""
        kept = among[self.feasible[among] >= sure]
        return int(kept[np.argmax(self.log_throughput[0][kept])]) if len(kept) else None

    def against(self, best: int) -> tuple[Array, Array]:
        """For all points, mean and standard deviation of the log-ratio of their throughput to that of one of them."""
        if best not in self._known:
            mean, sd = self.log_throughput
            variance = sd**2 + sd[best] ** 2 - 2 * self.speed.covariance_with(best)
            self._known[best] = (mean - mean[best], np.sqrt(np.maximum(variance, 1e-10)))
        return self._known[best]

    def draws(self, points: Integers, count: int, random: np.random.Generator) -> Array:
        """Samples of log-throughput at some points, (count, points); −inf where the limit is broken in the sample."""
        speed = draw(*self.speed.joint(points), count, random)
        speed[:, np.isin(points, sorted(self.failing))] = -np.inf
        if self.limit_ms is None:
            return speed
        tail = draw(*self.tail.joint(points), count, random)
        return np.where(self._latency(tail, speed, points) <= self._log_limit, speed, -np.inf)


def believe(
    grid: Grid,
    taken: Sequence[Taken],
    *,
    limit_ms: float | None,
    noise: float = NOISE,
    before: Belief | None = None,
    refit: bool = True,
    failing: frozenset[int] = frozenset(),
) -> Belief:
    """The belief after some windows; `before` is where a fit begins, or what is kept of it."""
    points = np.array([window.point for window in taken], dtype=np.int64)
    blocks = np.array([window.block for window in taken], dtype=np.int64)
    speed, tail = (
        fit(
            grid.features,
            Windows(point=points, block=blocks, value=np.array(values)),
            prior,
            start=start,
            refit=refit,
        )
        for values, prior, start in (
            ([w.log_throughput for w in taken], Prior(noise=noise, **_SPEED), None if before is None else before.speed),
            ([w.log_tail for w in taken], _TAIL, None if before is None else before.tail),
        )
    )
    return Belief(grid, limit_ms, speed, tail, _steepness(grid, taken, limit_ms), failing)


def _steepness(grid: Grid, taken: Sequence[Taken], limit_ms: float | None) -> float:
    """Slope of log(share over the limit / 1 %) over log(p99 / limit), which meet at 0; drawn to a usual one."""
    if limit_ms is None:
        return _STEEPNESS
    excess = [w.log_tail + grid.log_rows[w.point] + math.log(_MS_PER_S / limit_ms) - w.log_throughput for w in taken]
    pairs = [
        (x, math.log(w.miss_ratio / ALLOWED_MISS_RATIO))
        for x, w in zip(excess, taken, strict=True)
        if w.miss_ratio and abs(x) < 1
    ]
    squares = sum(x * x for x, _ in pairs)
    own = _STEEPNESS_WINDOWS * 0.1**2
    return float((sum(x * y for x, y in pairs) + _STEEPNESS * own) / (squares + own))
