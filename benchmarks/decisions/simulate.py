"""How often the confirmation is wrong, and how often it decides: seeded runs of the real code on made-up machines.

.venv/bin/python benchmarks/decisions/simulate.py [--runs 2000] [--only WORD]

What runs is `hcopt.analysis.confirmation.confirm` with a clock and a server that are made up; stopping, looks and
verdicts are its own. Each line is an event on a machine, with the upper 95 % bound of its rate by Clopper and Pearson.
A block is measured in turns, forth and back, as `hcopt.measure.turns` takes them.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from hcopt.analysis.blocks import Candidate, balanced_orders
from hcopt.analysis.confirmation import confirm
from hcopt.analysis.finalists import Finalists
from hcopt.config.sections import ConfirmationSection
from hcopt.records.measurement import FailureCause, LatencySummary, LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.records.verdict import Confirmation, RankedVariant

# A turn, and what lies between two.
TURN_S, BETWEEN_S = 0.4, 0.05
# Of a machine with two levels of speed: how long it stays at one, and the lower one as a part of the upper one.
DWELL_S, SLOW_RATIO = (5.0, 30.0), 0.65
# Student's t with so few degrees of freedom has heavy tails.
TAIL_FREEDOM = 3
RATE_INFER_PER_S = 5000.0
LIMIT_MS = 50.0
LOAD = LoadPoint(concurrency=32)
DEFAULT, BEST, RUNNER_UP = (
    ModelConfigVariant(config_name=name, max_batch_size=batch, instance_count=instances, max_queue_delay_us=0)
    for name, batch, instances in (("default", 16, 1), ("best", 16, 2), ("runner_up", 32, 2))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A made-up machine with three configurations.

    Attributes:
        gain_ratio: True throughput of the best over the default's.
        runner_up_gain_ratio: The same of the runner-up.
        block_sd: Standard deviation of the log throughput of a block's turns of one candidate.
        levels: Whether the machine's speed jumps between two levels.
        heavy_tails: Whether the noise of a block is Student's t of three degrees of freedom in place of normal.
        drift: Standard deviation of the log of the machine's speed at the end of the time, a random walk until then.
        miss_ratio: True share of slow requests; None: there is no limit.
        default_miss_ratio: The same of the default; None: as of the others.
        miss_log_sd: Standard deviation of the log share between blocks; the mean over blocks is `miss_ratio`.
        requests: Requests a window.
        default_first: Whether the sweep had the default in front; else it is `best`, before `runner_up`.
        failing_ratio: Share of the windows in which the best refuses requests, so that they have no figures.
        disturbed_ratio: Share of all windows that fail for the machine's sake.
    """

    gain_ratio: float = 1.0
    runner_up_gain_ratio: float = 1.0
    block_sd: float = 0.05
    drift: float = 0.03
    miss_ratio: float | None = None
    default_miss_ratio: float | None = None
    miss_log_sd: float = 0.5
    requests: int = 1500
    default_first: bool = False
    failing_ratio: float = 0.0
    disturbed_ratio: float = 0.0
    levels: bool = False
    heavy_tails: bool = False

    def run(self, seed: int, settings: ConfirmationSection) -> Confirmation:
        """One confirmation."""
        server = _Server(machine=self, random=np.random.default_rng(seed), max_s=60 * settings.max_minutes)
        best, default, runner_up = (
            RankedVariant(variant=one, load=LOAD, throughput_infer_per_s=1.0, latency_p99_ms=1.0, feasible=True)
            for one in (BEST, DEFAULT, RUNNER_UP)
        )
        return confirm(
            Finalists(best=default if self.default_first else best, default=default, runner_up=runner_up),
            server.measure_blocks,
            latency_p99_limit_ms=None if self.miss_ratio is None else LIMIT_MS,
            settings=settings,
            max_s=60 * settings.max_minutes,
            clock=lambda: server.now_s,
        )


