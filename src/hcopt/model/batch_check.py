"""Runs an ONNX model once with ONNX Runtime: can it be served at all, and does it truly batch?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcopt.errors import ModelSourceError
from hcopt.model.inputs.values import fits
from hcopt.model.onnx_file import has_batch_dimension
from hcopt.model.output_rows import outputs_with_fixed_rows
from hcopt.records.model import ModelSignature, TensorSpec
from hcopt.records.note import Note

if TYPE_CHECKING:
    import onnxruntime

    Rows = Mapping[str, NDArray[Any]]

_BFLOAT16 = 16
# Differences between a row alone and in a batch, relative to the largest value: other summation orders stay below the
# first; dynamic quantization, whose scale spans the batch, stays below the second.
_SAME_RATIO = 1e-3
_NEARLY_SAME_RATIO = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCheck:
    """Whether requests may be put together into one batch.

    Attributes:
        batchable: Several rows in one run give what each gives alone.
        signature: As the runtime sees it. It may know output dimensions that the file leaves open, and Triton's
            onnxruntime backend wants config.pbtxt to have them exactly so.
        reason: Why not, or what to know although it batches; else None.
    """

    batchable: bool
    signature: ModelSignature
    reason: Note | None = None


def check_servable(onnx_file: Path, signature: ModelSignature, rows: Rows) -> BatchCheck:
    """Runs the model with ONNX Runtime on the CPU and finds out whether it truly batches.

    A dynamic first dimension is a claim only: one row, another row, and both together have to give the same numbers.

    Args:
        onnx_file: The model, its external data beside it.
        signature: As `inspect_onnx` gave it.
        rows: For each input its rows along axis 0, each as a client sends it: without the batch dimension where
            `has_batch_dimension(signature)`. Strings are objects, BF16 comes as float32.

    Raises:
        ModelSourceError: The runtime lacks an operator, an opset or an IR version, or cannot run a single row.
    """
    session = _open(onnx_file)
    seen = _as_seen_by(session, signature)
    batched = has_batch_dimension(signature)
    feeds = {spec.name: _as_the_graph_takes(spec, rows[spec.name], batched=batched) for spec in signature.inputs}
    if not has_batch_dimension(seen):
        _run(session, seen, {name: values[:1] if batched else values[0, ...] for name, values in feeds.items()})
        return BatchCheck(batchable=False, signature=seen, reason=_why_unbatched(session, signature, seen, feeds))
    batchable, caveat = _put_together(session, seen, feeds)
    return BatchCheck(batchable=batchable, signature=seen, reason=caveat)


def _put_together(session: onnxruntime.InferenceSession, seen: ModelSignature, rows: Rows) -> tuple[bool, Note | None]:
    """Whether two rows in one run give what each gives alone, and why not, or what to know although they do."""
    pair = {name: _two_rows(values) for name, values in rows.items()}
    singles = [
        _run(session, seen, {name: values[index : index + 1] for name, values in pair.items()}) for index in (0, 1, 0)
    ]
    try:
        together = _run(session, seen, pair)
    except ModelSourceError as error:
        return False, Note.of("two_rows_fail", reason=_first_line(str(error.__cause__)))
    return _compare(seen, singles, together)


def _runtime_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions, which have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*own, RuntimeError, ValueError, MemoryError)


def _open(onnx_file: Path) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Its own log goes to stderr; what it has to say comes as an exception too.
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(onnx_file), options, providers=["CPUExecutionProvider"])
    except _runtime_errors() as error:
        version = f"ONNX Runtime {onnxruntime.__version__}"
        what, remedy = _lacking(str(error))
        raise ModelSourceError(f"{version} cannot open {onnx_file}: {what}", remedy=remedy) from error


# What ONNX Runtime writes, what that means, and what to do. Source: its messages as seen in 1.32.
_LACKING = (
    (
        r"Fatal error: (?P<op>\S+?)\(-?\d+\) is not a registered function/op",
        "it has no operator {op}",
        "Export the model without this custom operator: Triton's onnxruntime backend does not know it either.",
    ),
    (
        r"No Op registered for (?P<op>\S+) with domain_version of (?P<opset>\d+)",
        "there is no operator {op} in opset {opset}",
        "Export the model with the opset that this operator needs.",
    ),
    (
        r"Could not find an implementation for (?P<op>\S+?) node",
        "it has no CPU implementation of the operator {op} for these types",
        "Export the model with another type or opset for this operator.",
    ),
    (
        r"Opset (?P<opset>\d+) is under development .* domain (?P<domain>\S+) is till opset (?P<last>\d+)",
        "the model is in opset {opset} of {domain}, the last one known is {last}",
        "Export the model with an older opset.",
    ),
    (
        r"Unsupported model IR version: (?P<version>\d+), max supported IR version: (?P<last>\d+)",
        "the model has IR version {version}, the last one known is {last}",
        "Export the model with an older IR version.",
    ),
)


def _lacking(message: str) -> tuple[str, str]:
    """An error of ONNX Runtime's on loading, as what is wrong and what to do."""
    for pattern, what, remedy in _LACKING:
        if match := re.search(pattern, message, re.DOTALL):
            return what.format(**match.groupdict()), remedy
    return _first_line(message), "Check the model with onnx.checker.check_model, and export it again."


