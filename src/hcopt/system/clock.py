"""Times as the records have them, and waiting for something."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

Found = TypeVar("Found")


def read_time(timestamp: str) -> datetime:
    """An ISO 8601 time.

    Raises:
        ValueError: It is none.
    """
    # Python 3.10 does not take the Z.
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00"))


def wait_for(look: Callable[[], Found | None], *, timeout_s: float, poll_s: float) -> Found | None:
    """What `look` gives as soon as that is not None; None when the time is over."""
    deadline = time.monotonic() + timeout_s
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(poll_s)
    return found
