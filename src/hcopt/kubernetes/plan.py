"""A run and the user's options become everything that the manifests say; each number with where it comes from. Pure."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from hcopt.capacity import (
    CONNECTION_AGE_S,
    SCHEDULING_S,
    SHORTEST_SCALE_DOWN_S,
    SYNC_PERIOD_S,
    TOLERANCE_RATIO,
    Reaction,
    ReplicaPlan,
    default_pod_start_s,
    lower_bound,
    pending_target,
    plan_replicas,
    scale_down_window_s,
    sustained,
    target_rate,
)
from hcopt.errors import ConfigError, OutputError
from hcopt.kubernetes.deployed_model import deployed_config, fetch_script, has_warm_up, model_files
from hcopt.kubernetes.envelope import Assumption, Claim, assumptions, image_of, validity_envelope
from hcopt.kubernetes.names import dns_label
from hcopt.kubernetes.options import Options
from hcopt.scaling import Scaling
from hcopt.schema import Capacity, JsonObject, RunRecord

_PROBE_PERIOD_S = 5
_START_MARGIN = 10
_SHORTEST_START_S = 60
_SHA_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """A number as the manifest writes it, with its comment."""

    value: int | str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model as a pod fetches and serves it.

    Attributes:
        uri: The folder on S3 with its files; `uri_given`: whether the user said so.
        config_text: Its config.pbtxt; `config_facts`: where the numbers in it come from.
        warm_up: Whether it is warmed up before it counts as ready.
        script: Fetches it, in the init container.
    """

    name: str
    uri: str
    uri_given: bool
    sha256: str
    config_text: str
    config_sha256: str
    config_facts: tuple[str, ...]
    warm_up: bool
    script: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What the autoscaler is told.

    Attributes:
        facts: The figures behind the others, in the order in which they build on each other.
        replicas: Its minimum and maximum.
        target: Inferences per second a pod; `pending`: requests a pod, the guard.
    """

    facts: tuple[str, ...]
    replicas: ReplicaPlan
    target: Sourced
    pending: Sourced
    min_replicas: Sourced
    max_replicas: Sourced
    scrape_interval: Sourced
    rate_window: Sourced
    scale_down_window_s: Sourced


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the templates fill in."""

    name: str
    namespace: str
    run_id: str
    command: str
    image: str
    s3_endpoint_url: str | None
    prometheus_url: str
    envelope: JsonObject
    assumptions: tuple[Assumption, ...]
    scaling: Scaling | None
    model: Model
    scale: Scale
    cpus: Sourced
    memory: Sourced
    start_failures: Sourced
    connection_age_ms: Sourced

    def stands(self, claim: Claim) -> str:
        """Whether a claim of the run is measured for this Deployment."""
        return "assumed" if any(claim in found.claims for found in self.assumptions) else "measured"

    def because(self, claim: Claim) -> str:
        """The conditions that take the ground from a claim."""
        return ", ".join(found.condition for found in self.assumptions if claim in found.claims)


def plan_deployment(
    record: RunRecord, options: Options, *, command: str, scaling: Scaling | None = None, strict: bool = False
) -> Plan:
    """Computes target, minimum, maximum and all else.

    Args:
        record: The run.
        options: What the user says.
        command: The command line, for the manifests.
        scaling: What `hcopt scale-check` has measured.
        strict: Refuse where the Deployment is not what was measured. Linearity, which few machines can measure, is
            only marked.

    Raises:
        ConfigError: The run has no capacity to plan with, or the load is no range.
        OutputError: `strict`, and the Deployment differs from what was measured.
    """
    found = sustained(record)
    if record.plan.instance_kind != "KIND_CPU":
        raise ConfigError(f"run {record.run_id} measured {record.plan.instance_kind}; the manifests are for CPUs only")
    image = image_of(record, options)
    if image is None:
        raise ConfigError(
            f"no image is known for Triton {record.environment.triton_version}", remedy="Give one with --image."
        )
    differing = assumptions(record, options, scaling)
    if strict:
        _refuse(differing)
    name = options.name or dns_label(record.model.name)
    return Plan(
        name=name,
        namespace=options.namespace,
        run_id=record.run_id,
        command=command,
        image=image,
        s3_endpoint_url=options.s3_endpoint_url,
        prometheus_url=options.prometheus_url,
        envelope=validity_envelope(record),
        assumptions=differing,
        scaling=scaling,
        model=_model(record, options, name),
        scale=_scale(record, options, found),
        cpus=Sourced(value=record.environment.cpu_count, source=f"environment.cpu_count = {_cpus(record)}"),
        memory=Sourced(value=f"{options.memory_mb}Mi", source="--memory; not measured"),
        start_failures=_start_failures(record),
        connection_age_ms=Sourced(value=1000 * CONNECTION_AGE_S, source="part of the pod start in τ"),
    )


def _model(record: RunRecord, options: Options, name: str) -> Model:
    text = deployed_config(record)
    # By content, so that a new model never changes what an old Deployment fetches.
    uri = options.model_uri or f"s3://hcopt-models/{name}/{record.model.sha256[:_SHA_LENGTH]}"
    return Model(
        name=record.model.name,
        uri=uri.rstrip("/") + "/",
        uri_given=options.model_uri is not None,
        sha256=record.model.sha256,
        config_text=text,
        config_sha256=hashlib.sha256(text.encode()).hexdigest()[:_SHA_LENGTH],
        config_facts=_config_facts(record),
        warm_up=has_warm_up(text),
        script=fetch_script(model_files(record.model, text)),
    )


