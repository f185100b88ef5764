"""A ModelArtifact becomes the default config.pbtxt, variants of it, and a Triton model repository on disk.

Reads and writes configurations with Triton's own protobuf. Fetching is model_source's business, serving is runtime's.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hcopt.errors import ConfigError, ModelSourceError, OutputError
from hcopt.model import untrusted
from hcopt.model.onnx_file import resolve_inside
from hcopt.records.model import InstanceKind, ModelArtifact, ModelConfigVariant, TensorSpec
from hcopt.records.note import Note
from hcopt.system.files import copy_whole, write_whole

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

DEFAULT_MAX_BATCH_SIZE = 16
CONFIG_FILE = "config.pbtxt"
_CORRECT = "Correct the config.pbtxt beside the model, or leave it out: then it is derived from the model."
_PLATFORM = "onnxruntime_onnx"
_BACKEND = "onnxruntime"
_MODEL_FILE = "model.onnx"
# What Triton starts on a CPU where config.pbtxt gives no count: SetDefaultInstanceCount in core/model_config_utils.cc
# has two for this backend.
_UNSAID_CPU_INSTANCES = 2
# Far more than any model needs.
_MOST_CHARACTERS = 1 << 20
_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseConfiguration:
    """The default configuration, which every variant starts from.

    Attributes:
        config: The parsed config.pbtxt; not to be changed in place.
        notes: What differs from what came with the model.
    """

    config: ModelConfig
    notes: tuple[Note, ...] = ()


def check_model_name(name: str) -> None:
    """Accepts a name that is one folder on disk and that Model Analyzer can parse.

    Raises:
        ConfigError: It is neither.
    """
    problem = None
    if not _MODEL_NAME.fullmatch(name):
        problem = "it has to be 1 to 128 letters, digits or any of _ . - and to begin with a letter, a digit or _"
    elif "_config_" in name:
        problem = "Model Analyzer takes what stands before `_config_` for the name of the model"
    if problem:
        raise ConfigError(
            f"the model cannot be served under the name {name!r}: {problem}", remedy="Give another one as model.name."
        )


def parse_text(text: str) -> ModelConfig:
    """Parses the text of a config.pbtxt.

    Raises:
        ModelSourceError: It is not one; names the line.
    """
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    if len(text) > _MOST_CHARACTERS:
        raise ModelSourceError(f"{CONFIG_FILE} has {len(text)} characters: that is none", remedy=_CORRECT)
    try:
        config = text_format.Parse(text, ModelConfig())
        untrusted.check_enums(config)
    except text_format.ParseError as error:
        line = f"line {error.GetLine()}: " if error.GetLine() else ""
        reason = re.sub(r"^\d+:\d+ : ", "", str(error))
        raise ModelSourceError(f"{CONFIG_FILE} cannot be parsed: {line}{reason}", remedy=_CORRECT) from error
    except (ValueError, RecursionError) as error:
        raise ModelSourceError(f"{CONFIG_FILE} cannot be parsed: {error}", remedy=_CORRECT) from error
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
        instance_count=_instance_count(config),
        max_queue_delay_us=config.dynamic_batching.max_queue_delay_microseconds,
        parameters=tuple(parameters),
        dynamic_batching=config.max_batch_size == 0 or config.HasField("dynamic_batching"),
        preferred_batch_sizes=tuple(sorted(set(config.dynamic_batching.preferred_batch_size))),
    )


def apply_variant(base: ModelConfig, variant: ModelConfigVariant, instance_kind: InstanceKind) -> ModelConfig:
    """A configuration that differs from `base` only in what the variant sets."""
    config = _copy(base)
    config.max_batch_size = variant.max_batch_size
    if variant.instance_count != _instance_count(base) or _has_other_kind(base, instance_kind):
        del config.instance_group[:]
        config.instance_group.add(count=variant.instance_count, kind=_kind(instance_kind))
    for key, value in variant.parameters:
        config.parameters[key].string_value = value
    if not variant.dynamic_batching:
        config.ClearField("dynamic_batching")
    elif variant.max_batch_size > 0:
        _set_dynamic_batching(config, variant)
    return config


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
        note = Note(
            en="The model came without a config.pbtxt; its default is derived from the ONNX file.",
            ko="모델에 config.pbtxt가 없으므로 ONNX 파일을 바탕으로 기본 설정 생성.",
        )
        return BaseConfiguration(config=config, notes=(note,))
    config = parse_text(artifact.config_pbtxt)
    _refuse_unservable(config)
    notes = [*_name(config, artifact), *_complete(config, artifact)]
    _check_tensors(config, artifact)
    notes += [*(_batch if batchable else _unbatch)(config), *_move_to_cpu(config, instance_kind)]
    return BaseConfiguration(config=config, notes=tuple(notes))


def write_repository(root: Path, artifact: ModelArtifact, config: ModelConfig) -> Path:
    """Writes `<root>/<name>/config.pbtxt`, and the version's folder with the ONNX file and its external data.

    The folder appears whole or not at all; one that is there already is replaced.

    Returns:
        The model's folder, `<root>/<name>`.

    Raises:
        ConfigError: The name cannot be a folder's name.
        ModelSourceError: A file lies outside of the artifact's folder, or would in the repository.
        OutputError: The repository cannot be written.
    """
    check_model_name(artifact.name)
    target = root / artifact.name
    copies = _copies(artifact, config)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{artifact.name}.") as temporary:
            new, old = Path(temporary, "new"), Path(temporary, "old")
            for source, name in copies:
                destination = new / artifact.version_folder / name
                copy_whole(source, destination)
            write_whole(new / CONFIG_FILE, to_text(config))
            if target.exists():
                target.rename(old)
            new.rename(target)
    except OSError as error:
        raise OutputError(
            f"cannot write the model repository {root}: {error.strerror}",
            remedy="Give a folder with room and write permission as --output.",
        ) from error
    return target


def add_name(root: Path, name: str, other: str) -> None:
    """Lets a model of a repository be loaded by another name too, with a configuration that the load brings along.

    Raises:
        OutputError: The repository cannot be written.
    """
    try:
        with suppress(FileExistsError):
            (root / other).symlink_to(name)
    except OSError as error:
        raise OutputError(f"cannot write the model repository {root}: {error.strerror}") from error


def _copies(artifact: ModelArtifact, config: ModelConfig) -> list[tuple[Path, str]]:
    """Each file of the model with its name in the version's folder."""
    model_file = config.default_model_filename or _MODEL_FILE
    if PurePosixPath(model_file).name != model_file or model_file == "..":
        raise ModelSourceError(
            f"{CONFIG_FILE}: default_model_filename {model_file!r} is not the name of a file", remedy=_CORRECT
        )
    folder = PurePosixPath(artifact.onnx_file).parent
    copies: list[tuple[Path, str]] = []
    for name in artifact.files:
        source = resolve_inside(artifact.folder, name)
        if source is None or not PurePosixPath(name).is_relative_to(folder):
            raise ModelSourceError(
                f"{name!r} lies outside of the model's folder {artifact.folder / folder}",
                remedy="Save the model again with its external data beside it.",
            )
        # The ONNX file names its external data relative to itself.
        inside = str(PurePosixPath(name).relative_to(folder))
        copies.append((source, model_file if name == artifact.onnx_file else inside))
    if len({name for _, name in copies}) < len(copies):
        raise ModelSourceError(
            f"a file of the model's external data has the name {model_file!r} of the model itself",
            remedy="Leave out default_model_filename in config.pbtxt, or give the file another name.",
        )
    return copies


