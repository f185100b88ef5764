"""What hcopt does not use of a service, with what to do about it; each caller raises it as its own kind of error."""

from __future__ import annotations


class RefusedError(Exception):
    """What is there stays as it is.

    Attributes:
        message: What is wrong.
        remedy: What to do about it.
    """

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy
