"""What long work tells while it runs. The command line draws it; everything else only reports."""

from __future__ import annotations

from typing import Protocol

from hcopt.schema import Measurement, Note


class Progress(Protocol):
    """Receives what happens, in order."""

    def phase(self, title: str, *, steps: int | None = None) -> None:
        """A new phase begins; `steps` is how many measurements it takes, where that is known."""

    def extended(self, steps: int) -> None:
        """The phase takes up to so many measurements more than was said: nothing is decided yet."""

    def started(self, what: str) -> None:
        """A step begins."""

    def measured(self, measurement: Measurement) -> None:
        """A measurement has ended, well or not."""

    def known(self) -> None:
        """A measurement that an interrupted run had taken counts again."""

    def note(self, note: Note) -> None:
        """Something that the user has to know about the run."""


class SilentProgress:
    """Tells nobody."""

    def phase(self, title: str, *, steps: int | None = None) -> None:
        """Does nothing."""

    def extended(self, steps: int) -> None:
        """Does nothing."""

    def started(self, what: str) -> None:
        """Does nothing."""

    def measured(self, measurement: Measurement) -> None:
        """Does nothing."""

    def known(self) -> None:
        """Does nothing."""

    def note(self, note: Note) -> None:
        """Does nothing."""
