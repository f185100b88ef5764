"""How often a run promises a rate, how high it is, and how often it is wrong: the real search on made-up servers.

.venv/bin/python benchmarks/decisions/sustainable_rate.py [--runs 500] [--only WORD]

What runs is `hcopt.analysis.rate_search.Search`, with a clock and a server that are made up. The server is one queue,
first come first served, whose speed changes with the machine's. A promise is wrong where its rate is above the true
one: that at which 1 % of the requests of a long time would take longer than the limit.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hcopt.analysis.p99_limit import ALLOWED_MISS_RATIO
from hcopt.analysis.rate_search import FoundRate, Limits, Search
from hcopt.errors import ProfileError
from hcopt.measure.load.open_loop_times import open_loop_figures
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.store.measurements import RequestSamples

Floats = NDArray[np.float64]

MAX_S = 90.0
LIMIT_S = 0.05
SERVICE_S = 1 / 1000
# A window as hcopt takes it: what counts of its load, and what perf_analyzer's start and end take.
WARM_UP_S, LOAD_S, OVERHEAD_S = 0.5, 2.5, 0.6
# What is late in an overloaded window is waited for, so long at most.
LONGEST_WAIT_S = 2.0
DWELL_S, SLOW_RATIO = (5.0, 30.0), 0.65
STALL_S = (0.05, 0.5)
# The speed's quick changes: each lasts so long.
JITTER_S = 0.1
# Pareto's shape of heavy-tailed service times: a finite mean, and no finite variance.
TAIL_SHAPE = 2.2
LONGEST_SERVICE = 200.0
# The load generator's own pauses, in which it sends nothing.
PAUSE_S = (0.003, 0.02)
TRUTH_S = 3000.0
MADE_UP = Measurement(
    phase="open_loop",
    profiler="made-up",
    variant=ModelConfigVariant(config_name="made_up", max_batch_size=16, instance_count=1, max_queue_delay_us=0),
    load=LoadPoint(request_rate_per_s=1.0),
    started_at="",
    error="not measured yet",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine with a server.

    Attributes:
        name: For the table.
        levels: Whether its speed jumps between 1 and `SLOW_RATIO`.
        stalls_per_s: How often the server stands still.
        shared_stalls_per_s: How often all stands still, the load generator too, so that the window does not count.
        jitter: Standard deviation of the log of the speed from tenth to tenth of a second.
        heavy_tails: Whether service times are Pareto's in place of exponential.
        pauses_per_s: How often the load generator alone stands still.
    """

    name: str
    levels: bool = False
    stalls_per_s: float = 0.0
    shared_stalls_per_s: float = 0.0
    jitter: float = 0.0
    heavy_tails: bool = False
    pauses_per_s: float = 0.0


MACHINES = (
    Machine(name="steady"),
    Machine(name="jitter", jitter=0.25),
    Machine(name="heavy tails", heavy_tails=True),
    Machine(name="stalls", stalls_per_s=0.01, jitter=0.25),
    Machine(name="two speeds", levels=True, jitter=0.25),
    Machine(name="all of it", levels=True, stalls_per_s=0.003, shared_stalls_per_s=0.05, jitter=0.25, heavy_tails=True),
    Machine(name="late generator", stalls_per_s=0.01, shared_stalls_per_s=0.05, jitter=0.25, pauses_per_s=4.0),
    Machine(
        name="all, and a late generator",
        levels=True,
        stalls_per_s=0.003,
        shared_stalls_per_s=0.05,
        jitter=0.25,
        pauses_per_s=4.0,
    ),
)