@dataclass(slots=True, kw_only=True)
class _Server:
    machine: Machine
    random: np.random.Generator
    max_s: float
    now_s: float = 0.0
    log_drift: float = 0.0
    slow: bool = False
    changes_at_s: float = 0.0
    gains: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        machine = self.machine
        self.gains = {"default": 1.0, "best": machine.gain_ratio, "runner_up": machine.runner_up_gain_ratio}
        self.slow, self.changes_at_s = bool(self.random.integers(2)), self.random.uniform(0, DWELL_S[1])

    def measure_blocks(self, candidates: Sequence[Candidate], blocks: Sequence[int]) -> list[Measurement]:
        return [one for block in blocks for one in self._block(candidates, block)]

    def _block(self, candidates: Sequence[Candidate], block: int) -> Iterator[Measurement]:
        orders = balanced_orders(len(candidates))
        order = orders[block % len(orders)]
        speeds: dict[int, list[float]] = {index: [] for index in order}
        for index in (*order, *reversed(order)):
            speeds[index].append(self._speed_of_a_turn())
        for index in order:
            yield self._measured(candidates[index], block, float(np.mean(speeds[index])))

    def _speed_of_a_turn(self) -> float:
        """The machine's mean speed in a turn that begins now."""
        drift = self.machine.drift * math.sqrt((TURN_S + BETWEEN_S) / self.max_s)
        self.log_drift += self.random.normal(0, drift)
        if not self.machine.levels:
            self.now_s += TURN_S + BETWEEN_S
            return math.exp(self.log_drift)
        ends, work = self.now_s + TURN_S, 0.0
        while self.now_s < ends:
            until = min(ends, self.changes_at_s)
            work += (until - self.now_s) * (SLOW_RATIO if self.slow else 1.0)
            self.now_s = until
            if until == self.changes_at_s:
                self.slow, self.changes_at_s = not self.slow, until + self.random.uniform(*DWELL_S)
        self.now_s += BETWEEN_S
        return math.exp(self.log_drift) * work / TURN_S

    def _noise(self) -> float:
        if not self.machine.heavy_tails:
            return float(self.random.normal(0, self.machine.block_sd))
        scale = self.machine.block_sd / math.sqrt(TAIL_FREEDOM / (TAIL_FREEDOM - 2))
        return float(scale * self.random.standard_t(TAIL_FREEDOM))

    def _measured(self, candidate: Candidate, block: int, speed: float) -> Measurement:
        machine, random, variant, load = self.machine, self.random, candidate.variant, candidate.load
        failed = self._failed(variant, load, block)
        if failed is not None:
            return failed
        rate = RATE_INFER_PER_S * self.gains[variant.config_name]
        misses, true_share = None, machine.miss_ratio
        if variant == DEFAULT and machine.default_miss_ratio is not None:
            true_share = machine.default_miss_ratio
        if true_share is not None:
            log_sd = machine.miss_log_sd
            share = true_share * math.exp(random.normal(0, log_sd) - log_sd**2 / 2 - self.log_drift)
            misses = int(random.binomial(machine.requests, min(1.0, share)))
        return Measurement(
            phase="confirmation",
            profiler="made-up",
            variant=variant,
            load=load,
            started_at="",
            block=block,
            throughput_infer_per_s=rate * math.exp(self._noise()) * speed,
            latency=LatencySummary(avg_ms=5.0, p50_ms=5.0, p90_ms=7.0, p95_ms=8.0, p99_ms=9.0),
            request_count=machine.requests,
            miss_count=misses,
        )

    def _failed(self, variant: ModelConfigVariant, load: LoadPoint, block: int) -> Measurement | None:
        """A window without figures, where it is one's turn; draws nothing on a machine without such windows."""
        machine = self.machine
        cause: FailureCause | None = None
        if machine.disturbed_ratio and self.random.random() < machine.disturbed_ratio:
            cause = "other"
        elif variant == BEST and machine.failing_ratio and self.random.random() < machine.failing_ratio:
            cause = "refused"
        if cause is None:
            return None
        return Measurement(
            phase="confirmation",
            profiler="made-up",
            variant=variant,
            load=load,
            started_at="",
            block=block,
            error=cause,
            failure_cause=cause,
        )


Event = Callable[[Machine, Confirmation], bool]


def is_better(_: Machine, found: Confirmation) -> bool:
    return found.verdict == "better"


def recommends_the_runner_up(_: Machine, found: Confirmation) -> bool:
    """As better than the default."""
    return found.verdict == "better" and found.best is not None and found.best.variant == RUNNER_UP


def keeps_the_default(_: Machine, found: Confirmation) -> bool:
    """Says that there is nothing to change."""
    return found.verdict == "tied"


def recommends_the_best(_: Machine, found: Confirmation) -> bool:
    return found.verdict == "better" and found.best is not None and found.best.variant == BEST


def is_refuted(_: Machine, found: Confirmation) -> bool:
    """The next candidate takes its place, on new data."""
    return found.refuted == BEST.config_name


def is_tied(_: Machine, found: Confirmation) -> bool:
    return found.verdict == "tied"


def misses_the_truth(machine: Machine, found: Confirmation) -> bool:
    """Whether the 95 % interval of the improvement does not hold the true ratio of the two that it compares."""
    # Where the default was kept: its relation to another, the other way round.
    compared = found.improvement or found.runner_up_relation
    assert compared is not None
    gains = {"default": 1.0, "best": machine.gain_ratio, "runner_up": machine.runner_up_gain_ratio}
    truth = gains[compared.candidate] / gains[compared.baseline]
    low, high = compared.throughput_ratio.ci_low, compared.throughput_ratio.ci_high
    return low is None or high is None or not low <= truth <= high


