"""Parses and writes config.pbtxt with Triton's own protobuf, and applies a variant's settings to it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from hcopt.errors import ModelSourceError
from hcopt.model import untrusted
from hcopt.records.model import ExecutionAccelerator, InstanceKind, ModelConfigVariant

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

CONFIG_FILE = "config.pbtxt"
CORRECT = "Correct the config.pbtxt beside the model, or leave it out: then it is derived from the model."
# What Triton starts on a CPU where config.pbtxt gives no count: SetDefaultInstanceCount in core/model_config_utils.cc
# has two for this backend.
_UNSAID_CPU_INSTANCES = 2
_OPENVINO: ExecutionAccelerator = "openvino"
# With more than its plain queue Triton's batcher is not woken for some requests, and looks by itself only so often:
# BatcherThread in core/dynamic_batch_scheduler.cc. Seen with 2.51.
_QUEUE_STALL_S = 0.5
# Far more than any model needs.
_MAX_CHARACTERS = 1 << 20


def parse_text(text: str) -> ModelConfig:
    """Parses the text of a config.pbtxt.

    Raises:
        ModelSourceError: It is not one; names the line.
    """
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    if len(text) > _MAX_CHARACTERS:
        raise ModelSourceError(f"{CONFIG_FILE} has {len(text)} characters: that is none", remedy=CORRECT)
    try:
        config = text_format.Parse(text, ModelConfig())
        untrusted.check_enums(config)
    except text_format.ParseError as error:
        line = f"line {error.GetLine()}: " if error.GetLine() else ""
        reason = re.sub(r"^\d+:\d+ : ", "", str(error))
        raise ModelSourceError(f"{CONFIG_FILE} cannot be parsed: {line}{reason}", remedy=CORRECT) from error
    except (ValueError, RecursionError) as error:
        raise ModelSourceError(f"{CONFIG_FILE} cannot be parsed: {error}", remedy=CORRECT) from error
    return config


def to_text(config: ModelConfig, *, ascii_only: bool = False) -> str:
    """The configuration as the text of a config.pbtxt; `ascii_only` writes what else there is as numbers."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(config, as_utf8=not ascii_only))


def to_json(config: ModelConfig) -> str:
    """The configuration as JSON for Triton's load request with a `config` override."""
    from google.protobuf import json_format

    return str(json_format.MessageToJson(config, preserving_proto_field_name=True, indent=None))


def variant_of(config: ModelConfig, config_name: str) -> ModelConfigVariant:
    """What a configuration sets of all that a sweep can set."""
    parameters = sorted((key, str(parameter.string_value)) for key, parameter in config.parameters.items())
    return ModelConfigVariant(
        config_name=config_name,
        max_batch_size=config.max_batch_size,
        instance_count=instance_count(config),
        max_queue_delay_us=config.dynamic_batching.max_queue_delay_microseconds,
        parameters=tuple(parameters),
        dynamic_batching=config.max_batch_size == 0 or config.HasField("dynamic_batching"),
        preferred_batch_sizes=tuple(sorted(set(config.dynamic_batching.preferred_batch_size))),
        model_file=config.default_model_filename,
        execution_accelerator=_accelerator(config),
    )


def queue_stall_s(config: ModelConfig) -> float:
    """How long the server itself may leave requests of a model for no reason of the model's, in seconds."""
    batching = config.dynamic_batching
    by_policy = batching.HasField("default_queue_policy") or batching.priority_levels or batching.priority_queue_policy
    return _QUEUE_STALL_S if by_policy else 0.0


def has_rate_limiter(config: ModelConfig) -> bool:
    """Whether some instances ask for resources or a priority, which Triton grants with its rate limiter alone."""
    return any(group.HasField("rate_limiter") for group in config.instance_group)


def apply_variant(base: ModelConfig, variant: ModelConfigVariant, instance_kind: InstanceKind) -> ModelConfig:
    """A configuration that differs from `base` only in what the variant sets."""
    config = deepcopy(base)
    config.default_model_filename = variant.model_file
    config.max_batch_size = variant.max_batch_size
    del config.instance_group[:]
    config.instance_group.append(_instance_group(base, variant.instance_count, instance_kind))
    for key, value in variant.parameters:
        config.parameters[key].string_value = value
    if variant.execution_accelerator != _accelerator(base):
        _set_accelerator(config, variant.execution_accelerator)
    if not variant.dynamic_batching:
        config.ClearField("dynamic_batching")
    elif variant.max_batch_size > 0:
        _set_dynamic_batching(config, variant)
    return without_empty_optimization(config)


