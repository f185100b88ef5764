"""What long work tells while it runs. The command line draws it; everything else only reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hcopt.records.measurement import Measurement
from hcopt.records.note import Note


class Progress:
    """Receives what happens, in order. This one does nothing with it; others show it, or hand it on."""

    def phase(self, title: str, *, steps: int | None = None) -> None:
        """A new phase begins; `steps` is how many measurements it takes, where that is known."""

    def extended(self, steps: int) -> None:
        """The phase takes up to so many measurements more than was said: nothing is decided yet."""

    def started(self, what: str) -> None:
        """A step begins."""

    def measured(self, measurement: Measurement) -> None:
        """A measurement has ended, well or not."""

    def measured_in_turns(self, measurements: Sequence[Measurement]) -> None:
        """Measurements of some blocks have ended together, all well."""
        for measurement in measurements:
            self.measured(measurement)

    def known(self) -> None:
        """A measurement that an interrupted run had taken counts again."""

    def told(self, line: str, *, steps: int = 0, more: int = 0) -> None:
        """Something has happened elsewhere; so many steps of the phase are done with it, or more are to come."""

    def note(self, note: Note) -> None:
        """Something that the user has to know about the run."""


@dataclass(frozen=True, slots=True)
class MemberProgress(Progress):
    """One of several runs that go on at once: of its tasks and notes the whole is told, with its name before them.

    Attributes:
        whole: Told of all of them.
        name: Of this one.
    """

    whole: Progress
    name: str

    def phase(self, title: str, *, steps: int | None = None) -> None:
        """A phase of one is none of the whole; its steps are."""
        if steps is not None and title == "cluster":
            self.told(f"{steps} tasks", more=steps)

    def told(self, line: str, *, steps: int = 0, more: int = 0) -> None:
        """See `Progress.told`."""
        self.whole.told(f"{self.name}: {line}", steps=steps, more=more)

    def note(self, note: Note) -> None:
        """See `Progress.note`."""
        self.whole.note(Note.of("of_model", name=self.name, note=note))
