"""Tensors to send to a model, what ONNX Runtime makes of them, and whether an answer is the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime

from tests.support.triton import Answer, Arrays

NUMPY_TYPES: dict[str, type] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def some(datatype: str, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    """Random values of a type."""
    random = np.random.default_rng(seed)
    if datatype.startswith("FP"):
        return (random.standard_normal(shape) * 100).astype(NUMPY_TYPES[datatype])
    if datatype == "BOOL":
        return random.integers(0, 2, shape).astype(np.bool_)
    limits = np.iinfo(NUMPY_TYPES[datatype])
    return random.integers(limits.min, limits.max, shape, dtype=NUMPY_TYPES[datatype], endpoint=True)


def expected(proto: onnx.ModelProto, inputs: Arrays) -> dict[str, np.ndarray]:
    """What ONNX Runtime in this process gives."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def assert_same(got: Answer, wanted: Arrays, *, exact: bool = True) -> None:
    """Fails where an answer has other tensors."""
    assert isinstance(got, dict), got
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        assert got[name].dtype == array.dtype
        if exact:
            np.testing.assert_array_equal(got[name], array)
        else:
            # Another batch size may take another path through the matrix product.
            np.testing.assert_allclose(got[name], array, rtol=1e-6)
