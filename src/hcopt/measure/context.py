"""What every part of a run reports to while it measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hcopt.records.measurement import Measurement, Phase
from hcopt.records.note import Note
from hcopt.store.replay import Replay
from hcopt.system.progress import Progress


class Stopwatch:
    """Seconds a phase, in the order in which they began."""

    def __init__(self) -> None:
        self.elapsed_s: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str, *, before_s: float = 0.0) -> Iterator[None]:
        """Adds what the context takes to a phase, and what an interrupted run had taken for it."""
        started = time.monotonic() - before_s
        try:
            yield
        finally:
            self.elapsed_s[name] = self.elapsed_s.get(name, 0.0) + time.monotonic() - started


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What a run reports to, and what it had measured before it was interrupted.

    Attributes:
        record: Takes each measurement; it is on disk when this returns.
        note: Takes what the user has to know.
        progress: Shows what is under way.
        stopwatch: Takes the time of each phase.
        replay: The measurements of the interrupted run, which are not measured again.
    """

    record: Callable[[Measurement], None] = lambda _: None
    note: Callable[[Note], None] = lambda _: None
    progress: Progress = field(default_factory=Progress)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    replay: Replay = field(default_factory=Replay)

    @contextmanager
    def stage(self, phase: Phase, *within: Phase) -> Iterator[None]:
        """Times a stage of measuring and phases within it, what an interrupted run had spent on them included."""
        with self.stopwatch.phase(phase, before_s=sum(map(self.replay.spent_s, (phase, *within)))):
            yield