def _copy(config: ModelConfig) -> ModelConfig:
    copy = type(config)()
    copy.CopyFrom(config)
    return copy


def _kind(instance_kind: InstanceKind) -> int:
    from tritonclient.grpc.model_config_pb2 import ModelInstanceGroup

    return int(ModelInstanceGroup.Kind.Value(instance_kind))


def _kind_name(group: Any) -> str:
    return str(type(group).Kind.Name(group.kind))


def _instance_count(config: ModelConfig) -> int:
    if not config.instance_group:
        return _UNSAID_CPU_INSTANCES
    return sum(
        group.count or (_UNSAID_CPU_INSTANCES if _kind_name(group) in {"KIND_CPU", "KIND_AUTO"} else 1)
        for group in config.instance_group
    )


def _has_other_kind(config: ModelConfig, instance_kind: InstanceKind) -> bool:
    return any(_kind_name(group) not in {instance_kind, "KIND_AUTO"} for group in config.instance_group)


def _set_dynamic_batching(config: ModelConfig, variant: ModelConfigVariant) -> None:
    batching = config.dynamic_batching
    batching.SetInParent()
    batching.ClearField("max_queue_delay_microseconds")
    if variant.max_queue_delay_us:
        batching.max_queue_delay_microseconds = variant.max_queue_delay_us
    batching.ClearField("preferred_batch_size")
    batching.preferred_batch_size.extend(variant.preferred_batch_sizes)


