"""One model on a running server, measured window by window: every window is a Measurement that is recorded at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hcopt.analysis.blocks import Candidate
from hcopt.errors import ModelLoadError, ProfileError, RuntimeStartError
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import PerfAnalyzer, Window, failed, with_reason
from hcopt.measure.load.refused import RefusedShare
from hcopt.measure.memory_watch import ReadMemory, not_readable
from hcopt.measure.served_model import ServedModel
from hcopt.measure.turns.pace import Pace
from hcopt.measure.turns.session import OnTurn
from hcopt.measure.turns.taker import TurnTaker
from hcopt.model.inputs.values import LoadData
from hcopt.model.prepare import Prepared, config_json
from hcopt.model.triton_config import queue_stall_s
from hcopt.records.measurement import LoadPoint, Measurement, Phase
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.triton.base import Server, Tools
from hcopt.triton.control import ModelControl


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRunner:
    """Measures windows of any variant of one model.

    Attributes:
        served: Switches the server from variant to variant.
        perf_analyzer: Measures the windows.
        restart_server_if_dead: See `Server.restart_if_dead`.
        context: Records each new measurement, and has those of an interrupted run.
        memory_mb: See `Server.memory_mb`.
        restart_server: See `Server.restart`.
        turns: Measures blocks of variants that take turns; None where only one may be loaded.
    """

    served: ServedModel
    perf_analyzer: PerfAnalyzer
    restart_server_if_dead: Callable[[], str | None]
    context: RunContext
    memory_mb: ReadMemory = not_readable
    restart_server: Callable[[], None] = lambda: None
    turns: TurnTaker | None = None

    def measure(self, window: Window) -> Measurement:
        """One window, on a freshly loaded variant unless it says otherwise; a failure is a Measurement with its reason.

        Raises:
            RuntimeStartError: The server died and cannot be brought back.
        """

        def loaded_and_measured() -> Measurement:
            # One that goes on with a visit may be the first to be measured of it: the others were known.
            if window.reload or self.served.serving != window.variant:
                (self.served.load_or_reuse if window.keep_loaded else self.served.reload)(window.variant)
            found = self.perf_analyzer.measure(window)
            if found.error is not None and window.keep_loaded:
                self.served.invalidate()
            return found

        what = _named(window.variant, window.load, window.block)
        return self.measure_by(loaded_and_measured, window, what=what, on_restart=self.served.forget_all)

    def refused_share(self, variant: ModelConfigVariant, load: LoadPoint) -> str | None:
        """Loads a variant and says which share of a load it rejects; None where that cannot be counted."""
        try:
            self.served.load_or_reuse(variant)
        except RuntimeStartError:
            return None
        return self.perf_analyzer.refused_share(variant, load)

    def measure_by(
        self,
        measure: Callable[[], Measurement],
        window: Window,
        *,
        what: str,
        on_restart: Callable[[], None] = lambda: None,
    ) -> Measurement:
        """A window in whatever way it is measured, unless it is known; a new one is recorded.

        Args:
            measure: Measures it.
            window: What is measured.
            what: That in words, for the progress.
            on_restart: Called where the server had died and is there again.

        Raises:
            RuntimeStartError: The server died and cannot be brought back.
        """
        progress, replay = self.context.progress, self.context.replay
        known = replay.take(window.phase, window.variant, window.load, window.block)
        if known is not None:
            progress.known()
            return known
        progress.started(what)
        began = replay.begin()
        try:
            measurement = measure()
        except ModelLoadError as error:
            measurement = failed(window, error.message, cause="refused")
        except RuntimeStartError as error:
            measurement = failed(window, error.message)
        try:
            died = self.restart_server_if_dead()
            measurement = with_reason(measurement, died)
            if died is not None:
                on_restart()
        finally:
            measurement = replace(measurement, elapsed_s=replay.end(window.phase, began))
            self.context.record(measurement)
            progress.measured(measurement)
        return measurement

    def measure_turns(
        self, candidates: Sequence[Candidate], blocks: Sequence[int], *, pace: Pace, phase: Phase
    ) -> list[Measurement] | None:
        """Blocks of candidates that take turns; each measurement is recorded.

        Returns:
            None where that did not work: nothing was measured then.

        Raises:
            RuntimeStartError: The server died and cannot be brought back.
        """
        if self.turns is None:
            return None
        measure = self.turns.measure
        return recorded_turns(
            lambda on_turn: measure(candidates, blocks, pace=pace, phase=phase, on_turn=on_turn),
            phase=phase,
            context=self.context,
            restart_server_if_dead=self.restart_server_if_dead,
            on_restart=self.served.forget_all,
        )


def recorded_turns(
    take: Callable[[OnTurn], list[Measurement]],
    *,
    phase: Phase,
    context: RunContext,
    restart_server_if_dead: Callable[[], str | None],
    on_restart: Callable[[], None],
    failed_for: Callable[[str], Note] = lambda why: Note.of("turns_failed", why=why),
) -> list[Measurement] | None:
    """Blocks that are measured in turns; each measurement is recorded, and a failure is a note.

    Args:
        take: Measures them, and tells of each turn.
        phase: Which stage asks.
        context: See `RunContext`.
        restart_server_if_dead: See `Server.restart_if_dead`.
        on_restart: Called where the server had died and is there again.
        failed_for: What is said of a failure, given its reason.

    Returns:
        None where that did not work: nothing was measured then.

    Raises:
        RuntimeStartError: The server died and cannot be brought back.
    """
    progress, replay = context.progress, context.replay

    def on_turn(candidate: Candidate, block: int) -> None:
        progress.started(f"{_named(candidate.variant, candidate.load, block)}, in turns")

    began = replay.begin()
    found = list[Measurement]()
    try:
        found = take(on_turn)
    except (ProfileError, RuntimeStartError) as error:
        if restart_server_if_dead() is not None:
            on_restart()
        context.note(failed_for(error.message))
        return None
    found = [replace(one, elapsed_s=replay.end(phase, began)) for one in found]
    for one in found:
        context.record(one)
    progress.measured_in_turns(found)
    return found


def open_runner(
    prepared: Prepared,
    server: Server,
    control: ModelControl,
    *,
    folder: Path,
    context: RunContext,
    rows: Path,
    latency_p99_limit_ms: float | None = None,
    repository: Path | None = None,
) -> WindowRunner:
    """What measures a model on a server that has it in its repository.

    Args:
        prepared: The model.
        server: The server.
        control: Its model control.
        folder: For samples and logs.
        context: See `RunContext`.
        rows: The rows to send, as `write_perf_analyzer_json` has written them.
        latency_p99_limit_ms: Requests that take longer are counted as misses; None counts none.
        repository: The server's own, where variants may stay loaded beside one another; None: one at a time.
    """
    served = ServedModel(
        control,
        prepared.artifact.name,
        lambda variant: config_json(prepared, variant),
        repository=repository,
        max_instances=server.max_instances,
    )
    stall_s = queue_stall_s(prepared.base.config)
    share = RefusedShare(control=control, model_name=lambda: served.name, rows=prepared.load)
    perf_analyzer = PerfAnalyzer(
        tools=server.tools,
        model_name=lambda: served.name,
        input_arguments=("--input-data", server.tools.path(rows)),
        folder=folder,
        server_times=served.watch,
        latency_p99_limit_ms=latency_p99_limit_ms,
        # Without a repository of its own it may share the server with another model.
        memory_mb=lambda: server.memory_mb() if repository is not None and served.is_alone else None,
        unanswered=server.mark_unhealthy,
        stall_s=stall_s,
        # Who has no queue policy rejects nothing: an error is the model's, and its words say all.
        refused_share=share if stall_s else lambda _, __: None,
    )
    return WindowRunner(
        served=served,
        perf_analyzer=perf_analyzer,
        restart_server_if_dead=server.restart_if_dead,
        context=context,
        memory_mb=server.memory_mb,
        restart_server=server.restart,
        turns=None
        if server.max_instances is None
        else TurnTaker(
            served=served, perf_analyzer=perf_analyzer, row_bytes=exported_row_bytes(server.tools, rows, prepared.load)
        ),
    )


def exported_row_bytes(tools: Tools, rows: Path, load: LoadData) -> float:
    """What a row takes in perf_analyzer's export: about as much as in the file that it is read from, or nothing."""
    return rows.stat().st_size / load.row_count if tools.exports_tensors else 0.0


def _named(variant: ModelConfigVariant, load: LoadPoint, block_number: int | None) -> str:
    block = "" if block_number is None else f", block {block_number + 1}"
    return f"{variant.config_name}, concurrency {load.concurrency}{block}"
