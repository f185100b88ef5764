"""What measurements have shown: order, verdict, noise, capacity, and what Triton costs. Ratios are 0–1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hcopt.records.measurement import LoadPoint
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note

Feasibility = Literal["feasible", "infeasible", "undecided"]
NoiseLimit = Literal["steal", "throttling", "variation"]
Verdict = Literal["better", "tied", "undecided", "no_feasible_config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its interval; the bounds are None where one value cannot give them."""

    estimate: float
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedVariant:
    """A variant at its best load in the sweep.

    Attributes:
        variant: The variant.
        load: The load at which its figures are the best feasible ones, or the least infeasible.
        throughput_infer_per_s: At that load.
        latency_p99_ms: At that load.
        feasible: Whether the limit holds there, and no more than 1 % of the requests failed.
        failed_ratio: Share of the requests that failed there on the variant's own account; a window without figures
            counts whole.
        equal_names: Names of variants with the same settings, pooled into this one.
    """

    variant: ModelConfigVariant
    load: LoadPoint
    throughput_infer_per_s: float
    latency_p99_ms: float
    feasible: bool
    failed_ratio: float = 0.0
    equal_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The sweep's order: feasible variants first, by throughput; it proposes, the confirmation decides.

    Attributes:
        ranked: Each variant at its best load.
        latency_p99_limit_ms: The limit, or None.
        failed_count: Measurements without figures.
        bold: A faster one than the first, or the same at a heavier load, of which the search is not nearly sure that it
            keeps the limit: worth a try, since the confirmation will tell.
    """

    ranked: tuple[RankedVariant, ...]
    latency_p99_limit_ms: float | None
    failed_count: int
    bold: RankedVariant | None = None

    @property
    def feasible(self) -> tuple[RankedVariant, ...]:
        """Those that meet the limit, best first."""
        return tuple(entry for entry in self.ranked if entry.feasible)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedVariant:
    """One finalist's figures from the confirmation, at one load.

    Attributes:
        feasibility: What the blocks' shares of slow and failed requests say of the p99 limit. Where there is none,
            what the shares of failed ones say: as many may fail.
        miss_ratio: Share of the requests that took longer than the limit, failed ones among them; None without a
            limit. Its bounds are those of the verdict, so that `feasible` means that the upper one is at most 1 %.
        blocks_to_decide: How many blocks in all would decide the feasibility, where undecided and computable.
        memory_mb: The most that a server held which had just started and served it alone, its load included, in MB;
            None where that was not measured.
    """

    variant: ModelConfigVariant
    load: LoadPoint
    throughput_infer_per_s: Estimate
    latency_p99_ms: Estimate
    feasibility: Feasibility
    block_count: int
    miss_ratio: Estimate | None = None
    blocks_to_decide: int | None = None
    memory_mb: float | None = None

    @property
    def feasible(self) -> bool:
        """Whether the limit is shown to hold."""
        return self.feasibility == "feasible"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedWindows:
    """Windows of one configuration at one load that gave no figures.

    Attributes:
        window_count: All of its windows, those with figures among them.
        variant_count: Of them, windows that failed on its own account; each counts as one in which every request missed
            every limit.
        other_count: Windows that failed for the machine's, a tool's or hcopt's sake; they count for nothing.
        reason: Why the first of those on its own account failed, else the first of all.
    """

    config_name: str
    load: LoadPoint
    window_count: int
    variant_count: int
    other_count: int
    reason: str

    @property
    def variant_ratio(self) -> float:
        """Share of its windows that failed on its own account."""
        return self.variant_count / self.window_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`candidate` against `baseline` over paired blocks; ratios are candidate / baseline.

    Attributes:
        throughput_ratio: Interval at 95 %.
        latency_p99_ratio: Interval at 95 %.
        p_value: Two-sided exact signed-rank test, adjusted over the comparisons of the family and the looks.
        verdict: better, tied or undecided.
        reason: Why, with the figures that the verdict rests on.
        blocks_to_decide: How many blocks in all would decide, where undecided and computable.
    """

    candidate: str
    baseline: str
    throughput_ratio: Estimate
    latency_p99_ratio: Estimate
    p_value: float
    verdict: Verdict
    reason: Note
    blocks_to_decide: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What the confirmation found, on data that the sweep never saw.

    Attributes:
        verdict: `best` against `default`.
        reason: Why.
        best: None where nothing meets the limit.
        default: None where it could not be measured.
        runner_up: None where the sweep had none.
        improvement: `best` against `default`; None where one of them is missing or they are the same.
        runner_up_relation: `best` against `runner_up`.
        advantage: Why `best` is the cheaper of it and a `runner_up` that is as fast, where it is.
        block_count: Blocks in which `best` was measured.
        look_count: How often the data were judged; the error rates are spent over these looks.
        equal_load: `best` against `default`, both at the load of `best`; None where `improvement` says the same, or the
            default was not measured at that load.
        default_at_best_load: The default at the load of `best`, where that is not its own and was measured.
        failures: Of each finalist of which windows failed.
        refuted: The sweep's winner, by name, where fresh data show that it misses the limit or fails too often.
    """

    verdict: Verdict
    reason: Note
    best: ConfirmedVariant | None
    default: ConfirmedVariant | None
    runner_up: ConfirmedVariant | None = None
    improvement: Comparison | None = None
    runner_up_relation: Comparison | None = None
    advantage: Note | None = None
    block_count: int = 0
    look_count: int = 1
    equal_load: Comparison | None = None
    default_at_best_load: ConfirmedVariant | None = None
    failures: tuple[FailedWindows, ...] = ()
    refuted: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What the default, measured against itself before the sweep (A/A), says about the machine.

    Attributes:
        load: The load at which it was measured.
        block_count: Blocks; each holds the same configuration twice, in turns or in windows one after the other.
        window_s: Length of a window that the confirmation is to use, in seconds; longer on a machine that varies. None
            where it was measured in turns, as the confirmation will be.
        block_sd_ratio: Standard deviation of the logarithm of one configuration's throughput between blocks.
        pair_sd_ratio: Standard deviation of the log-ratio of the two in a block: what a comparison faces.
        resolvable_ratio: The smallest difference that the planned blocks tell apart in nine runs of ten.
        planned_blocks: How many blocks that is said for.
        block_s: About how long one of them takes with three finalists, in seconds; None in older runs.
        max_steal_ratio: The largest share of CPU time that the hypervisor gave to others in a window.
        max_throttled_ratio: The largest share of a window in which the CPU quota held this control group back.
        exceeded: Which limits of `noise` in config.yaml were exceeded.
        throughput_infer_per_s: The median of the windows; None in older runs.
    """

    load: LoadPoint
    block_count: int
    window_s: float | None
    block_sd_ratio: float
    pair_sd_ratio: float
    resolvable_ratio: float
    planned_blocks: int
    block_s: float | None = None
    max_steal_ratio: float | None = None
    max_throttled_ratio: float | None = None
    exceeded: tuple[NoiseLimit, ...] = ()
    throughput_infer_per_s: float | None = None

    @property
    def round_s(self) -> float | None:
        """How long it takes until each of the requests that are under way at once has been answered, in seconds."""
        if not self.throughput_infer_per_s:
            return None
        return self.load.concurrency * self.load.client_batch_size / self.throughput_infer_per_s

    @property
    def window_sd_ratio(self) -> float:
        """Of one window: a pair has that of two."""
        return self.pair_sd_ratio / math.sqrt(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAlone:
    """What a request takes with no other under way: served by Triton, and of ONNX Runtime alone, both in turns.

    Attributes:
        config_name: What was served; ONNX Runtime had its threads and session options, and one session.
        client_batch_size: Rows a request.
        block_count: Blocks that have both.
        request_ms: Median time of a request at the client, through Triton; median of the blocks, and their lowest and
            highest as an interval of 95 % at least.
        model_ms: Median time of ONNX Runtime's `run` with the same rows; likewise.
        model_ratio: `model_ms` / `request_ms` of a block; likewise.
        queue_ms: Mean time that a block's requests waited in Triton's queue, which is long where the configuration has
            a queue delay; median of the blocks. None without Triton's statistics.
    """

    config_name: str
    client_batch_size: int
    block_count: int
    request_ms: Estimate
    model_ms: Estimate
    model_ratio: Estimate
    queue_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    """One arrival rate of the open-loop check.

    Attributes:
        rate_infer_per_s: Intended inferences (rows) per second.
        window_count: Valid windows; those in which the load generator lagged are not among them.
        miss_ratio: Share of requests over the limit, counted from the intended send time; bounds as the verdict's.
        latency_p99_ms: Mean of the windows' p99, counted from the intended send time.
        verdict: Whether the limit holds at this rate.
    """

    rate_infer_per_s: float
    window_count: int
    miss_ratio: Estimate
    latency_p99_ms: float
    verdict: Feasibility


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one server with the best configuration sustains under Poisson arrivals within the p99 limit.

    Attributes:
        config_name: The variant.
        sustainable_rate_infer_per_s: `ci_low` is the highest rate at which the limit is shown to hold, and what
            capacity planning uses; `ci_high` the lowest at which it is shown not to, or None where none was found.
        boundary_infer_per_s: The rate at which just 1 % of the requests is over the limit, by a fit to all windows: an
            estimate with a 90 % interval, and no promise. None where no rate was seen to keep the limit.
        latency_p99_limit_ms: The limit.
        client_batch_size: Rows a request.
        seed: Of the arrival schedules.
        points: Every rate with a valid window, in ascending order.
    """

    config_name: str
    sustainable_rate_infer_per_s: Estimate
    latency_p99_limit_ms: float
    client_batch_size: int
    seed: int
    points: tuple[RatePoint, ...] = ()
    boundary_infer_per_s: Estimate | None = None