def with_warm_up(config: ModelConfig, samples: Iterable[Any]) -> ModelConfig:
    """A configuration with those requests of a warm-up that it allows.

    A request with more rows than `max_batch_size` is cut to it; a file of rows may have more than are taken.
    """
    warmed = deepcopy(config)
    most = max(1, config.max_batch_size)
    for sample in samples:
        added = warmed.model_warmup.add()
        added.CopyFrom(sample)
        added.batch_size = min(sample.batch_size, most)
    return warmed


def kind_number(instance_kind: InstanceKind) -> int:
    """Protobuf's number of an instance kind."""
    from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

    return int(ModelInstanceGroup.Kind.Value(instance_kind))


def _kind_name(group: Any) -> str:
    return str(type(group).Kind.Name(group.kind))


def instance_count(config: ModelConfig) -> int:
    """Instances that Triton starts on this server, what it does where none are said included."""
    if not config.instance_group:
        return _UNSAID_CPU_INSTANCES
    return sum(
        group.count or (_UNSAID_CPU_INSTANCES if _kind_name(group) in {"KIND_CPU", "KIND_AUTO"} else 1)
        for group in config.instance_group
    )


def has_other_kind(config: ModelConfig, instance_kind: InstanceKind) -> bool:
    """Whether some instances run elsewhere."""
    return any(_kind_name(group) not in {instance_kind, "KIND_AUTO"} for group in config.instance_group)


def _instance_group(base: ModelConfig, count: int, instance_kind: InstanceKind) -> Any:
    """The one group of a variant, the same whichever program writes it down.

    What else a group says (a host policy, a rate limiter) stays where all groups of that kind say the same.
    """
    from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

    said = []
    for group in base.instance_group:
        more = ModelInstanceGroup()
        more.CopyFrom(group)
        for swept in ("name", "count", "kind"):
            more.ClearField(swept)
        said.append(more)
    same = bool(said) and not has_other_kind(base, instance_kind) and all(more == said[0] for more in said)
    found = said[0] if same else ModelInstanceGroup()
    found.count, found.kind = count, kind_number(instance_kind)
    return found


def openvino_parameters(config: ModelConfig) -> dict[str, str]:
    """The parameters of OpenVINO as an accelerator; empty where there is none."""
    listed = config.optimization.execution_accelerators.cpu_execution_accelerator
    return next((dict(one.parameters) for one in listed if one.name == _OPENVINO), {})


def without_empty_optimization(config: ModelConfig) -> ModelConfig:
    """The same configuration, which means the same to Triton: changed in place, and returned."""
    for outer, name in ((config.optimization, "execution_accelerators"), (config, "optimization")):
        if not getattr(outer, name).ByteSize():
            outer.ClearField(name)
    return config


def _accelerator(config: ModelConfig) -> ExecutionAccelerator:
    listed = config.optimization.execution_accelerators.cpu_execution_accelerator
    return _OPENVINO if any(one.name == _OPENVINO for one in listed) else "none"


def _set_accelerator(config: ModelConfig, accelerator: ExecutionAccelerator) -> None:
    """As NVIDIA's backend documents it, without parameters: it would ignore them."""
    optimization = config.optimization
    listed = optimization.execution_accelerators.cpu_execution_accelerator
    kept = [one for one in listed if one.name != _OPENVINO]
    del listed[:]
    listed.extend(kept)
    if accelerator == _OPENVINO:
        listed.add(name=_OPENVINO)


def _set_dynamic_batching(config: ModelConfig, variant: ModelConfigVariant) -> None:
    batching = config.dynamic_batching
    batching.SetInParent()
    batching.ClearField("max_queue_delay_microseconds")
    if variant.max_queue_delay_us:
        batching.max_queue_delay_microseconds = variant.max_queue_delay_us
    batching.ClearField("preferred_batch_size")
    batching.preferred_batch_size.extend(variant.preferred_batch_sizes)
