"""The conditions under which a run's claims hold, and where a Deployment leaves them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hcopt.deploy.capacity import TOLERANCE_RATIO
from hcopt.deploy.kubernetes.options import Options
from hcopt.deploy.scaling import Scaling
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.words.notes import sentence

Claim = Literal["golden", "capacity", "linearity"]
Condition = Literal["verdict", "backend", "image", "cpu", "threads", "exclusive CPUs", "scaling"]

# The embedded server of hcopt's own pins is the Triton of NVIDIA's release 24.10.
_RELEASES = {"2.51.0": "24.10"}
_REPOSITORY = "nvcr.io/nvidia/tritonserver"
# The HPA lets a pod go 10 % beyond its target before it does anything: a loss within that stays within its headroom.
_LINEAR_RATIO = 1 - TOLERANCE_RATIO
_THREADS = "intra_op_thread_count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """One condition in which the Deployment differs from the measurement, or that nobody has said.

    Attributes:
        condition: A word for it.
        said: What differs, in a sentence.
        claims: Which of the run's claims it takes the ground from.
    """

    condition: Condition
    said: str
    claims: tuple[Claim, ...]


def validity_envelope(record: RunRecord) -> JsonObject:
    """What the run's figures hold for."""
    best, found, environment = record.confirmation.best, record.capacity, record.environment
    return {
        "model": f"{record.model.name} sha256:{record.model.sha256}",
        "backend": str(environment.backend),
        "triton": environment.server_image or environment.triton_version,
        "cpu": environment.cpu_model,
        "cpus": environment.cpuset,
        "threads": threads(record) or "left to ONNX Runtime",
        "rows_per_request": None if found is None else found.client_batch_size,
        "arrivals": "open loop, Poisson",
        "latency_p99_limit_ms": None if found is None else f"{found.latency_p99_limit_ms:g}",
        "config": None if best is None else best.variant.config_name,
    }


def threads(record: RunRecord) -> int | None:
    """Threads of one instance, where the golden configuration sets them."""
    best = record.confirmation.best
    value = None if best is None else dict(best.variant.parameters).get(_THREADS)
    return int(value) if value is not None and value.isdecimal() and int(value) > 0 else None


def image_of(record: RunRecord, options: Options) -> str | None:
    """Triton's image: the user's, that of the run, or that of the same Triton's release; None where none is known."""
    environment = record.environment
    release = _RELEASES.get(environment.triton_version)
    # An engine's own id of an image, without a registry's digest, means nothing to another machine.
    pulled = environment.server_image if "@" in (environment.server_image or "") else None
    return options.image or pulled or (release and f"{_REPOSITORY}:{release}-py3")


def assumptions(record: RunRecord, options: Options, scaling: Scaling | None) -> tuple[Assumption, ...]:
    """Everything in which the Deployment is not what was measured."""
    candidates = (
        _verdict(record),
        _backend(record),
        _image(record, options),
        _cpu(record, options),
        _threads(record),
        _exclusive_cpus(options),
        _linearity(record, scaling),
    )
    # In a block of YAML a line of its own would end it.
    return tuple(replace(found, said=" ".join(found.said.split())) for found in candidates if found is not None)


def _verdict(record: RunRecord) -> Assumption | None:
    if record.confirmation.verdict != "undecided":
        return None
    said = f"The run could not tell the candidate from the default: {sentence(record.confirmation.reason).rstrip('.')}."
    return Assumption(condition="verdict", said=said, claims=("golden",))


def _backend(record: RunRecord) -> Assumption | None:
    backend = record.environment.backend
    if backend.implementation == "native":
        return None
    said = f"Measured with {backend}; the image serves with NVIDIA's native backend, which is faster."
    return Assumption(condition="backend", said=said, claims=("golden", "capacity"))


def _image(record: RunRecord, options: Options) -> Assumption | None:
    environment, image = record.environment, image_of(record, options)
    measured = environment.server_image or f"Triton {environment.triton_version}"
    same = {environment.server_image, f"{_REPOSITORY}:{_RELEASES.get(environment.triton_version)}-py3"}
    if image in same:
        return None
    return Assumption(
        condition="image", said=f"Measured {measured}; deployed is {image}.", claims=("golden", "capacity")
    )


def _cpu(record: RunRecord, options: Options) -> Assumption | None:
    measured, deployed = record.environment.cpu_model, options.node_cpu
    if deployed is not None and " ".join(deployed.split()) == measured:
        return None
    nodes = "nobody has said what the nodes have (--node-cpu)" if deployed is None else f"the nodes have {deployed}"
    return Assumption(condition="cpu", said=f"Measured on {measured}; {nodes}.", claims=("golden", "capacity"))


def _threads(record: RunRecord) -> Assumption | None:
    if threads(record) is not None:
        return None
    said = (
        f"The run left the threads of an instance to ONNX Runtime; {record.environment.cpu_count} are pinned here, one "
        "for each CPU that it saw (it counts physical cores: with hyper-threading it took half of them)."
    )
    return Assumption(condition="threads", said=said, claims=("golden", "capacity"))


def _exclusive_cpus(options: Options) -> Assumption | None:
    if options.exclusive_cpus:
        return None
    said = "Nobody has said that the nodes give whole CPUs to one container alone (kubelet's static policy)."
    return Assumption(condition="exclusive CPUs", said=said, claims=("capacity",))


def _linearity(record: RunRecord, scaling: Scaling | None) -> Assumption | None:
    if scaling is None:
        said = "That N pods carry N times the load of one is not measured (hcopt scale-check)."
    elif scaling.cpus_per_server != record.environment.cpu_count:
        said = (
            f"Scaling was measured with {scaling.cpus_per_server} CPUs a server; the pods have "
            f"{record.environment.cpu_count}."
        )
    elif scaling.ci_low < _LINEAR_RATIO:
        said = (
            f"{scaling.servers} servers carry {scaling.ratio:.3f} [{scaling.ci_low:.3f}, {scaling.ci_high:.3f}] of as "
            f"many times one: not shown to be at least {_LINEAR_RATIO:g}, while the replicas are computed for 1."
        )
    else:
        return None
    return Assumption(condition="scaling", said=said, claims=("linearity",))
