"""Simulates the HPA over a load trace, second by second: replicas, requests over the limit, over-provisioning.

Pure. Load is a fluid that the ready pods share evenly; what a pod cannot complete waits in it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hcopt.deploy.capacity import Reaction
from hcopt.deploy.hpa import Autoscaler, Controller
from hcopt.deploy.load_trace import LoadTrace
from hcopt.deploy.pod_model import PodModel

_MAX_STEPS = 20_000
_MINUTE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One step of a simulation.

    Attributes:
        time_s: Since the beginning.
        load_infer_per_s: What arrives.
        replicas: Pods that were asked for.
        ready: Pods that answer.
        miss_ratio: Share of the requests of this step that take longer than the limit.
    """

    time_s: float
    load_infer_per_s: float
    replicas: int
    ready: int
    miss_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A load trace served by autoscaled pods.

    Attributes:
        autoscaler: The HPA.
        moments: Every step.
        miss_ratio: Share of all requests that took longer than the limit.
        worst_minute_miss_ratio: The same of the worst minute.
        pod_hours: Pods asked for, over time.
        needed_pod_hours: The fewest that would have done, had one known the load.
    """

    autoscaler: Autoscaler
    moments: tuple[Moment, ...]
    miss_ratio: float
    worst_minute_miss_ratio: float
    pod_hours: float
    needed_pod_hours: float

    @property
    def over_provisioning_ratio(self) -> float:
        """Pod hours beyond what was needed, as a share of that; 0 where nothing was needed."""
        return self.pod_hours / self.needed_pod_hours - 1 if self.needed_pod_hours > 0 else 0.0


def simulate(
    trace: LoadTrace, spec: Autoscaler, pod: PodModel, reaction: Reaction, *, capacity_infer_per_s: float
) -> Simulation:
    """Runs the trace, from the replicas that its first load asks for.

    Args:
        trace: The load.
        spec: The autoscaler; its first target is inferences a second a pod, its second, where it has one, pending
            requests a pod.
        pod: One pod.
        reaction: The delays.
        capacity_infer_per_s: What one pod is planned with, for the pods that would have been needed.
    """
    step_s = max(1.0, trace.duration_s / _MAX_STEPS)
    wanted = math.ceil(trace.rate_at(0) / spec.targets[0])
    fleet = _Fleet(pod, reaction, replicas=min(max(wanted, spec.min_replicas), spec.max_replicas))
    controller = Controller(spec=spec)
    moments = []
    next_sync_s = 0.0
    for step in range(math.ceil(trace.duration_s / step_s)):
        now_s = step * step_s
        load = trace.rate_at(now_s)
        ready, miss_ratio = fleet.advance(now_s, load, step_s)
        if now_s >= next_sync_s:
            next_sync_s += reaction.sync_period_s
            metrics = fleet.metrics()[: len(spec.targets)]
            fleet.scale(now_s, controller.sync(now_s, fleet.replicas, metrics))
        moments.append(
            Moment(time_s=now_s, load_infer_per_s=load, replicas=fleet.replicas, ready=ready, miss_ratio=miss_ratio)
        )
    return _summed(tuple(moments), step_s, spec, capacity_infer_per_s)


class _Fleet:
    """All pods, in the order of their start; each an entry of the arrays."""

    def __init__(self, pod: PodModel, reaction: Reaction, *, replicas: int) -> None:
        self._pod, self._reaction = pod, reaction
        self._ready_at_s: NDArray[np.float64] = np.full(replicas, -math.inf)
        self._backlog: NDArray[np.float64] = np.zeros(replicas)
        self._completed: NDArray[np.float64] = np.zeros(replicas)
        # What Prometheus has: time, counter and gauge of every pod at each scrape of the window.
        scrapes = math.floor(reaction.rate_window_s / reaction.scrape_interval_s) + 1
        self._scrapes: deque[tuple[float, NDArray[np.float64], NDArray[np.float64]]] = deque(maxlen=scrapes)
        self._next_scrape_s = 0.0

    @property
    def replicas(self) -> int:
        return len(self._backlog)

    def advance(self, now_s: float, load: float, step_s: float) -> tuple[int, float]:
        """One step of load; the ready pods, and the share of requests over the limit."""
        ready = self._ready_at_s <= now_s
        count = int(ready.sum())
        share = load / count if count else 0.0
        most = self._pod.saturation_infer_per_s * step_s
        if now_s >= self._next_scrape_s:
            self._next_scrape_s += self._reaction.scrape_interval_s
            pending = self._backlog / self._pod.rows_per_request + self._pod.pending_requests(share)
            gauge = np.where(ready, pending, np.nan)
            self._scrapes.append((now_s, np.where(ready, self._completed, np.nan), gauge))
        waiting_ms = 1000 * self._backlog[ready] / self._pod.saturation_infer_per_s
        # Few pods differ in what waits in them.
        misses = {wait: self._pod.miss_ratio(share, waiting_ms=wait) for wait in set(waiting_ms.tolist())}
        miss_ratio = sum(misses[wait] for wait in waiting_ms.tolist()) / count if count else float(load > 0)
        given = self._backlog + np.where(ready, share * step_s, 0.0)
        done = np.where(ready, np.minimum(given, most), 0.0)
        self._backlog, self._completed = given - done, self._completed + done
        return count, miss_ratio

    def metrics(self) -> tuple[list[float], list[float]]:
        """Completions a second and pending requests of the pods that Prometheus has seen twice."""
        if len(self._scrapes) < 2:
            return [], []
        rates, gauges = [], []
        for index in range(self.replicas):
            seen = [
                (at, counter[index], gauge[index])
                for at, counter, gauge in self._scrapes
                if index < len(counter) and not np.isnan(counter[index])
            ]
            if len(seen) >= 2:
                (first_s, first, _), (last_s, last, _) = seen[0], seen[-1]
                rates.append(float(last - first) / (last_s - first_s))
                gauges.append(float(sum(gauge for _, _, gauge in seen)) / len(seen))
        return rates, gauges

    def scale(self, now_s: float, replicas: int) -> None:
        """Starts pods, or ends the youngest; what waits in those is answered before they go."""
        more = replicas - self.replicas
        if more > 0:
            ready_at = np.full(more, now_s + self._reaction.pod_start_s)
            self._ready_at_s = np.concatenate([self._ready_at_s, ready_at])
            self._backlog = np.concatenate([self._backlog, np.zeros(more)])
            self._completed = np.concatenate([self._completed, np.zeros(more)])
        elif more < 0:
            self._ready_at_s = self._ready_at_s[:replicas]
            self._backlog, self._completed = self._backlog[:replicas], self._completed[:replicas]
            kept = [(at, counter[:replicas], gauge[:replicas]) for at, counter, gauge in self._scrapes]
            self._scrapes.clear()
            self._scrapes.extend(kept)


def _summed(moments: tuple[Moment, ...], step_s: float, spec: Autoscaler, capacity_infer_per_s: float) -> Simulation:
    # Not the autoscaler's minimum: its pods are among those that may be too many.
    needed = (math.ceil(m.load_infer_per_s / capacity_infer_per_s) for m in moments)
    per_minute = max(1, round(_MINUTE_S / step_s))
    minutes = (moments[start : start + per_minute] for start in range(0, len(moments), per_minute))
    return Simulation(
        autoscaler=spec,
        moments=moments,
        miss_ratio=_missed(moments),
        worst_minute_miss_ratio=max((_missed(minute) for minute in minutes), default=0.0),
        pod_hours=sum(m.replicas for m in moments) * step_s / 3600,
        needed_pod_hours=sum(needed) * step_s / 3600,
    )


def _missed(moments: tuple[Moment, ...]) -> float:
    load = math.fsum(m.load_infer_per_s for m in moments)
    return math.fsum(m.load_infer_per_s * m.miss_ratio for m in moments) / load if load > 0 else 0.0
