"""Opens an ONNX model with ONNX Runtime on the CPU and runs it on rows; its errors become ours, with its words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcopt.errors import ModelSourceError
from hcopt.records.model import ModelSignature, TensorSpec

if TYPE_CHECKING:
    import onnxruntime

    Rows = Mapping[str, NDArray[Any]]

_BFLOAT16 = 16


def runtime_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions, which have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*own, RuntimeError, ValueError, MemoryError)


class RunError(Exception):
    """The model cannot run on these rows, in ONNX Runtime's words."""


def open_session(onnx_file: Path) -> onnxruntime.InferenceSession:
    """The model, ready to run.

    Raises:
        ModelSourceError: The runtime lacks an operator, an opset or an IR version.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Its own log goes to stderr; what it has to say comes as an exception too.
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(onnx_file), options, providers=["CPUExecutionProvider"])
    except runtime_errors() as error:
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
    return first_line(message), "Check the model with onnx.checker.check_model, and export it again."


def first_line(message: str) -> str:
    """The message itself, without ONNX Runtime's error number and the place in its source."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message.strip())
    text = re.sub(r"/onnxruntime_src/\S+ .*?\) (?=\S)", "", text, count=1)
    return text.splitlines()[0] if text else "no reason given"


def as_seen_by(session: onnxruntime.InferenceSession, signature: ModelSignature) -> ModelSignature:
    """The signature with the output dimensions that the runtime worked out."""
    shapes = {output.name: output.shape for output in session.get_outputs()}
    outputs = []
    for spec in signature.outputs:
        found = tuple(dim if isinstance(dim, int) and dim > 0 else -1 for dim in shapes[spec.name])
        outputs.append(replace(spec, shape=found) if len(found) == len(spec.shape) else spec)
    return replace(signature, outputs=tuple(outputs))


def run_model(session: onnxruntime.InferenceSession, signature: ModelSignature, feed: Rows) -> dict[str, NDArray[Any]]:
    """The outputs for these inputs, by name.

    Raises:
        RunError: The model cannot run on them.
    """
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    specs = (*signature.inputs, *signature.outputs)
    names = [spec.name for spec in signature.outputs]
    try:
        if any(spec.datatype == "BF16" for spec in specs):
            return _outputs_with_bfloat16(session, signature, feed, options)
        return dict(zip(names, session.run(names, dict(feed), options), strict=True))
    except runtime_errors() as error:
        raise RunError(first_line(str(error))) from error


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