def is_feasible(_: Machine, found: Confirmation) -> bool:
    """Of the best or the runner-up in its place: the default may have another share of misses."""
    return found.best is not None and found.best.feasible and found.best.variant != DEFAULT


def is_infeasible(_: Machine, found: Confirmation) -> bool:
    return found.best is not None and found.best.feasibility == "infeasible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """An event that is to be rare, or frequent, on a machine."""

    name: str
    machine: Machine
    event: Event
    at_most: float | None = None
    at_least: float | None = None


def promises() -> list[Promise]:
    """What the table holds: comparisons, ties, sweeps that pointed the wrong way, failing windows, shares of misses."""
    return [*_comparisons(), *_restless(), *_ties(), *_wrong_sweeps(), *_failures(), *_misses()]


def _comparisons() -> Iterator[Promise]:
    for block_sd in (0.03, 0.05, 0.08):
        noise = f"{block_sd:.0%} block noise"
        equal = Machine(block_sd=block_sd)
        yield Promise(name=f"equal, {noise}: `better`", machine=equal, event=is_better, at_most=0.01)
        for gain in (0.0, 0.05, 0.15):
            truth = Machine(block_sd=block_sd, gain_ratio=1 + gain, runner_up_gain_ratio=1 + gain)
            name = f"gain {gain:.0%}, {noise}: 95 % interval misses it"
            yield Promise(name=name, machine=truth, event=misses_the_truth, at_most=0.06)
        at_least = 0.9 if block_sd == 0.05 else None
        yield Promise(name=f"gain 15 %, {noise}: `better`", machine=truth, event=is_better, at_least=at_least)


def _restless() -> Iterator[Promise]:
    """Machines that jump between two levels of speed, with noise of heavy tails, and both."""
    kinds = {"two levels": {"levels": True}, "heavy tails": {"heavy_tails": True}}
    kinds["both"] = {**kinds["two levels"], **kinds["heavy tails"]}
    for kind, what in kinds.items():
        for block_sd in (0.05, 0.1):
            noise = f"{block_sd:.0%} block noise, {kind}"
            equal = Machine(block_sd=block_sd, **what)
            yield Promise(name=f"equal, {noise}: `better`", machine=equal, event=is_better, at_most=0.01)
            for gain in (0.0, 0.05, 0.15):
                truth = Machine(block_sd=block_sd, gain_ratio=1 + gain, runner_up_gain_ratio=1 + gain, **what)
                name = f"gain {gain:.0%}, {noise}: 95 % interval misses it"
                yield Promise(name=name, machine=truth, event=misses_the_truth, at_most=0.06)
                if gain:
                    yield Promise(name=f"gain {gain:.0%}, {noise}: `better`", machine=truth, event=is_better)


def _ties() -> Iterator[Promise]:
    for block_sd in (0.01, 0.03, 0.05):
        at_least = 0.9 if block_sd == 0.01 else None
        machine = Machine(block_sd=block_sd)
        yield Promise(
            name=f"equal, {block_sd:.0%} block noise: `tied`", machine=machine, event=is_tied, at_least=at_least
        )


def _wrong_sweeps() -> Iterator[Promise]:
    """The runner-up of the sweep is the faster one in truth."""
    for block_sd in (0.03, 0.05):
        noise = f"{block_sd:.0%} block noise"
        at_least = 0.9 if block_sd == 0.03 else None
        first = Machine(block_sd=block_sd, default_first=True, runner_up_gain_ratio=1.05)
        name = f"default first, runner-up 5 % faster, {noise}"
        yield Promise(name=f"{name}: recommended", machine=first, event=recommends_the_runner_up, at_least=at_least)
        yield Promise(name=f"{name}: default kept", machine=first, event=keeps_the_default, at_most=0.05)
        behind = Machine(block_sd=block_sd, gain_ratio=1.10, runner_up_gain_ratio=1.155)
        name = f"best 10 % faster than the default, runner-up 5 % faster than that, {noise}"
        yield Promise(name=f"{name}: recommended", machine=behind, event=recommends_the_runner_up, at_least=at_least)
        slower = Machine(block_sd=block_sd, gain_ratio=0.95, runner_up_gain_ratio=1.05)
        name = f"best 5 % slower, runner-up 5 % faster than the default, {noise}"
        yield Promise(name=f"{name}: recommended", machine=slower, event=recommends_the_runner_up, at_least=at_least)
        equal = Machine(block_sd=block_sd, default_first=True)
        yield Promise(name=f"default first, all equal, {noise}: `better`", machine=equal, event=is_better, at_most=0.01)
        ahead = Machine(block_sd=block_sd, default_first=True, runner_up_gain_ratio=0.9)
        name = f"default first, runner-up 10 % slower, {noise}"
        yield Promise(name=f"{name}: kept", machine=ahead, event=keeps_the_default, at_least=at_least)


def _failures() -> Iterator[Promise]:
    """Windows without figures: those of the best's own account, and those of the machine's."""
    for miss_ratio in (None, 0.002):
        limit = "no limit" if miss_ratio is None else "with a limit"
        for failing in (0.67, 0.1):
            machine = Machine(gain_ratio=1.3, failing_ratio=failing, miss_ratio=miss_ratio)
            name = f"best 30 % faster, refuses {failing:.0%} of its windows, {limit}"
            # Of a tenth, twelve windows show none in 28 of 100 runs, and no test can know better.
            at_most, at_least = (0.01, 0.9) if failing == 0.67 else (None, None)
            yield Promise(name=f"{name}: recommended", machine=machine, event=recommends_the_best, at_most=at_most)
            yield Promise(name=f"{name}: refuted", machine=machine, event=is_refuted, at_least=at_least)
        disturbed = Machine(gain_ratio=1.15, disturbed_ratio=0.1, miss_ratio=miss_ratio)
        name = f"gain 15 %, the machine spoils 10 % of all windows, {limit}"
        yield Promise(name=f"{name}: `better`", machine=disturbed, event=is_better, at_least=0.9)


def _misses() -> Iterator[Promise]:
    for log_sd in (0.5, 1.0):
        for requests in (300, 1500, 5000):
            where = f"log-SD {log_sd:g}, {requests} requests"
            # Throughput is tied and the default feasible at the first look, so that the first look at which the best
            # seems feasible ends the run: nothing is easier to get wrong.
            over, at = (
                Machine(miss_ratio=share, default_miss_ratio=0.0, miss_log_sd=log_sd, requests=requests, block_sd=0.01)
                for share in (0.015, 0.01)
            )
            within = Machine(miss_ratio=0.002, miss_log_sd=log_sd, requests=requests, gain_ratio=1.15)
            yield Promise(name=f"1.5 % misses, {where}: `feasible`", machine=over, event=is_feasible, at_most=0.01)
            if requests == 1500:
                yield Promise(name=f"1 % misses, {where}: `feasible`", machine=at, event=is_feasible)
                yield Promise(name=f"1 % misses, {where}: `infeasible`", machine=at, event=is_infeasible)
            at_least = 0.9 if log_sd == 0.5 else None
            yield Promise(
                name=f"0.2 % misses, {where}: `feasible`", machine=within, event=is_feasible, at_least=at_least
            )


def upper_bound(count: int, runs: int, confidence: float = 0.95) -> float:
    """Clopper and Pearson's one-sided bound of a share."""
    return 1.0 if count == runs else float(stats.beta.ppf(confidence, count + 1, runs - count))


