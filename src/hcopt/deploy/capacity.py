"""How many pods a load needs, from the confirmed capacity of one: target, minimum and maximum of the HPA, cost. Pure.

All rates are inferences (rows) per second, never requests.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from hcopt.analysis.p99_limit import ALLOWED_MISS_RATIO
from hcopt.errors import ConfigError
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Capacity
from hcopt.words.notes import sentence

# The HPA's own defaults: --horizontal-pod-autoscaler-tolerance and --horizontal-pod-autoscaler-sync-period.
TOLERANCE_RATIO = 0.1
SYNC_PERIOD_S = 15.0
# One pod more than the load needs, so that a pod that goes does not take the others over their capacity.
SPARE_PODS = 1
MIN_PODS = 2
# A load that is a whole number of targets may be off by so much once it has been divided again.
_ROUNDING = 1e-9
# Source: Kubernetes' documentation, Considerations for large clusters.
MAX_PODS = 150_000
# Scheduling a pod, and fetching the model; an image that the node lacks takes minutes more.
SCHEDULING_S = 20
# gRPC clients look for new pods when a connection ends; after so long the manifests' Triton ends each.
CONNECTION_AGE_S = 30
# Kubernetes' default of --horizontal-pod-autoscaler-downscale-stabilization.
MIN_SCALE_DOWN_WINDOW_S = 300
# What the commands assume where the user says nothing.
USUAL_GROWTH = "2x/10m"
USUAL_SCRAPE_INTERVAL_S = 15
USUAL_RATE_WINDOW_S = 60
# The price of a machine for an hour, by its CPU's model; None where it is unknown.
PriceOf = Callable[[str], float | None]
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_GROWTH = re.compile(r"(?P<factor>[0-9]+(?:\.[0-9]+)?)x/(?P<count>[0-9]+(?:\.[0-9]+)?)(?P<unit>[smh])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The steepest rise of the load that the pods have to keep up with: to `factor` times itself in `within_s`."""

    factor: float
    within_s: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and self.factor >= 1 and 0 < self.within_s < math.inf):
            raise ValueError(f"not a growth: {self}")

    @property
    def ratio_per_s(self) -> float:
        """Growth a second, relative to the load at the beginning.

        A straight line from 1 to `factor`: within `within_s` an exponential rise to the same factor stays below it.
        """
        return (self.factor - 1) / self.within_s


