"""What the embedded Triton and its instances hold: in memory of their own, and in the machine's shared memory."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from hcopt.system.machine import read_memory_mb
from hcopt.system.process_memory import processes_memory_mb
from hcopt.triton.supervised import SHARE_BESIDE

_BYTES_PER_MB = 1024 * 1024
_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerMemory:
    """The memory of one Triton.

    Attributes:
        shared_prefix: How the names of its regions of shared memory begin; nobody else's do.
        max_mb: What it may hold before the kernel begins to choose victims.
        shared_folder: Where the regions are.
    """

    shared_prefix: str
    max_mb: int
    shared_folder: Path = Path("/dev/shm")

    def held_mb(self, pid: int) -> int:
        """Memory of the server and its children that nobody else has a part in."""
        held = 0
        with suppress(psutil.Error):  # one that has just ended holds nothing
            server = psutil.Process(pid)
            for one in (server, *server.children()):
                with suppress(psutil.Error):
                    memory = one.memory_info()
                    held += memory.rss - memory.shared
        return held // _BYTES_PER_MB

    def used_mb(self, pid: int) -> float | None:
        """All memory of the server and its children, what several of them share once; None where it is not seen."""
        with suppress(psutil.Error):
            server = psutil.Process(pid)
            return processes_memory_mb(one.pid for one in (server, *server.children(recursive=True)))
        return None

    def max_instances(self, pid: int, loaded: int) -> int:
        """How many instances may be loaded at once, where `loaded` of them (at least one) hold what is held now."""
        fitting = SHARE_BESIDE * min(self.max_mb, read_memory_mb()) / max(1, self.held_mb(pid))
        # The native backend has no regions.
        if used := self._shared_bytes():
            room = os.statvfs(self.shared_folder)
            # A region grows with the requests; what does not fit any more ends the instance.
            fitting = min(fitting, 0.5 * (used + room.f_bavail * room.f_frsize) / used)
        return int(loaded * fitting)

    def remove_regions(self) -> None:
        """Removes what a server that was killed has left."""
        for region in self._regions():
            region.unlink(missing_ok=True)

    def _shared_bytes(self) -> int:
        used = 0
        for region in self._regions():
            with suppress(FileNotFoundError):  # that of an instance that is just ending
                used += region.stat().st_blocks * _BLOCK_BYTES
        return used

    def _regions(self) -> list[Path]:
        return list(self.shared_folder.glob(f"{self.shared_prefix}_*"))
