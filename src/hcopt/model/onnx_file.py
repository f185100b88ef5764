"""Reads an ONNX file, without running it: its inputs and outputs, and the files of its external data."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hcopt.errors import ModelSourceError
from hcopt.records.model import ModelSignature, TensorSpec

if TYPE_CHECKING:
    import onnx

# TensorProto.DataType -> Triton's name. Source: ConvertFromOnnxDataType in onnxruntime_backend/src/onnx_utils.cc.
_SAME_NAMES = ("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
_OTHER_NAMES = {"FLOAT": "FP32", "FLOAT16": "FP16", "DOUBLE": "FP64", "BFLOAT16": "BF16", "STRING": "BYTES"}
_TRITON_DATATYPES = {**{name: name for name in _SAME_NAMES}, **_OTHER_NAMES}
# Longer ones cannot be: a protobuf message has its length in 31 bits.
_MAX_BYTES = 2**31 - 1
# Of the IR. Source: "Graphs" in onnx/docs/IR.md.
_REPLACEABLE_SINCE = 4
# ONNX Runtime takes the offset of such a tensor for an address in its own memory. Source: kTensorProtoMemoryAddressTag
# in onnxruntime/core/framework/tensorprotoutils.h.
_IN_MEMORY = "*/_ORT_MEM_ADDR_/*"
# Of Linux, in bytes: NAME_MAX, and PATH_MAX less some for the folder.
_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 4096 - 256


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxModel:
    """What an ONNX file says about itself.

    Attributes:
        signature: Inputs and outputs; -1 is a dynamic dimension.
        external_files: Files with weights beside the ONNX file, relative to its folder.
    """

    signature: ModelSignature
    external_files: tuple[str, ...]


def inspect_onnx(onnx_file: Path) -> OnnxModel:
    """Reads inputs, outputs and external-data files of an ONNX file; weights outside of it are not read.

    Raises:
        ModelSourceError: No such file, not ONNX, no inputs, a tensor type that Triton has no name for, or external data
            that is missing or outside of the file's folder.
    """
    proto = parse_onnx(onnx_file)
    external_files = tuple(
        dict.fromkeys(
            _external_file(onnx_file, tensor, location)
            for tensor in _external_tensors(proto)
            for location in locations_of(tensor) or ("",)
        )
    )
    weights = {tensor.name for tensor in proto.graph.initializer}
    weights |= {tensor.values.name for tensor in proto.graph.sparse_initializer}
    if not all(_has_shape(value) for value in proto.graph.output):
        proto = _with_inferred_shapes(proto)
    inputs = [_tensor_spec(value, onnx_file) for value in proto.graph.input if value.name not in weights]
    if not inputs:
        raise ModelSourceError(f"{onnx_file}: the model has no inputs, so there is nothing to send to it")
    outputs = [_tensor_spec(value, onnx_file) for value in proto.graph.output]
    signature = ModelSignature(
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        optional_inputs=tuple(_replaceable(proto, weights, onnx_file)),
    )
    return OnnxModel(signature=signature, external_files=external_files)


def _replaceable(proto: onnx.ModelProto, weights: set[str], onnx_file: Path) -> Iterator[TensorSpec]:
    """Graph inputs with a value of their own; before IR version 4 every initializer was one, and stayed as it is."""
    if proto.ir_version < _REPLACEABLE_SINCE:
        return
    for value in proto.graph.input:
        if value.name in weights:
            # What Triton has no type for cannot be sent; the model goes without.
            with suppress(ModelSourceError):
                yield _tensor_spec(value, onnx_file)


def has_batch_dimension(signature: ModelSignature) -> bool:
    """Whether the first dimension of every input and output is dynamic, so that the model may batch."""
    return all(spec.shape[:1] == (-1,) for spec in (*signature.inputs, *signature.outputs))


def sha256_of(folder: Path, files: Sequence[str]) -> str:
    """SHA-256 over the contents of `files`, one after the other; of one file it is what `sha256sum` prints."""
    digest = hashlib.sha256()
    for name in files:
        with (folder / name).open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def resolve_inside(folder: Path, name: str) -> Path | None:
    """The file `name` of a folder with its links followed; None where it is no file's, or leads out of the folder."""
    relative = PurePosixPath(name)
    if not name or "\0" in name or relative.is_absolute() or ".." in relative.parts:
        return None
    # Asking for such a file would be an error of its own.
    if len(name.encode(errors="replace")) > _MAX_PATH_BYTES or any(
        len(part.encode(errors="replace")) > _MAX_NAME_BYTES for part in relative.parts
    ):
        return None
    # Not Path.resolve, which fails on a loop of links before Python 3.13.
    target = Path(os.path.realpath(folder / relative))
    return target if target.is_relative_to(os.path.realpath(folder)) else None


