"""What a configuration costs in memory, by what was seen of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hcopt.records.measurement import Measurement
from hcopt.records.model import ModelConfigVariant


def seen_memory_mb(measurements: Iterable[Measurement], variant: ModelConfigVariant) -> float | None:
    """The most memory that a server was seen to hold with one variant alone, in MB; None where nobody has seen it.

    That of a server which had just started with it, where there was one; else the most of all its windows, in which
    what earlier variants have left in the server counts along.
    """
    own = [m for m in measurements if m.variant.settings == variant.settings]
    alone = [m.server_memory_mb for m in own if m.server_memory_mb is not None and m.phase == "memory"]
    return max(alone or [m.server_memory_mb for m in own if m.server_memory_mb is not None], default=None)
