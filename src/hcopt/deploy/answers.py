"""Writes a run's manifests, and answers `hcopt capacity`: replicas for a load, load for replicas, a simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from hcopt.config.load import load_config
from hcopt.deploy.capacity import (
    USUAL_RATE_WINDOW_S,
    USUAL_SCRAPE_INTERVAL_S,
    Growth,
    Reaction,
    check_cluster_holds,
    cost_per_million,
    load_for,
    lower_bound,
    pending_target,
    plan_replicas,
    pods_for,
    reaction_of,
    scale_down_window_s,
    sustained,
    target_rate,
)
from hcopt.deploy.hpa import Autoscaler
from hcopt.deploy.kubernetes.manifests import write_manifests
from hcopt.deploy.kubernetes.options import Options, check_rate_window
from hcopt.deploy.kubernetes.plan import Plan, plan_deployment
from hcopt.deploy.kubernetes.ray_job import write_ray_job
from hcopt.deploy.kubernetes.ray_job_options import RayJobOptions
from hcopt.deploy.kubernetes.written import WrittenAutoscaler, read_autoscaler
from hcopt.deploy.load_trace import LoadTrace
from hcopt.deploy.pod_model import PodModel, fit_pod_model
from hcopt.deploy.scaling import Scaling, read_scaling
from hcopt.deploy.simulation import Simulation, simulate
from hcopt.errors import ConfigError
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Capacity
from hcopt.store.run_folder import RunFolder, read_record, recorded_config


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
        load_at_target_infer_per_s: The highest load for which the asked replicas are enough, one of them to spare; None
            likewise.
        load_at_capacity_infer_per_s: The most that they sustain while nothing grows and none of them goes.
        cost_per_million: At C, as the report and summary.json have it; None without a price.
        planned_infer_per_s_per_pod: What a pod gets of the asked load, or of that of the asked replicas, with one to
            spare; T where neither is asked for.
        planned_cost_per_million: At that.
        simulated: None without a trace.
        manifests: The file whose autoscaler was simulated; None: one for the trace's own lowest and highest load.
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
    planned_infer_per_s_per_pod: float
    planned_cost_per_million: float | None
    simulated: Simulation | None
    manifests: Path | None

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
            "planned_infer_per_s_per_pod": self.planned_infer_per_s_per_pod,
            "planned_cost_per_million": self.planned_cost_per_million,
            "queue_model": {
                "saturation_infer_per_s": self.pod.saturation_infer_per_s,
                "points": self.pod.point_count,
                "fitted": self.pod.fitted,
                "held_out_error_ratio": self.pod.held_out_error_ratio,
            },
            "simulation": None
            if found is None
            else {
                "manifests": None if self.manifests is None else str(self.manifests),
                "min_replicas": found.autoscaler.min_replicas,
                "max_replicas": found.autoscaler.max_replicas,
                "miss_ratio": found.miss_ratio,
                "worst_minute_miss_ratio": found.worst_minute_miss_ratio,
                "pod_hours": found.pod_hours,
                "needed_pod_hours": found.needed_pod_hours,
                "over_provisioning_ratio": found.over_provisioning_ratio,
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


def write_profile_job(options: RayJobOptions, config: Path | None, *, command: str, out: Path) -> Path:
    """Writes a measurement on a Ray cluster; the file.

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
    return write_ray_job(replace(options, config_text=text), out, command=command)