def _first_line(message: str) -> str:
    """The message itself, without ONNX Runtime's error number and the place in its source."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message.strip())
    text = re.sub(r"/onnxruntime_src/\S+ .*?\) (?=\S)", "", text, count=1)
    return text.splitlines()[0] if text else "no reason given"


def _run(session: onnxruntime.InferenceSession, signature: ModelSignature, feed: Rows) -> dict[str, NDArray[Any]]:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    specs = (*signature.inputs, *signature.outputs)
    names = [spec.name for spec in signature.outputs]
    try:
        if any(spec.datatype == "BF16" for spec in specs):
            return _outputs_with_bfloat16(session, signature, feed, options)
        return dict(zip(names, session.run(names, dict(feed), options), strict=True))
    except _runtime_errors() as error:
        raise ModelSourceError(
            f"the model cannot run on its input rows: {_first_line(str(error))}",
            remedy="Give rows that it takes as model.input_example, or their shapes as model.input_shapes.",
        ) from error


def _outputs_with_bfloat16(
    session: onnxruntime.InferenceSession, signature: ModelSignature, feed: Rows, options: onnxruntime.RunOptions
) -> dict[str, NDArray[Any]]:
    """The outputs by OrtValue, since numpy has no such type; of a BF16 output the shape is right, and all values 0."""
    import onnxruntime

    def ort_value(spec: TensorSpec) -> onnxruntime.OrtValue:
        if spec.datatype != "BF16":
            return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(feed[spec.name]))
        upper_half = np.ascontiguousarray(feed[spec.name], np.float32).view(np.uint32) >> 16
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(upper_half.astype(np.uint16), _BFLOAT16)

    names = [spec.name for spec in signature.outputs]
    values = session.run_with_ort_values(names, {spec.name: ort_value(spec) for spec in signature.inputs}, options)
    return {
        spec.name: np.zeros(value.shape()) if spec.datatype == "BF16" else value.numpy()
        for spec, value in zip(signature.outputs, values, strict=True)
    }


def _as_seen_by(session: onnxruntime.InferenceSession, signature: ModelSignature) -> ModelSignature:
    """The signature with the output dimensions that the runtime worked out."""
    shapes = {output.name: output.shape for output in session.get_outputs()}
    outputs = []
    for spec in signature.outputs:
        found = tuple(dim if isinstance(dim, int) and dim > 0 else -1 for dim in shapes[spec.name])
        outputs.append(replace(spec, shape=found) if len(found) == len(spec.shape) else spec)
    return replace(signature, outputs=tuple(outputs))


def _as_the_graph_takes(spec: TensorSpec, values: NDArray[Any], *, batched: bool) -> NDArray[Any]:
    """Rows in the model's own rank, which config.pbtxt may differ from.

    Triton has no scalars, so that a client sends [1], and max_batch_size 0 has the batch dimension in each row.
    """
    dims = spec.shape[1:] if batched else spec.shape
    if fits(values.shape[1:], dims):
        return values
    if fits(values.shape[2:], dims):
        return values.reshape(-1, *values.shape[2:])
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


def _why_unbatched(
    session: onnxruntime.InferenceSession, declared: ModelSignature, seen: ModelSignature, feeds: Rows
) -> Note:
    spec = next(spec for spec in (*seen.inputs, *seen.outputs) if spec.shape[:1] != (-1,))
    is_input = spec in seen.inputs
    if not spec.shape:
        return Note.of("input_scalar" if is_input else "output_scalar", name=spec.name)
    fixed = [spec.name for spec in outputs_with_fixed_rows(seen)]
    by_file = fixed == [spec.name for spec in outputs_with_fixed_rows(declared)]
    if fixed and by_file and _declared_wrongly(session, seen, feeds):
        names = ", ".join(map(repr, fixed))
        return Note.of("outputs_declared_wrongly", names=names, size=spec.shape[0])
    return Note.of(
        "input_dimension_fixed" if is_input else "output_dimension_fixed", name=spec.name, size=spec.shape[0]
    )


def _declared_wrongly(session: onnxruntime.InferenceSession, signature: ModelSignature, feeds: Rows) -> bool:
    """Whether each output has a row for each row of input, whatever the file declares: ONNX Runtime would only warn."""
    rows = {name: values.reshape(-1, *values.shape[2:]) for name, values in feeds.items()}
    try:
        return _put_together(session, signature, rows)[0]
    except ModelSourceError:
        return False


def _compare(signature: ModelSignature, singles: Sequence[Rows], together: Rows) -> tuple[bool, Note | None]:
    """Compares both rows together with each alone; `singles` are row 0, row 1 and row 0 once more."""
    caveat = None
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
        if difference > _NEARLY_SAME_RATIO:
            return False, _differing(spec, difference)
        caveat = caveat or _differing(spec, difference)
    return True, caveat


def _differing(spec: TensorSpec, difference: float) -> Note:
    if difference < 1:
        return Note.of("two_rows_differ", name=spec.name, share=difference)
    return Note.of("two_rows_differ_altogether", name=spec.name)


def _difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference relative to the largest value; of what is no float, 0 or infinite."""
    if one.dtype.kind != "f":
        return 0.0 if np.array_equal(one, other) else float("inf")
    if not np.array_equal(np.isfinite(one), np.isfinite(other)):
        return float("inf")
    finite = np.isfinite(one)
    left, right = one[finite].astype(np.float64), other[finite].astype(np.float64)
    largest = float(np.max(np.abs(left), initial=0.0))
    return float(np.max(np.abs(left - right), initial=0.0)) / max(largest, float(np.finfo(one.dtype).tiny))
