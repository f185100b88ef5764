"""A recording answers in the place of a server: windows resampled by block, on a clock that only jumps.

Each block of a search is a recorded block, drawn at random, whose drift all of its windows share; what a window adds of
its own is drawn from the residuals of its point. `noise_ratio` scales drift and residuals so that the residuals have
that standard deviation; the truth stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from benchmarks.recordings.recording import Recording
from hcopt.analysis.ranking import pooled
from hcopt.records.measurement import LatencySummary, LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant, Settings

Floats = NDArray[np.float64]
MISS_RATIO = 0.01


@dataclass(frozen=True)
class Truth:
    """What all blocks of a recording say together; arrays are (variants, loads)."""

    recording: Recording

    @cached_property
    def rows(self) -> dict[Settings, int]:
        """Each distinct variant's row."""
        return {settings: row for row, settings in enumerate(pooled(self.recording.plan))}

    @cached_property
    def columns(self) -> dict[LoadPoint, int]:
        return {load: column for column, load in enumerate(self.recording.plan.loads)}

    @cached_property
    def _log_throughput(self) -> Floats:
        return np.asarray(np.log(np.where(self.recording.throughput > 0, self.recording.throughput, np.nan)))

    @cached_property
    def drift(self) -> Floats:
        """The blocks' common part, in logarithms."""
        logs = self._log_throughput
        return np.asarray(np.nanmedian(logs - np.nanmean(logs, axis=2, keepdims=True), axis=(0, 1)))

    @cached_property
    def log_throughput(self) -> Floats:
        return np.asarray(np.nanmean(self._log_throughput - self.drift, axis=2))

    @cached_property
    def residual(self) -> Floats:
        found = self._log_throughput - self.drift - self.log_throughput[..., None]
        count = np.isfinite(found).sum(axis=2, keepdims=True)
        # A mean of few blocks lies close to them: that is given back.
        return np.asarray(found * np.sqrt(count / np.maximum(1, count - 1)))

    @cached_property
    def miss_ratio(self) -> Floats:
        requests = np.maximum(1, self.recording.requests.sum(axis=2))
        return np.asarray(self.recording.misses.sum(axis=2) / requests)

    @cached_property
    def log_p99(self) -> Floats:
        return np.asarray(np.nanmean(np.log(self.recording.p99_ms), axis=2))

    @cached_property
    def log_pooled_p99(self) -> Floats:
        """The p99 of all blocks together, from how the share of late requests grows with p99 in this recording."""
        excess = np.log(self.recording.p99_ms / self.recording.limit_ms)
        share = self.recording.misses / np.maximum(1, self.recording.requests)
        near = (share > 0) & (np.abs(excess) < 1)
        slope = float((excess[near] * np.log(share[near] / MISS_RATIO)).sum() / (excess[near] ** 2).sum())
        pooled = np.log(self.recording.limit_ms) + np.log(np.maximum(self.miss_ratio, 1e-6) / MISS_RATIO) / slope
        close = (self.miss_ratio > MISS_RATIO / 20) & (self.miss_ratio < MISS_RATIO * 20)
        return np.asarray(np.where(close, pooled, self.log_p99))

    @cached_property
    def p99_residual(self) -> Floats:
        return np.asarray(np.log(self.recording.p99_ms) - self.log_p99[..., None])

    @cached_property
    def miss_residual(self) -> Floats:
        """Of the logit of the share of late requests, around that of all blocks together."""
        share = (self.recording.misses + 0.5) / (self.recording.requests + 1)
        return np.asarray(logit(share) - logit(np.clip(self.miss_ratio, 1e-5, 1 - 1e-5))[..., None])

    @cached_property
    def feasible(self) -> NDArray[np.bool_]:
        return np.asarray(self.miss_ratio <= MISS_RATIO)

    @cached_property
    def best_throughput(self) -> float:
        """Of the best point that keeps the limit."""
        return float(np.exp(np.where(self.feasible, self.log_throughput, -np.inf).max()))

    @cached_property
    def noise(self) -> float:
        return float(np.nanstd(self.residual))

    def place(self, variant: ModelConfigVariant, load: LoadPoint) -> tuple[int, int]:
        return self.rows[variant.settings], self.columns[load]

    def share(self, variant: ModelConfigVariant, load: LoadPoint) -> float:
        """A point's throughput over the best feasible one's."""
        return float(np.exp(self.log_throughput[self.place(variant, load)]) / self.best_throughput)

    def keeps_limit(self, variant: ModelConfigVariant, load: LoadPoint) -> bool:
        return bool(self.feasible[self.place(variant, load)])


