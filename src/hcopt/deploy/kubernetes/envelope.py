"""Under which conditions a run's figures hold, and which of them the Deployment does not meet. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from hcopt.analysis.plan import thread_count
from hcopt.deploy.capacity import TOLERANCE_RATIO
from hcopt.deploy.kubernetes.options import Options
from hcopt.deploy.kubernetes.triton_image import RELEASES, REPOSITORY, image_of
from hcopt.deploy.scaling import Scaling
from hcopt.records.json import JsonObject
from hcopt.records.run import RunRecord
from hcopt.words.notes import sentence

Claim = Literal["golden", "capacity", "linearity"]
Condition = Literal["verdict", "backend", "image", "cpu", "threads", "exclusive CPUs", "scaling"]

# The HPA lets a pod go 10 % beyond its target before it does anything: a loss within that stays within its headroom.
_LINEAR_RATIO = 1 - TOLERANCE_RATIO
# What hcopt's native backend gives to ONNX Runtime and NVIDIA's ignores; OpenVINO's precision is chosen by ours alone.
_OWN_SETTING = re.compile(r'"(session\.(?!use_device_allocator_for_initializers")[^"]+|openvino)"')
_NO_EXCLUSIVE_CPUS = "Nobody has said that the nodes give whole CPUs to one container alone (kubelet's static policy)."


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
        "model": f"{record.model.name} sha256:{record.golden_model.sha256}",
        "backend": str(environment.backend),
        "onnxruntime": _onnxruntime(record),
        "triton": environment.server_image or environment.triton_version,
        "cpu": environment.cpu_model,
        "cpus": environment.cpuset,
        "threads": threads(record) or "left to ONNX Runtime",
        "rows_per_request": None if found is None else found.client_batch_size,
        "arrivals": "open loop, Poisson",
        "latency_p99_limit_ms": None if found is None else f"{found.latency_p99_limit_ms:g}",
        "config": None if best is None else best.variant.config_name,
    }


def _onnxruntime(record: RunRecord) -> str:
    environment = record.environment
    if environment.server_image:
        return environment.onnxruntime_version or "the image's"
    return f"{environment.onnxruntime_version or 'not known'} (the deployed image has its own)"


def threads(record: RunRecord) -> int | None:
    """Threads of one instance, where the golden configuration sets them."""
    best = record.confirmation.best
    return None if best is None else thread_count(best.variant)


def assumptions(record: RunRecord, options: Options, scaling: Scaling | None) -> tuple[Assumption, ...]:
    """Everything in which the Deployment is not what was measured."""
    both: tuple[Claim, ...] = ("golden", "capacity")
    found: tuple[tuple[Condition, tuple[Claim, ...], str | None], ...] = (
        ("verdict", ("golden",), _verdict(record)),
        ("backend", both, _backend(record)),
        ("image", both, _image(record, options)),
        ("cpu", both, _cpu(record, options)),
        ("threads", both, _threads(record)),
        ("exclusive CPUs", ("capacity",), None if options.exclusive_cpus else _NO_EXCLUSIVE_CPUS),
        ("scaling", ("linearity",), _linearity(record, scaling)),
    )
    # In a block of YAML a line of its own would end it.
    return tuple(
        Assumption(condition=condition, said=" ".join(said.split()), claims=claims)
        for condition, claims, said in found
        if said is not None
    )


def _verdict(record: RunRecord) -> str | None:
    if record.confirmation.verdict != "undecided":
        return None
    return f"The run ended undecided. {sentence(record.confirmation.reason)}"


def _backend(record: RunRecord) -> str | None:
    backend = record.environment.backend
    if backend.implementation == "python":
        return f"Measured with {backend}; the image serves with NVIDIA's native backend, which is faster."
    own = sorted(set(_OWN_SETTING.findall(record.best_config_pbtxt or "")))
    if backend.implementation == "native" or not own:
        return None
    return f"Measured with {', '.join(own)}, which NVIDIA's backend does not take, or takes otherwise."


def measured_on(record: RunRecord) -> str:
    """What served as the run measured, in the word that stands beside each of its claims."""
    own = record.environment.backend.implementation == "hcopt-native"
    return "measured on hcopt's native backend" if own else "measured"


def _image(record: RunRecord, options: Options) -> str | None:
    environment, image = record.environment, image_of(record, options)
    if image in {environment.server_image, f"{REPOSITORY}:{RELEASES.get(environment.triton_version)}-py3"}:
        return None
    measured = environment.server_image or f"Triton {environment.triton_version}"
    return f"Measured {measured}; deployed is {image}."


def _cpu(record: RunRecord, options: Options) -> str | None:
    measured, deployed = record.environment.cpu_model, options.node_cpu
    if deployed is not None and " ".join(deployed.split()) == measured:
        return None
    nodes = "nobody has said what the nodes have (--node-cpu)" if deployed is None else f"the nodes have {deployed}"
    return f"Measured on {measured}; {nodes}."


def _threads(record: RunRecord) -> str | None:
    if threads(record) is not None:
        return None
    return (
        f"The run left the threads of an instance to ONNX Runtime; {record.environment.cpu_count} are pinned here, one "
        "for each CPU that it saw (it counts physical cores: with hyper-threading it took half of them)."
    )


def _linearity(record: RunRecord, scaling: Scaling | None) -> str | None:
    if scaling is None:
        return "That N pods carry N times the load of one is not measured (hcopt scale-check)."
    if scaling.cpus_per_server != record.environment.cpu_count:
        return (
            f"Scaling was measured with {scaling.cpus_per_server} CPUs a server; the pods have "
            f"{record.environment.cpu_count}."
        )
    if scaling.ci_low < _LINEAR_RATIO:
        return (
            f"{scaling.servers} servers carry {scaling.ratio:.3f} [{scaling.ci_low:.3f}, {scaling.ci_high:.3f}] of as "
            f"many times one: not shown to be at least {_LINEAR_RATIO:g}, while the replicas are computed for 1."
        )
    return None