class Timeline:
    """How much work a machine has done by each moment, and when its generator stood still."""

    def __init__(self, machine: Machine, seconds: float, random: np.random.Generator) -> None:
        edges = np.arange(0, seconds + JITTER_S, JITTER_S)
        speed = np.exp(random.normal(-(machine.jitter**2) / 2, machine.jitter, len(edges) - 1))
        if machine.levels:
            turns = np.cumsum(random.uniform(*DWELL_S, int(seconds / DWELL_S[0]) + 2)) - random.uniform(0, DWELL_S[1])
            slow = (np.searchsorted(turns, edges[:-1]) + random.integers(2)) % 2 == 1
            speed[slow] *= SLOW_RATIO
        own, shared, pauses = (
            _stalls(rate, seconds, length_s, random)
            for rate, length_s in (
                (machine.stalls_per_s, STALL_S),
                (machine.shared_stalls_per_s, STALL_S),
                (machine.pauses_per_s, PAUSE_S),
            )
        )
        stalls = np.concatenate([own, shared])
        self.pauses = np.concatenate([shared, pauses])
        self.times = np.unique(np.concatenate([edges, stalls.ravel()]))
        middles = (self.times[:-1] + self.times[1:]) / 2
        standing = ((middles[:, None] >= stalls[:, 0]) & (middles[:, None] < stalls[:, 1])).any(axis=1)
        pace = np.where(standing, 1e-9, speed[np.clip(np.searchsorted(edges, middles) - 1, 0, len(speed) - 1)])
        self.work = np.concatenate([[0.0], np.cumsum(pace * np.diff(self.times))])

    def latencies_s(self, arrivals_s: Floats, service: Floats) -> Floats:
        """Of requests that come to an empty queue (Lindley's recursion, summed up, in units of work)."""
        came = np.interp(arrivals_s, self.times, self.work)
        done = np.cumsum(service)
        left = np.maximum.accumulate(came - (done - service)) + done
        return np.interp(left, self.work, self.times) - arrivals_s

    def sent_s(self, intended_s: Floats) -> Floats:
        """When the generator sends requests: those meant for a pause at its end."""
        sent = intended_s.copy()
        near = (self.pauses[:, 1] > intended_s[0]) & (self.pauses[:, 0] < intended_s[-1])
        for begin, end in sorted(self.pauses[near].tolist()):
            sent[(sent >= begin) & (sent < end)] = end
        return sent


def _stalls(per_s: float, seconds: float, length_s: tuple[float, float], random: np.random.Generator) -> Floats:
    """Beginning and end of each."""
    begins = random.uniform(0, seconds, random.poisson(per_s * seconds))
    return np.stack(
        [begins, begins + np.exp(random.uniform(math.log(length_s[0]), math.log(length_s[1]), len(begins)))], axis=1
    )


def _service(machine: Machine, count: int, random: np.random.Generator) -> Floats:
    if not machine.heavy_tails:
        return random.exponential(SERVICE_S, count)
    mean = TAIL_SHAPE / (TAIL_SHAPE - 1)
    return SERVICE_S / mean * np.minimum(1 + random.pareto(TAIL_SHAPE, count), LONGEST_SERVICE)


def _arrivals_s(rate: float, seconds: float, random: np.random.Generator) -> Floats:
    return np.sort(random.uniform(0, seconds, random.poisson(rate * seconds)))


@dataclass(slots=True)
class Server:
    """One run's machine, and its clock."""

    machine: Machine
    seed: int
    now_s: float = 0.0
    windows: int = 0
    timeline: Timeline = field(init=False)
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.timeline = Timeline(self.machine, 3 * MAX_S, self.random)

    def clock(self) -> float:
        return self.now_s

    def measure(self, rate: float, index: int) -> Measurement:
        begin, self.windows = self.now_s, self.windows + 1
        intended = begin + _arrivals_s(rate, LOAD_S, self.random)
        sent = self.timeline.sent_s(intended)
        answered = sent + self.timeline.latencies_s(sent, _service(self.machine, len(sent), self.random))
        waited_s = max(0.0, float(answered.max(initial=begin)) - begin - LOAD_S)
        self.now_s += LOAD_S + OVERHEAD_S + min(waited_s, LONGEST_WAIT_S)
        samples = RequestSamples(
            sent_ns=_ns(intended - begin),
            latency_ns=_ns(answered - intended),
            lag_ns=_ns(sent - intended),
            warm_up_ns=round(1e9 * WARM_UP_S),
            end_ns=round(1e9 * LOAD_S),
        )
        known = replace(MADE_UP, load=LoadPoint(request_rate_per_s=rate), block=index)
        try:
            found = open_loop_figures(
                samples, client_batch_size=1, latency_limit_ms=1000 * LIMIT_S, drain_end_ns=samples.end_ns
            )
        except ProfileError as error:
            return replace(known, error=error.message)
        figures = {name: getattr(found, name) for name in ("latency", "request_count", "miss_count", "late_ratio")}
        return replace(known, error=None, throughput_infer_per_s=found.throughput_infer_per_s, **figures)