def simulate(machine: Machine, runs: int, settings: ConfirmationSection) -> list[Confirmation]:
    """Runs with the seeds 0, 1, 2 …"""
    return [machine.run(seed, settings) for seed in range(runs)]


def row(promise: Promise, found: Sequence[Confirmation]) -> tuple[str, bool]:
    """A line of the table, and whether the promise holds."""
    runs = len(found)
    count = sum(promise.event(promise.machine, one) for one in found)
    share, high = count / runs, upper_bound(count, runs)
    blocks = float(np.mean([one.block_count for one in found]))
    kept, wanted = True, "–"
    if promise.at_most is not None:
        kept, wanted = high <= promise.at_most, f"bound ≤ {promise.at_most:.0%}"
    if promise.at_least is not None:
        kept, wanted = share >= promise.at_least, f"≥ {promise.at_least:.0%}"
    verdict = "" if kept else " **no**"
    return f"| {promise.name} | {share:.2%} | {high:.2%} | {wanted}{verdict} | {blocks:.0f} |", kept


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    settings, done, kept = ConfirmationSection(), dict[Machine, list[Confirmation]](), True
    started = time.monotonic()
    print("| machine: event | runs with it | upper bound | promise | blocks |\n| --- | ---: | ---: | --- | ---: |")
    for promise in promises():
        if arguments.only not in promise.name:
            continue
        if promise.machine not in done:
            done[promise.machine] = simulate(promise.machine, arguments.runs, settings)
        line, holds = row(promise, done[promise.machine])
        kept = kept and holds
        print(line, flush=True)
    print(
        f"\n{arguments.runs} runs a machine, {len(done)} machines, {time.monotonic() - started:.0f} s", file=sys.stderr
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
