"""What a configuration needs of memory, by what was measured of it alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hcopt.records.measurement import Measurement
from hcopt.records.model import ModelConfigVariant


def needed_memory_mb(measurements: Iterable[Measurement], variant: ModelConfigVariant) -> float | None:
    """The most memory, in MB, of a server that had just started and served one variant alone; None where none did.

    What other windows show holds what earlier variants have left in the server.
    """
    own = (m for m in measurements if m.phase == "memory" and m.variant.settings == variant.settings)
    return max((m.server_memory_mb for m in own if m.server_memory_mb is not None), default=None)