def _derived(artifact: ModelArtifact, *, batchable: bool, instance_kind: InstanceKind) -> ModelConfig:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    config = ModelConfig(name=artifact.name, platform=_PLATFORM)
    config.max_batch_size = DEFAULT_MAX_BATCH_SIZE if batchable else 0
    _add_tensors(config.input, artifact.signature.inputs, batched=batchable)
    _add_tensors(config.output, artifact.signature.outputs, batched=batchable)
    config.instance_group.add(count=1, kind=_kind(instance_kind))
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
    problem = None
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
    return [
        Note(
            en=f"config.pbtxt calls the model {said!r}; it is served as {artifact.name!r}, and named so.",
            ko=f"config.pbtxt의 모델 이름 {said!r} 대신 {artifact.name!r} 이름으로 서빙.",
        )
    ]


def _complete(config: ModelConfig, artifact: ModelArtifact) -> list[Note]:
    """Writes down what Triton would complete by itself; a Python-based backend cannot."""
    missing = [kind for kind in ("input", "output") if not getattr(config, kind)]
    if not config.platform and not config.backend:
        config.platform = _PLATFORM
        missing.insert(0, "platform")
    batched = config.max_batch_size > 0
    if not config.input:
        _add_tensors(config.input, artifact.signature.inputs, batched=batched)
    if not config.output:
        _add_tensors(config.output, artifact.signature.outputs, batched=batched)
    if not missing:
        return []
    return [
        Note(
            en=f"config.pbtxt leaves out {' and '.join(missing)}: completed from the ONNX file.",
            ko=f"config.pbtxt에 없는 항목({', '.join(missing)})을 ONNX 파일의 정보로 보완.",
        )
    ]


def _tensors(config: ModelConfig) -> list[Any]:
    return [*config.input, *config.output]


def _check_tensors(config: ModelConfig, artifact: ModelArtifact) -> None:
    signature = artifact.signature
    for kind, tensors, specs in (
        ("input", config.input, signature.inputs),
        ("output", config.output, signature.outputs),
    ):
        known = {spec.name: spec for spec in specs}
        for tensor in tensors:
            if tensor.name not in known:
                raise _contradiction(f"has the {kind} {tensor.name!r}", f"the model has {_quoted(known)}")
            _check_tensor(kind, tensor, known[tensor.name], config.max_batch_size)
    if missing := {spec.name for spec in signature.inputs} - {tensor.name for tensor in config.input}:
        given = _quoted(tensor.name for tensor in config.input)
        raise _contradiction(f"has the input {given}", f"the model needs {_quoted(missing)} too")


