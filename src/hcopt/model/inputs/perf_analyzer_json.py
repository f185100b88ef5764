"""Writes the rows of a load as the JSON file that perf_analyzer reads with `--input-data`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcopt.errors import OutputError
from hcopt.model.inputs.values import LoadData, LoadTensor
from hcopt.system.files import whole_file

# Longer tensors are written in base64, which perf_analyzer reads faster.
_MAX_LISTED_ELEMENTS = 64


def write_perf_analyzer_json(load: LoadData, path: Path) -> None:
    """Writes the rows as a file for perf_analyzer's `--input-data`.

    Each row is one step of one stream. A request with client batch size b holds b rows on end. A connection's k-th
    request begins at row (t + k * T) * b, counted from 0 and beginning again at the first after the last, where t is
    its thread and T the number of threads: requests hold different rows, as long as there are so many.

    Raises:
        OutputError: The file cannot be written.

    Source: docs/input_data.md, src/data_loader.cc and InferContext::UpdateJsonData of
        triton-inference-server/perf_analyzer. FP32 has to be written with a decimal point, FP16 and BF16 only in
        base64, and strings in base64 with their lengths.
    """
    try:
        with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.write('{"data": [\n')
            for index in range(load.row_count):
                row = {tensor.name: _step(tensor, index) for tensor in load.tensors}
                file.write(f"{json.dumps(row)}{',' if index + 1 < load.row_count else ''}\n")
            file.write("]}\n")
    except OSError as error:
        raise OutputError(
            f"cannot write the rows of the load to {path}: {error.strerror}",
            remedy="Make room, or give another folder with --output.",
        ) from error


def _step(tensor: LoadTensor, index: int) -> dict[str, Any]:
    values = tensor.rows[index]
    content: Any = _listed(values, tensor.datatype) if values.size <= _MAX_LISTED_ELEMENTS else None
    if content is None:
        content = {"b64": base64.b64encode(_bytes(values, tensor.datatype)).decode("ascii")}
    return {"content": content, "shape": list(values.shape)}


def _listed(values: NDArray[Any], datatype: str) -> list[Any] | None:
    """The values as JSON, or None where JSON, or perf_analyzer's reading of it, has no form for them."""
    flat: list[Any] = values.ravel().tolist()
    if not flat:
        return flat  # It crashes on empty base64, and an empty list has no type that it could refuse.
    if datatype == "BYTES":
        return None if any("\0" in text for text in flat) else flat
    if datatype in {"FP16", "BF16"} or not np.isfinite(values).all():
        return None
    return flat


def _bytes(values: NDArray[Any], datatype: str) -> bytes:
    """The tensor as it goes over the wire: row-major, little-endian."""
    from tritonclient.utils import serialize_byte_tensor

    if datatype == "BYTES":
        return bytes(serialize_byte_tensor(values).item())
    if datatype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