def _scale(record: RunRecord, options: Options, found: Capacity) -> Scale:
    reaction, start_fact = _reaction(record, options)
    target = target_rate(lower_bound(found), reaction)
    replicas = plan_replicas(
        target, base_infer_per_s=options.base_infer_per_s, peak_infer_per_s=options.peak_infer_per_s
    )
    return Scale(
        facts=(start_fact, *_facts(found, options, reaction, target)),
        replicas=replicas,
        target=Sourced(value=quantity(target), source="T, rounded down"),
        pending=Sourced(value=pending_target(found), source="C / rows a request · limit / ln 100, rounded up"),
        min_replicas=Sourced(value=replicas.min_replicas, source="max(2, ceil(base / T) + 1)"),
        max_replicas=Sourced(value=replicas.max_replicas, source="max(min, ceil(peak / T) + 1)"),
        scrape_interval=Sourced(value=f"{options.scrape_interval_s}s", source="--scrape-interval; part of τ"),
        rate_window=Sourced(value=f"{options.rate_window_s}s", source="--rate-window; part of τ"),
        scale_down_window_s=Sourced(
            value=scale_down_window_s(reaction), source=f"max({SHORTEST_SCALE_DOWN_S}, 2 τ), rounded up"
        ),
    )


def _refuse(differing: tuple[Assumption, ...]) -> None:
    refused = [found for found in differing if found.claims != ("linearity",)]
    if refused:
        raise OutputError(
            "--strict: the Deployment is not what was measured. " + " ".join(found.said for found in refused),
            remedy="Measure with --runtime docker on such a node with intra_op_thread_count swept, say --node-cpu and "
            "--exclusive-cpus; or leave out --strict, and the manifests say `assumed`.",
        )


def _reaction(record: RunRecord, options: Options) -> tuple[Reaction, str]:
    serve_s = record.elapsed_s.get("serve", 0.0)
    if options.pod_start_s is not None:
        pod_start_s, fact = options.pod_start_s, f"pod start = {options.pod_start_s} s: --pod-start"
    else:
        pod_start_s = default_pod_start_s(record)
        fact = (
            f"pod start = {pod_start_s} s: elapsed_phases_s.serve = {serve_s:.6g}, + {SCHEDULING_S} to schedule it and "
            f"fetch the model (assumed), + {CONNECTION_AGE_S} until clients find it"
        )
    reaction = Reaction(
        scrape_interval_s=options.scrape_interval_s,
        rate_window_s=options.rate_window_s,
        pod_start_s=pod_start_s,
        growth=options.growth,
    )
    return reaction, fact


def _facts(found: Capacity, options: Options, reaction: Reaction, target: float) -> tuple[str, ...]:
    """The figures behind the autoscaler's, in the order in which they build on each other."""
    best, capacity = "models[0].best", "models[0].capacity"
    return (
        f"base = {options.base_infer_per_s:g} infer/s: --base; peak = {options.peak_infer_per_s:g} infer/s: --peak",
        f"C = {lower_bound(found):.6g} infer/s a pod: {capacity}.sustainable_rate_infer_per_s.ci_low = "
        f"{lower_bound(found):.6g}",
        f"rows a request: {best}.client_batch_size = {found.client_batch_size}",
        f"limit: models[0].latency_p99_limit_ms = {found.latency_p99_limit_ms:.6g}",
        f"g = {reaction.growth.ratio_per_s:.6f} a second: --growth {options.growth_text}",
        f"τ = {reaction.total_s:g} s: scrape interval {reaction.scrape_interval_s:g} + rate window "
        f"{reaction.rate_window_s:g} + HPA sync {SYNC_PERIOD_S:g} + pod start {reaction.pod_start_s:g}",
        f"T = {target:.1f} infer/s a pod: C / ((1 + {TOLERANCE_RATIO:g})(1 + g·τ)), {TOLERANCE_RATIO:g} the HPA's "
        "tolerance",
    )


def _config_facts(record: RunRecord) -> tuple[str, ...]:
    best = record.confirmation.best
    if best is None:
        return ()
    variant, key = best.variant, "models[0].best"
    set_here = dict(variant.parameters).get("intra_op_thread_count")
    threads = (
        f"{key}.intra_op_thread_count = {set_here}"
        if set_here is not None
        else f"intra_op_thread_count: left open in the run, here environment.cpu_count = {_cpus(record)}"
    )
    return (
        f"{key}.max_batch_size = {variant.max_batch_size}",
        f"{key}.instance_count = {variant.instance_count}",
        f"{key}.max_queue_delay_us = {variant.max_queue_delay_us}",
        threads,
    )


def _cpus(record: RunRecord) -> int:
    return record.environment.cpu_count


def quantity(value: float) -> str:
    """A Kubernetes quantity that is not above the value; thousandths where whole numbers are too coarse."""
    return str(math.floor(value)) if value >= 10 else f"{max(1, math.floor(1000 * value))}m"


def _start_failures(record: RunRecord) -> Sourced:
    serve_s = record.elapsed_s.get("serve", 0.0)
    allowed_s = max(_SHORTEST_START_S, _START_MARGIN * serve_s)
    return Sourced(
        value=math.ceil(allowed_s / _PROBE_PERIOD_S),
        source=f"of {_PROBE_PERIOD_S} s: max({_SHORTEST_START_S} s, {_START_MARGIN} · elapsed_phases_s.serve = "
        f"{serve_s:.6g})",
    )