def parse_growth(text: str) -> Growth:
    """`2x/10m` is a load that doubles in ten minutes; the unit is s, m or h.

    Raises:
        ConfigError: It is no growth.
    """
    found = _GROWTH.fullmatch(text.strip())
    if found is not None:
        with suppress(ValueError):
            return Growth(factor=float(found["factor"]), within_s=float(found["count"]) * _SECONDS[found["unit"]])
    raise ConfigError(
        f"--growth {text!r} is no growth", remedy="Give a factor of at least 1 and a time, such as 2x/10m or 1.5x/90s."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """How long it takes until a rise of the load is served by new pods, and how far the load may rise meanwhile.

    Attributes:
        scrape_interval_s: Of Prometheus.
        rate_window_s: Window of `rate()` over the counter of inferences.
        pod_start_s: From the decision to the first request that a new pod answers.
        growth: The steepest rise to keep up with.
        tolerance_ratio: The HPA does nothing within this distance of its target.
        sync_period_s: How often the HPA looks.
    """

    scrape_interval_s: float
    rate_window_s: float
    pod_start_s: float
    growth: Growth
    tolerance_ratio: float = TOLERANCE_RATIO
    sync_period_s: float = SYNC_PERIOD_S

    def __post_init__(self) -> None:
        if min(self.scrape_interval_s, self.rate_window_s, self.pod_start_s, self.tolerance_ratio) < 0:
            raise ValueError(f"not a reaction: {self}")

    @property
    def total_s(self) -> float:
        """τ: the sum of all delays."""
        return self.scrape_interval_s + self.rate_window_s + self.sync_period_s + self.pod_start_s

    @property
    def headroom_ratio(self) -> float:
        """How many times the target a pod gets at worst: tolerance, and growth over τ."""
        return (1 + self.tolerance_ratio) * (1 + self.growth.ratio_per_s * self.total_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaPlan:
    """What the autoscaler is to do.

    Attributes:
        min_replicas: For the base load, with one pod to spare, and never fewer than two.
        max_replicas: For the peak load, with one pod to spare.
    """

    min_replicas: int
    max_replicas: int


def sustained(record: RunRecord) -> Capacity:
    """A run's open-loop capacity, where it is fit to plan with.

    Raises:
        ConfigError: The run has no best configuration, no open-loop check, or no rate at which the limit holds.
    """
    if record.confirmation.best is None:
        raise ConfigError(
            f"run {record.run_id} has no best configuration: {sentence(record.confirmation.reason)}",
            remedy="Plan with a run in which a configuration meets the limit.",
        )
    if record.capacity is None:
        raise ConfigError(
            f"run {record.run_id} has no sustainable rate: it was made without the open-loop check, or without a limit",
            remedy="Run `hcopt profile` again with constraints.latency_p99_ms set and capacity.max_minutes above 0.",
        )
    lower = record.capacity.sustainable_rate_infer_per_s.ci_low
    if lower is None or lower <= 0:
        raise ConfigError(
            f"run {record.run_id} shows no arrival rate that keeps the p99 limit of "
            f"{record.capacity.latency_p99_limit_ms:g} ms",
            remedy="Give the check more time (--set capacity.max_minutes=5), or raise constraints.latency_p99_ms.",
        )
    return record.capacity


def lower_bound(capacity: Capacity) -> float:
    """C: the highest rate at which the limit is shown to hold; what every plan goes by.

    Raises:
        ValueError: There is none; `sustained` gives only capacities that have one.
    """
    lower = capacity.sustainable_rate_infer_per_s.ci_low
    if lower is None:
        raise ValueError("no rate at which the limit holds")
    return lower


def target_rate(capacity_infer_per_s: float, reaction: Reaction) -> float:
    """T = C / [(1 + tolerance)(1 + g·τ)].

    At T a pod is as far below its capacity C as the load can rise before new pods take their share: the HPA lets it go
    to (1 + tolerance) T unanswered, and meanwhile it grows by g over τ seconds.
    """
    if capacity_infer_per_s <= 0:
        raise ValueError("a capacity is positive")
    return capacity_infer_per_s / reaction.headroom_ratio


def plan_replicas(target_infer_per_s: float, *, base_infer_per_s: float, peak_infer_per_s: float) -> ReplicaPlan:
    """The minimum = max(2, ceil(base / T) + 1), the maximum = max(minimum, ceil(peak / T) + 1).

    Raises:
        ConfigError: The base load is above the peak, or one of them is no load.
    """
    if not 0 <= base_infer_per_s <= peak_infer_per_s < math.inf:
        raise ConfigError(
            f"a base load of {base_infer_per_s:g} and a peak of {peak_infer_per_s:g} infer/s are no range",
            remedy="Give --base and --peak in inferences per second, the base no higher than the peak.",
        )
    lowest = pods_for(base_infer_per_s, target_infer_per_s)
    highest = max(lowest, pods_for(peak_infer_per_s, target_infer_per_s))
    return ReplicaPlan(min_replicas=lowest, max_replicas=highest)


def pods_for(rate_infer_per_s: float, target_infer_per_s: float) -> int:
    """max(2, ceil(load / T) + 1): pods for a load, one of them to spare."""
    return max(MIN_PODS, math.ceil(rate_infer_per_s / target_infer_per_s - _ROUNDING) + SPARE_PODS)


def load_for(pods: int, target_infer_per_s: float) -> float:
    """(pods - 1) · T: the highest load for which `pods_for` asks for no more pods than these; 0 for a single one."""
    return max(0, pods - SPARE_PODS) * target_infer_per_s


def check_cluster_holds(pods: int) -> None:
    """Whether a cluster can be so large.

    Raises:
        ConfigError: None is.
    """
    if pods > MAX_PODS:
        raise ConfigError(
            f"{pods:.3g} pods are asked for, and a Kubernetes cluster has at most {MAX_PODS:,}",
            remedy="Give a smaller load, or a --growth and --pod-start that leave a pod more of its capacity.",
        )


def measured_start_s(record: RunRecord) -> float:
    """How long the run's own server took until it answered, and the model until it was loaded."""
    return record.elapsed_s.get("serve", 0.0) + record.elapsed_s.get("load", 0.0)


def reaction_of(
    record: RunRecord,
    *,
    growth: Growth,
    scrape_interval_s: int = USUAL_SCRAPE_INTERVAL_S,
    rate_window_s: int = USUAL_RATE_WINDOW_S,
    pod_start_s: int | None = None,
) -> Reaction:
    """The delays of a run's Deployment.

    A pod start that is not given is the run's own start and load, scheduling, and the time in which clients find it.
    """
    if pod_start_s is None:
        pod_start_s = math.ceil(measured_start_s(record)) + SCHEDULING_S + CONNECTION_AGE_S
    return Reaction(
        scrape_interval_s=scrape_interval_s,
        rate_window_s=rate_window_s,
        pod_start_s=pod_start_s,
        growth=growth,
    )


def usual_reaction(record: RunRecord) -> Reaction:
    """The reaction where the user says nothing of growth, Prometheus and pod start."""
    return reaction_of(record, growth=parse_growth(USUAL_GROWTH))


def scale_down_window_s(reaction: Reaction) -> int:
    """How long pods stay after the load has gone: twice what it would take to bring them back."""
    return max(MIN_SCALE_DOWN_WINDOW_S, math.ceil(2 * reaction.total_s))


def pending_target(capacity: Capacity) -> int:
    """Mean queue, in requests, of a pod whose waits reach the p99 limit: the target of the autoscaler's guard.

    In heavy traffic waits are about exponential, so that one with its 99th percentile at the limit has the mean
    limit / ln 100; by Little's law so many requests wait.

    Source: Kingman (1961), The single server queue in heavy traffic; Little (1961).
    """
    requests_per_s = lower_bound(capacity) / capacity.client_batch_size
    return max(1, math.ceil(requests_per_s * capacity.latency_p99_limit_ms / 1000 / math.log(1 / ALLOWED_MISS_RATIO)))


def cost_per_million(price_per_pod_hour: float, infer_per_s_per_pod: float) -> float:
    """Price of a million inferences, in the currency of the pod's price, at a load of one pod."""
    return price_per_pod_hour / (3600 * infer_per_s_per_pod) * 1_000_000


def sustained_cost(record: RunRecord, price_of: PriceOf) -> float | None:
    """Price of a million inferences at the highest rate at which the limit is shown to hold; at most so much.

    Args:
        record: The run.
        price_of: What its machine costs.

    Returns:
        In the currency of the price; None without a price or a capacity.
    """
    low = None if record.capacity is None else record.capacity.sustainable_rate_infer_per_s.ci_low
    price = price_of(record.environment.cpu_model)
    return None if price is None or low is None or low <= 0 else cost_per_million(price, low)
