"""Loads, plans and single measurements, with the conditions that they were taken under. Units are in the names."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Literal

from hcopt.records.model import InstanceKind, ModelConfigVariant
from hcopt.records.note import Note

Phase = Literal["noise", "sweep", "memory", "confirmation", "onnxruntime_alone", "open_loop"]
FailureCause = Literal["refused", "unanswered", "other"]

# The kernel keeps some of the memory for itself, a little more or less with each of its versions and each start. Less
# than what machines or memory limits that are really different differ by.
_MEMORY_TOLERANCE_RATIO = 0.02
# Older runs have none of them, and no load generator's CPUs by which to know one that has.
_PLACEMENT = ("client_cpuset", "smt_siblings", "numa_nodes", "cpu_quota")
# Each machine's own, as a container gets them: the CPUs' numbers. How many there are counts.
OWN_CONDITIONS = ("cpuset", "client_cpuset", "smt_siblings", "numa_nodes")
# Words of a CPU's name that say nothing of what tells it from others.
_NOT_TELLING = re.compile(
    r"@.*| with .*|\((?:R|TM)\)|\b(?:AMD|Intel|CPU|Processor|\d+-Core|\d+th|Gen)\b", re.IGNORECASE
)
_SLUG_LENGTH = 32


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
        server_cores: CPUs that the server may use; None where nobody knows, and in older runs.
        notes: What the plan left out of the configuration's sweep, and why.
    """

    model_name: str
    default: ModelConfigVariant
    variants: tuple[ModelConfigVariant, ...]
    loads: tuple[LoadPoint, ...]
    instance_kind: InstanceKind = "KIND_CPU"
    server_cores: int | None = None
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
        profiler: Which program measured: `model-analyzer` or `perf_analyzer`; `onnxruntime` where no server took part.
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
        late_ratio: Share of the requests that an open-loop generator sent late, by a tenth of the limit or more: their
            latency is too long by that, which is in favour of no rate. None elsewhere.
        server: The server's own share of the latency.
        steal_ratio: Share of the CPU time that the hypervisor gave to others during the window.
        throttled_ratio: Share of the window in which the control group was held back by its CPU quota; None where it
            has none.
        client_cpu_ratio: Share of the CPU time of its CPUs that the load generator used; these are the machine's where
            it shares them with the server.
        server_memory_mb: The most memory that the server was seen to hold during the window, what earlier variants have
            left in it included; in the phase `memory`, of a server that has just started, while it loaded the variant
            too. None where several variants were loaded, which nobody can tell apart, or where it cannot be read.
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
    late_ratio: float | None = None
    server: ServerTimes | None = None
    steal_ratio: float | None = None
    throttled_ratio: float | None = None
    client_cpu_ratio: float | None = None
    server_memory_mb: float | None = None
    samples_file: str | None = None
    node: str | None = None
    elapsed_s: float | None = None
    error: str | None = None
    failure_cause: FailureCause | None = None

    def __post_init__(self) -> None:
        measured = self.throughput_infer_per_s is not None and self.latency is not None
        if measured == (self.error is not None):
            raise ValueError("a measurement has either figures or an error")
        figures = (self.duration_s, self.throughput_infer_per_s, self.server_memory_mb, self.elapsed_s)
        shares = (self.steal_ratio, self.throttled_ratio, self.client_cpu_ratio, self.late_ratio)
        more = (*shares, *_floats(self.latency), *_floats(self.server))
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


_IMPLEMENTATIONS = {"native": "native", "hcopt-native": "native, hcopt's own", "python": "Python-based"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The backend that served.

    Attributes:
        name: As Triton calls it, e.g. `onnxruntime`.
        implementation: native: a shared library, as NVIDIA's own; hcopt-native: hcopt's own shared library; python: a
            model.py, which hcopt has for where its library does not run.
    """

    name: str
    implementation: Literal["native", "hcopt-native", "python"]

    def __str__(self) -> str:
        """For people, e.g. `onnxruntime (native, hcopt's own)`."""
        return f"{self.name} ({_IMPLEMENTATIONS[self.implementation]})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The conditions under which a run measured; figures of different ones are never ranked together.

    Attributes:
        runtime: embedded, docker or remote.
        backend: The backend that served.
        governor: The CPU frequency governor, or None where the machine shows none.
        server_image: What the server's container was made of, by digest or id; None without containers.
        sdk_image: The same of the measuring programs' container.
        onnxruntime_thread_count: Threads of an instance where config.pbtxt leaves them to ONNX Runtime; None where
            nobody can tell, and in older runs.
        client_cpuset: CPUs of the load generator; None in older runs.
        smt_siblings: CPUs of server and load generator that share a physical core: 0-2+4-6 is 0 with 4, 1 with 5, 2
            with 6. None where each is a core of its own or the machine does not tell, and in older runs.
        numa_nodes: Those of the server's CPUs; None where the machine does not tell, and in older runs.
        cpu_quota: CPUs' worth of time that the server and the load generator may use together; None without a quota.
        server_settings: What a server of somebody else's says it has on that costs time or answers by itself, by
            Triton's own names, e.g. `log_verbose_level=1, response_cache`; None where it says nothing of the kind.
    """

    runtime: str
    backend: Backend
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
    onnxruntime_thread_count: int | None = None
    server_settings: str | None = None
    client_cpuset: str | None = None
    smt_siblings: str | None = None
    numa_nodes: str | None = None
    cpu_quota: float | None = None

    def same_conditions(self, other: Environment, *, but: Collection[str] = ()) -> bool:
        """Whether figures of the one may be ranked with those of the other; the only place that decides it.

        Args:
            other: The other's conditions.
            but: Fields that are no condition where this is asked; each caller says why.

        Source: method.md, rule 3: runs with different environments are never ranked together.
        """
        return not self.differing_conditions(other, but=but)

    def differing_conditions(self, other: Environment, *, but: Collection[str] = ()) -> tuple[str, ...]:
        """The fields that forbid it, see `same_conditions`; the same whichever of the two is asked."""
        unasked = _PLACEMENT if None in (self.client_cpuset, other.client_cpuset) else ()
        names = (field.name for field in fields(self) if field.name not in (*but, *unasked))
        return tuple(name for name in names if not _same_condition(name, getattr(self, name), getattr(other, name)))

    @property
    def slug(self) -> str:
        """The machine's kind for the name of a folder, e.g. `EPYC-7R13-8`; other kinds may have the same.

        Returns:
            At most 32 letters, digits and hyphens.
        """
        words, cpus = re.findall(r"[A-Za-z0-9]+", _NOT_TELLING.sub(" ", self.cpu_model)), f"-{self.cpu_count}"
        return ("-".join(words) or "CPU")[: _SLUG_LENGTH - len(cpus)].rstrip("-") + cpus


def _same_condition(name: str, one: object, other: object) -> bool:
    if name == "memory_mb" and isinstance(one, int) and isinstance(other, int):
        return abs(one - other) <= _MEMORY_TOLERANCE_RATIO * max(one, other)
    # Nobody has asked in older runs.
    unasked = name == "onnxruntime_thread_count" and None in (one, other)
    return unasked or one == other
