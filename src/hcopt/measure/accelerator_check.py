"""Whether a server has the execution accelerators of a sweep, and how far their answers are from the model's own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcopt.analysis.plan import thread_count, with_other_threads_in_openvino
from hcopt.errors import ModelLoadError, ProfileError, RuntimeStartError
from hcopt.measure.served_model import ServedModel
from hcopt.model.inputs.values import LoadData, LoadTensor
from hcopt.model.output_check import beyond, compare_answers
from hcopt.model.prepare import Prepared, variant_config
from hcopt.model.triton_config import openvino_parameters
from hcopt.records.measurement import Environment
from hcopt.records.model import ExecutionAccelerator, OutputDifference
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
# Sums in another order stay below the first, as between a row alone and in a batch; labels turn over where a number was
# at their border.
_MAX_DIFFERENCE_RATIO = 1e-3
_MIN_AGREEMENT_RATIO = 0.99


def check_accelerators(served: ServedModel, prepared: Prepared, environment: Environment) -> Iterator[Note]:
    """Loads the default with and without OpenVINO and compares the answers, before anything is measured.

    Args:
        served: The model on the server; nothing of it is loaded afterwards.
        prepared: The model, with its plan on this server.
        environment: The server's.

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
    try:
        served.reload(with_openvino)
        others = [*map(served.answers, requests[: len(own)])]
    except ModelLoadError as error:
        # Without Triton's words around it.
        reason = error.message.rpartition(" state: ")[2].strip(" ;\n")
        raise RuntimeStartError(
            f"sweep.execution_accelerator lists openvino, which does not serve the model here: {reason}",
            remedy=how_to_have_openvino(environment.runtime),
            log=error.log,
        ) from error
    served.unload()
    found = compare_answers(own, others)
    said = Note.of("openvino_answers", rows=len(own), outputs=tuple(map(_said, found)))
    if beyond(found, max_difference_ratio=_MAX_DIFFERENCE_RATIO, min_agreement_ratio=_MIN_AGREEMENT_RATIO):
        raise ProfileError(
            f"with OpenVINO the model answers otherwise. {sentence(said)} At most {_MAX_DIFFERENCE_RATIO:.1%} of the "
            f"range is allowed, and of labels at least {_MIN_AGREEMENT_RATIO:.0%} the same",
            remedy="Leave openvino out of sweep.execution_accelerator.",
        )
    yield said
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


def _said(found: OutputDifference) -> Note:
    if found.incomparable:
        return Note.of("output_incomparable", output=found.output, count=found.incomparable)
    if found.agreement_ratio is not None:
        return Note.of("output_labels", output=found.output, agreement=found.agreement_ratio)
    return Note.of(
        "output_numbers",
        output=found.output,
        largest=found.max_difference or 0.0,
        ratio=found.max_ratio or 0.0,
        mean=found.mean_difference or 0.0,
    )
