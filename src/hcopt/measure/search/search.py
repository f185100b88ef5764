"""The search itself: a few spread-out windows, then blocks of windows of whatever may still be best, then a stop.

Throughput and tail latency are two surfaces over the grid. Each block holds the best point so far and those that win
in draws from the surfaces (Thompson sampling), so that comparisons are paired in time, what neighbours showed is
shared, and the load at which the limit begins to break is closed in on from both sides.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri
from threadpoolctl import threadpool_limits

from hcopt.measure.search.belief import SURE, Belief, Taken, believe
from hcopt.measure.search.grid import grid_of
from hcopt.measure.search.order import believe_afresh, best_point, failing_points, window_of
from hcopt.measure.search.surface import Array, Integers
from hcopt.measure.search.values import Measure, SearchSettings
from hcopt.records.measurement import Measurement, SweepPlan
from hcopt.records.search import Action, Decision, DropCause, StopCause

# Windows at most, over the square root of the number of points: cost grows slower than the grid. On the smallest grids
# that would be more than Model Analyzer's whole grid is worth.
_WINDOWS_A_ROOT = 20.0
_WINDOWS_A_POINT = 1.75
_MIN_WINDOWS = 12
_FIRST_A_ROOT = 1.5
_FIRST_WINDOWS = 4
_BLOCK_WINDOWS = 8
_DRAWS = 256
# The default takes part in every so many blocks: it is what the winner is compared with in the end.
_DEFAULT_EVERY = 4
_FIRST_REFITS = 3
_REFIT_GROWTH = 1.25
_FAILURES = 2
_GAIN_SHARE = 0.1
_MIN_WINDOWS_OF_A_WINNER = 3
_HOPELESS = 0.01
_UNMEASURED_CAUTION = 2.0
_MAX_CANDIDATES = 300


def search(
    plan: SweepPlan,
    *,
    measure: Measure,
    clock: Callable[[], float],
    settings: SearchSettings,
    decided: Callable[[Decision], None] = lambda _: None,
) -> tuple[Measurement, ...]:
    """Looks for the point of a plan with the most throughput within the limit.

    The same seed, plan and measurements give the same decisions, as long as the clock ends neither.

    Args:
        plan: The grid.
        measure: Measures one window; what cannot be measured is a Measurement with its error.
        clock: Seconds that only grow.
        settings: Limit, length of a window, budget, seed.
        decided: Takes each decision at once.

    Returns:
        In order, failed ones included; `rank_windows` says what they show.
    """
    # Threads of the linear algebra would go on spinning into the windows that are measured.
    with threadpool_limits(1):
        return _Search(plan, measure, clock, settings, decided).run()


class _Search:
    def __init__(
        self,
        plan: SweepPlan,
        measure: Measure,
        clock: Callable[[], float],
        settings: SearchSettings,
        decided: Callable[[Decision], None],
    ) -> None:
        self._grid = grid_of(plan)
        self._measure = measure
        self._clock = clock
        self._settings = settings
        self._decided = decided
        self._random = np.random.default_rng(settings.seed)
        self._started_s = clock()
        self._measurements: list[Measurement] = []
        self._taken: list[Taken] = []
        self._windows: Counter[int] = Counter()
        self._failures: Counter[int] = Counter()
        self._open = np.ones(len(self._grid), dtype=bool)
        self._dropped: set[int] = set()
        self._block = 0
        self._looks = 0
        self._fit_count = 0
        self._fitted_at = 0
        self._belief: Belief | None = None

    def run(self) -> tuple[Measurement, ...]:
        for variant, load in self._grid.left_out:
            self._decide(
                "left_out",
                f"a request of {load.client_batch_size} rows is more than its max_batch_size {variant.max_batch_size}",
                config_name=variant.config_name,
                concurrency=load.concurrency,
                client_batch_size=load.client_batch_size,
            )
        first = self._first_points()
        for begin in range(0, len(first), _BLOCK_WINDOWS):
            self._measure_block("start", first[begin : begin + _BLOCK_WINDOWS])
        self._race()
        if self._taken:
            self._explain_end()
        return tuple(self._measurements)

    def _race(self) -> None:
        """Measures blocks until there is a reason to stop."""
        if not self._taken:
            self._stop("nothing_measured", "no window could be measured")
            return
        while True:
            belief = self._update()
            best = self._best(belief)
            self._drop(belief, best)
            points = self._candidates(belief, best)
            draws = belief.draws(points, _DRAWS, self._random)
            if self._is_over(belief, best, points, draws):
                return
            left = most_windows(len(self._grid)) - len(self._measurements)
            self._measure_block("race", self._next_block(belief, best, points, draws)[:left])

    def _first_points(self) -> list[int]:
        """The default at a load in the middle, then points spread over the grid, each of another variant if possible.

        Source: Sobol' points, scrambled (Owen 1998).
        """
        # Here, since it takes 0.6 s, and every run imports this module.
        from scipy.stats import qmc

        grid = self._grid
        default = np.flatnonzero(grid.owner == 0)
        chosen = [int(default[len(default) // 2])]
        count = min(len(grid), math.ceil(_FIRST_A_ROOT * math.sqrt(len(grid))) + _FIRST_WINDOWS)
        sampler = qmc.Sobol(grid.features.shape[1], seed=self._random)
        seen = np.bincount([grid.owner[chosen[0]]], minlength=len(grid.variants))
        for place in sampler.random_base2(max(1, math.ceil(math.log2(count))))[: count - 1]:
            distance = ((grid.features - place) ** 2).sum(axis=1) + 10.0 * seen[grid.owner]
            distance[chosen] = np.inf
            chosen.append(int(np.argmin(distance)))
            seen[grid.owner[chosen[-1]]] += 1
        return chosen

    def _measure_block(self, action: Action, points: Sequence[int]) -> None:
        """Measures each point once, as far as there is time: variants in random order, and at each its loads in one."""
        order = [int(point) for point in self._random.permutation(np.array(points, dtype=np.int64))]
        visits = list(dict.fromkeys(self._grid.owner[order].tolist()))
        self._announce(action, points)
        for point in sorted(order, key=lambda point: visits.index(self._grid.owner[point])):
            if self._out_of_time() or not self._open[point]:
                continue
            self._take(point)
        self._block += 1

    def _take(self, point: int) -> None:
        variant, load = self._grid.variant(point), self._grid.loads[point]
        measured = self._measure(variant, load, self._settings.window_s, self._block)
        self._measurements.append(measured)
        if measured.throughput_infer_per_s is None or measured.latency is None:
            self._fail(point, measured.error or "")
            return
        self._windows[point] += 1
        self._taken.append(window_of(self._grid, point, measured, self._block))

    def _fail(self, point: int, reason: str) -> None:
        """Closes a variant that has failed as often without one success as is allowed; a point likewise."""
        owner = int(self._grid.owner[point])
        self._failures[point] += 1
        own = np.flatnonzero(self._grid.owner == owner)
        fails = sum(self._failures[int(other)] for other in own)
        measured = sum(self._windows[int(other)] for other in own)
        if fails >= _FAILURES and not measured:
            self._open[own] = False
            self._dropped.add(owner)
            self._decide("fail", f"could not be measured: {reason}", config_name=self._name(point))
        elif self._failures[point] >= _FAILURES:
            self._open[point] = False
            self._decide("fail", f"could not be measured: {reason}", **self._place(point))

    def _update(self) -> Belief:
        count = len(self._taken)
        refit = self._fit_count < _FIRST_REFITS or count >= _REFIT_GROWTH * self._fitted_at
        self._belief = believe(
            self._grid,
            self._taken,
            limit_ms=self._settings.latency_p99_limit_ms,
            noise=self._settings.noise_ratio,
            before=self._belief,
            refit=refit,
            failing=failing_points(self._grid, self._measurements),
        )
        if refit:
            self._fit_count, self._fitted_at = self._fit_count + 1, count
        return self._belief

    def _best(self, belief: Belief) -> int:
        return best_point(belief, np.array(sorted(self._windows), dtype=np.int64))

    def _drop(self, belief: Belief, best: int) -> None:
        """Closes points of measured variants that cannot be best any more; α is spent over the looks as 1/k².

        Only what was measured is dropped; what never was only waits until the model sees a reason to measure it.
        """
        self._looks += 1
        alpha = self._settings.alpha * 6 / (math.pi * self._looks) ** 2
        mean, sd = belief.against(best)
        high = mean + float(-ndtri(alpha)) * sd * self._caution()
        visited = np.isin(self._grid.owner, self._grid.owner[sorted(self._windows)])
        slow, late = high < 0, belief.feasible < alpha
        if belief.feasible[best] < 0.5:
            slow = np.zeros_like(slow)
        self._open &= ~(visited & (slow | late))
        self._open[best] = True
        still_open = set(self._grid.owner[self._open].tolist())
        for owner in sorted(set(self._grid.owner[visited].tolist()) - still_open - self._dropped):
            self._dropped.add(owner)
            self._explain_drop(belief, best, owner, alpha)

    def _caution(self) -> Array:
        """For all points, the factor of their uncertainty: larger where a load is known from other loads only."""
        factor = np.full(len(self._grid), _UNMEASURED_CAUTION)
        factor[sorted(self._windows)] = 1.0
        return factor

    def _explain_drop(self, belief: Belief, best: int, owner: int, alpha: float) -> None:
        own = np.flatnonzero(self._grid.owner == owner)
        in_time = own[belief.feasible[own] >= alpha]
        cause: DropCause = "slow" if len(in_time) else "late"
        if belief.failing.issuperset(own.tolist()):
            cause, point, reason = "failing", int(own[0]), "fails too many requests at every load"
        elif not len(in_time):
            point = int(own[np.argmax(belief.feasible[own])])
            limit, p99 = self._settings.latency_p99_limit_ms, math.exp(belief.log_latency[0][point])
            reason = f"misses the p99 limit of {limit:g} ms at every load (error rate {alpha:.2g}): about {p99:.3g} ms"
        else:
            mean, sd = belief.against(best)
            high = mean - float(ndtri(alpha)) * sd * self._caution()
            point = int(in_time[np.argmax(high[in_time])])
            reason = (
                f"at most {math.exp(high[point]):.1%} of the throughput of {self._name(best)} at concurrency "
                f"{self._grid.loads[best].concurrency} (error rate {alpha:.2g})"
            )
        self._decide("drop", reason, cause=cause, **self._place(point), **self._figures(belief, best, point))

    def _candidates(self, belief: Belief, best: int) -> Integers:
        """Open points that may be best, the most promising ones where there are many."""
        mean, sd = belief.log_throughput
        hope = np.where(belief.feasible > _HOPELESS, mean + 2 * sd, -np.inf)
        hope[~self._open] = -np.inf
        hope[best] = np.inf
        order = np.argsort(-hope, kind="stable")[:_MAX_CANDIDATES]
        return np.sort(order[hope[order] > -np.inf])

    def _is_over(self, belief: Belief, best: int, points: Integers, draws: Array) -> bool:
        """Whether there is a reason to stop, which is decided then."""
        if self._out_of_time():
            return self._stop("time", f"the time of {self._settings.budget_s:g} s is up")
        if not self._open.any():
            return self._stop("nothing_left", "nothing is left that could be measured")
        gain = self._expected_gain(best, points, draws)
        if gain is not None and belief.feasible[best] >= SURE and self._windows[best] >= _MIN_WINDOWS_OF_A_WINNER:
            goal = _GAIN_SHARE * self._settings.indifference_ratio
            if gain <= goal:
                return self._stop("gain", f"going on would gain {gain:.2%} on average, less than {goal:.2%}", gain)
        if len(self._measurements) >= most_windows(len(self._grid)):
            left = "" if gain is None else f"; going on would gain {gain:.2%} on average"
            reason = f"{len(self._measurements)} windows are what {len(self._grid)} points are worth{left}"
            return self._stop("windows", reason, gain)
        return False

    def _stop(self, cause: StopCause, reason: str, gain_ratio: float | None = None) -> bool:
        self._decide("stop", reason, cause=cause, gain_ratio=gain_ratio, budget_s=self._settings.budget_s)
        return True

    def _expected_gain(self, best: int, points: Integers, draws: Array) -> float | None:
        """How much more than the best point the winner of a draw has, on average; None where the best is too late."""
        own = draws[:, np.searchsorted(points, best)]
        kept = np.isfinite(own)
        return float(np.expm1(draws[kept].max(axis=1) - own[kept]).mean()) if kept.any() else None

    def _next_block(self, belief: Belief, best: int, points: Integers, draws: Array) -> list[int]:
        """The best point so far, and the winners of draws; now and then the default."""
        possible = np.isfinite(draws).any(axis=1)
        winners = points[np.argmax(draws[possible], axis=1)].tolist()
        if not winners:
            winners = points[np.argsort(belief.log_latency[0][points], kind="stable")[:3]].tolist()
        wanted = [best, *winners]
        if self._block % _DEFAULT_EVERY == 0:
            wanted.insert(1, self._default_point(belief))
        allowed = [point for point in dict.fromkeys(wanted) if self._open[point] or self._grid.owner[point] == 0]
        return allowed[:_BLOCK_WINDOWS]

    def _default_point(self, belief: Belief) -> int:
        own = np.flatnonzero(self._grid.owner == 0)
        found = belief.best(own, sure=0.5)
        return int(own[np.argmin(belief.log_latency[0][own])]) if found is None else found

    def _out_of_time(self) -> bool:
        budget = self._settings.budget_s
        return budget is not None and self._clock() - self._started_s >= budget

    def _explain_end(self) -> None:
        """Says what all windows show, fitted afresh: the same as can be had from them later."""
        belief = believe_afresh(
            self._grid,
            self._taken,
            limit_ms=self._settings.latency_p99_limit_ms,
            failing=failing_points(self._grid, self._measurements),
        )
        best = self._best(belief)
        mean, sd = belief.against(best)
        visited = {int(self._grid.owner[point]) for point in self._windows}
        for owner in range(len(self._grid.variants)):
            if owner in visited | self._dropped:
                continue
            own = np.flatnonzero(self._grid.owner == owner)
            point = int(own[np.argmax(np.where(belief.feasible[own] >= 0.5, (mean + 2 * sd)[own], -np.inf))])
            self._decide(
                "unvisited",
                f"never measured: by its neighbours {math.exp(mean[point]):.0%} of the best, and within the limit with "
                f"a probability of {belief.feasible[point]:.0%}",
                **self._place(point),
                **self._figures(belief, best, point),
            )
        self._decide(
            "winner",
            f"the most throughput within the limit, by {self._windows[best]} windows at this load",
            **self._place(best),
            **self._figures(belief, best, best),
        )

    def _announce(self, action: Action, points: Sequence[int]) -> None:
        names = ", ".join(f"{self._name(point)} at {self._grid.loads[point].concurrency}" for point in points)
        # A race leads with the best so far.
        best = self._place(points[0]) if action == "race" else {}
        self._decide(action, f"block {self._block + 1}: {names}", **best)

    def _name(self, point: int) -> str:
        return self._grid.variant(point).config_name

    def _place(self, point: int) -> dict[str, Any]:
        load = self._grid.loads[point]
        return {
            "config_name": self._name(point),
            "concurrency": load.concurrency,
            "client_batch_size": load.client_batch_size,
        }

    def _figures(self, belief: Belief, best: int, point: int) -> dict[str, Any]:
        mean, sd = belief.against(best)
        middle, half = float(mean[point]), 1.96 * float(sd[point])
        return {
            "throughput_ratio": math.exp(middle),
            "ratio_low": math.exp(middle - half),
            "ratio_high": math.exp(middle + half),
            "feasible_probability": float(belief.feasible[point]),
            "latency_p99_ms": math.exp(belief.log_latency[0][point]),
        }

    def _decide(self, action: Action, reason: str, **details: Any) -> None:
        decision = Decision(
            action=action,
            reason=reason,
            block=self._block,
            window_count=len(self._measurements),
            elapsed_s=self._clock() - self._started_s,
            **details,
        )
        self._decided(decision)


def most_windows(points: int) -> int:
    """How many windows a search of so many points takes at most; noise decides how many of them it needs."""
    return max(_MIN_WINDOWS, math.ceil(min(_WINDOWS_A_ROOT * math.sqrt(points), _WINDOWS_A_POINT * points)))