def parse_onnx(onnx_file: Path) -> onnx.ModelProto:
    """The content of an ONNX file; weights outside of it are not read.

    Raises:
        ModelSourceError: No such file, or not ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        content = _content(onnx_file)
    except OSError as error:
        raise ModelSourceError(
            f"cannot read the model {onnx_file}: {error.strerror}", remedy="Give the path of an ONNX file."
        ) from error
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise _not_onnx(onnx_file, content) from error
    # Protobuf reads an empty file, and some garbage, as a message without fields.
    if not proto.graph.node or not proto.graph.output:
        raise _not_onnx(onnx_file, content)
    return proto


def _content(onnx_file: Path) -> bytes:
    about = onnx_file.stat()
    if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
        raise ModelSourceError(f"{onnx_file} is a device or a pipe", remedy="Give the path of an ONNX file.")
    if about.st_size > _MAX_BYTES:
        raise ModelSourceError(
            f"{onnx_file} has {about.st_size} bytes, and an ONNX file has less than 2 GiB",
            remedy="Save the model with its weights as external data: onnx.save(…, save_as_external_data=True).",
        )
    return onnx_file.read_bytes()


def _not_onnx(onnx_file: Path, content: bytes) -> ModelSourceError:
    start = content[:512].lstrip().lower()
    looks = ""
    if not content:
        looks = " (it is empty)"
    elif start.startswith((b"<!doctype", b"<html", b"<?xml")):
        looks = " (it is an HTML or XML page, perhaps a login or error page that was saved under this name)"
    elif start.startswith(b"version https://git-lfs"):
        looks = " (it is a Git LFS pointer: run `git lfs pull`)"
    return ModelSourceError(
        f"{onnx_file} is not an ONNX model{looks}; it has {len(content)} bytes",
        remedy="Check the download, or export the model to ONNX again.",
    )


def _external_tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Every tensor whose data is in another file: initializers, constants of nodes, subgraphs and functions."""
    import onnx
    from google.protobuf.message import Message

    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for item in (value,) if isinstance(value, Message) else value:
            if not isinstance(item, onnx.TensorProto):
                yield from _external_tensors(item)
            elif item.data_location == onnx.TensorProto.EXTERNAL:
                yield item


def locations_of(tensor: onnx.TensorProto) -> tuple[str, ...]:
    """The files that a tensor names for its data: all of them, since of several ONNX Runtime takes the last."""
    return tuple(_text(entry.value) for entry in tensor.external_data if entry.key == "location")


def _text(value: str | bytes) -> str:
    """ONNX's strings are not checked when they are parsed: what is no UTF-8 comes as bytes."""
    return value if isinstance(value, str) else value.decode(errors="replace")


def _external_file(onnx_file: Path, tensor: onnx.TensorProto, location: str) -> str:
    target = resolve_inside(onnx_file.parent, location)
    if target is None or location == _IN_MEMORY or not location.isprintable():
        raise ModelSourceError(
            f"{onnx_file}: the weights of {tensor.name!r} lie in {location!r}, which is not inside the model's folder",
            remedy="Save the model again with its external data beside it.",
        )
    if not target.is_file():
        raise ModelSourceError(
            f"{onnx_file}: the file {location!r} with the weights of {tensor.name!r} is missing",
            remedy=f"Put it into {onnx_file.parent}.",
        )
    return str(PurePosixPath(location))


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    return value.type.tensor_type.HasField("shape") or not value.type.HasField("tensor_type")


def _with_inferred_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, TypeError, RuntimeError, MemoryError):
        # Its messages name operators, which may be no text: then it is an error of the codec.
        return proto


def _type_name(elem_type: int) -> str:
    import onnx

    known = onnx.TensorProto.DataType.DESCRIPTOR.values_by_number
    return known[elem_type].name if elem_type in known else f"number {elem_type}"


def _tensor_spec(value: onnx.ValueInfoProto, onnx_file: Path) -> TensorSpec:
    if _text(value.name) != value.name:
        raise ModelSourceError(
            f"{onnx_file}: the name {value.name!r} of an input or output is no text",
            remedy="Export the model with other names.",
        )
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ModelSourceError(
            f"{onnx_file}: {value.name!r} is a {str(kind).removesuffix('_type')}, and Triton serves tensors only",
            remedy="Export the model with tensors as inputs and outputs (for scikit-learn classifiers: zipmap off).",
        )
    tensor = value.type.tensor_type
    datatype = _type_name(tensor.elem_type)
    if datatype not in _TRITON_DATATYPES:
        raise ModelSourceError(
            f"{onnx_file}: {value.name!r} is of type {datatype}, which Triton has no name for",
            remedy="Cast it inside the model to a type that Triton serves, e.g. FLOAT or INT64.",
        )
    if not tensor.HasField("shape"):
        raise ModelSourceError(
            f"{onnx_file}: nothing says how many dimensions {value.name!r} has",
            remedy="Export the model with its output shapes, or add them with onnx.shape_inference.",
        )
    if any(dim.HasField("dim_value") and dim.dim_value == 0 for dim in tensor.shape.dim):
        raise ModelSourceError(
            f"{onnx_file}: {value.name!r} has a dimension that is fixed at 0, which Triton's config.pbtxt cannot say",
            remedy="Export the model with this dimension as a dynamic one; rows may then be of length 0 in it.",
        )
    shape = tuple(dim.dim_value if dim.dim_value > 0 else -1 for dim in tensor.shape.dim)
    return TensorSpec(name=value.name, datatype=_TRITON_DATATYPES[datatype], shape=shape)
