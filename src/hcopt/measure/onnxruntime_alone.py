"""What Triton costs: requests to the winner with no other under way, in turns with ONNX Runtime alone.

Both send the same rows and have the same CPUs, threads and session options. They take turns of a tenth of a second
(see `turns`), so that both meet the same machine.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcopt.analysis.blocks import Candidate
from hcopt.analysis.onnxruntime_alone import ONNXRUNTIME, compare_with_model
from hcopt.analysis.plan import THREADS
from hcopt.config.sections import Config
from hcopt.errors import ModelSourceError, ProfileError, RuntimeStartError
from hcopt.measure.turns import onnxruntime_program
from hcopt.measure.turns.pace import QUICK, TURN_S, Pace
from hcopt.measure.turns.session import OnTurn, OtherProgram, Side
from hcopt.measure.turns.taker import TurnTaker, take_turns
from hcopt.measure.window import WindowRunner, recorded_turns
from hcopt.model.batch_check import as_the_graph_takes
from hcopt.model.prepare import Prepared, config_json
from hcopt.records.measurement import Environment, LoadPoint, Measurement, Phase
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.records.verdict import ConfirmedVariant, ModelAlone
from hcopt.system.machine import cpus_of
from hcopt.triton.local_tools import bound_to

_PHASE: Phase = "onnxruntime_alone"
# As few as give an interval.
BLOCKS = 6
# A median needs fewer answers than a throughput does.
_SHORTER = 3


def measure_alone(
    runner: WindowRunner, best: ConfirmedVariant | None, prepared: Prepared, config: Config, environment: Environment
) -> ModelAlone | None:
    """What a request to the best takes, and what of that ONNX Runtime alone; None where that is not measured.

    Args:
        runner: Measures and records; its `note` gets why it is not measured where it was asked for.
        best: Whom the confirmation recommends.
        prepared: The model and its rows.
        config: Whether it is asked for.
        environment: Of the server.
    """
    if best is None or not config.confirmation.onnxruntime_alone:
        return None
    turns, rows = runner.turns, best.load.client_batch_size
    candidate = Candidate(variant=best.variant, load=LoadPoint(concurrency=1, client_batch_size=rows))
    pace = None if turns is None else _pace_of(turns, candidate, best)
    why = Note.of("alone_on_remote") if turns is None else _unfit(prepared, best.variant, config, environment)
    if turns is None or pace is None or why is not None:
        runner.context.note(_not_measured(why or Note.of("alone_too_slow")))
        return None
    alone = _Alone(prepared=prepared, variant=best.variant, client_batch_size=rows, environment=environment)
    return compare_with_model(_measured(runner, turns, candidate, alone, pace))


def _not_measured(why: str | Note) -> Note:
    return Note.of("alone_not_measured", why=why)


def _pace_of(turns: TurnTaker, candidate: Candidate, best: ConfirmedVariant) -> Pace | None:
    # With one request under way one instance works, at most.
    rate = best.throughput_infer_per_s.estimate / best.variant.instance_count
    found = turns.pace_of([candidate], {candidate.variant.config_name: rate}, latency_p99_limit_ms=None)
    return None if found is None else short_pace(found)


def short_pace(pace: Pace) -> Pace | None:
    """Turns for all blocks in one session out of those of a confirmation; None where its export would be too large."""
    found = replace(pace, turn_s=max(TURN_S, pace.turn_s / _SHORTER), passes=1, blocks=BLOCKS)
    return found if BLOCKS * found.turn_s <= pace.blocks * pace.passes * pace.turn_s else None


def expected_s() -> float:
    """About how long it takes with a quick model."""
    found = short_pace(QUICK)
    assert found is not None
    return BLOCKS * found.block_s(2)


def _unfit(prepared: Prepared, variant: ModelConfigVariant, config: Config, environment: Environment) -> Note | None:
    """Why ONNX Runtime here would be no match for that of the server; None where it is."""
    if environment.runtime == "docker":
        return Note.of("alone_on_docker")
    if config.instance_kind == "KIND_GPU":
        return Note.of("alone_on_gpu")
    served = json.loads(config_json(prepared, variant))
    return Note.of("alone_with_accelerator") if "execution_accelerators" in _optimization(served) else None


def _optimization(served: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = served.get("optimization", {})
    return found


def _measured(
    runner: WindowRunner, turns: TurnTaker, candidate: Candidate, alone: _Alone, pace: Pace
) -> list[Measurement]:
    """All measurements of both; what an interrupted run has of a block that it had not finished does not count."""
    context, blocks = runner.context, range(BLOCKS)
    context.progress.phase(_PHASE, steps=2 * len(blocks))
    known = [one for one in context.replay.of(_PHASE) if (one.variant, one.load) == (candidate.variant, candidate.load)]
    sides = Counter(block for block, _ in {(one.block, one.profiler) for one in known})
    new = [block for block in blocks if sides[block] < 2]
    for _ in range(2 * (len(blocks) - len(new))):
        context.progress.known()
    if not new:
        return known

    def take(on_turn: OnTurn) -> list[Measurement]:
        name, served = turns.served.load_alone(candidate.variant)
        through_triton = Side(candidate=candidate, name=name, config=served, perf_analyzer=turns.perf_analyzer)
        program = OtherProgram(name=ONNXRUNTIME, command=alone.command)
        by_itself = Side(
            candidate=candidate, name="", config="", perf_analyzer=turns.perf_analyzer, in_its_place=program
        )
        return take_turns([through_triton, by_itself], new, pace=pace, phase=_PHASE, reload=False, on_turn=on_turn)

    try:
        taken = recorded_turns(
            take,
            phase=_PHASE,
            context=context,
            restart_server_if_dead=runner.restart_server_if_dead,
            on_restart=runner.served.forget_all,
            failed_for=_not_measured,
        )
    except RuntimeStartError as error:
        # All that was confirmed stands without it.
        context.note(_not_measured(error.message))
        return []
    return known + (taken or [])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Alone:
    """Starts ONNX Runtime as a variant has it.

    Attributes:
        prepared: The model and its rows.
        variant: Whose threads and session options it gets.
        client_batch_size: Rows a request.
        environment: Whose CPUs it gets; those of the measuring programs may be others.
    """

    prepared: Prepared
    variant: ModelConfigVariant
    client_batch_size: int
    environment: Environment

    def command(self, export: Path, ready: Path) -> list[str]:
        """See `OtherProgram.command`.

        Raises:
            ProfileError: The rows do not fit the model.
        """
        plan, rows = export.with_suffix(".plan.json"), export.with_suffix(".npz")
        artifact = self.prepared.artifact.served_from(self.variant.model_file)
        np.savez(rows, *self._requests())
        served = json.loads(config_json(self.prepared, self.variant))
        what = {
            "model": str(artifact.folder / artifact.onnx_file),
            "rows": str(rows),
            "inputs": [spec.name for spec in artifact.signature.inputs],
            "parameters": {
                **self._chosen(),
                **{key: value["string_value"] for key, value in served.get("parameters", {}).items()},
            },
            "graph_level": str(_optimization(served).get("graph", {}).get("level", 0)),
            "ready": str(ready),
            "export": str(export),
        }
        plan.write_text(json.dumps(what), encoding="utf-8")
        return [*bound_to(self.environment.cpuset), sys.executable, "-m", onnxruntime_program.__name__, str(plan)]

    def _chosen(self) -> dict[str, str]:
        """The threads that the server's ONNX Runtime chose where it is bound to some CPUs: this one would take those of
        all.
        """
        threads = self.environment.onnxruntime_thread_count
        if threads is None or cpus_of(self.environment.cpuset) == cpus_of(None):
            return {}
        return {THREADS: str(threads)}

    def _requests(self) -> list[NDArray[Any]]:
        """Of each input what the requests carry in turn, along the first axis; all rows are in them."""
        batched, load = self.variant.max_batch_size > 0, self.prepared.load
        try:
            inputs = [
                as_the_graph_takes(spec, load.rows[spec.name], batched=batched)
                for spec in self.prepared.artifact.signature.inputs
            ]
        except ModelSourceError as error:
            raise ProfileError(error.message) from error
        if not batched:
            return inputs
        shape = (math.ceil(load.row_count / self.client_batch_size), self.client_batch_size)
        numbers = np.arange(math.prod(shape)).reshape(shape) % load.row_count
        return [values[numbers] for values in inputs]
