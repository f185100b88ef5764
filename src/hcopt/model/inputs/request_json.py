"""Reads rows from requests written as JSON: the steps of perf_analyzer's `--input-data`, and a request of KServe V2.

Source: docs/input_data.md of triton-inference-server/perf_analyzer, whose strings in base64 stand after their lengths;
the inference request of KServe's "Open Inference Protocol (V2)".
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcopt.model.inputs.typed import as_rows, as_typed, in_row, misfit
from hcopt.model.inputs.values import Input, MisfitError, fits, numpy_dtype
from hcopt.records.note import Note

# NumPy has no more than 64 dimensions, and no tensor has so many.
_MAX_RANK = 32


def rows_of_requests(content: Any, inputs: Sequence[Input]) -> list[NDArray[Any]] | None:
    """Each input's rows as `[rows, *dims]`, or None where this is neither form.

    What the forms have beside the inputs (`outputs`, `parameters`, `validation_data`) is passed over.

    Raises:
        MisfitError: It is one of the forms, and these are no rows of these inputs.
    """
    if not isinstance(content, dict):
        return None
    if _are_tensors(content.get("inputs")):
        return _of_tensors({tensor["name"]: tensor for tensor in content["inputs"]}, inputs)
    steps = None if "columns" in content else _steps(content.get("data"))
    if steps is None:
        return None
    if not steps:
        raise MisfitError(Note.of("example_empty"))
    return _of_steps(steps, inputs)


def _are_tensors(found: Any) -> bool:
    return isinstance(found, list) and bool(found) and all(map(_is_tensor, found))


def _is_tensor(found: Any) -> bool:
    """Whether this is one, and no row of a table that has such columns."""
    if not isinstance(found, dict) or not {"name", "shape"} <= set(found):
        return False
    return isinstance(found["name"], str) and ("datatype" in found or isinstance(found["shape"], list))


def _of_tensors(tensors: Mapping[str, Mapping[str, Any]], inputs: Sequence[Input]) -> list[NDArray[Any]]:
    _refuse_missing(tensors, inputs)
    rows = []
    for tensor in inputs:
        found = tensors[tensor.name]
        if not isinstance(found.get("data"), list):
            raise MisfitError(Note.of("example_no_data", name=tensor.name))
        values = np.array(_flat(found["data"]), dtype=object)
        shaped = _reshaped(tensor, values, _shape(tensor, found["shape"]))
        # As lists, so that one row is named where it alone does not fit; an empty one has no shape then.
        rows.append(as_rows(tensor, shaped.tolist() if shaped.size else shaped))
    return rows


def _flat(values: list[Any]) -> list[Any]:
    while any(isinstance(value, list) for value in values):
        values = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return values


def _steps(data: Any) -> list[Any] | None:
    """The steps of all streams, one after the other; None where these are none."""
    if not isinstance(data, list):
        return None
    if data and all(isinstance(stream, list) for stream in data):
        data = [step for stream in data for step in stream]
        return data if any(isinstance(step, dict) for step in data) else None
    return data if not data or any(isinstance(step, dict) for step in data) else None


def _of_steps(steps: Sequence[Any], inputs: Sequence[Input]) -> list[NDArray[Any]]:
    rows = [list[NDArray[Any]]() for _ in inputs]
    for number, step in enumerate(steps):
        for tensor, known, found in zip(inputs, rows, _of_one_step(step, number, inputs), strict=True):
            known.append(found)
            shape, first = list(found.shape[1:]), list(known[0].shape[1:])
            if shape != first:
                raise in_row(misfit(tensor, expected=first, found=shape), number)
    return [np.concatenate(found) for found in rows]


def _of_one_step(step: Any, number: int, inputs: Sequence[Input]) -> list[NDArray[Any]]:
    try:
        if not isinstance(step, dict):
            raise MisfitError(Note.of("example_keys_differ"))
        _refuse_missing(step, inputs)
        return [_of_step(tensor, step[tensor.name]) for tensor in inputs]
    except MisfitError as error:
        raise in_row(error, number) from error


def _of_step(tensor: Input, value: Any) -> NDArray[Any]:
    """One step's rows of an input: one, or as many as the first dimension says where the batch is in its shape."""
    array, dims = _array(tensor, value), tensor.dims
    if fits(array.shape, dims):
        return array[None]
    if array.ndim and fits(array.shape[1:], dims):
        return array
    if tensor.has_row_dimension and fits(array.shape, dims[1:]):
        return array[None, None]
    raise misfit(tensor, expected=list(dims), found=list(array.shape))


def _array(tensor: Input, value: Any) -> NDArray[Any]:
    shape = value.get("shape") if isinstance(value, dict) else None
    content = value.get("content") if isinstance(value, dict) and "b64" not in value else value
    if isinstance(content, dict) and isinstance(content.get("b64"), str):
        content = _decoded(tensor, content["b64"])
    elif not isinstance(content, list):
        raise MisfitError(Note.of("example_no_data", name=tensor.name))
    array = as_typed(tensor, content)
    if shape is not None:
        return _reshaped(tensor, array.ravel(), _shape(tensor, shape))
    if array.ndim > 1 or tensor.dims.count(-1) > 1:
        return array
    try:
        return array.reshape(tensor.dims)
    except ValueError as error:
        raise misfit(tensor, expected=list(tensor.dims), found=list(array.shape)) from error


def _decoded(tensor: Input, text: str) -> Any:
    """The values of a tensor as it goes over the wire: row-major, little-endian."""
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
        if tensor.datatype == "BYTES":
            return _texts(content)
        dtype = "<u2" if tensor.datatype == "BF16" else numpy_dtype(tensor.datatype).newbyteorder("<")
        values = np.frombuffer(content, dtype) if content else np.empty(0, dtype)
    except ValueError as error:
        raise MisfitError(Note.of("example_misfit_error", name=tensor.name, reason=str(error))) from error
    return (values.astype("<u4") << 16).view("<f4") if tensor.datatype == "BF16" else values


def _texts(content: bytes) -> list[str]:
    """Raises ValueError where they are no texts, each after its length in four bytes."""
    texts, at = list[str](), 0
    while at < len(content):
        start = at + 4
        at = start + int.from_bytes(content[at:start], "little")
        if start > len(content) or at > len(content):
            raise ValueError(f"a text ends at byte {at} of {len(content)}; each stands after its length in 4 bytes")
        texts.append(content[start:at].decode())
    return texts


def _shape(tensor: Input, found: Any) -> tuple[int, ...]:
    if not isinstance(found, list) or len(found) > _MAX_RANK or any(type(dim) is not int or dim < 0 for dim in found):
        raise misfit(tensor, expected=list(tensor.dims), found=str(found)[:80])
    return tuple(found)


def _reshaped(tensor: Input, values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    if math.prod(shape) != values.size:
        raise MisfitError(Note.of("example_misfit_count", name=tensor.name, count=values.size, shape=str(list(shape))))
    try:
        return values.reshape(shape)
    except (ValueError, OverflowError) as error:
        raise MisfitError(Note.of("example_misfit_error", name=tensor.name, reason=str(error))) from error


def _refuse_missing(found: Mapping[str, Any], inputs: Sequence[Input]) -> None:
    if not {tensor.name for tensor in inputs} <= set(found):
        names, wanted = ", ".join(map(str, list(found)[:10])), ", ".join(tensor.name for tensor in inputs)
        raise MisfitError(Note.of("example_other_names", found=names or "nothing", wanted=wanted))
