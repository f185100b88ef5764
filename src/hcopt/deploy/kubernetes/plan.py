"""Everything that the manifests of a run say, each number with where it comes from. Pure."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from hcopt.analysis.plan import THREADS
from hcopt.analysis.view import SETTINGS
from hcopt.deploy.capacity import (
    CONNECTION_AGE_S,
    MIN_SCALE_DOWN_WINDOW_S,
    check_cluster_holds,
    lower_bound,
    measured_start_s,
    pending_target,
    plan_replicas,
    reaction_of,
    scale_down_window_s,
    sustained,
    target_rate,
)
from hcopt.deploy.kubernetes.deployed_model import deployed_config, fetch_script, has_warm_up
from hcopt.deploy.kubernetes.envelope import (
    Assumption,
    Claim,
    assumptions,
    measured_on,
    validity_envelope,
)
from hcopt.deploy.kubernetes.facts import START_KEYS, fact_lines
from hcopt.deploy.kubernetes.names import dns_label
from hcopt.deploy.kubernetes.options import MEMORY_MARGIN, USUAL_POD_MEMORY_MB, Options
from hcopt.deploy.kubernetes.triton_image import OLDEST_RELEASE, image_of, lacking
from hcopt.deploy.scaling import Scaling
from hcopt.errors import ConfigError, OutputError
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Capacity

_PROBE_PERIOD_S = 5
_START_MARGIN = 10
_MIN_START_S = 60
_SHA_LENGTH = 12
_MEMORY_STEP_MB = 64
# NVIDIA's image holds more backends and libraries than the embedded server.
_OTHER_SERVER = (512, " + 512", "; 512 MiB for what the image's server takes more than the measured one are assumed")
# From here on a target is rounded down to a whole number.
_WHOLE = 10
# A thousandth: what Kubernetes counts in.
MIN_QUANTITY = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """A number as the manifest writes it, with its comment."""

    value: int | str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model as a pod fetches and serves it.

    Attributes:
        uri: The folder on S3 with its files.
        config_text: Its config.pbtxt; `config_facts`: where the numbers in it come from.
        warm_up: Whether it is warmed up before it counts as ready.
        script: Fetches it, in the init container.
    """

    uri: str
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
        target: Inferences per second a pod; `pending`: requests a pod, the guard.
    """

    facts: tuple[str, ...]
    target: Sourced
    pending: Sourced
    min_replicas: Sourced
    max_replicas: Sourced
    scale_down_window_s: Sourced


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the templates fill in.

    Attributes:
        record: The run.
        options: What the user says.
        name: Of all objects.
        command: The command line.
        image: Triton's.
        envelope: What the run's figures hold for.
        assumptions: Where the Deployment is not what was measured.
        scaling: What `hcopt scale-check` has measured.
        memory_mb: Of the server's container, in MiB.
    """

    record: RunRecord
    options: Options
    name: str
    command: str
    image: str
    envelope: JsonObject
    assumptions: tuple[Assumption, ...]
    scaling: Scaling | None
    model: Model
    scale: Scale
    start_failures: Sourced
    connection_age_ms: Sourced
    memory_mb: Sourced

    def stands(self, claim: Claim) -> str:
        """Whether a claim of the run is measured for this Deployment."""
        if any(claim in found.claims for found in self.assumptions):
            return "assumed"
        # Scaling is measured with servers of its own; see `hcopt scale-check`.
        return "measured" if claim == "linearity" else measured_on(self.record)

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
        ConfigError: The run has no capacity to plan with, the load is no range, or no image is known that can serve it.
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
    if lacks := lacking(record, options):
        raise ConfigError(
            f"the server of {image} is too old for the manifests: it has not {' and '.join(lacks)}",
            remedy=f"Give an image of release {OLDEST_RELEASE} or newer as --image, best one that was measured with "
            "(runtime.docker.release).",
        )
    differing = assumptions(record, options, scaling)
    if strict:
        _refuse(differing)
    name = options.name or dns_label(record.model.name)
    return Plan(
        record=record,
        options=options,
        name=name,
        command=" ".join(command.split()),
        image=image,
        envelope=validity_envelope(record),
        assumptions=differing,
        scaling=scaling,
        model=_model(record, options, name),
        scale=_scale(record, options, found),
        start_failures=_start_failures(record),
        memory_mb=_memory(record, options),
        connection_age_ms=Sourced(
            value=1000 * CONNECTION_AGE_S, source=f"1000 · {CONNECTION_AGE_S}; ms, part of start in τ"
        ),
    )


def _model(record: RunRecord, options: Options, name: str) -> Model:
    text = deployed_config(record)
    # By content, so that a new model never changes what an old Deployment fetches.
    uri = options.model_uri or f"s3://hcopt-models/{name}/{record.golden_model.sha256[:_SHA_LENGTH]}"
    return Model(
        uri=uri.rstrip("/") + "/",
        config_text=text,
        config_sha256=hashlib.sha256(text.encode()).hexdigest()[:_SHA_LENGTH],
        config_facts=_config_facts(record),
        warm_up=has_warm_up(text),
        script=fetch_script(record.golden_model, text),
    )


def _scale(record: RunRecord, options: Options, found: Capacity) -> Scale:
    reaction = reaction_of(
        record,
        growth=options.growth,
        scrape_interval_s=options.scrape_interval_s,
        rate_window_s=options.rate_window_s,
        pod_start_s=options.pod_start_s,
    )
    target = target_rate(lower_bound(found), reaction)
    if target < MIN_QUANTITY:
        raise ConfigError(
            f"a pod's target of {target:.2g} infer/s is less than Kubernetes can count",
            remedy="Give a --growth that leaves a pod more of its capacity.",
        )
    replicas = plan_replicas(
        target, base_infer_per_s=options.base_infer_per_s, peak_infer_per_s=options.peak_infer_per_s
    )
    check_cluster_holds(replicas.max_replicas)
    return Scale(
        facts=fact_lines(options, found, reaction),
        target=Sourced(value=quantity(target), source="floor(T)" if target >= _WHOLE else "floor(1000 · T)"),
        pending=Sourced(
            value=pending_target(found), source="ceil(C / rows · limit / 1000 / ln(100)); requests that wait"
        ),
        min_replicas=Sourced(value=replicas.min_replicas, source="max(2, ceil(base / T) + 1)"),
        max_replicas=Sourced(value=replicas.max_replicas, source="max(2, ceil(base / T) + 1, ceil(peak / T) + 1)"),
        scale_down_window_s=Sourced(
            value=scale_down_window_s(reaction), source=f"ceil(max({MIN_SCALE_DOWN_WINDOW_S}, 2 · τ))"
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


def _config_facts(record: RunRecord) -> tuple[str, ...]:
    best = record.confirmation.best
    if best is None:
        return ()
    variant, key = best.variant, "models[0].best"
    set_here = dict(variant.parameters).get(THREADS)
    threads = (
        f"summary.json: {key}.intra_op_thread_count = {set_here}"
        if set_here is not None
        else f"threads, left open in the run: summary.json: environment.cpu_count = {record.environment.cpu_count}"
    )
    return (
        *(f"summary.json: {key}.{name} = {getattr(variant, name)}" for name in SETTINGS),
        threads,
    )


def quantity(value: float) -> str:
    """A Kubernetes quantity that is not above the value; thousandths where whole numbers are too coarse."""
    return str(math.floor(value)) if value >= _WHOLE else f"{math.floor(1000 * value)}m"


def _memory(record: RunRecord, options: Options) -> Sourced:
    """The user's, or what was measured with a margin: one second under load is not what a server grows to in weeks."""
    needed_mb = None if record.confirmation.best is None else record.confirmation.best.memory_mb
    if options.memory_mb is not None or needed_mb is None:
        return Sourced(value=options.memory_mb or USUAL_POD_MEMORY_MB, source="--memory; not measured")
    key, step = "models[0].best.memory_mb", _MEMORY_STEP_MB
    # NVIDIA's images, in which alone the server is the one that was measured.
    own, added, remark = (0, "", "") if record.environment.server_image else _OTHER_SERVER
    least_mb = MEMORY_MARGIN * needed_mb + own
    return Sourced(
        value=step * math.ceil(least_mb / step),
        source=f"{step} · ceil(({MEMORY_MARGIN} · {key}{added}) / {step}); summary.json: {key}, with a margin of "
        f"half{remark}",
    )


def _start_failures(record: RunRecord) -> Sourced:
    allowed_s = max(_MIN_START_S, _START_MARGIN * measured_start_s(record))
    return Sourced(
        value=math.ceil(allowed_s / _PROBE_PERIOD_S),
        source=f"ceil(max({_MIN_START_S}, {_START_MARGIN} · ({START_KEYS})) / "
        f"{_PROBE_PERIOD_S}); s allowed / s a period",
    )
