"""Reads the rows of an input example that came with the model, or that the user gave."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcopt.model.inputs.request_json import rows_of_requests
from hcopt.model.inputs.typed import as_rows, in_row
from hcopt.model.inputs.values import (
    MAX_BYTES,
    MAX_EXAMPLE_ROWS,
    MAX_FILE_BYTES,
    NEITHER,
    Input,
    LoadData,
    LoadTensor,
    MisfitError,
)
from hcopt.records.note import Note


def from_example(file: Path, inputs: Sequence[Input]) -> LoadData:
    """The rows of an input example.

    Raises:
        MisfitError: They are not rows of these inputs.
    """
    content = _read(file)
    rows = rows_of_requests(content, inputs)
    if rows is None:
        values = _by_input(content, [tensor.name for tensor in inputs])
        rows = [as_rows(tensor, values[tensor.name]) for tensor in inputs]
    counts = {tensor.name: len(found) for tensor, found in zip(inputs, rows, strict=True)}
    if len(set(counts.values())) > 1:
        raise MisfitError(Note.of("example_counts_differ", counts=str(counts)))
    count = next(iter(counts.values()))
    if count == 0:
        raise MisfitError(Note.of("example_empty"))
    kept = min(count, MAX_EXAMPLE_ROWS, max(2, MAX_BYTES // _bytes_a_row(found[0] for found in rows)))
    cut = Note.of("example_cut", kept=kept, count=count)
    return LoadData(
        tensors=tuple(
            LoadTensor(name=tensor.name, datatype=tensor.datatype, rows=found[:kept])
            for tensor, found in zip(inputs, rows, strict=True)
        ),
        origin="input example",
        notes=(cut,) if kept < count else (),
    )


def _bytes_a_row(arrays: Iterable[NDArray[Any]]) -> int:
    return max(1, sum(array.size * array.dtype.itemsize for array in arrays))


def _read(file: Path) -> Any:
    try:
        size_bytes = file.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise _too_large(size_bytes)
        return _arrays(file) if file.suffix == ".npz" else json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        said = error.strerror or error
        raise MisfitError(Note.of("example_unreadable", reason=str(said))) from error
    except NEITHER as error:
        raise MisfitError(Note.of("example_no_format", reason=str(error))) from error


def _too_large(size_bytes: int) -> MisfitError:
    return MisfitError(Note.of("example_too_large", size_bytes=size_bytes, most_bytes=MAX_FILE_BYTES))


def _arrays(file: Path) -> dict[str, Any]:
    """The arrays of an archive; its members are read, never unpacked to files."""
    with zipfile.ZipFile(file) as archive:
        unpacked_bytes = sum(member.file_size for member in archive.infolist())
    # Compressed a thousandfold it may be small.
    if unpacked_bytes > MAX_FILE_BYTES:
        raise _too_large(unpacked_bytes)
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _by_input(content: Any, names: Sequence[str]) -> dict[str, Any]:
    """Each input's values in the forms that MLflow and its scoring protocol know.

    Source: _Example in mlflow/models/utils.py, and "Accepted inputs" in MLflow's page on model serving.
    """
    if isinstance(content, dict):
        return _from_object(content, names)
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        columns = list(content[0])
        other = next((index for index, row in enumerate(content) if set(row) != set(columns)), None)
        if other is not None:
            raise in_row(MisfitError(Note.of("example_keys_differ")), other)
        return _from_table(columns, [[row[column] for column in columns] for row in content], names)
    if len(names) == 1:
        return {names[0]: content}
    wanted = ", ".join(names)
    raise MisfitError(Note.of("example_one_array", wanted=wanted))


def _from_object(content: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    if set(names) <= set(content):
        return {name: content[name] for name in names}
    for key in ("dataframe_split", "dataframe_records", "inputs", "instances"):
        if key in content:
            return _by_input(content[key], names)
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):
        return _from_table(content["columns"], content["data"], names)
    if len(names) == 1 and content:
        # Columns by name, of one tensor: one value each is a row, a list each is a table.
        cells = list(content.values())
        columns = [cell if isinstance(cell, list) else [cell] for cell in cells]
        if len({len(column) for column in columns}) == 1:
            return {names[0]: [list(row) for row in zip(*columns, strict=True)]}
    found, wanted = ", ".join(map(str, list(content)[:10])), ", ".join(names)
    raise MisfitError(Note.of("example_other_names", found=found or "nothing", wanted=wanted))


def _from_table(columns: Sequence[Any], data: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    for index, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            raise in_row(MisfitError(Note.of("example_row_lengths", columns=len(columns))), index)
    if set(names) <= set(columns):
        return {name: [row[columns.index(name)] for row in data] for name in names}
    if len(names) == 1:
        return {names[0]: data}
    found, wanted = ", ".join(map(str, columns)), ", ".join(names)
    raise MisfitError(Note.of("example_other_columns", found=found, wanted=wanted))