def _check_tensor(kind: str, tensor: Any, spec: TensorSpec, max_batch_size: int) -> None:
    from tritonclient.grpc.model_config_pb2 import DataType

    batched = max_batch_size > 0
    shape = (*((-1,) if batched else ()), *(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims))
    scalar = not spec.shape and not batched and all(dim == 1 for dim in shape)
    fits = len(shape) == len(spec.shape) and all(
        model in (-1, dim) for model, dim in zip(spec.shape, shape, strict=True)
    )
    fits = fits and all(map(untrusted.is_dim, (*shape, *tensor.dims)))
    if tensor.data_type == _data_type(spec) and (fits or scalar):
        return
    batch = f"with the batch dimension of max_batch_size {max_batch_size}" if batched else "max_batch_size is 0"
    raise _contradiction(
        f"gives the {kind} {spec.name!r} as {DataType.Name(tensor.data_type)} {list(shape)} ({batch})",
        f"the model has {DataType.Name(_data_type(spec))} {list(spec.shape)}",
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def _contradiction(said: str, found: str) -> ModelSourceError:
    return ModelSourceError(
        f"{CONFIG_FILE} {said}; {found}",
        remedy=_CORRECT,
    )


def _batch(config: ModelConfig) -> list[Note]:
    """Turns max_batch_size 0 with a batch dimension in `dims` into what Triton can batch."""
    if config.max_batch_size > 0:
        return []
    if any(tensor.HasField("reshape") or tensor.dims[0] not in (-1, 1) for tensor in _tensors(config)):
        return [
            Note(
                en="config.pbtxt has max_batch_size 0, so Triton does not batch, although the model could; its dims "
                "have no free leading dimension, so it is left as it is.",
                ko="모델은 배치를 지원하지만 config.pbtxt의 max_batch_size가 0이므로 Triton이 배치하지 않으며, dims에 "
                "가변 첫 차원이 없어 설정을 그대로 유지.",
            )
        ]
    for tensor in _tensors(config):
        _set_dims(tensor, tuple(tensor.dims)[1:], batched=True)
    config.max_batch_size = DEFAULT_MAX_BATCH_SIZE
    config.dynamic_batching.SetInParent()
    return [
        Note(
            en="config.pbtxt has max_batch_size 0, so Triton never batches, although the model can: analysed with "
            f"max_batch_size {DEFAULT_MAX_BATCH_SIZE}, dynamic batching, and dims without the leading dimension.",
            ko="모델은 배치를 지원하지만 config.pbtxt의 max_batch_size가 0이므로 Triton이 배치하지 않음: "
            f"max_batch_size {DEFAULT_MAX_BATCH_SIZE}, dynamic batching, 첫 차원을 뺀 dims로 분석.",
        )
    ]


def _unbatch(config: ModelConfig) -> list[Note]:
    """Turns batching off for a model whose first dimension is dynamic and yet no batch dimension."""
    if config.max_batch_size == 0:
        return []
    said = config.max_batch_size
    for tensor in _tensors(config):
        dims = (-1, *(tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims))
        tensor.ClearField("reshape")
        _set_dims(tensor, dims, batched=False)
    config.max_batch_size = 0
    config.ClearField("dynamic_batching")
    return [
        Note(
            en=f"config.pbtxt has max_batch_size {said}, but the model gives wrong answers or none when rows are put "
            "together: analysed with max_batch_size 0 and without dynamic batching.",
            ko=f"config.pbtxt에는 max_batch_size {said}, 그러나 여러 행을 묶으면 모델이 오류를 내거나 다른 결과를 냄: "
            "max_batch_size 0, dynamic batching 없이 분석.",
        )
    ]


def _move_to_cpu(config: ModelConfig, instance_kind: InstanceKind) -> list[Note]:
    if instance_kind != "KIND_CPU" or not _has_other_kind(config, instance_kind):
        return []
    count = _instance_count(config)
    del config.instance_group[:]
    config.instance_group.add(count=count, kind=_kind(instance_kind))
    return [
        Note(
            en=f"config.pbtxt puts instances on a GPU; analysed with {count} on the CPU, as instance_kind says.",
            ko=f"config.pbtxt의 인스턴스는 GPU용이지만 instance_kind에 따라 CPU 인스턴스 {count}개로 분석.",
        )
    ]
