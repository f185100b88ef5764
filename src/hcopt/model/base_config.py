"""The default configuration of a model: the config.pbtxt that came with it, or one derived from its ONNX signature."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hcopt.errors import ModelSourceError
from hcopt.model import untrusted
from hcopt.model.inputs.values import fits
from hcopt.model.triton_config import CONFIG_FILE, CORRECT, has_other_kind, instance_count, kind_number, parse_text
from hcopt.records.model import InstanceKind, ModelArtifact, TensorSpec
from hcopt.records.note import Note

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

DEFAULT_MAX_BATCH_SIZE = 16
_PLATFORM = "onnxruntime_onnx"
_BACKEND = "onnxruntime"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseConfiguration:
    """The default configuration, which every variant starts from.

    Attributes:
        config: What is measured, without the requests of its warm-up: a variant may not allow their batch size, and
            every window has a warm-up of its own. Without a response cache too: the load's rows come again and again,
            and nearly all answers would be the cache's. Not to be changed in place.
        warm_up: Those requests (ModelWarmup), for the configuration that is handed over.
        response_cache: Whether that one has the response cache.
        notes: What differs from what came with the model.
    """

    config: ModelConfig
    warm_up: tuple[Any, ...] = ()
    response_cache: bool = False
    notes: tuple[Note, ...] = ()


def base_configuration(
    artifact: ModelArtifact, *, batchable: bool, instance_kind: InstanceKind = "KIND_CPU"
) -> BaseConfiguration:
    """The default configuration of a model.

    The config.pbtxt that came with the model, untouched wherever Triton could serve it as it is here; without one,
    what its ONNX signature says. Whether a model really batches shows only when it runs, which needs rows, whose
    shapes come from this configuration: so begin with `batchable=has_batch_dimension(signature)`, and call it again
    with what `check_servable` found.

    Args:
        artifact: The model.
        batchable: Whether its rows may be put together.
        instance_kind: Where the instances of a derived configuration run.

    Raises:
        ModelSourceError: The config.pbtxt cannot be parsed, contradicts the model, or asks for what hcopt does not
            measure (another backend, sequence batching, an ensemble).
    """
    if artifact.config_pbtxt is None:
        config = _derived(artifact, batchable=batchable, instance_kind=instance_kind)
        return BaseConfiguration(config=config, notes=(Note.of("config_derived"),))
    config = parse_text(artifact.config_pbtxt)
    _refuse_unservable(config)
    notes = [*_name(config, artifact), *_complete(config, artifact)]
    _check_tensors(config, artifact)
    notes += [*(_batch if batchable else _unbatch)(config), *_move_to_cpu(config, instance_kind)]
    warm_up = tuple(map(deepcopy, config.model_warmup))
    config.ClearField("model_warmup")
    if warm_up:
        notes.append(Note.of("warm_up_left_out"))
    response_cache = config.response_cache.enable
    if response_cache:
        config.ClearField("response_cache")
        notes.append(Note.of("response_cache_off"))
    return BaseConfiguration(config=config, warm_up=warm_up, response_cache=response_cache, notes=tuple(notes))


def _derived(artifact: ModelArtifact, *, batchable: bool, instance_kind: InstanceKind) -> ModelConfig:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    config = ModelConfig(name=artifact.name, max_batch_size=DEFAULT_MAX_BATCH_SIZE if batchable else 0)
    _complete(config, artifact)
    config.instance_group.add(count=1, kind=kind_number(instance_kind))
    if batchable:
        config.dynamic_batching.SetInParent()
    return config


def _add_tensors(tensors: Any, specs: Iterable[TensorSpec], *, batched: bool) -> None:
    for spec in specs:
        tensor = tensors.add(name=spec.name, data_type=_data_type(spec))
        _set_dims(tensor, spec.shape[1:] if batched else spec.shape, batched=batched)


def _set_dims(tensor: Any, dims: Sequence[int], *, batched: bool) -> None:
    """Triton refuses empty dims: a scalar is [1], which it reshapes back where rows are batched.

    Source: AutoCompleteIO in onnxruntime_backend/src/onnxruntime.cc.
    """
    del tensor.dims[:]
    tensor.dims.extend(dims or (1,))
    if batched and not dims:
        tensor.reshape.SetInParent()


def _data_type(spec: TensorSpec) -> int:
    from tritonclient.grpc.model_config_pb2 import DataType

    return int(DataType.Value("TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"))


def _refuse_unservable(config: ModelConfig) -> None:
    problem: str | None
    if config.platform not in {"", _PLATFORM} or config.backend not in {"", _BACKEND}:
        problem = f"is for {config.platform or config.backend!r}, but the model is an ONNX file"
    elif config.HasField("sequence_batching") or config.HasField("ensemble_scheduling"):
        problem = f"uses {config.WhichOneof('scheduling_choice')}, which hcopt cannot sweep"
    else:
        problem = untrusted.refused(config)
    if problem:
        raise ModelSourceError(
            f"{CONFIG_FILE} {problem}",
            remedy=f"Give a config.pbtxt for platform {_PLATFORM!r} with dynamic batching, or none.",
        )


def _name(config: ModelConfig, artifact: ModelArtifact) -> list[Note]:
    """Triton wants the name of the folder; it takes a missing one from there by itself."""
    said = config.name
    config.name = artifact.name
    if said in {"", artifact.name}:
        return []
    return [Note.of("config_renamed", said=said, name=artifact.name)]


def _complete(config: ModelConfig, artifact: ModelArtifact) -> list[Note]:
    """Writes down what Triton would complete by itself; a Python-based backend cannot."""
    missing = []
    if not config.platform and not config.backend:
        config.platform = _PLATFORM
        missing.append("platform")
    for kind, tensors, specs in _inputs_and_outputs(config, artifact):
        if not tensors:
            _add_tensors(tensors, specs, batched=config.max_batch_size > 0)
            missing.append(kind)
    return [Note.of("config_completed", missing=", ".join(missing))] if missing else []


def _inputs_and_outputs(
    config: ModelConfig, artifact: ModelArtifact
) -> tuple[tuple[str, Any, tuple[TensorSpec, ...]], ...]:
    signature = artifact.signature
    return ("input", config.input, signature.inputs), ("output", config.output, signature.outputs)


def _tensors(config: ModelConfig) -> list[Any]:
    return [*config.input, *config.output]


def _check_tensors(config: ModelConfig, artifact: ModelArtifact) -> None:
    for kind, tensors, specs in _inputs_and_outputs(config, artifact):
        known = {spec.name: spec for spec in specs}
        for tensor in tensors:
            if tensor.name not in known:
                raise _contradiction(f"has the {kind} {tensor.name!r}", f"the model has {_quoted(known)}")
            _check_tensor(kind, tensor, known[tensor.name], config.max_batch_size)
    if missing := {spec.name for spec in artifact.signature.inputs} - {tensor.name for tensor in config.input}:
        given = _quoted(tensor.name for tensor in config.input)
        raise _contradiction(f"has the input {given}", f"the model needs {_quoted(missing)} too")


def _check_tensor(kind: str, tensor: Any, spec: TensorSpec, max_batch_size: int) -> None:
    from tritonclient.grpc.model_config_pb2 import DataType

    batched = max_batch_size > 0
    shape = (*((-1,) if batched else ()), *(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims))
    scalar = not spec.shape and not batched and all(dim == 1 for dim in shape)
    as_served = fits(shape, spec.shape) and all(map(untrusted.is_dim, (*shape, *tensor.dims)))
    if tensor.data_type == _data_type(spec) and (as_served or scalar):
        return
    batch = f"with the batch dimension of max_batch_size {max_batch_size}" if batched else "max_batch_size is 0"
    raise _contradiction(
        f"gives the {kind} {spec.name!r} as {DataType.Name(tensor.data_type)} {list(shape)} ({batch})",
        f"the model has {DataType.Name(_data_type(spec))} {list(spec.shape)}",
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def _contradiction(said: str, found: str) -> ModelSourceError:
    return ModelSourceError(f"{CONFIG_FILE} {said}; {found}", remedy=CORRECT)


def _batch(config: ModelConfig) -> list[Note]:
    """Turns max_batch_size 0 with a batch dimension in `dims` into what Triton can batch."""
    if config.max_batch_size > 0:
        return []
    if any(tensor.HasField("reshape") or tensor.dims[0] not in (-1, 1) for tensor in _tensors(config)):
        return [Note.of("config_not_batched")]
    for tensor in _tensors(config):
        _set_dims(tensor, tuple(tensor.dims)[1:], batched=True)
    _batch_warm_up(config)
    config.max_batch_size = DEFAULT_MAX_BATCH_SIZE
    config.dynamic_batching.SetInParent()
    return [Note.of("config_batched", max_batch_size=DEFAULT_MAX_BATCH_SIZE)]


def _batch_warm_up(config: ModelConfig) -> None:
    """The leading dimension of a warm-up request becomes its batch size; one whose inputs do not agree is dropped."""
    samples = list(config.model_warmup)
    del config.model_warmup[:]
    for sample in samples:
        rows = {given.dims[0] if given.dims else 1 for given in sample.inputs.values()}
        if len(rows) == 1:
            for given in sample.inputs.values():
                _set_given_dims(given, tuple(given.dims)[1:] or (1,))
            sample.batch_size = rows.pop()
            config.model_warmup.append(sample)


def _set_given_dims(given: Any, dims: Sequence[int]) -> None:
    del given.dims[:]
    given.dims.extend(dims)


def _unbatch(config: ModelConfig) -> list[Note]:
    """Turns batching off for a model whose first dimension is dynamic and yet no batch dimension."""
    if config.max_batch_size == 0:
        return []
    said = config.max_batch_size
    for tensor in _tensors(config):
        dims = (-1, *(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims))
        tensor.ClearField("reshape")
        _set_dims(tensor, dims, batched=False)
    for sample in config.model_warmup:
        for given in sample.inputs.values():
            _set_given_dims(given, (max(1, sample.batch_size), *given.dims))
        sample.batch_size = 1
    config.max_batch_size = 0
    config.ClearField("dynamic_batching")
    return [Note.of("config_unbatched", max_batch_size=said)]


def _move_to_cpu(config: ModelConfig, instance_kind: InstanceKind) -> list[Note]:
    if instance_kind != "KIND_CPU" or not has_other_kind(config, instance_kind):
        return []
    count = instance_count(config)
    del config.instance_group[:]
    config.instance_group.add(count=count, kind=kind_number(instance_kind))
    return [Note.of("config_moved_to_cpu", count=count)]
