"""What an interrupted run had measured, handed out again where the resumed run asks for the same window.

Everything that chooses windows (noise, search, confirmation, capacity) is a function of its measurements, its seed and
a clock. Given the recorded measurements, and a clock that counts the time they took, it makes the same decisions again,
and goes on measuring where there is nothing recorded any more.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable

from hcopt.records.measurement import LoadPoint, Measurement, Phase
from hcopt.records.model import ModelConfigVariant

_Key = tuple[Phase, ModelConfigVariant, LoadPoint, int | None]


class Replay:
    """Recorded measurements, each of which is taken once.

    Args:
        measurements: In the order in which they were measured.
        monotonic: Seconds that only grow.
    """

    def __init__(
        self, measurements: Iterable[Measurement] = (), monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._monotonic = monotonic
        self._all = tuple(measurements)
        self._left: dict[_Key, deque[Measurement]] = defaultdict(deque)
        self._counted_s = self._since = monotonic()
        self._phase: Phase | None = None
        for one in self._all:
            self._left[one.phase, one.variant, one.load, one.block].append(one)

    def __len__(self) -> int:
        """All of them, taken or not."""
        return len(self._all)

    def of(self, phase: Phase) -> tuple[Measurement, ...]:
        """All of a phase, taken or not."""
        return tuple(one for one in self._all if one.phase == phase)

    def knows(self, phase: Phase, variant: ModelConfigVariant, load: LoadPoint, block: int | None) -> bool:
        """Whether `take` would give a window."""
        return bool(self._left.get((phase, variant, load, block)))

    def take(self, phase: Phase, variant: ModelConfigVariant, load: LoadPoint, block: int | None) -> Measurement | None:
        """The next recorded window of this kind; None where it has to be measured."""
        left = self._left.get((phase, variant, load, block))
        if not left:
            return None
        found = left.popleft()
        passed_s = self._monotonic() - self._since
        # What this run decides between two known windows, the interrupted one has decided too: their time has it.
        took_s = _took_s(found)
        self._count(phase, max(took_s, passed_s) if phase == self._phase else took_s + passed_s)
        return found

    def begin(self) -> float:
        """When a window begins that is not known, for `end`."""
        return self._monotonic()

    def end(self, phase: Phase, began: float) -> float:
        """What a new window took, in seconds, with what was decided since the one before it in its phase."""
        first = began if phase != self._phase else self._since
        elapsed_s = self._monotonic() - first
        self._count(phase, self._monotonic() - self._since)
        return elapsed_s

    def _count(self, phase: Phase, seconds: float) -> None:
        self._counted_s += seconds
        self._since = self._monotonic()
        self._phase = phase

    def clock(self) -> float:
        """Seconds that only grow, as if what was taken had been measured just now: budgets stay what they were."""
        return self._counted_s + self._monotonic() - self._since

    def spent_s(self, phase: Phase) -> float:
        """What a phase had taken before the interruption, in seconds, as far as windows tell."""
        return math.fsum(_took_s(one) for one in self.of(phase))


def _took_s(measurement: Measurement) -> float:
    # None where Model Analyzer left a point out.
    return measurement.elapsed_s or 0.0
