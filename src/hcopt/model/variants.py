"""The variants of a model: fetched, or made by ONNX Runtime's own tools; none is measured that answers otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hcopt.config.sections import Config, ModelVariantSection, ToleranceSection
from hcopt.errors import ConfigError, ModelSourceError, OutputError
from hcopt.model.batch_check import check_servable
from hcopt.model.fetch import fetch_model
from hcopt.model.inputs.values import LoadData
from hcopt.model.onnx_file import inspect_onnx, sha256_of
from hcopt.model.onnx_session import RunError
from hcopt.model.onnx_tools import ToolError, optimize, quantize
from hcopt.model.output_check import beyond, beyond_note, compare_outputs, difference_note, rows_note
from hcopt.model.output_rows import corrected_copy, outputs_with_fixed_rows
from hcopt.model.repository import names_in_version_folder
from hcopt.records.model import ModelArtifact, ModelSignature, ModelVariant, TensorSpec
from hcopt.records.note import Note
from hcopt.system.redaction import without_credentials

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# The longest that rows are compared, for each variant.
_COMPARISON_S = 10.0


class _RefusedError(Exception):
    """A variant that is not measured; `why` goes on from "it is not measured: …"."""

    def __init__(self, why: Note) -> None:
        super().__init__(why.code)
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The model that the variants are compared with.

    Attributes:
        artifact: Its files, and its signature as ONNX Runtime sees it.
        config: Its default configuration.
        load: The rows that both are run on.
        batchable: Whether it batches.
    """

    artifact: ModelArtifact
    config: ModelConfig
    load: LoadData
    batchable: bool


def model_variants(config: Config, original: Original, *, into: Path, tracking_uri: str) -> tuple[ModelVariant, ...]:
    """All variants that are asked for, those that are refused with the reason.

    Args:
        config: `model.variants` and `model.tolerance` say which, and how far they may be from the model.
        original: The model.
        into: A folder for their files.
        tracking_uri: As in `fetch_model`.

    Raises:
        ConfigError: A variant would have the name of a file of the model's.
        ModelSourceError: One that is named cannot be had.
        OutputError: `into` cannot be written.
    """
    taken = set(names_in_version_folder(original.artifact, original.config))
    found = list[ModelVariant]()
    for name, asked in config.model.variants.items():
        variant = ModelVariant(name=name, origin=_origin(asked))
        if variant.model_file in taken:
            raise ConfigError(
                f"model.variants.{name}: the model has a file {variant.model_file} of its own",
                remedy="Give the variant another name.",
            )
        try:
            folder = into / "variants" / name
            variant = _with_files(variant, config, original, into=folder, tracking_uri=tracking_uri)
            names = _own_names(variant, original, taken)
            variant = _compared(variant, original, config.model.tolerance)
            taken |= names if variant.refused is None else set()
        except _RefusedError as error:
            variant = replace(variant, refused=_refusal(variant, error.why))
        found.append(variant)
    return tuple(found)


def variant_notes(variants: Iterable[ModelVariant]) -> Iterator[Note]:
    """How far each is from the model, or why it is not measured."""
    for variant in variants:
        yield from filter(None, (variant.refused or variant.outputs_note, variant.batch_note))


def _origin(asked: ModelVariantSection) -> str:
    if asked.uri is not None:
        return without_credentials(asked.uri)
    return "optimize: true" if asked.optimize else f"quantize: {asked.quantize}"


def _refusal(variant: ModelVariant, why: Note) -> Note:
    return Note.of("variant_refused", name=variant.name, origin=variant.origin, why=why)


def _with_files(
    variant: ModelVariant, config: Config, original: Original, *, into: Path, tracking_uri: str
) -> ModelVariant:
    """The variant with its files, which are those of a URI or made in `into`."""
    asked = config.model.variants[variant.name]
    if asked.uri is not None:
        section = config.model.model_copy(update={"uri": asked.uri, "name": original.artifact.name})
        fetched = fetch_model(config.model_copy(update={"model": section}), into=into, tracking_uri=tracking_uri)
        if config.model.correct_outputs and outputs_with_fixed_rows(fetched.signature):
            fetched = corrected_copy(fetched, into / "corrected")
        return _from_folder(variant, fetched.folder, fetched.onnx_file, fetched.files)
    source, target = original.artifact.folder / original.artifact.onnx_file, into / variant.model_file
    try:
        into.mkdir(parents=True, exist_ok=True)
        (optimize if asked.optimize else quantize)(source, target)
    except ToolError as error:
        raise _RefusedError(error.why) from error
    except OSError as error:
        raise OutputError(
            f"cannot write the variant {variant.name} to {into}: {error.strerror or error}",
            remedy="Give a folder with room and write permission as --output.",
        ) from error
    return _from_folder(variant, into, target.name, (target.name,))