def answer(
    folder: RunFolder,
    *,
    growth: Growth,
    rate_infer_per_s: float | None = None,
    replicas: int | None = None,
    trace: LoadTrace | None = None,
    manifests: Path | None = None,
    scrape_interval_s: int = USUAL_SCRAPE_INTERVAL_S,
    rate_window_s: int = USUAL_RATE_WINDOW_S,
    pod_start_s: int | None = None,
    price_per_hour: float | None = None,
) -> Answer:
    """Answers from a run's files.

    Args:
        folder: The run.
        growth: The steepest rise of the load to keep up with.
        rate_infer_per_s: A load, for the replicas that it needs.
        replicas: Replicas, for the load that they carry.
        trace: A load over time, which is simulated.
        manifests: The folder of the run's manifests, to simulate their autoscaler with their delays; None: one that is
            planned for the trace.
        scrape_interval_s: Of Prometheus.
        rate_window_s: Of `rate()`.
        pod_start_s: None: from the run.
        price_per_hour: Price of one pod for one hour; None: what the run's configuration says of its CPU.

    Raises:
        ConfigError: The run has no capacity to plan with, the question makes no sense, or the manifests are another's.
    """
    if rate_infer_per_s is not None and not math.isfinite(rate_infer_per_s):
        raise ConfigError(f"--rate {rate_infer_per_s} is no load", remedy="Give inferences per second.")
    check_cluster_holds(replicas or 0)
    check_rate_window(scrape_interval_s=scrape_interval_s, rate_window_s=rate_window_s)
    record = read_record(folder)
    capacity = sustained(record)
    reaction = reaction_of(
        record,
        growth=growth,
        scrape_interval_s=scrape_interval_s,
        rate_window_s=rate_window_s,
        pod_start_s=pod_start_s,
    )
    price = _recorded_price(folder, record) if price_per_hour is None else price_per_hour
    lower = lower_bound(capacity)
    target, pod = target_rate(lower, reaction), fit_pod_model(capacity)
    needed = None if rate_infer_per_s is None else pods_for(rate_infer_per_s, target)
    check_cluster_holds(needed or 0)
    load = None if replicas is None else load_for(replicas, target)
    planned = _rate_per_pod((rate_infer_per_s, needed), (load, replicas)) or target
    written = None if trace is None or manifests is None else read_autoscaler(manifests, record.run_id)
    return Answer(
        record=record,
        capacity_infer_per_s=lower,
        reaction=reaction,
        target_infer_per_s=target,
        scaling=read_scaling(folder.path),
        pod=pod,
        replicas=needed,
        load_at_target_infer_per_s=load,
        load_at_capacity_infer_per_s=None if replicas is None else replicas * lower,
        cost_per_million=None if price is None else cost_per_million(price, lower),
        planned_infer_per_s_per_pod=planned,
        planned_cost_per_million=None if price is None else cost_per_million(price, planned),
        simulated=None if trace is None else _simulated(trace, capacity, reaction, written, pod=pod),
        manifests=None if written is None else written.file,
    )


def _rate_per_pod(*asked: tuple[float | None, int | None]) -> float | None:
    """What a pod gets of the first load that was asked for; None where there is none, or it is 0."""
    return next((load / pods for load, pods in asked if load and pods), None)


def _recorded_price(folder: RunFolder, record: RunRecord) -> float | None:
    # No other section is read: those of a run that another version made may have other keys.
    report = {"report": recorded_config(folder).get("report", {})}
    return load_config(recorded=report, environment={}).report.price_of(record.environment.cpu_model)


def _simulated(
    trace: LoadTrace, capacity: Capacity, reaction: Reaction, written: WrittenAutoscaler | None, *, pod: PodModel
) -> Simulation:
    if written is None:
        autoscaler = _planned_for(trace, capacity, reaction)
    else:
        autoscaler, reaction = written.autoscaler, written.with_its_delays(reaction)
    check_cluster_holds(autoscaler.max_replicas)
    return simulate(trace, autoscaler, pod, reaction, capacity_infer_per_s=lower_bound(capacity))


def _planned_for(trace: LoadTrace, capacity: Capacity, reaction: Reaction) -> Autoscaler:
    rates, target = trace.rates_infer_per_s, target_rate(lower_bound(capacity), reaction)
    plan = plan_replicas(target, base_infer_per_s=min(rates), peak_infer_per_s=max(rates))
    return Autoscaler(
        targets=(target, float(pending_target(capacity))),
        min_replicas=plan.min_replicas,
        max_replicas=plan.max_replicas,
        scale_down_window_s=scale_down_window_s(reaction),
    )
