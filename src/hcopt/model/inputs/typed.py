"""Turns values as they stand in a file into rows of an input: its type, its shape; what does not fit is named."""

from __future__ import annotations

from statistics import mode
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcopt.model.inputs.values import Input, MisfitError, fits, numpy_dtype
from hcopt.records.note import Note


def as_rows(tensor: Input, values: Any) -> NDArray[Any]:
    """The values as `[rows, *dims]`; a single row may come without the first dimension.

    Raises:
        MisfitError: They are no rows of this input; the first row that does not fit is named where only some do not.
    """
    try:
        array = _completed(as_typed(tensor, values), tensor.dims)
    except MisfitError as error:
        raise (_first_bad_row(tensor, values) or error) from error
    forms = [array]
    if array.ndim <= len(tensor.dims):
        ones = [array[None], array[:, None] if array.ndim else array[None, None]]
        forms += reversed(ones) if tensor.has_row_dimension else ones
    for form in forms:
        if form.ndim and fits(form.shape[1:], tensor.dims):
            return form
    if array.shape[:1] == (0,):
        raise MisfitError(Note.of("example_empty"))
    raise misfit(tensor, expected=_listed("rows", *tensor.dims), found=list(array.shape))


def as_typed(tensor: Input, values: Any) -> NDArray[Any]:
    """The values as an array of the input's type, of whatever shape.

    Raises:
        MisfitError: They are no array, or one of the values is none of the type.
    """
    dtype = numpy_dtype(tensor.datatype)
    # As Python's own integers, since numpy makes floats of some lists of large ones, and as its own texts, since numpy
    # makes texts of numbers among them.
    keeps_objects = dtype.itemsize == 8 and dtype.kind in "iu" and not isinstance(values, np.ndarray)
    try:
        array = np.asarray(values, dtype=object if keeps_objects or tensor.datatype == "BYTES" else None)
        if tensor.datatype == "BYTES":
            return _texts(tensor, array)
        # JSON's null is a missing value: NaN where the type has one.
        number = array.astype(np.float64) if array.dtype == object and not keeps_objects else array
        if number.dtype.kind not in "fiubO":
            raise misfit(tensor, expected=dtype, found=number.dtype)
        with np.errstate(all="ignore"):
            typed: NDArray[Any] = number.astype(dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise MisfitError(Note.of("example_misfit_error", name=tensor.name, reason=str(error))) from error
    lost = np.isfinite(number) & ~np.isfinite(typed) if dtype.kind == "f" else typed != number
    if lost.any():
        value = number[lost][0]
        raise MisfitError(Note.of("example_misfit_value", name=tensor.name, value=str(value), datatype=tensor.datatype))
    return typed


def misfit(tensor: Input, *, expected: object, found: object) -> MisfitError:
    """An input got something else than it takes."""
    return MisfitError(Note.of("example_misfit", name=tensor.name, expected=str(expected), found=str(found)))


def in_row(error: MisfitError, row: int) -> MisfitError:
    """The error with the number of the row that it is about, from 0."""
    return MisfitError(Note.of("example_row", reason=error.note, row=row))


def _texts(tensor: Input, array: NDArray[Any]) -> NDArray[Any]:
    texts = [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]
    others = [type(text).__name__ for text in texts if not isinstance(text, str)]
    if others:
        raise misfit(tensor, expected="strings", found=others[0])
    return np.array(texts, dtype=object).reshape(array.shape)


def _completed(array: NDArray[Any], dims: tuple[int, ...]) -> NDArray[Any]:
    """Lists end at an empty one: the dimensions behind it, which they cannot tell, are the model's."""
    behind = dims[array.ndim - 1 :]
    if not array.ndim or array.shape[-1] or -1 in behind:
        return array
    return array.reshape(*array.shape, *behind)


def _first_bad_row(tensor: Input, values: Any) -> MisfitError | None:
    """What is wrong with the first row that does not fit, or has another shape than those before it."""
    if not (isinstance(values, list) and values) and not (isinstance(values, np.ndarray) and values.ndim):
        return None
    rank = mode(map(_depth, values))
    left_out = len(tensor.dims) - rank
    # A row may come without a first dimension of one.
    if left_out not in (0, 1) or (left_out == 1 and not tensor.has_row_dimension and tensor.dims[0] != 1):
        return None
    dims = tensor.dims[left_out:]
    for row, found in enumerate(values):
        try:
            shape = as_typed(tensor, found).shape
        except MisfitError as error:
            return in_row(error, row)
        if not fits(shape, dims):
            return in_row(misfit(tensor, expected=_listed(*dims), found=list(shape)), row)
        dims = shape
    return None


def _depth(values: Any) -> int:
    """How deep lists are nested, along the first of each."""
    if isinstance(values, np.ndarray):
        return values.ndim
    depth = 0
    while isinstance(values, list):
        depth += 1
        values = values[0] if values else None
    return depth


def _listed(*dims: object) -> str:
    return f"[{', '.join(map(str, dims))}]"
