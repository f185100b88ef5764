"""A model's input example, or synthetic rows where it has none, become the rows that the load sends.

Never perf_analyzer's own random bits, which are values of 1e31 and the like. perf_analyzer is started elsewhere.
"""

from __future__ import annotations

import base64
import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hcopt.errors import ConfigError, ModelSourceError, OutputError
from hcopt.records.model import ModelArtifact
from hcopt.records.note import Note
from hcopt.system.files import whole_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tritonclient.grpc.model_config_pb2 import ModelConfig

Origin = Literal["input example", "synthetic"]

# What NumPy and zipfile raise for an archive that is none, or one that lies about itself.
_NEITHER: tuple[type[Exception], ...] = (
    *(ValueError, RecursionError, LookupError, EOFError, SyntaxError, MemoryError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)

_MAX_EXAMPLE_ROWS = 1024
_MAX_SYNTHETIC_ROWS = 256
# perf_analyzer parses the file and keeps all rows in memory, at every start.
_MAX_BYTES = 32 * 2**20
# A file of examples is read whole, and a request is built whole.
_MAX_FILE_BYTES = 256 * 2**20
_MAX_ROW_BYTES = 256 * 2**20
# Longer tensors are written in base64, which perf_analyzer reads faster.
_MAX_LISTED_ELEMENTS = 64

# numpy has no BF16: such rows are float32 here, as in tritonclient.
_NUMPY_NAMES = {"BYTES": "object", "BF16": "float32", "FP16": "float16", "FP32": "float32", "FP64": "float64"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadTensor:
    """The rows of one input.

    Attributes:
        datatype: Triton's name of the type.
        rows: `[rows, *dims]`, each row as a client sends it, without a batch dimension.
    """

    name: str
    datatype: str
    rows: NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadData:
    """The rows that a load sends, in turn.

    Attributes:
        tensors: One entry for each input, all with the same number of rows.
        origin: Where the rows come from.
        notes: What the user has to know about them.
    """

    tensors: tuple[LoadTensor, ...]
    origin: Origin
    notes: tuple[Note, ...] = ()

    @property
    def rows(self) -> dict[str, NDArray[Any]]:
        """Each input's rows by its name, as `check_servable` takes them."""
        return {tensor.name: tensor.rows for tensor in self.tensors}

    @property
    def row_count(self) -> int:
        """How many different rows there are."""
        return len(self.tensors[0].rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """What the server takes: `dims` is one row's, and -1 in it may be any size.

    Attributes:
        has_row_dimension: The first of `dims` looks like a number of rows, though max_batch_size is 0: one a request.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    has_row_dimension: bool


class _MisfitError(Exception):
    """An example that is not one of this model; its message goes on from "it …", and `ko` says the same in Korean."""

    def __init__(self, en: str, *, ko: str) -> None:
        super().__init__(en)
        self.ko = ko


def build_load(
    artifact: ModelArtifact,
    base_config: ModelConfig,
    *,
    input_shapes: Mapping[str, tuple[int, ...]],
    input_example: str = "auto",
    seed: int = 0,
) -> LoadData:
    """The rows to send to a model: those of its input example, else synthetic ones.

    Synthetic floats are standard normal; integers are 0 and 1, so that indices stay in range.

    Args:
        artifact: The model.
        base_config: Its default configuration, which says what a client sends.
        input_shapes: Shape of one row, without the batch dimension, for inputs with dynamic dimensions.
        input_example: `auto` (the example that came with the model), `none`, or the path of a JSON or .npz file.
        seed: Of the synthetic rows.

    Raises:
        ConfigError: `input_shapes` does not fit the model, or nothing says how large a dynamic dimension is.
        ModelSourceError: The file given as `input_example` is no example of this model's inputs.
    """
    inputs = _inputs(artifact, base_config, input_shapes)
    given = input_example not in {"auto", "none"}
    file = Path(input_example) if given else artifact.input_example if input_example == "auto" else None
    notes: list[Note] = []
    if file is not None:
        try:
            return _from_example(file, inputs)
        except _MisfitError as error:
            if given:
                raise ModelSourceError(
                    f"model.input_example: {file} {error}", remedy="Give rows of this model's inputs, or `none`."
                ) from error
            notes.append(
                Note(
                    en=f"The input example that came with the model is not used: it {error}.",
                    ko=f"모델에 포함된 입력 예시를 사용하지 않음: {error.ko}.",
                )
            )
    notes.append(
        Note(
            en="The load consists of synthetic rows; model.input_example gives real ones.",
            ko="합성 데이터로 부하 생성, 실제 데이터는 model.input_example로 지정 가능.",
        )
    )
    if any(tensor.has_row_dimension and tensor.dims[0] == -1 for tensor in inputs):
        notes.append(
            Note(
                en="The first dimension of the inputs is dynamic, and 1 in every request; model.input_shapes changes "
                "it.",
                ko="입력의 첫 차원이 가변이므로 모든 요청에서 1로 설정, model.input_shapes로 변경 가능.",
            )
        )
    return LoadData(tensors=_synthetic(inputs, seed), origin="synthetic", notes=tuple(notes))


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
    listed = _listed(values, tensor.datatype) if values.size <= _MAX_LISTED_ELEMENTS else None
    encoded = {"b64": base64.b64encode(_bytes(values, tensor.datatype)).decode("ascii")} if listed is None else None
    return {"content": encoded or listed, "shape": list(values.shape)}


def _listed(values: NDArray[Any], datatype: str) -> list[Any] | None:
    """The values as JSON, or None where JSON, or perf_analyzer's reading of it, has no form for them."""
    import numpy as np

    flat: list[Any] = values.ravel().tolist()
    if datatype == "BYTES":
        return None if any("\0" in text for text in flat) else flat
    if datatype in {"FP16", "BF16"} or not np.isfinite(values).all():
        return None
    return flat


def _bytes(values: NDArray[Any], datatype: str) -> bytes:
    """The tensor as it goes over the wire: row-major, little-endian."""
    import numpy as np

    if datatype == "BYTES":
        texts = [text.encode() for text in values.ravel().tolist()]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    if datatype == "BF16":
        return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


def _inputs(
    artifact: ModelArtifact, config: ModelConfig, input_shapes: Mapping[str, tuple[int, ...]]
) -> tuple[_Input, ...]:
    from tritonclient.grpc.model_config_pb2 import DataType

    has_row_dimension = config.max_batch_size == 0 and all(
        spec.shape[:1] == (-1,) for spec in artifact.signature.inputs
    )
    inputs = []
    for tensor in config.input:
        datatype = DataType.Name(tensor.data_type).removeprefix("TYPE_")
        found = _Input(
            name=tensor.name,
            datatype="BYTES" if datatype == "STRING" else datatype,
            dims=tuple(tensor.dims),
            has_row_dimension=has_row_dimension and tensor.dims[0] in (-1, 1),
        )
        inputs.append(_shaped(found, input_shapes.get(tensor.name)))
    if unknown := sorted(set(input_shapes) - {tensor.name for tensor in inputs}):
        names = ", ".join(tensor.name for tensor in inputs)
        raise ConfigError(f"model.input_shapes: the model has no input {unknown[0]!r}; its inputs are {names}")
    return tuple(inputs)


def _shaped(tensor: _Input, shape: tuple[int, ...] | None) -> _Input:
    if shape is None:
        return tensor
    is_one_row = tensor.has_row_dimension and len(shape) + 1 == len(tensor.dims)
    dims = (1, *shape) if is_one_row else tuple(shape)
    if not _fits(dims, tensor.dims):
        raise ConfigError(
            f"model.input_shapes.{tensor.name}: a row of shape {list(shape)} does not fit, the model takes "
            f"{list(tensor.dims)}"
        )
    return replace(tensor, dims=dims, has_row_dimension=is_one_row)


def _fits(shape: Sequence[int], dims: Sequence[int]) -> bool:
    return len(shape) == len(dims) and all(dim in (-1, size) for dim, size in zip(dims, shape, strict=True))


def _from_example(file: Path, inputs: Sequence[_Input]) -> LoadData:
    values = _by_input(_read(file), [tensor.name for tensor in inputs])
    rows = [_rows(tensor, values[tensor.name]) for tensor in inputs]
    counts = {tensor.name: len(found) for tensor, found in zip(inputs, rows, strict=True)}
    if len(set(counts.values())) > 1:
        raise _MisfitError(
            f"has different numbers of rows for its inputs: {counts}", ko=f"입력마다 행 수가 다름: {counts}"
        )
    count = next(iter(counts.values()))
    if count == 0:
        raise _MisfitError("has no rows", ko="행이 없음")
    kept = min(count, _MAX_EXAMPLE_ROWS, max(2, _MAX_BYTES // _bytes_a_row(found[0] for found in rows)))
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
        if size_bytes > _MAX_FILE_BYTES:
            raise _too_large(size_bytes)
        return _arrays(file) if file.suffix == ".npz" else json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        said = error.strerror or error
        raise _MisfitError(f"cannot be read: {said}", ko=f"읽을 수 없음({said})") from error
    except _NEITHER as error:
        raise _MisfitError(f"is neither JSON nor .npz: {error}", ko=f"JSON도 .npz도 아님({error})") from error


def _too_large(size_bytes: int) -> _MisfitError:
    return _MisfitError(
        f"has {size_bytes} bytes, and at most {_MAX_FILE_BYTES} are read",
        ko=f"{size_bytes}바이트, 최대 {_MAX_FILE_BYTES}바이트까지 읽음",
    )


def _arrays(file: Path) -> dict[str, Any]:
    """The arrays of an archive; its members are read, never unpacked to files."""
    import numpy as np

    with zipfile.ZipFile(file) as archive:
        unpacked_bytes = sum(member.file_size for member in archive.infolist())
    # Compressed a thousandfold it may be small.
    if unpacked_bytes > _MAX_FILE_BYTES:
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
            raise _MisfitError("has rows with different keys", ko="행마다 key가 다름")
        return _from_table(columns, [[row[column] for column in columns] for row in content], names)
    if len(names) == 1:
        return {names[0]: content}
    wanted = ", ".join(names)
    raise _MisfitError(
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
    raise _MisfitError(
        f"has {found or 'nothing'}, but the model has the inputs {wanted}",
        ko=f"예시의 항목({found or '없음'})이 모델의 입력({wanted})과 다름",
    )


def _from_table(columns: Sequence[Any], data: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    if any(not isinstance(row, list) or len(row) != len(columns) for row in data):
        raise _MisfitError(
            f"has rows that are not {len(columns)} long, as its columns are",
            ko=f"열의 수({len(columns)})와 길이가 다른 행이 있음",
        )
    if set(names) <= set(columns):
        return {name: [row[columns.index(name)] for row in data] for name in names}
    if len(names) == 1:
        return {names[0]: data}
    found, wanted = ", ".join(map(str, columns)), ", ".join(names)
    raise _MisfitError(
        f"has the columns {found}, but the model has the inputs {wanted}",
        ko=f"예시의 열({found})이 모델의 입력({wanted})과 다름",
    )


def _rows(tensor: _Input, values: Any) -> NDArray[Any]:
    """The values as `[rows, *dims]`; a single row may come without the first dimension."""
    array = _typed(tensor, values)
    forms = [array[None], *([array[:, None]] if array.ndim else [array[None, None]])]
    if tensor.has_row_dimension:
        forms.reverse()
    for form in (array, *forms):
        if form.ndim and _fits(form.shape[1:], tensor.dims):
            return form
    expected = ", ".join(str(dim) for dim in ("rows", *tensor.dims))
    raise _mismatch(tensor, expected=f"[{expected}]", found=str(list(array.shape)))


def _mismatch(tensor: _Input, *, expected: object, found: object) -> _MisfitError:
    return _MisfitError(
        f"does not fit the input {tensor.name!r}: expected {expected}, found {found}",
        ko=f"입력 {tensor.name!r}에 맞지 않음(필요: {expected}, 실제: {found})",
    )


def _typed(tensor: _Input, values: Any) -> NDArray[Any]:
    import numpy as np

    dtype = _numpy_dtype(tensor.datatype)
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
        raise _MisfitError(
            f"does not fit the input {tensor.name!r}: {error}", ko=f"입력 {tensor.name!r}에 맞지 않음({error})"
        ) from error
    lost = np.isfinite(number) & ~np.isfinite(typed) if dtype.kind == "f" else typed != number
    if lost.any():
        value = number[lost][0]
        raise _MisfitError(
            f"does not fit the input {tensor.name!r}: {value!s} is no {tensor.datatype}",
            ko=f"입력 {tensor.name!r}에 맞지 않음({value!s} 값은 {tensor.datatype} 타입이 아님)",
        )
    return typed


def _texts(tensor: _Input, array: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    texts = [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]
    if not all(isinstance(text, str) for text in texts):
        raise _mismatch(tensor, expected="strings", found=array.dtype)
    return np.array(texts, dtype=object).reshape(array.shape)


def _numpy_dtype(datatype: str) -> np.dtype[Any]:
    import numpy as np

    return np.dtype(_NUMPY_NAMES.get(datatype, datatype.lower()))


def _synthetic(inputs: Sequence[_Input], seed: int) -> tuple[LoadTensor, ...]:
    import numpy as np

    shapes = [_known_dims(tensor) for tensor in inputs]
    size = sum(
        math.prod(shape) * _numpy_dtype(tensor.datatype).itemsize for tensor, shape in zip(inputs, shapes, strict=True)
    )
    if size > _MAX_ROW_BYTES:
        raise ModelSourceError(
            f"one row of the inputs has {size} bytes, and at most {_MAX_ROW_BYTES} are sent: "
            f"{ {tensor.name: list(shape) for tensor, shape in zip(inputs, shapes, strict=True)} }",
            remedy="Give a smaller shape as model.input_shapes where the model leaves it open.",
        )
    count = max(2, min(_MAX_SYNTHETIC_ROWS, _MAX_BYTES // max(1, size)))
    random = np.random.default_rng(seed)
    return tuple(
        LoadTensor(name=tensor.name, datatype=tensor.datatype, rows=_drawn(tensor.datatype, (count, *shape), random))
        for tensor, shape in zip(inputs, shapes, strict=True)
    )


def _known_dims(tensor: _Input) -> tuple[int, ...]:
    dims = (1, *tensor.dims[1:]) if tensor.has_row_dimension else tensor.dims
    if -1 in dims:
        raise ConfigError(
            f"nothing says how large the dynamic dimensions of the input {tensor.name!r} are: it takes "
            f"{list(tensor.dims)}, and no input example is used",
            remedy=f"Give the shape of one row as model.input_shapes: {{{tensor.name}: [...]}}.",
        )
    return dims


def _drawn(datatype: str, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[Any]:
    import numpy as np

    if datatype in {"FP32", "BF16"}:
        return random.standard_normal(shape, dtype=np.float32)
    if datatype in {"FP16", "FP64"}:
        return random.standard_normal(shape).astype(_numpy_dtype(datatype))
    numbers = random.integers(0, 2, shape)
    if datatype == "BYTES":
        return np.where(numbers, "a", "b").astype(object)
    return numbers.astype(_numpy_dtype(datatype))
