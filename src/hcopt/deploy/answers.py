"""What a finished run says about its deployment: manifests, replicas for a load, load for replicas, a simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hcopt.config.load import load_config
from hcopt.deploy.capacity import (
    Reaction,
    check_cluster_holds,
    cost_per_million,
    lower_bound,
    parse_growth,
    pending_target,
    plan_replicas,
    pods_for,
    rate_for,
    reaction_of,
    scale_down_window_s,
    sustained,
    target_rate,
)
from hcopt.deploy.hpa import Autoscaler, Policy, ScalingRules
from hcopt.deploy.kubernetes.manifests import write_manifests
from hcopt.deploy.kubernetes.options import Options, check_rate_window
from hcopt.deploy.kubernetes.plan import Plan, plan_deployment
from hcopt.deploy.kubernetes.ray_job import RayJobPlan, plan_ray_job, write_ray_job
from hcopt.deploy.kubernetes.ray_job_options import RayJobOptions
from hcopt.deploy.load_trace import LoadTrace
from hcopt.deploy.pod_model import PodModel, fit_pod_model
from hcopt.deploy.scaling import Scaling, read_scaling
from hcopt.deploy.simulation import Simulation, Timing, simulate
from hcopt.errors import ConfigError
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.store.run_folder import RunFolder, read_record, recorded_config

# As in the manifests.
_DOWN_POLICY = Policy(kind="Percent", value=10, period_s=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What `hcopt capacity` is asked.

    Attributes:
        rate_infer_per_s: A load, for the replicas that it needs.
        replicas: Replicas, for the load that they carry.
        trace: A load over time.
        growth: As in `--growth`.
        scrape_interval_s: Of Prometheus.
        rate_window_s: Of `rate()`.
        pod_start_s: None: from the run.
        price_per_hour: Price of one pod for one hour; None: what the run's configuration says of its CPU.
    """

    rate_infer_per_s: float | None
    replicas: int | None
    trace: LoadTrace | None
    growth: str
    scrape_interval_s: int
    rate_window_s: int
    pod_start_s: int | None
    price_per_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A trace through the autoscaler."""

    autoscaler: Autoscaler
    result: Simulation


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What `hcopt capacity` says.

    Attributes:
        record: The run.
        capacity_infer_per_s: C, of one pod.
        reaction: The delays and the growth.
        target_infer_per_s: T, of one pod.
        scaling: Whether linearity was measured.
        pod: The queue model.
        replicas: For the asked load, with one to spare; None where none was asked.
        load_at_target_infer_per_s: Of the asked replicas; None likewise.
        load_at_capacity_infer_per_s: The most that they sustain while nothing grows and none of them goes.
        cost_per_million: At the asked load and its replicas, else at T; None without a price.
        simulated: None without a trace.
    """

    record: RunRecord
    capacity_infer_per_s: float
    reaction: Reaction
    target_infer_per_s: float
    scaling: Scaling | None
    pod: PodModel
    replicas: int | None
    load_at_target_infer_per_s: float | None
    load_at_capacity_infer_per_s: float | None
    cost_per_million: float | None
    simulated: Simulated | None

    def as_json(self) -> JsonObject:
        """The same for machines."""
        found = self.simulated
        return {
            "run_id": self.record.run_id,
            "capacity_infer_per_s": self.capacity_infer_per_s,
            "target_infer_per_s": self.target_infer_per_s,
            "reaction_s": self.reaction.total_s,
            "linearity": "assumed" if self.scaling is None else "measured",
            "replicas": self.replicas,
            "load_at_target_infer_per_s": self.load_at_target_infer_per_s,
            "load_at_capacity_infer_per_s": self.load_at_capacity_infer_per_s,
            "cost_per_million": self.cost_per_million,
            "queue_model": {
                "saturation_infer_per_s": self.pod.saturation_infer_per_s,
                "points": self.pod.point_count,
                "fitted": self.pod.fitted,
                "held_out_error_ratio": self.pod.held_out_error_ratio,
            },
            "simulation": None
            if found is None
            else {
                "min_replicas": found.autoscaler.min_replicas,
                "max_replicas": found.autoscaler.max_replicas,
                "miss_ratio": found.result.miss_ratio,
                "worst_minute_miss_ratio": found.result.worst_minute_miss_ratio,
                "pod_hours": found.result.pod_hours,
                "needed_pod_hours": found.result.needed_pod_hours,
                "over_provisioning_ratio": found.result.over_provisioning_ratio,
            },
        }


