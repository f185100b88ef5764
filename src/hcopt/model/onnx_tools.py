"""Makes other files of an ONNX model with ONNX Runtime's own tools: quantized, or with its graph optimized."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hcopt.errors import ModelSourceError
from hcopt.model.onnx_file import inspect_onnx, parse_onnx
from hcopt.model.onnx_session import first_line, runtime_errors
from hcopt.records.note import Note


class ToolError(Exception):
    """There is no such file; `why` goes on from "it is not measured: …"."""

    def __init__(self, why: Note) -> None:
        super().__init__(why.code)
        self.why = why


def quantize(source: Path, target: Path) -> None:
    """INT8 weights, and activations whose scale is found anew in each run.

    Simplified before, as ONNX Runtime's documents ask for: by a session, since its own `quant_pre_process` wants SymPy.

    Raises:
        ToolError: The quantizer fails, or finds nothing to quantize.
        OSError: `target` cannot be written.

    Source: onnxruntime.ai, "Quantize ONNX models".
    """
    simplified = target.with_suffix(".simplified")
    with _tool(), _with_weights(source, target) as whole:
        _save_optimized(whole, simplified, "ORT_ENABLE_BASIC")
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(simplified, target)
        _refuse_unchanged(simplified, target)
    simplified.unlink()


def optimize(source: Path, target: Path) -> None:
    """The graph as a session would have it before it runs.

    Short of what ONNX Runtime calls layout optimizations: these are for the CPU at hand, and others may serve.

    Raises:
        ToolError: ONNX Runtime fails, or finds nothing to optimize.
        OSError: `target` cannot be written.
    """
    with _tool(), _with_weights(source, target) as whole:
        _save_optimized(whole, target, "ORT_ENABLE_EXTENDED")
        _refuse_unchanged(source, target)


@contextmanager
def _with_weights(source: Path, target: Path) -> Iterator[Path]:
    """A model whose weights lie in other files, as one file: what is made of it would look for them beside itself."""
    import onnx

    if not inspect_onnx(source).external_files:
        yield source
        return
    whole = target.with_suffix(".whole")
    try:
        onnx.save_model(onnx.load(source), whole)
        yield whole
    finally:
        whole.unlink(missing_ok=True)


def _save_optimized(source: Path, target: Path, level: str) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _refuse_unchanged(source: Path, target: Path) -> None:
    before, after = (Counter(node.op_type for node in parse_onnx(file).graph.node) for file in (source, target))
    if before == after:
        raise ToolError(Note.of("variant_unchanged"))


@contextmanager
def _tool() -> Iterator[None]:
    """The tools log on Python's root logger, and fail with whatever a model makes of them."""
    from google.protobuf.message import Error as ProtobufError
    from onnx.checker import ValidationError
    from onnx.shape_inference import InferenceError

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    except (
        *(*runtime_errors(), ProtobufError, ValidationError, InferenceError),
        *(ImportError, LookupError, AttributeError, TypeError, AssertionError, ModelSourceError),
    ) as error:
        reason = first_line(str(error)) if str(error) else type(error).__name__
        raise ToolError(Note.of("variant_not_made", reason=reason)) from error
    finally:
        logging.disable(before)
