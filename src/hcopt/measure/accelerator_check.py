"""Whether a server has the execution accelerators of a sweep, and how far their answers are from the model's own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcopt.analysis.plan import thread_count, with_other_threads_in_openvino
from hcopt.config.sections import ToleranceSection
from hcopt.errors import ModelLoadError, ProfileError, RuntimeStartError
from hcopt.measure.served_model import ServedModel
from hcopt.model.inputs.values import LoadData, LoadTensor
from hcopt.model.output_check import beyond, beyond_note, compare_answers, difference_note, rows_note
from hcopt.model.prepare import Prepared, variant_config
from hcopt.model.triton_config import openvino_parameters
from hcopt.records.measurement import Environment
from hcopt.records.model import MODEL_FILE, ExecutionAccelerator, ModelConfigVariant
from hcopt.records.note import Note
from hcopt.triton.openvino import PLUGIN, how_to_have_openvino
from hcopt.triton.programs import installed_version
from hcopt.words.notes import sentence

_BOTH: tuple[ExecutionAccelerator, ExecutionAccelerator] = ("none", "openvino")
# What hcopt's backend asks for where no parameter says otherwise, and NVIDIA's takes for a CPU whatever they say.
_EXACT = "f32"
_ROWS = 64
# A slow model is asked for fewer, and one with large outputs.
_LIMIT_S = 5.0
_MAX_BYTES = 64 << 20


def check_accelerators(
    served: ServedModel, prepared: Prepared, environment: Environment, tolerance: ToleranceSection
) -> Iterator[Note]:
    """Compares OpenVINO's answers, on each file of the model, with the model's own, before anything is measured.

    Args:
        served: The model on the server; nothing of it is loaded afterwards.
        prepared: The model, with its plan on this server.
        environment: The server's.
        tolerance: How far the answers may be apart.

    Yields:
        How far the answers are apart, in which precision they were computed, and with how many threads; nothing where
        no variant of the plan differs in its accelerator.

    Raises:
        RuntimeStartError: The server has no OpenVINO, or cannot run the model.
        ProfileError: The answers are too far apart, or no variant has equal threads for both.
    """
    plan, load = prepared.plan, prepared.load
    if len({variant.execution_accelerator for variant in plan.all_variants}) == 1:
        return
    if unequal := with_other_threads_in_openvino(plan, environment):
        raise ProfileError(
            f"NVIDIA's backend cannot tell OpenVINO its threads: it takes {environment.cpu_count} an instance, and "
            f"{unequal[0].config_name} gives ONNX Runtime {thread_count(unequal[0])}",
            remedy=f"Add {environment.cpu_count} to sweep.intra_op_thread_count, or give --runtime embedded.",
        )
    without, with_openvino = (
        replace(plan.default, instance_count=1, execution_accelerator=accelerator) for accelerator in _BOTH
    )
    batched = plan.default.max_batch_size > 0
    rows = np.random.default_rng(0).permutation(load.row_count)[:_ROWS].tolist()
    requests = [_request(load, row, batched=batched) for row in rows]
    served.reload(without)
    own = [*_within_limits(map(served.answers, requests))]
    outputs = [spec for spec in prepared.artifact.signature.outputs if spec.name in own[0]]
    for file in dict.fromkeys(variant.model_file for variant in plan.all_variants if _has_openvino(variant)):
        name = file or MODEL_FILE
        try:
            served.reload(replace(with_openvino, model_file=file))
        except ModelLoadError as error:
            # Without Triton's words around it.
            reason = error.message.rpartition(" state: ")[2].strip(" ;\n")
            raise RuntimeStartError(
                f"sweep.execution_accelerator lists openvino, which does not serve {name} here: {reason}",
                remedy=how_to_have_openvino(environment.runtime),
                log=error.log,
            ) from error
        others = map(served.answers, requests)
        found = compare_answers(outputs, zip(own, others, strict=False))
        on_rows = rows_note(load, found.row_count)
        if far := beyond(found.outputs, **tolerance.model_dump()):
            raise ProfileError(
                f"with OpenVINO {name} answers otherwise: {sentence(beyond_note(far, on_rows, tolerance))}",
                remedy="Leave openvino out of sweep.execution_accelerator, or allow more in model.tolerance.",
            )
        differences = tuple(map(difference_note, found.outputs))
        yield Note.of("openvino_answers", file=name, rows=on_rows, outputs=differences)
    served.unload()
    if environment.backend.implementation == "native":
        yield Note.of("openvino_precision", precision=_EXACT)
        yield Note.of("openvino_threads_own", cpus=environment.cpu_count)
        return
    asked = openvino_parameters(variant_config(prepared, with_openvino)).get("precision", _EXACT)
    yield Note.of("openvino_precision", precision=asked)
    yield Note.of("openvino_threads", plugin=f"{PLUGIN} {installed_version(PLUGIN)}")


def _within_limits(answers: Iterable[Mapping[str, NDArray[Any]]]) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Some of the answers, one at least, each of which is asked for as it is taken."""
    ends_s, held_bytes = time.monotonic() + _LIMIT_S, 0
    for answer in answers:
        yield answer
        held_bytes += sum(values.nbytes for values in answer.values())
        if time.monotonic() > ends_s or held_bytes > _MAX_BYTES:
            return


def _request(load: LoadData, row: int, *, batched: bool) -> Sequence[LoadTensor]:
    chosen = [row] if batched else row
    return [replace(tensor, rows=np.asarray(tensor.rows[chosen])) for tensor in load.tensors]


def _has_openvino(variant: ModelConfigVariant) -> bool:
    return variant.execution_accelerator == "openvino"