def write_deployment(
    folder: RunFolder, options: Options, *, command: str, strict: bool, out: Path
) -> tuple[Plan, tuple[Path, ...]]:
    """Writes a run's manifests; the plan and the files.

    Raises:
        ConfigError: The run has no capacity to plan with.
        OutputError: The folder cannot be written, or `strict` refuses.
    """
    record, scaling = read_record(folder), read_scaling(folder.path)
    plan = plan_deployment(record, options, command=command, scaling=scaling, strict=strict)
    return plan, write_manifests(plan, options.autoscaler, out)


def write_profile_job(
    options: RayJobOptions, config: Path | None, *, command: str, out: Path
) -> tuple[RayJobPlan, Path]:
    """Writes a measurement on a Ray cluster; the plan and the file.

    Args:
        options: What the user says.
        config: A config.yaml for the head, checked here already: there it would fail only once the cluster is up.
        command: The command line, for the file.
        out: The folder.

    Raises:
        ConfigError: The configuration or an override of it says something that cannot be done.
        OutputError: The folder cannot be written.
    """
    # The environment is the cluster's, not this one's; without a file the defaults count.
    load_config(config, overrides=options.overrides, environment={}, recorded={} if config is None else None)
    text = None if config is None else config.read_text(encoding="utf-8-sig")
    plan = plan_ray_job(replace(options, config_text=text), command=command)
    return plan, write_ray_job(plan, out)


def answer(folder: RunFolder, question: Question) -> Answer:
    """Answers from a run's files.

    Raises:
        ConfigError: The run has no capacity to plan with, or the question makes no sense.
    """
    if question.rate_infer_per_s is not None and not math.isfinite(question.rate_infer_per_s):
        raise ConfigError(f"--rate {question.rate_infer_per_s} is no load", remedy="Give inferences per second.")
    check_cluster_holds(question.replicas or 0)
    check_rate_window(scrape_interval_s=question.scrape_interval_s, rate_window_s=question.rate_window_s)
    record = read_record(folder)
    found = sustained(record)
    reaction = reaction_of(
        record,
        growth=parse_growth(question.growth),
        scrape_interval_s=question.scrape_interval_s,
        rate_window_s=question.rate_window_s,
        pod_start_s=question.pod_start_s,
    )
    price = question.price_per_hour
    if price is None:
        price = _recorded_price(folder, record)
    lower = lower_bound(found)
    target, pod = target_rate(lower, reaction), fit_pod_model(found)
    rate = question.rate_infer_per_s
    replicas = None if rate is None else pods_for(rate, target)
    check_cluster_holds(replicas or 0)
    return Answer(
        record=record,
        capacity_infer_per_s=lower,
        reaction=reaction,
        target_infer_per_s=target,
        scaling=read_scaling(folder.path),
        pod=pod,
        replicas=replicas,
        load_at_target_infer_per_s=_if_asked(question.replicas, lambda count: rate_for(count, target)),
        load_at_capacity_infer_per_s=_if_asked(question.replicas, lambda count: rate_for(count, lower)),
        cost_per_million=_cost(price, question.rate_infer_per_s, target, replicas),
        simulated=None
        if question.trace is None
        else _simulated(question.trace, (target, float(pending_target(found))), lower, pod, reaction),
    )


def _if_asked(count: int | None, of: Callable[[int], float]) -> float | None:
    return None if count is None else of(count)


def _recorded_price(folder: RunFolder, record: RunRecord) -> float | None:
    # No other section is read: those of a run that another version made may have other keys.
    report = {"report": recorded_config(folder).get("report", {})}
    return load_config(recorded=report, environment={}).report.price_of(record.environment.cpu_model)


def _cost(price: float | None, rate: float | None, target: float, replicas: int | None) -> float | None:
    if price is None:
        return None
    return cost_per_million(price, target if rate is None or replicas is None or rate <= 0 else rate / replicas)


def _simulated(
    trace: LoadTrace, targets: tuple[float, float], lower: float, pod: PodModel, reaction: Reaction
) -> Simulated:
    plan = plan_replicas(
        targets[0], base_infer_per_s=min(trace.rates_infer_per_s), peak_infer_per_s=max(trace.rates_infer_per_s)
    )
    check_cluster_holds(plan.max_replicas)
    autoscaler = Autoscaler(
        targets=targets,
        min_replicas=plan.min_replicas,
        max_replicas=plan.max_replicas,
        down=ScalingRules(stabilization_s=scale_down_window_s(reaction), policies=(_DOWN_POLICY,)),
    )
    timing = Timing(
        scrape_interval_s=reaction.scrape_interval_s,
        rate_window_s=reaction.rate_window_s,
        pod_start_s=reaction.pod_start_s,
    )
    result = simulate(trace, autoscaler, pod, timing, capacity_infer_per_s=lower)
    return Simulated(autoscaler=autoscaler, result=result)