def _ns(seconds: Floats) -> NDArray[np.int64]:
    whole: NDArray[np.int64] = np.round(1e9 * seconds).astype(np.int64)
    return whole


@cache
def true_rate(machine: Machine) -> float:
    """The rate at which `TRUTH_S` have 1 % of misses, by halving; stalls that hold up the generator do not count."""
    alone = replace(machine, shared_stalls_per_s=0.0)
    low, high = 0.0, 1.0 / SERVICE_S
    while high - low > 0.005 / SERVICE_S:
        rate, random = (low + high) / 2, np.random.default_rng(7)
        timeline = Timeline(alone, TRUTH_S + 60, random)
        arrivals = _arrivals_s(rate, TRUTH_S, random)
        taken = timeline.latencies_s(arrivals, _service(alone, len(arrivals), random))
        low, high = (rate, high) if np.mean(taken > LIMIT_S) <= ALLOWED_MISS_RATIO else (low, rate)
    return low


def closed_loop(machine: Machine, seed: int) -> float:
    """What the confirmation has shown before: the mean speed, give or take 5 %."""
    mean = (1 + SLOW_RATIO) / 2 if machine.levels else 1.0
    return mean / SERVICE_S * math.exp(np.random.default_rng([seed, 1]).normal(0, 0.05))


@dataclass(frozen=True, slots=True)
class Run:
    """What one run has come to."""

    found: FoundRate
    seconds: float
    windows: int


def run(machine: Machine, seed: int) -> Run:
    server = Server(machine, seed)
    found = Search(server.measure, server.clock, Limits(max_s=MAX_S)).run(closed_loop(machine, seed))
    return Run(found, server.now_s, server.windows)


def row(machine: Machine, runs: Iterable[Run]) -> str:
    """A line of the table."""
    taken, truth = list(runs), true_rate(machine)
    bounds = [one.found.sustainable_rate_infer_per_s for one in taken]
    promised = [one.ci_low for one in bounds if one.ci_low is not None]
    wrong = sum(low > truth for low in promised)
    broken = sum(one.ci_high is not None and one.ci_high < truth for one in bounds)
    upper = float(stats.beta.ppf(0.95, wrong + 1, len(taken) - wrong)) if wrong < len(taken) else 1.0
    shares = np.percentile(np.array(promised or [0.0]) / truth, (10, 50, 90))
    times = np.percentile([one.seconds for one in taken], (50, 90))
    cells = (
        machine.name,
        f"{truth * SERVICE_S:.2f}",
        f"{len(promised) / len(taken):.1%}",
        f"{wrong / len(taken):.1%} (≤ {upper:.1%})",
        " / ".join(f"{share:.0%}" for share in shares),
        f"{broken / len(taken):.1%}",
        " / ".join(f"{seconds:.0f}" for seconds in times),
        f"{np.mean([one.windows for one in taken]):.0f}",
    )
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| machine | true rate, share of its speed | promises | wrong | promise / true rate: 10, 50, 90 % | wrong upper"
    " bound | s: 50, 90 % | windows |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--only", default="", help="machines with this word in their name")
    options = parser.parse_args()
    print(HEAD)
    for machine in MACHINES:
        if options.only in machine.name:
            print(row(machine, (run(machine, seed) for seed in range(options.runs))), flush=True)


if __name__ == "__main__":
    main()