class Replay:
    """One replay: measures from a recording and counts the seconds.

    Args:
        truth: The recording.
        seed: Of what is resampled.
        noise_ratio: None leaves the recording's own noise.
        beside_s: Wall time of a window beside its load, for start and export, as in a live search of 179 windows.
        switch_s: Of a variant's first window, for loading it; likewise. From then on it stays loaded.
    """

    def __init__(
        self, truth: Truth, *, seed: int, noise_ratio: float | None, beside_s: float = 0.16, switch_s: float = 0.34
    ) -> None:
        self._truth = truth
        self._random = np.random.default_rng(seed)
        self._scale = 1.0 if noise_ratio is None else noise_ratio / truth.noise
        self._beside_s = beside_s
        self._switch_s = switch_s
        self._loaded: set[object] = set()
        self._blocks: dict[int, int] = {}
        self.load_s = 0.0
        self.wall_s = 0.0

    def clock(self) -> float:
        return self.wall_s

    def measure(self, variant: ModelConfigVariant, load: LoadPoint, window_s: float, block: int) -> Measurement:
        """One window; a long one is the mean of as many recorded ones as it is longer."""
        truth, place = self._truth, self._truth.place(variant, load)
        self.load_s += window_s
        self.wall_s += window_s + self._beside_s + (0.0 if variant.settings in self._loaded else self._switch_s)
        self._loaded.add(variant.settings)
        own_s = float(truth.recording.window_s[place].mean())
        picks, scale = self._picks(place, window_s / own_s)
        drift = self._scale * truth.drift[self._block(block)]
        log_throughput = truth.log_throughput[place] + drift + scale * truth.residual[place][picks].mean()
        # Windows without noise agree with all blocks together.
        centre = truth.log_pooled_p99[place] + min(1.0, self._scale) * (truth.log_p99 - truth.log_pooled_p99)[place]
        late = centre + scale * truth.p99_residual[place][picks].mean()
        throughput = math.exp(log_throughput)
        requests = max(1, int(throughput * window_s / load.client_batch_size))
        share = float(
            expit(
                logit(np.clip(truth.miss_ratio[place], 1e-5, 1 - 1e-5)) + scale * truth.miss_residual[place][picks]
            ).mean()
        )
        p99 = math.exp(late)
        return Measurement(
            phase="sweep",
            profiler="replay",
            variant=variant,
            load=load,
            block=block,
            started_at="2026-01-01T00:00:00+00:00",
            duration_s=window_s,
            throughput_infer_per_s=throughput,
            latency=LatencySummary(avg_ms=p99 / 2, p50_ms=p99 / 2, p90_ms=p99 * 0.8, p95_ms=p99 * 0.9, p99_ms=p99),
            request_count=requests,
            miss_count=int(self._random.binomial(requests, share)),
        )

    def _picks(self, place: tuple[int, int], windows: float) -> tuple[NDArray[np.int64], float]:
        """Recorded blocks to draw from, and the factor of their residuals; shorter windows are noisier."""
        usable = np.flatnonzero(np.isfinite(self._truth.residual[place]))
        count = max(1, round(windows))
        return self._random.choice(usable, count), self._scale * max(1.0, windows**-0.5)

    def _block(self, block: int) -> int:
        if block not in self._blocks:
            self._blocks[block] = int(self._random.integers(len(self._truth.drift)))
        return self._blocks[block]


Measured = Callable[[ModelConfigVariant, LoadPoint, float, int], Measurement]
