"""What a finalist costs in memory: a server that has just started serves it alone, under the heaviest load of the plan.

So it is in a pod. A server that has served others before holds what these have left in it, and while a model is loaded
it takes about twice what it takes afterwards, which the server has to have, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.memory_watch import MemoryWatch
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant, Settings
from hcopt.records.note import Note
from hcopt.records.verdict import RankedVariant

_WINDOW_S = 1.0
# A load takes tenths of a second, and its highest point less. No figure of the window counts but its memory, so that
# looking may take its time.
_EVERY_S, _MAX_RATIO = 0.02, 0.5


@dataclass(slots=True, kw_only=True)
class MemoryCheck:
    """Measures what variants need, each once, and knows which of them need too much.

    Attributes:
        runner: Measures and records; its `note` gets who is out, and why.
        loads: Of the plan.
        limit_mb: `constraints.memory_mb`; None: no limit.
        needed_mb: What was measured of each; None where it could not be.
        out: Who is not to be deployed, and why.
    """

    runner: WindowRunner
    loads: Sequence[LoadPoint]
    limit_mb: float | None
    needed_mb: dict[Settings, float | None] = field(default_factory=dict)
    out: dict[Settings, Note] = field(default_factory=dict)

    def unfit(self, entries: Sequence[RankedVariant]) -> list[RankedVariant]:
        """Those of some variants that are not shown to need no more than they may; measures what is not known yet.

        Raises:
            RuntimeStartError: The server died and cannot be brought back.
        """
        new = [entry for entry in entries if entry.variant.settings not in self.needed_mb]
        if readable := [entry for entry in new if self._is_readable(entry)]:
            self.runner.context.progress.phase("memory", steps=len(readable))
        for entry in new:
            needed_mb = self._measure(entry).server_memory_mb if entry in readable else None
            self.needed_mb[entry.variant.settings] = needed_mb
            self._judge(entry.variant, needed_mb)
        return [entry for entry in entries if entry.variant.settings in self.out]

    def nothing_left(self, feasible: Sequence[RankedVariant]) -> Note | None:
        """Why nothing can be deployed where this is what the other limits leave; None where nobody of them is out."""
        out = [one.variant for one in feasible if one.variant.settings in self.out]
        if self.limit_mb is None or not out:
            return None
        known = [(mb, one.config_name) for one in out if (mb := self.needed_mb[one.settings]) is not None]
        if not known:
            return Note.of("memory_of_none_known", limit_mb=self.limit_mb)
        needed_mb, name = min(known)
        return Note.of("nothing_fits_memory", name=name, memory_mb=needed_mb, limit_mb=self.limit_mb)

    def _judge(self, variant: ModelConfigVariant, needed_mb: float | None) -> None:
        if self.limit_mb is None or (needed_mb is not None and needed_mb <= self.limit_mb):
            return
        why = Note.of("memory_not_measured")
        if needed_mb is not None:
            why = Note.of("needs_too_much_memory", memory_mb=needed_mb, limit_mb=self.limit_mb)
        self.out[variant.settings] = why
        self.runner.context.note(Note.of("out_by_memory", name=variant.config_name, why=why))

    def _is_readable(self, entry: RankedVariant) -> bool:
        known = self.runner.context.replay.knows("memory", entry.variant, self._load(entry), None)
        return known or self.runner.memory_mb() is not None

    def _load(self, entry: RankedVariant) -> LoadPoint:
        """The most rows at once of those loads that the variant takes."""
        largest = max(1, entry.variant.max_batch_size)
        loads = [load for load in self.loads if load.client_batch_size <= largest]
        return max(loads or [entry.load], key=lambda load: load.concurrency * load.client_batch_size)

    def _measure(self, entry: RankedVariant) -> Measurement:
        runner, load = self.runner, self._load(entry)
        window = Window(
            variant=entry.variant,
            load=load,
            expected_infer_per_s=entry.throughput_infer_per_s,
            window_s=_WINDOW_S,
            phase="memory",
            rate_is_known=load == entry.load,
        )

        def measure() -> Measurement:
            # A server with models takes seconds to end.
            runner.served.unload()
            runner.restart_server()
            with MemoryWatch(runner.memory_mb, every_s=_EVERY_S, max_ratio=_MAX_RATIO) as memory:
                runner.served.reload(entry.variant)
                found = runner.perf_analyzer.measure(window)
            return found if found.error is not None else replace(found, server_memory_mb=memory.peak_mb())

        return runner.measure_by(
            measure,
            window,
            what=f"{entry.variant.config_name} alone, concurrency {load.concurrency}",
            on_restart=runner.served.forget_all,
        )