def _from_folder(variant: ModelVariant, folder: Path, onnx_file: str, files: tuple[str, ...]) -> ModelVariant:
    return replace(variant, folder=folder, onnx_file=onnx_file, files=files, sha256=sha256_of(folder, files))


def _own_names(variant: ModelVariant, original: Original, taken: set[str]) -> set[str]:
    """The names of a variant's files in the version's folder, which it shares with the model and other variants."""
    config = type(original.config)()
    config.default_model_filename = variant.model_file
    artifact = replace(original.artifact, onnx_file=variant.onnx_file, files=variant.files)
    names = set(names_in_version_folder(artifact, config))
    if both := sorted(names & taken):
        raise _RefusedError(Note.of("variant_file_taken", file=both[0]))
    return names


def _compared(variant: ModelVariant, original: Original, tolerance: ToleranceSection) -> ModelVariant:
    """The variant with how far its answers are from the model's; refused where that is too far."""
    if variant.sha256 == original.artifact.sha256:
        raise _RefusedError(Note.of("variant_same_bytes"))
    file, signature = variant.folder / variant.onnx_file, original.artifact.signature
    if other := _other_tensors(signature, inspect_onnx(file).signature):
        raise _RefusedError(Note.of("variant_other_tensors", names=", ".join(map(repr, other))))
    if any(spec.datatype == "BF16" for spec in signature.outputs):
        raise _RefusedError(Note.of("variant_bfloat16"))
    model = original.artifact.folder / original.artifact.onnx_file
    try:
        check = check_servable(file, signature, original.load.rows)
        found = compare_outputs(model, file, signature, original.load.rows, limit_s=_COMPARISON_S)
    except ModelSourceError as error:
        raise _RefusedError(Note.of("variant_cannot_run", reason=error.message)) from error
    except RunError as error:
        raise _RefusedError(Note.of("variant_cannot_run", reason=str(error))) from error
    shapes = zip(signature.outputs, check.signature.outputs, strict=True)
    if unlike := [repr(own.name) for own, seen in shapes if own.shape != seen.shape]:
        # config.pbtxt has the model's, and NVIDIA's backend loads no file with others.
        raise _RefusedError(Note.of("variant_other_tensors", names=", ".join(unlike)))
    if check.batchable != original.batchable:
        why = check.reason or Note.of("variant_batches")
        raise _RefusedError(Note.of("variant_batches_otherwise", reason=why))
    rows = rows_note(original.load, found.row_count)
    said = Note.of(
        "variant_outputs",
        name=variant.name,
        origin=variant.origin,
        rows=rows,
        outputs=tuple(map(difference_note, found.outputs)),
    )
    variant = replace(variant, outputs=found.outputs, outputs_note=said)
    if far := beyond(found.outputs, **tolerance.model_dump()):
        return replace(variant, refused=_refusal(variant, beyond_note(far, rows, tolerance)))
    if check.batchable and check.reason is not None:
        # The scale of dynamic quantization spans the batch.
        return replace(variant, batch_note=Note.of("variant_in_batches", name=variant.name, reason=check.reason))
    return variant


def _other_tensors(model: ModelSignature, variant: ModelSignature) -> list[str]:
    """The inputs and outputs that one of both lacks, or that have another type, rank or size."""
    own, others = (
        {spec.name: spec for spec in (*signature.inputs, *signature.outputs)} for signature in (model, variant)
    )
    return sorted(name for name in own | others if not _alike(own.get(name), others.get(name)))


def _alike(one: TensorSpec | None, other: TensorSpec | None) -> bool:
    """Whether both are the same as far as both say it: -1 is any size."""
    if one is None or other is None or (one.datatype, len(one.shape)) != (other.datatype, len(other.shape)):
        return False
    return all(
        size == of_other or -1 in (size, of_other) for size, of_other in zip(one.shape, other.shape, strict=True)
    )
