"""Runs an ONNX model with ONNX Runtime: can it be served on its rows, each of them, and does it truly batch?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hcopt.errors import ModelSourceError
from hcopt.model.inputs.values import fits
from hcopt.model.onnx_file import has_batch_dimension
from hcopt.model.onnx_session import RunError, as_seen_by, open_session, run_model
from hcopt.model.output_rows import outputs_with_fixed_rows
from hcopt.records.model import ModelSignature, TensorSpec
from hcopt.records.note import Note

if TYPE_CHECKING:
    from hcopt.model.onnx_session import Rows

    Run: TypeAlias = Callable[[Rows], Rows]

# Differences between a row alone and in a batch, relative to the largest value: other summation orders stay below the
# first; dynamic quantization, whose scale spans the batch, stays below the second.
_SAME_RATIO = 1e-3
_NEARLY_SAME_RATIO = 0.05
_MAX_NEIGHBOURS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCheck:
    """Whether requests may be put together into one batch.

    Attributes:
        batchable: Several rows in one run give what each gives alone.
        signature: As the runtime sees it. It may know output dimensions that the file leaves open, and Triton's
            onnxruntime backend wants config.pbtxt to have them exactly so.
        reason: Why not, or what to know although it batches; else None.
        sampled: That not all rows were run, as the time was up; else None.
    """

    batchable: bool
    signature: ModelSignature
    reason: Note | None = None
    sampled: Note | None = None


def check_servable(
    onnx_file: Path, signature: ModelSignature, rows: Rows, *, row_check_s: float | None = None
) -> BatchCheck:
    """Runs the model with ONNX Runtime on the CPU and finds out whether it takes its rows and truly batches.

    A dynamic first dimension is a claim only: one row, another row, and both together have to give the same numbers.

    Args:
        onnx_file: The model, its external data beside it.
        signature: As `inspect_onnx` gave it.
        rows: For each input its rows along axis 0, each as a client sends it: without the batch dimension where
            `has_batch_dimension(signature)`. Strings are objects, BF16 comes as float32.
        row_check_s: Every row is run once; after this time no further one, so that those that were are a sample. None
            runs the first alone.

    Raises:
        ModelSourceError: The runtime lacks an operator, an opset or an IR version, or cannot run one of the rows.
    """
    session = open_session(onnx_file)
    seen = as_seen_by(session, signature)
    feeds = _feeds(signature, rows)
    count, row_feed = _each_row(signature, feeds)

    def run(feed: Rows) -> Rows:
        return run_model(session, seen, feed)

    def run_row(row: int) -> None:
        run(row_feed(row))

    sampled = _refuse_bad_rows(run_row, count, row_check_s)
    if not has_batch_dimension(seen):
        why = _why_unbatched(run, signature, seen, feeds)
        return BatchCheck(batchable=False, signature=seen, reason=why, sampled=sampled)
    batchable, reason = _batches(run, seen, feeds)
    return BatchCheck(batchable=batchable, signature=seen, reason=reason, sampled=sampled)


def row_feeds(signature: ModelSignature, rows: Rows) -> tuple[int, Callable[[int], Rows]]:
    """How many rows there are, and what the model takes for each of them alone; `rows` as in `check_servable`.

    Raises:
        ModelSourceError: They do not fit its inputs.
    """
    return _each_row(signature, _feeds(signature, rows))


def _each_row(signature: ModelSignature, feeds: Rows) -> tuple[int, Callable[[int], Rows]]:
    batched = has_batch_dimension(signature)

    def feed(row: int) -> Rows:
        return {name: values[row : row + 1] if batched else values[row, ...] for name, values in feeds.items()}

    return len(next(iter(feeds.values()))), feed


def _feeds(signature: ModelSignature, rows: Rows) -> Rows:
    batched = has_batch_dimension(signature)
    return {spec.name: as_the_graph_takes(spec, rows[spec.name], batched=batched) for spec in signature.inputs}


def _refuse_bad_rows(run_row: Callable[[int], None], count: int, row_check_s: float | None) -> Note | None:
    """Runs each row alone: the first, then the others in random order, so that those there is time for are a sample."""
    order = [0, *(np.random.default_rng(0).permutation(count - 1) + 1).tolist()] if row_check_s is not None else [0]
    ends_s = time.monotonic() + (row_check_s or 0.0)
    said, checked = dict[int, RunError](), 0
    for row in order:
        if checked and time.monotonic() >= ends_s:
            break
        try:
            run_row(row)
        except RunError as error:
            said[row] = error
        checked += 1
    if said:
        raise _bad_rows(said, checked=checked, count=count)
    return Note.of("rows_sampled", checked=checked, count=count) if checked < len(order) else None


def _bad_rows(said: dict[int, RunError], *, checked: int, count: int) -> ModelSourceError:
    first = min(said)
    if len(said) == checked:
        error = ModelSourceError(
            f"the model cannot run on its input rows: {said[first]}",
            remedy="Give rows that it takes as model.input_example, or their shapes as model.input_shapes.",
        )
    else:
        others = f" and on {len(said) - 1} more" if len(said) > 1 else ""
        error = ModelSourceError(
            f"the model cannot run on row {first} (counted from 0){others} of its {count} input rows: {said[first]}",
            remedy="Give only rows that it takes as model.input_example: mend this one there, or leave it out; `none` "
            "sends synthetic rows.",
        )
    error.__cause__ = said[first]
    return error


def _batches(run: Run, signature: ModelSignature, feeds: Rows) -> tuple[bool, Note | None]:
    """Whether rows give in a batch what each gives alone, and why not or what to know."""
    count = len(next(iter(feeds.values())))
    pair = {name: _two_rows(values) for name, values in feeds.items()}

    def alone(row: int) -> Rows:
        return run({name: values[row : row + 1] for name, values in pair.items()})

    try:
        singles = [alone(row) for row in (0, 1, 0)]
    except RunError as error:
        if count > 1:
            raise _bad_rows({1: error}, checked=count, count=count) from error
        # It was the rearranged copy, and no row of the user's: a number in it may be an index.
        pair = {name: np.repeat(values[:1], 2, axis=0) for name, values in pair.items()}
        singles = [alone(row) for row in (0, 1, 0)]
    try:
        together = run(pair)
    except RunError as error:
        return False, Note.of("two_rows_fail", reason=str(error))
    return _compare(signature, singles, together, lambda: _dependent_outputs(run, feeds, pair))


def _dependent_outputs(run: Run, feeds: Rows, pair: Rows) -> frozenset[str]:
    """The outputs that change for a row as another one stands beside it: what its neighbour is matters.

    Compared within batches of two, for which the same kernels run.
    """
    found = set[str]()
    for place in (0, 1):
        kept = {name: values[place : place + 1] for name, values in pair.items()}
        before: Rows | None = None
        for other in _neighbours(feeds, {name: values[1 - place : 2 - place] for name, values in pair.items()}):
            both = (kept, other) if place == 0 else (other, kept)
            try:
                outputs = run({name: np.concatenate([rows[name] for rows in both]) for name in pair})
            except RunError:
                continue
            own = {name: values[place : place + 1] for name, values in outputs.items() if values.ndim}
            before = before or own
            alike = [name for name in own if own[name].shape == before[name].shape]
            found.update(name for name in alike if _difference(before[name], own[name]) > _SAME_RATIO)
            if len(found) == len(own):
                return frozenset(found)  # All that there is to find; a slow model takes seconds for each run.
    return frozenset(found)


def _neighbours(feeds: Rows, first: Rows) -> Iterator[Rows]:
    """Rows to stand beside another: the first, then rows that differ from it as far as may be."""
    yield first
    count = len(next(iter(feeds.values())))
    for row in np.unique(np.linspace(0, count - 1, _MAX_NEIGHBOURS).astype(int)).tolist():
        yield {name: values[row : row + 1] for name, values in feeds.items()}
    yield {name: values if values.dtype.kind == "O" else np.zeros_like(values) for name, values in first.items()}
    yield {name: _larger(values) for name, values in first.items()}


def _larger(values: NDArray[Any]) -> NDArray[Any]:
    """Values of another range, where they are a measure and no index: it is what dynamic quantization looks at."""
    if values.dtype.kind == "f":
        with np.errstate(all="ignore"):
            return np.multiply(values, -3, dtype=values.dtype)
    return np.full_like(values, np.iinfo(values.dtype).max) if _is_byte(values) else values


def as_the_graph_takes(spec: TensorSpec, values: NDArray[Any], *, batched: bool) -> NDArray[Any]:
    """Rows in the model's own rank, which config.pbtxt may differ from.

    Triton has no scalars, so that a client sends [1], and max_batch_size 0 has the batch dimension in each row.
    """
    dims = spec.shape[1:] if batched else spec.shape
    if fits(values.shape[1:], dims):
        return values
    if fits(values.shape[2:], dims):
        return values.reshape(values.shape[0] * values.shape[1], *values.shape[2:])
    try:
        return values.reshape(len(values), *dims)
    except ValueError as error:
        raise ModelSourceError(
            f"rows of shape {list(values.shape[1:])} do not fit the input {spec.name!r} of shape {list(spec.shape)}"
        ) from error


def _two_rows(values: NDArray[Any]) -> NDArray[Any]:
    """The first two rows; where there is only one, the second is a rearranged copy."""
    if len(values) > 1:
        return values[:2]
    # Indices and strings stay as they are: moved to another place they may be out of range there.
    other = np.roll(values[0].ravel(), 1).reshape(values[0].shape) if values.dtype.kind == "f" else values[0]
    return np.stack([values[0], other])


def _why_unbatched(run: Run, declared: ModelSignature, seen: ModelSignature, feeds: Rows) -> Note:
    spec = next(spec for spec in (*seen.inputs, *seen.outputs) if spec.shape[:1] != (-1,))
    is_input = spec in seen.inputs
    if not spec.shape:
        return Note.of("input_scalar" if is_input else "output_scalar", name=spec.name)
    fixed = [spec.name for spec in outputs_with_fixed_rows(seen)]
    by_file = fixed == [spec.name for spec in outputs_with_fixed_rows(declared)]
    if fixed and by_file and _declared_wrongly(run, seen, feeds):
        names = ", ".join(map(repr, fixed))
        return Note.of("outputs_declared_wrongly", names=names, size=spec.shape[0])
    return Note.of(
        "input_dimension_fixed" if is_input else "output_dimension_fixed", name=spec.name, size=spec.shape[0]
    )


def _declared_wrongly(run: Run, signature: ModelSignature, feeds: Rows) -> bool:
    """Whether each output has a row for each row of input, whatever the file declares: ONNX Runtime would only warn."""
    rows = {name: values.reshape(-1, *values.shape[2:]) for name, values in feeds.items()}
    try:
        return _batches(run, signature, rows)[0]
    except (ModelSourceError, RunError):
        return False


def _compare(
    signature: ModelSignature, singles: Sequence[Rows], together: Rows, dependent_outputs: Callable[[], frozenset[str]]
) -> tuple[bool, Note | None]:
    """Compares both rows together with each alone; `singles` are row 0, row 1 and row 0 once more."""
    caveat: Note | None = None
    dependent: frozenset[str] | None = None
    for spec in signature.outputs:
        first, second, again, both = (run[spec.name] for run in (*singles, together))
        if (first.shape[:1], second.shape[:1], both.shape[:1]) != ((1,), (1,), (2,)):
            return False, Note.of(
                "two_rows_shape", name=spec.name, one=str(list(first.shape)), two=str(list(both.shape))
            )
        # Where a row's own size depends on its values, a batch is padded, and the numbers cannot be laid side by side.
        if not first.shape[1:] == second.shape[1:] == again.shape[1:] == both.shape[1:]:
            continue
        difference = _difference(np.concatenate([first, second]), both)
        # A model that draws random numbers differs from itself, which says nothing about batches.
        if difference <= _SAME_RATIO or _difference(first, again) > _SAME_RATIO:
            continue
        dependent = dependent_outputs() if dependent is None else dependent
        found = _differing(spec, difference, by_neighbour=spec.name in dependent)
        if difference > _NEARLY_SAME_RATIO:
            return False, found
        caveat = caveat or found
    return True, caveat


def _differing(spec: TensorSpec, difference: float, *, by_neighbour: bool) -> Note:
    if difference >= 1:
        return Note.of("two_rows_differ_altogether" if by_neighbour else "row_count_matters", name=spec.name)
    if by_neighbour:
        return Note.of("two_rows_differ", name=spec.name, share=difference)
    # So much is no rounding: the number of rows goes into the answer, say as a divisor.
    if difference > _NEARLY_SAME_RATIO:
        return Note.of("row_count_matters", name=spec.name)
    return Note.of("two_rows_rounded", name=spec.name, share=difference)


def _difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference relative to the largest value; of what is no number on a scale, 0 or infinite.

    Bytes are such numbers: answers of a quantized model, one step apart where a sum was rounded otherwise.
    """
    is_byte = _is_byte(one)
    if one.dtype.kind != "f" and not is_byte:
        return 0.0 if np.array_equal(one, other) else float("inf")
    if not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return float("inf")
    finite = np.isfinite(one)
    left, right = one[finite].astype(np.float64), other[finite].astype(np.float64)
    largest = float(np.max(np.abs(left), initial=0.0))
    tiny = 1.0 if is_byte else float(np.finfo(one.dtype).tiny)
    return float(np.max(np.abs(left - right), initial=0.0)) / max(largest, tiny)


def _is_byte(values: NDArray[Any]) -> bool:
    return values.dtype.kind in "iu" and values.dtype.itemsize == 1
