"""Corrects an ONNX file that declares outputs with a fixed number of rows, though there is one for each row of input.

LightGBM's exporter declares the labels so. Triton does not batch such a model: its backend believes the file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hcopt.errors import OutputError
from hcopt.model.onnx_file import inspect_onnx, parse_onnx, sha256_of
from hcopt.records.model import ModelArtifact, ModelSignature, TensorSpec
from hcopt.records.note import Note
from hcopt.system.files import copy_whole, write_whole_bytes

if TYPE_CHECKING:
    import onnx

# The name of a number of rows that the file itself has no name for.
_ROWS = "rows"


def outputs_with_fixed_rows(signature: ModelSignature) -> tuple[TensorSpec, ...]:
    """The outputs that alone keep a model from being batched; none where an input does, or a scalar."""
    fixed = tuple(spec for spec in signature.outputs if spec.shape[:1] != (-1,))
    free_inputs = all(spec.shape[:1] == (-1,) for spec in signature.inputs)
    return fixed if free_inputs and all(spec.shape for spec in fixed) else ()


def corrected_copy(artifact: ModelArtifact, folder: Path) -> ModelArtifact:
    """A copy of the model whose outputs have as many rows as its inputs; whether that is right, only a run can tell.

    Args:
        artifact: Has outputs with a fixed number of rows.
        folder: Gets the files; made where it is not there.

    Raises:
        OutputError: The folder cannot be written.
    """
    proto = parse_onnx(artifact.folder / artifact.onnx_file)
    names = {spec.name for spec in outputs_with_fixed_rows(artifact.signature)}
    required = {spec.name for spec in artifact.signature.inputs}
    rows = next(_first_dim(value).dim_param for value in proto.graph.input if value.name in required) or _ROWS
    for value in proto.graph.output:
        if value.name in names:
            _first_dim(value).dim_param = rows
    try:
        for name in artifact.files:
            if name == artifact.onnx_file:
                write_whole_bytes(folder / name, proto.SerializeToString(deterministic=True))
            else:
                copy_whole(artifact.folder / name, folder / name)
    except OSError as error:
        raise OutputError(
            f"cannot write a corrected copy of the model to {folder}: {error.strerror}",
            remedy="Give a folder with room and write permission as --output.",
        ) from error
    return replace(
        artifact,
        folder=folder,
        sha256=sha256_of(folder, artifact.files),
        signature=inspect_onnx(folder / artifact.onnx_file).signature,
    )


def correction_note(original: ModelArtifact, corrected: ModelArtifact) -> Note:
    """What was changed, with both digests."""
    names = ", ".join(repr(spec.name) for spec in outputs_with_fixed_rows(original.signature))
    return Note.of("outputs_corrected", names=names, sha256=corrected.sha256, source_sha256=original.sha256)


def _first_dim(value: onnx.ValueInfoProto) -> onnx.TensorShapeProto.Dimension:
    first: onnx.TensorShapeProto.Dimension = value.type.tensor_type.shape.dim[0]
    return first
