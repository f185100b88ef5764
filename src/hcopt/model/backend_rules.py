"""What NVIDIA's onnxruntime backend takes of a config.pbtxt; hcopt's own backend refuses the same when it loads.

Found out before anything is measured: a golden configuration that the backend in production refuses is worth nothing.

Source: ValidateInputs, ValidateOutputs and ModelState of src/onnxruntime.cc, CompareDimsSupported of
src/onnxruntime_utils.cc in triton-inference-server/onnxruntime_backend (June 2026).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from hcopt.analysis.plan import THREAD_SHARES, THREADS, parameter_text
from hcopt.errors import ConfigError, ModelSourceError
from hcopt.model import untrusted
from hcopt.model.inputs.values import fits
from hcopt.model.triton_config import CONFIG_FILE, CORRECT
from hcopt.records.model import InstanceKind, ModelSignature, TensorSpec
from hcopt.records.note import Note

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# What it takes as a value, as a pattern and in words.
_NUMBER, _SWITCH, _ANYTHING = (r"\d+", "whole numbers"), (r"0|1|true|false", "0 and 1"), (r".+", "any text")
# The parameters of config.pbtxt that it reads on a CPU.
_CPU_PARAMETERS = {
    THREADS: ("|".join((r"\d+", *map(re.escape, THREAD_SHARES))), "whole numbers, auto, auto/2 and auto*2"),
    "inter_op_thread_count": _NUMBER,
    "execution_mode": (r"0|1", "0 (one operator after the other) and 1 (several at once)"),
    "enable_mem_arena": _SWITCH,
    "enable_mem_pattern": _SWITCH,
    "memory.enable_memory_arena_shrinkage": (r"(cpu|gpu):\d+(;(cpu|gpu):\d+)*", "devices, as in cpu:0"),
    "session.use_device_allocator_for_initializers": _SWITCH,
    # Triton itself reads it.
    "TRITON_BATCH_STRATEGY_PATH": _ANYTHING,
}
_GPU_PARAMETERS = dict.fromkeys(
    ("cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream"), _ANYTHING
)
_PARAMETERS = {**_CPU_PARAMETERS, **_GPU_PARAMETERS}
_ONNX_RUNTIMES_OWN = re.compile(r"session\..+")


def fit_to_backend(config: ModelConfig, signature: ModelSignature) -> list[Note]:
    """Compares the tensors of a configuration with the model's, and writes outputs as the backend wants them.

    An input may narrow a dynamic dimension of the model's down. An output has to have the model's dimensions exactly;
    where it has a size for a dynamic one, or the other way round, the model's is put in.

    Args:
        config: Both lists of tensors are there; changed in place.
        signature: The model's own, as ONNX Runtime sees it.

    Raises:
        ModelSourceError: The backend would not load the model so.
    """
    required, optional = _by_name(signature.inputs), _by_name(signature.optional_inputs)
    for tensor in config.input:
        _check_input(tensor, required, optional, config.max_batch_size)
    if missing := required.keys() - {tensor.name for tensor in config.input}:
        given = _quoted(tensor.name for tensor in config.input)
        raise _contradiction(f"has the input {given}", f"the model needs {_quoted(missing)} too")
    outputs = _by_name(signature.outputs)
    notes = []
    for tensor in config.output:
        if tensor.name not in outputs:
            raise _contradiction(f"has the output {tensor.name!r}", f"the model has {_quoted(outputs)}")
        notes += _fit_output(tensor, outputs[tensor.name], config.max_batch_size)
    return notes


def check_swept(parameters: Mapping[str, Iterable[str | float]], instance_kind: InstanceKind) -> None:
    """Refuses what would be swept without effect, so that variants with equal settings were compared.

    Args:
        parameters: The values of each key of `sweep.parameters`.
        instance_kind: Where the instances run.

    Raises:
        ConfigError: The backend does not read the key there, or does not take the value.
    """
    read = _PARAMETERS if instance_kind == "KIND_GPU" else _CPU_PARAMETERS
    for key, values in parameters.items():
        where = f"sweep.parameters.{key}"
        if key not in read:
            raise ConfigError(f"{where}: {_why_unread(key)}", remedy=_instead(key, read))
        pattern, taken = read[key]
        wrong = [text for text in map(parameter_text, values) if not re.fullmatch(pattern, text, re.IGNORECASE)]
        if wrong:
            raise ConfigError(f"{where}: the backend does not take {_quoted(wrong)}", remedy=f"It takes {taken}.")


def _why_unread(key: str) -> str:
    if key in _GPU_PARAMETERS:
        return "it is for GPUs, and the instances are on CPUs"
    if _ONNX_RUNTIMES_OWN.fullmatch(key):
        return "NVIDIA's backend does not hand it on to ONNX Runtime, so that the winner could not be deployed"
    return "Triton's onnxruntime backend has no such parameter, and would ignore it"


def _instead(key: str, read: Iterable[str]) -> str:
    near = get_close_matches(key, read, n=1)
    return f"Write {near[0]}." if near else f"It has: {', '.join(sorted(read))}."


def parameter_notes(keys: Iterable[str]) -> list[Note]:
    """What to know about parameters of config.pbtxt that the backend does not read: it takes and ignores them."""
    unread = sorted(set(keys) - _PARAMETERS.keys())
    ours = [key for key in unread if _ONNX_RUNTIMES_OWN.fullmatch(key)]
    nobodys = [key for key in unread if key not in ours]
    notes = [Note.of("parameters_of_hcopt_alone", names=", ".join(ours))] if ours else []
    return [*notes, *([Note.of("parameters_without_effect", names=", ".join(nobodys))] if nobodys else [])]


def _by_name(specs: Iterable[TensorSpec]) -> dict[str, TensorSpec]:
    return {spec.name: spec for spec in specs}


def _check_input(
    tensor: Any, required: Mapping[str, TensorSpec], optional: Mapping[str, TensorSpec], max_batch_size: int
) -> None:
    name = tensor.name
    spec = required.get(name) or optional.get(name)
    if spec is None:
        raise _contradiction(f"has the input {name!r}", f"the model has {_quoted(required)}")
    if name in required and tensor.optional:
        raise _contradiction(f"has {name!r} as an optional input", "the model has no value of its own for it")
    if name in optional and not tensor.optional:
        raise _contradiction(f"has the input {name!r} without `optional: true`", "the model has a value of its own")
    if name in optional and max_batch_size > 0:
        raise _contradiction(
            f"has the optional input {name!r} and max_batch_size {max_batch_size}",
            "Triton's onnxruntime backend takes optional inputs only where that is 0",
            remedy=f"Set max_batch_size to 0, or leave {name!r} out: then the model always takes its own value.",
        )
    shape = _shape(tensor, max_batch_size)
    if tensor.data_type != data_type(spec) or not (
        (fits(shape, spec.shape) and _has_dims(tensor, shape)) or _is_scalar(shape, spec, max_batch_size)
    ):
        raise _misfit("input", tensor, spec, max_batch_size)


def _fit_output(tensor: Any, spec: TensorSpec, max_batch_size: int) -> list[Note]:
    shape = _shape(tensor, max_batch_size)
    if tensor.data_type != data_type(spec) or not _has_dims(tensor, shape):
        raise _misfit("output", tensor, spec, max_batch_size)
    if shape == spec.shape or _is_scalar(shape, spec, max_batch_size):
        return []
    can_be_meant = len(shape) == len(spec.shape) and all(
        said == own or -1 in (said, own) for said, own in zip(shape, spec.shape, strict=True)
    )
    # The requests' rows are put together along the first dimension, and no other way of writing changes that.
    free_rows = max_batch_size == 0 or spec.shape[:1] == (-1,)
    if not can_be_meant or not free_rows or tensor.HasField("reshape"):
        raise _misfit("output", tensor, spec, max_batch_size)
    said, own = list(tensor.dims), spec.shape[1:] if max_batch_size > 0 else spec.shape
    set_dims(tensor, own, batched=max_batch_size > 0)
    return [Note.of("output_dims_corrected", name=tensor.name, said=str(said), own=str(list(own)))]


def _shape(tensor: Any, max_batch_size: int) -> tuple[int, ...]:
    """As the model gets or gives it."""
    dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
    return (*((-1,) if max_batch_size > 0 else ()), *dims)


def _has_dims(tensor: Any, shape: Sequence[int]) -> bool:
    return all(map(untrusted.is_dim, (*shape, *tensor.dims)))


def _is_scalar(shape: Sequence[int], spec: TensorSpec, max_batch_size: int) -> bool:
    return not spec.shape and max_batch_size == 0 and all(dim == 1 for dim in shape)


def _contradiction(said: str, found: str, *, remedy: str = CORRECT) -> ModelSourceError:
    return ModelSourceError(f"{CONFIG_FILE} {said}; {found}", remedy=remedy)


def _misfit(kind: str, tensor: Any, spec: TensorSpec, max_batch_size: int) -> ModelSourceError:
    from tritonclient.grpc.model_config_pb2 import DataType

    batched = max_batch_size > 0
    batch = f"with the batch dimension of max_batch_size {max_batch_size}" if batched else "max_batch_size is 0"
    fixed = batched and kind == "output" and spec.shape[:1] not in ((), (-1,))
    remedy = f"{CORRECT} Where the ONNX file declares the rows wrongly: model.correct_outputs: true."
    shape = list(_shape(tensor, max_batch_size))
    return _contradiction(
        f"gives the {kind} {spec.name!r} as {DataType.Name(tensor.data_type)} {shape} ({batch})",
        f"the model has {DataType.Name(data_type(spec))} {list(spec.shape)}",
        remedy=remedy if fixed else CORRECT,
    )


def set_dims(tensor: Any, dims: Sequence[int], *, batched: bool) -> None:
    """Triton refuses empty dims: a scalar is [1], which it reshapes back where rows are batched.

    Source: AutoCompleteIO in onnxruntime_backend/src/onnxruntime.cc.
    """
    del tensor.dims[:]
    tensor.dims.extend(dims or (1,))
    if batched and not dims:
        tensor.reshape.SetInParent()


def data_type(spec: TensorSpec) -> int:
    """Protobuf's number of a tensor's type."""
    from tritonclient.grpc.model_config_pb2 import DataType

    return int(DataType.Value("TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"))


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))
