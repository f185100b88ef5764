"""The rows that a load sends, as values, and the limits on their number and size."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hcopt.records.note import Note
from hcopt.records.run import SentRows
from hcopt.words.notes import sentence

Origin = Literal["input example", "synthetic"]
# What NumPy and zipfile raise for an archive that is none, or one that lies about itself.
NEITHER: tuple[type[Exception], ...] = (
    *(ValueError, RecursionError, LookupError, EOFError, SyntaxError, MemoryError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
MAX_EXAMPLE_ROWS = 1024
MAX_SYNTHETIC_ROWS = 256
# perf_analyzer parses the file and keeps all rows in memory, at every start.
MAX_BYTES = 32 * 2**20
# A file of examples is read whole, and a request is built whole.
MAX_FILE_BYTES = 256 * 2**20
MAX_ROW_BYTES = 256 * 2**20


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


def sent_rows(load: LoadData) -> SentRows:
    """What a run's record says of its rows; it takes a while where these are large."""
    values = {name: rows.tolist() for name, rows in load.rows.items()}
    return SentRows(
        sha256=hashlib.sha256(repr(values).encode()).hexdigest(),
        count=load.row_count,
        shapes=tuple((name, rows.shape[1:]) for name, rows in load.rows.items()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What the server takes: `dims` is one row's, and -1 in it may be any size.

    Attributes:
        has_row_dimension: The first of `dims` looks like a number of rows, though max_batch_size is 0: one a request.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    has_row_dimension: bool


class MisfitError(Exception):
    """An example that is not one of this model; `note` says why, to go on from "it …"."""

    def __init__(self, note: Note) -> None:
        super().__init__(sentence(note))
        self.note = note


def fits(shape: Sequence[int], dims: Sequence[int]) -> bool:
    """Whether an array of this shape is one of these dims, of which -1 is any size."""
    return len(shape) == len(dims) and all(dim in (-1, size) for dim, size in zip(dims, shape, strict=True))


def numpy_dtype(datatype: str) -> np.dtype[Any]:
    """NumPy's type of a Triton datatype; float32 for BF16, which NumPy does not have."""
    from tritonclient.utils import triton_to_np_dtype

    return np.dtype(triton_to_np_dtype(datatype))
