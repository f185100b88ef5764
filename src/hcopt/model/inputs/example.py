"""Rows out of an input example that came with the model, or that the user gave."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcopt.model.inputs.values import (
    MAX_BYTES,
    MAX_EXAMPLE_ROWS,
    MAX_FILE_BYTES,
    NEITHER,
    Input,
    LoadData,
    LoadTensor,
    MisfitError,
    fits,
    numpy_dtype,
)
from hcopt.records.note import Note

if TYPE_CHECKING:
    from numpy.typing import NDArray


def from_example(file: Path, inputs: Sequence[Input]) -> LoadData:
    """The rows of an input example.

    Raises:
        MisfitError: They are not rows of these inputs.
    """
    values = _by_input(_read(file), [tensor.name for tensor in inputs])
    rows = [_rows(tensor, values[tensor.name]) for tensor in inputs]
    counts = {tensor.name: len(found) for tensor, found in zip(inputs, rows, strict=True)}
    if len(set(counts.values())) > 1:
        raise MisfitError(
            f"has different numbers of rows for its inputs: {counts}", ko=f"입력마다 행 수가 다름: {counts}"
        )
    count = next(iter(counts.values()))
    if count == 0:
        raise MisfitError("has no rows", ko="행이 없음")
    kept = min(count, MAX_EXAMPLE_ROWS, max(2, MAX_BYTES // _bytes_a_row(found[0] for found in rows)))
    cut = Note(
        en=f"The load takes the first {kept} of the {count} rows of the input example.",
        ko=f"입력 예시 {count}행 중 처음 {kept}행만 부하에 사용.",
    )
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
        raise MisfitError(f"cannot be read: {said}", ko=f"읽을 수 없음({said})") from error
    except NEITHER as error:
        raise MisfitError(f"is neither JSON nor .npz: {error}", ko=f"JSON도 .npz도 아님({error})") from error


def _too_large(size_bytes: int) -> MisfitError:
    return MisfitError(
        f"has {size_bytes} bytes, and at most {MAX_FILE_BYTES} are read",
        ko=f"{size_bytes}바이트, 최대 {MAX_FILE_BYTES}바이트까지 읽음",
    )


def _arrays(file: Path) -> dict[str, Any]:
    """The arrays of an archive; its members are read, never unpacked to files."""
    import numpy as np

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
        if any(set(row) != set(columns) for row in content):
            raise MisfitError("has rows with different keys", ko="행마다 key가 다름")
        return _from_table(columns, [[row[column] for column in columns] for row in content], names)
    if len(names) == 1:
        return {names[0]: content}
    wanted = ", ".join(names)
    raise MisfitError(
        f"is one array, but the model has the inputs {wanted}", ko=f"배열은 하나인데 모델 입력은 여러 개임({wanted})"
    )


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
    raise MisfitError(
        f"has {found or 'nothing'}, but the model has the inputs {wanted}",
        ko=f"예시의 항목({found or '없음'})이 모델의 입력({wanted})과 다름",
    )


def _from_table(columns: Sequence[Any], data: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    if any(not isinstance(row, list) or len(row) != len(columns) for row in data):
        raise MisfitError(
            f"has rows that are not {len(columns)} long, as its columns are",
            ko=f"열의 수({len(columns)})와 길이가 다른 행이 있음",
        )
    if set(names) <= set(columns):
        return {name: [row[columns.index(name)] for row in data] for name in names}
    if len(names) == 1:
        return {names[0]: data}
    found, wanted = ", ".join(map(str, columns)), ", ".join(names)
    raise MisfitError(
        f"has the columns {found}, but the model has the inputs {wanted}",
        ko=f"예시의 열({found})이 모델의 입력({wanted})과 다름",
    )


def _rows(tensor: Input, values: Any) -> NDArray[Any]:
    """The values as `[rows, *dims]`; a single row may come without the first dimension."""
    array = _typed(tensor, values)
    forms = [array[None], *([array[:, None]] if array.ndim else [array[None, None]])]
    if tensor.has_row_dimension:
        forms.reverse()
    for form in (array, *forms):
        if form.ndim and fits(form.shape[1:], tensor.dims):
            return form
    expected = ", ".join(str(dim) for dim in ("rows", *tensor.dims))
    raise _mismatch(tensor, expected=f"[{expected}]", found=str(list(array.shape)))


def _mismatch(tensor: Input, *, expected: object, found: object) -> MisfitError:
    return MisfitError(
        f"does not fit the input {tensor.name!r}: expected {expected}, found {found}",
        ko=f"입력 {tensor.name!r}에 맞지 않음(필요: {expected}, 실제: {found})",
    )


def _typed(tensor: Input, values: Any) -> NDArray[Any]:
    import numpy as np

    dtype = numpy_dtype(tensor.datatype)
    # As Python's own integers, since numpy makes floats of some lists of large ones.
    keeps_objects = dtype.itemsize == 8 and dtype.kind in "iu" and not isinstance(values, np.ndarray)
    try:
        array = np.asarray(values, dtype=object if keeps_objects else None)
        if tensor.datatype == "BYTES":
            return _texts(tensor, array)
        # JSON's null is a missing value: NaN where the type has one.
        number = array.astype(np.float64) if array.dtype == object and not keeps_objects else array
        if number.dtype.kind not in "fiubO":
            raise _mismatch(tensor, expected=dtype, found=number.dtype)
        with np.errstate(all="ignore"):
            typed: NDArray[Any] = number.astype(dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise MisfitError(
            f"does not fit the input {tensor.name!r}: {error}", ko=f"입력 {tensor.name!r}에 맞지 않음({error})"
        ) from error
    lost = np.isfinite(number) & ~np.isfinite(typed) if dtype.kind == "f" else typed != number
    if lost.any():
        value = number[lost][0]
        raise MisfitError(
            f"does not fit the input {tensor.name!r}: {value!s} is no {tensor.datatype}",
            ko=f"입력 {tensor.name!r}에 맞지 않음({value!s} 값은 {tensor.datatype} 타입이 아님)",
        )
    return typed


def _texts(tensor: Input, array: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    texts = [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]
    if not all(isinstance(text, str) for text in texts):
        raise _mismatch(tensor, expected="strings", found=array.dtype)
    return np.array(texts, dtype=object).reshape(array.shape)
