"""Times as the records have them: ISO 8601."""

from __future__ import annotations

from datetime import datetime


def read_time(timestamp: str) -> datetime:
    """An ISO 8601 time.

    Raises:
        ValueError: It is none.
    """
    # Python 3.10 does not take the Z.
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
