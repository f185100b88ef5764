"""Other ways to search that were tried; each has as many windows as the adaptive search may take, and no surface."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import optuna

from benchmarks.recordings.replay import Replay
from benchmarks.search.rivals import Outcome
from hcopt.measure.search.grid import Grid, grid_of
from hcopt.records.measurement import LoadPoint, SweepPlan
from hcopt.records.model import ModelConfigVariant

WINDOW_S = 0.5
WINDOWS_A_ROOT = 10
FINALISTS = 4


def halving(plan: SweepPlan, replay: Replay, *, limit_ms: float | None, seed: int) -> Outcome:
    """Successive halving of points: all (or as many as half of the windows reach) once, the better half again, …

    Source: Jamieson, Talwalkar (2016), Non-stochastic Best Arm Identification and Hyperparameter Optimization.
    """
    grid, random = grid_of(plan), np.random.default_rng(seed)
    windows = _windows(grid)
    points = random.permutation(len(grid))[: max(2, windows // 2)].tolist()
    found = _Found(grid, replay, limit_ms)
    while found.count < windows:
        found.block(points)
        points = found.order(points)[: max(FINALISTS, len(points) // 2)]
    return found.outcome(found.order(points)[0])


def tpe(plan: SweepPlan, replay: Replay, *, limit_ms: float | None, seed: int) -> Outcome:
    """Optuna's TPE proposes points and knows the limit as a constraint; the best few race for the last quarter.

    Source: Watanabe (2023), Tree-Structured Parzen Estimator; constraints as in Optuna's TPESampler.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    grid = grid_of(plan)
    windows = _windows(grid)
    found = _Found(grid, replay, limit_ms)
    sampler = optuna.samplers.TPESampler(
        seed=seed, constraints_func=lambda trial: (trial.user_attrs["excess"],), multivariate=True
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(windows * 3 // 4):
        trial = study.ask()
        place = [trial.suggest_float(f"x{d}", 0, 1) for d in range(grid.features.shape[1])]
        point = int(np.argmin(((grid.features - np.array(place)) ** 2).sum(axis=1)))
        log_throughput, excess = found.one(point)
        trial.set_user_attr("excess", excess)
        study.tell(trial, log_throughput)
    points = found.order(list(found.values))[:FINALISTS]
    while found.count < windows:
        found.block(points)
    return found.outcome(found.order(points)[0])


def _windows(grid: Grid) -> int:
    return max(12, math.ceil(WINDOWS_A_ROOT * math.sqrt(len(grid))))


class _Found:
    """Measured points, each with its windows' log-throughput against their block and log(p99 / limit)."""

    def __init__(self, grid: Grid, replay: Replay, limit_ms: float | None) -> None:
        self._grid, self._replay, self._limit_ms = grid, replay, limit_ms or math.inf
        self.values: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self.count = 0
        self._block = 0

    def one(self, point: int) -> tuple[float, float]:
        """Ten windows in a row share a block."""
        self._block = self.count // 10
        return self._measure(point)

    def block(self, points: Sequence[int]) -> None:
        self._block += 1
        for point in points:
            self._measure(point)

    def _measure(self, point: int) -> tuple[float, float]:
        self.count += 1
        measured = self._replay.measure(self._grid.variant(point), self._grid.loads[point], WINDOW_S, self._block)
        assert measured.throughput_infer_per_s is not None
        assert measured.latency is not None
        value = (math.log(measured.throughput_infer_per_s), math.log(measured.latency.p99_ms / self._limit_ms))
        self.values[point].append(value)
        return value

    def order(self, points: Sequence[int]) -> list[int]:
        """Those that keep the limit first, by throughput; the others by how little they miss it."""

        def key(point: int) -> tuple[bool, float]:
            speed, excess = (fmean(column) for column in zip(*self.values[point], strict=True))
            return (excess > 0, excess if excess > 0 else -speed)

        return sorted(points, key=key)

    def outcome(self, point: int) -> Outcome:
        variant: ModelConfigVariant = self._grid.variant(point)
        load: LoadPoint = self._grid.loads[point]
        return Outcome(variant, load, self._replay.load_s, self._replay.wall_s, self.count)
