"""Draws random rows from a seed, for a model without an input example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcopt.errors import ConfigError, ModelSourceError
from hcopt.model.inputs.values import MAX_BYTES, MAX_ROW_BYTES, MAX_SYNTHETIC_ROWS, Input, LoadTensor, numpy_dtype


def synthetic_rows(inputs: Sequence[Input], seed: int) -> tuple[LoadTensor, ...]:
    """Rows drawn from a seed.

    Raises:
        ConfigError: An input's shape is open.
        ModelSourceError: A row is larger than what is sent.
    """
    shapes = [_known_dims(tensor) for tensor in inputs]
    size = sum(
        math.prod(shape) * numpy_dtype(tensor.datatype).itemsize for tensor, shape in zip(inputs, shapes, strict=True)
    )
    if size > MAX_ROW_BYTES:
        raise ModelSourceError(
            f"one row of the inputs has {size} bytes, and at most {MAX_ROW_BYTES} are sent: "
            f"{ {tensor.name: list(shape) for tensor, shape in zip(inputs, shapes, strict=True)} }",
            remedy="Give a smaller shape as model.input_shapes where the model leaves it open.",
        )
    count = max(2, min(MAX_SYNTHETIC_ROWS, MAX_BYTES // max(1, size)))
    random = np.random.default_rng(seed)
    return tuple(
        LoadTensor(name=tensor.name, datatype=tensor.datatype, rows=_drawn(tensor.datatype, (count, *shape), random))
        for tensor, shape in zip(inputs, shapes, strict=True)
    )


def _known_dims(tensor: Input) -> tuple[int, ...]:
    dims = (1, *tensor.dims[1:]) if tensor.has_row_dimension else tensor.dims
    if -1 in dims:
        raise ConfigError(
            f"nothing says how large the dynamic dimensions of the input {tensor.name!r} are: it takes "
            f"{list(tensor.dims)}, and no input example is used",
            remedy=f"Give the shape of one row as model.input_shapes: {{{tensor.name}: [...]}}.",
        )
    return dims


def _drawn(datatype: str, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[Any]:
    if datatype in {"FP32", "BF16"}:
        return random.standard_normal(shape, dtype=np.float32)
    if datatype in {"FP16", "FP64"}:
        return random.standard_normal(shape).astype(numpy_dtype(datatype))
    numbers = random.integers(0, 2, shape)
    if datatype == "BYTES":
        return np.where(numbers, "a", "b").astype(object)
    return numbers.astype(numpy_dtype(datatype))
