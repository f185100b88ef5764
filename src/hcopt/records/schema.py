"""The values that travel between the stages: frozen, checked when made, and readable as JSON.

Units are in the names. Ratios are 0–1. Shapes are those of ONNX: -1 is a dynamic dimension.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

InstanceKind = Literal["KIND_CPU", "KIND_GPU"]
Phase = Literal["noise", "sweep", "confirmation", "open_loop"]
Feasibility = Literal["feasible", "infeasible", "undecided"]
NoiseLimit = Literal["steal", "throttling", "variation"]
Verdict = Literal["better", "tied", "undecided", "no_feasible_config"]
FailureCause = Literal["refused", "unanswered", "other"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What the user has to know, as one sentence in each language of the report; names and figures are filled in.

    Attributes:
        en: For the terminal, files for machines, and the English report.
        ko: For the Korean report; words of third-party tools stay as they are.
    """

    en: str
    ko: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: The tensor's name.
        datatype: Triton's name of the type without prefix: FP32, INT64, BYTES …
        shape: As the model declares it, the batch dimension included; -1 is dynamic.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSignature:
    """All inputs and outputs of a model, in its own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredVersion:
    """A version in the MLflow model registry."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArtifact:
    """A model that has been fetched into a local folder.

    Attributes:
        name: The model's name on the server; a valid folder name.
        source_uri: Where it came from, as the user wrote it.
        version: The source's own version, where it has one.
        sha256: Over the ONNX file and its external data, in the order of `files`.
        folder: Local folder that holds `files`.
        onnx_file: The ONNX file, relative to `folder`.
        files: The ONNX file first, then its external-data files, relative to `folder`.
        signature: Inputs and outputs as the ONNX graph declares them.
        config_pbtxt: The text of the config.pbtxt that came with the model, or None.
        input_example: A JSON file of example rows that came with the model, or None.
        registered_version: The registry's entry, where the model came from one.
        version_folder: The folder in a Triton repository that the model's own version_policy serves.
    """

    name: str
    source_uri: str
    version: str | None
    sha256: str
    folder: Path
    onnx_file: str
    files: tuple[str, ...]
    signature: ModelSignature
    config_pbtxt: str | None = None
    input_example: Path | None = None
    registered_version: RegisteredVersion | None = None
    version_folder: str = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfigVariant:
    """A model configuration variant: what the sweep sets, and the name it goes by.

    Attributes:
        config_name: `<model>_config_default` or `<model>_config_<N>`.
        max_batch_size: 0 for a model that cannot batch.
        instance_count: Instances of the model on this server.
        max_queue_delay_us: Longest wait of dynamic batching; 0 sends what is there at once.
        parameters: Further `parameters` of config.pbtxt, as (key, value) pairs sorted by key.
        dynamic_batching: Whether the server may put requests together; True where `max_batch_size` is 0. Only a
            user's configuration without `dynamic_batching` has it False: a delay of 0 is another thing.
        preferred_batch_sizes: Batches of these sizes go at once, in ascending order; none where there is no such wish.
    """

    config_name: str
    max_batch_size: int
    instance_count: int
    max_queue_delay_us: int
    parameters: tuple[tuple[str, str], ...] = ()
    dynamic_batching: bool = True
    preferred_batch_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_batch_size < 0 or self.instance_count < 1 or self.max_queue_delay_us < 0:
            raise ValueError(f"not a model configuration: {self}")

    @property
    def settings(self) -> tuple[int, int, int, tuple[tuple[str, str], ...], bool, tuple[int, ...]]:
        """What distinguishes this variant from others; two variants with equal settings are the same one."""
        return (
            self.max_batch_size,
            self.instance_count,
            self.max_queue_delay_us,
            self.parameters,
            self.dynamic_batching,
            self.preferred_batch_sizes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPoint:
    """A load of requests with so many rows each: closed-loop by its concurrency, or open-loop by its rate.

    Attributes:
        concurrency: Requests under way at once, always; 0 for an open-loop load.
        client_batch_size: Rows a request.
        request_rate_per_s: Mean arrivals per second, whatever the server does; None for a closed-loop load.
    """

    concurrency: int = 0
    client_batch_size: int = 1
    request_rate_per_s: float | None = None

    def __post_init__(self) -> None:
        one = (self.concurrency > 0) != (self.request_rate_per_s is not None and self.request_rate_per_s > 0)
        finite = self.request_rate_per_s is None or math.isfinite(self.request_rate_per_s)
        if not one or not finite or self.concurrency < 0 or self.client_batch_size < 1:
            raise ValueError(f"not a load: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """Everything that a sweep is going to measure.

    Attributes:
        model_name: The model's name on the server.
        default: The user's configuration, untouched.
        variants: The grid, in Model Analyzer's numbering order; may hold one equal to the default.
        loads: Each variant is measured at each of them.
        instance_kind: Where the instances run.
        notes: What the plan left out of the configuration's sweep, and why.
    """

    model_name: str
    default: ModelConfigVariant
    variants: tuple[ModelConfigVariant, ...]
    loads: tuple[LoadPoint, ...]
    instance_kind: InstanceKind = "KIND_CPU"
    notes: tuple[Note, ...] = ()

    @property
    def all_variants(self) -> tuple[ModelConfigVariant, ...]:
        """The default first, then the grid."""
        return (self.default, *self.variants)

    @property
    def measurement_count(self) -> int:
        """Measurements that the sweep takes."""
        return len(self.all_variants) * len(self.loads)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTimes:
    """Where a request spends its time inside the server: means per request, in µs."""

    queue_us: float
    compute_input_us: float
    compute_infer_us: float
    compute_output_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Client-side latency of the requests of one measurement, in ms."""

    avg_ms: float
    p50_ms: float | None  # Model Analyzer does not say
    p90_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One variant under one load for one window; a failed one has an `error` and no figures.

    Attributes:
        phase: Which stage asked for it.
        block: The block, where the phase measures in blocks; in a sweep only where several nodes share it, or a search
            has any.
        profiler: Which program measured: `model-analyzer` or `perf_analyzer`.
        variant: What was served.
        load: What was asked of it.
        started_at: UTC, ISO 8601.
        duration_s: Length of the measured window.
        throughput_infer_per_s: Inferences (rows), not requests, per second.
        latency: Client-side latency.
        request_count: Requests inside the window.
        error_count: Requests that were answered with an error; they count as over every limit.
        miss_count: Requests of `request_count` that took longer than the p99 limit; None where there is no limit or no
            raw samples.
        server: The server's own share of the latency.
        steal_ratio: Share of the CPU time that the hypervisor gave to others during the window.
        throttled_ratio: Share of the window in which the control group was held back by its CPU quota; None where it
            has none.
        client_cpu_ratio: Share of the machine's CPU time that the load generator used.
        samples_file: The raw samples, relative to the run's folder.
        node: Where it was measured, by the node's name; None where the whole run was on one machine.
        elapsed_s: What it took until the record: the switch to the variant, its further tries, and what was decided
            since the window before it in its phase, so that a resumed run can go by it.
        error: Why there are no figures.
        failure_cause: `refused` where the server would not load the variant or answered its requests with errors,
            `unanswered` where it did not answer them: both are the variant's own account. `other` where the machine, a
            tool or hcopt failed, or the server died, or where nobody can tell. None with figures.
    """

    phase: Phase
    profiler: str
    variant: ModelConfigVariant
    load: LoadPoint
    started_at: str
    block: int | None = None
    duration_s: float | None = None
    throughput_infer_per_s: float | None = None
    latency: LatencySummary | None = None
    request_count: int | None = None
    error_count: int = 0
    miss_count: int | None = None
    server: ServerTimes | None = None
    steal_ratio: float | None = None
    throttled_ratio: float | None = None
    client_cpu_ratio: float | None = None
    samples_file: str | None = None
    node: str | None = None
    elapsed_s: float | None = None
    error: str | None = None
    failure_cause: FailureCause | None = None

    def __post_init__(self) -> None:
        measured = self.throughput_infer_per_s is not None and self.latency is not None
        if measured == (self.error is not None):
            raise ValueError("a measurement has either figures or an error")
        figures = (self.duration_s, self.throughput_infer_per_s, self.steal_ratio, self.throttled_ratio)
        more = (self.client_cpu_ratio, self.elapsed_s, *_floats(self.latency), *_floats(self.server))
        if not all(figure is None or math.isfinite(figure) for figure in (*figures, *more)):
            raise ValueError("a measurement's figures are finite")
        if measured and self.failure_cause is not None:
            raise ValueError("only a failed measurement has a cause of failure")

    @property
    def failed_by_variant(self) -> bool:
        """Whether it failed on the variant's own account: an outcome that counts against it."""
        return self.failure_cause in ("refused", "unanswered")

    @property
    def asked_count(self) -> int | None:
        """Requests, those that were answered with an error among them; None where they were not counted."""
        return None if self.request_count is None else self.request_count + self.error_count


def _floats(values: LatencySummary | ServerTimes | None) -> tuple[float | None, ...]:
    if values is None:
        return ()
    if isinstance(values, ServerTimes):
        return values.queue_us, values.compute_input_us, values.compute_infer_us, values.compute_output_us
    return values.avg_ms, values.p50_ms, values.p90_ms, values.p95_ms, values.p99_ms


Action = Literal["left_out", "start", "race", "drop", "fail", "unvisited", "stop", "winner"]
DropCause = Literal["slow", "late", "failing"]
StopCause = Literal["gain", "windows", "time", "nothing_left", "nothing_measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision of an adaptive search, with what it rests on; a line of decisions.jsonl.

    Attributes:
        action: left_out (cannot be measured), start (a block of the first windows), race (a block of what may be
            best; its variant and load are the best so far), drop (a variant of which no load can be best any more),
            fail (could not be measured), unvisited (a variant that was never measured, and what its neighbours say of
            it), stop, winner.
        reason: In a sentence, with its figures.
        block: Blocks that had been measured.
        window_count: Windows that had been measured.
        elapsed_s: Since the search began.
        cause: The reason in a word. Of a drop: too slow at every load that keeps the limit, or too late at every load.
            Of a stop: going on would gain too little, the windows that the grid is worth are taken, or the time is up.
        config_name: The variant; None where the decision is about all of them.
        concurrency: Of the load; None where it is about all loads.
        client_batch_size: Of the load.
        throughput_ratio: Against the best point so far, estimated.
        ratio_low: Lower bound of that, at 95 %.
        ratio_high: Upper bound of that.
        feasible_probability: That the point keeps the limit.
        latency_p99_ms: Of the point, estimated.
        gain_ratio: Of a stop: what going on would gain on average; None where it cannot be said.
        budget_s: Of a stop: the longest that the search might have taken; None where it had no such limit.
    """

    action: Action
    reason: str
    block: int
    window_count: int
    elapsed_s: float
    cause: DropCause | StopCause | None = None
    config_name: str | None = None
    concurrency: int | None = None
    client_batch_size: int | None = None
    throughput_ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    feasible_probability: float | None = None
    latency_p99_ms: float | None = None
    gain_ratio: float | None = None
    budget_s: float | None = None


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
    """The sweep's order: feasible variants first, by throughput; it proposes, the confirmation decides."""

    ranked: tuple[RankedVariant, ...]
    latency_p99_limit_ms: float | None
    failed_count: int

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
    """

    variant: ModelConfigVariant
    load: LoadPoint
    throughput_infer_per_s: Estimate
    latency_p99_ms: Estimate
    feasibility: Feasibility
    block_count: int
    miss_ratio: Estimate | None = None
    blocks_to_decide: int | None = None

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
        p_value: Two-sided exact sign-flip test, adjusted over the comparisons of the family and the looks.
        verdict: better, tied or undecided.
        reason: The verdict in a sentence that names the figures it rests on.
        blocks_to_decide: How many blocks in all would decide, where undecided and computable.
    """

    candidate: str
    baseline: str
    throughput_ratio: Estimate
    latency_p99_ratio: Estimate
    p_value: float
    verdict: Verdict
    reason: str
    blocks_to_decide: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What the confirmation found, on data that the sweep never saw.

    Attributes:
        verdict: `best` against `default`.
        reason: The verdict in a sentence.
        best: None where nothing meets the limit.
        default: None where it could not be measured.
        runner_up: None where the sweep had none.
        improvement: `best` against `default`; None where one of them is missing or they are the same.
        runner_up_relation: `best` against `runner_up`.
        block_count: Blocks in which all finalists were measured.
        look_count: How often the data were judged; the error rates are spent over these looks.
        equal_load: `best` against `default`, both at the load of `best`; None where `improvement` says the same, or the
            default was not measured at that load.
        default_at_best_load: The default at the load of `best`, where that is not its own and was measured.
        failures: Of each finalist of which windows failed.
        refuted: The sweep's winner, by name, where fresh data show that it misses the limit or fails too often.
    """

    verdict: Verdict
    reason: str
    best: ConfirmedVariant | None
    default: ConfirmedVariant | None
    runner_up: ConfirmedVariant | None = None
    improvement: Comparison | None = None
    runner_up_relation: Comparison | None = None
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
        block_count: Blocks; each holds two windows of the same configuration, one after the other.
        window_s: Length of a window that the confirmation is to use, in seconds; longer on a machine that varies.
        block_sd_ratio: Standard deviation of the logarithm of one configuration's throughput between blocks.
        pair_sd_ratio: Standard deviation of the log-ratio of the two windows of a block: what a comparison faces.
        resolvable_ratio: The smallest difference that the planned blocks tell apart in nine runs of ten.
        planned_blocks: How many blocks that is said for.
        max_steal_ratio: The largest share of CPU time that the hypervisor gave to others in a window.
        max_throttled_ratio: The largest share of a window in which the CPU quota held this control group back.
        exceeded: Which limits of `noise` in config.yaml were exceeded.
    """

    load: LoadPoint
    block_count: int
    window_s: float
    block_sd_ratio: float
    pair_sd_ratio: float
    resolvable_ratio: float
    planned_blocks: int
    max_steal_ratio: float | None = None
    max_throttled_ratio: float | None = None
    exceeded: tuple[NoiseLimit, ...] = ()

    @property
    def window_sd_ratio(self) -> float:
        """Of one window: a pair has that of two."""
        return self.pair_sd_ratio / math.sqrt(2)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The conditions under which a run measured; figures of different ones are never ranked together.

    Attributes:
        runtime: embedded, docker or remote.
        backend: The backend that served, with its kind, e.g. `onnxruntime (Python-based)`.
        governor: The CPU frequency governor, or None where the machine shows none.
        server_image: What the server's container was made of, by digest or id; None without containers.
        sdk_image: The same of the measuring programs' container.
    """

    runtime: str
    backend: str
    triton_version: str
    onnxruntime_version: str | None
    perf_analyzer_version: str | None
    cpu_model: str
    cpu_count: int
    cpuset: str
    memory_mb: int
    governor: str | None
    hcopt_version: str
    server_image: str | None = None
    sdk_image: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One finished run, all that a report, MLflow or a manifest needs.

    Attributes:
        folder: The run's own folder.
        command: The command line that made it.
        alpha: Family-wise error rate of the verdict `better`.
        indifference_ratio: Differences below this count as none.
        default_config_pbtxt: Text of the default's config.pbtxt.
        best_config_pbtxt: Text of the golden config.pbtxt, or None.
        noise: The A/A measurement; None where it was switched off.
        capacity: The open-loop check of the best configuration; None where there is no limit or nothing to check.
        elapsed_s: Seconds a phase, in order.
        decisions: Of the adaptive search, in order; none where another profiler measured.
        notes: What the user has to know about this run (conversions, dropped dimensions, noise …).
    """

    run_id: str
    folder: Path
    started_at: str
    command: str
    model: ModelArtifact
    plan: SweepPlan
    environment: Environment
    measurements: tuple[Measurement, ...]
    ranking: Ranking
    confirmation: Confirmation
    alpha: float
    indifference_ratio: float
    default_config_pbtxt: str
    best_config_pbtxt: str | None
    noise: Noise | None = None
    capacity: Capacity | None = None
    elapsed_s: Mapping[str, float] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    notes: tuple[Note, ...] = ()


JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailure:
    """What kept a model's run from ending well.

    Attributes:
        exit_code: What hcopt ends with where it is the only model.
        message: What failed.
        remedy: What to do about it.
    """

    exit_code: int
    message: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutcome:
    """What became of one of several models.

    Attributes:
        source_uri: Where it comes from, without a login.
        label: What its folder is called among those of the others; its name, unless two have the same.
        hardware: The kind of machine that it was measured on, where the run was on a cluster.
        run_id: Its own run; None where it was not begun.
        record: What that found; None where it came to no end.
        failure: None where all went well. With a record, too: its limit is met by no configuration, or its report or
            MLflow is missing.
    """

    source_uri: str
    label: str
    hardware: str | None = None
    run_id: str | None = None
    record: RunRecord | None = None
    failure: RunFailure | None = None
