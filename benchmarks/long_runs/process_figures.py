"""What this process has taken so far, as the kernel counts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_SELF = Path("/proc/self")


@dataclass(frozen=True)
class Work:
    """Bytes and system calls of reading and writing, since the process began."""

    written_bytes: int
    writes: int
    read_bytes: int
    reads: int

    def since(self, before: Work) -> Work:
        return Work(
            written_bytes=self.written_bytes - before.written_bytes,
            writes=self.writes - before.writes,
            read_bytes=self.read_bytes - before.read_bytes,
            reads=self.reads - before.reads,
        )


def read_work() -> Work:
    """Source: proc(5), /proc/pid/io; what this reading itself takes is in it."""
    fields = dict(line.split(": ") for line in (_SELF / "io").read_text(encoding="ascii").splitlines())
    return Work(
        written_bytes=int(fields["wchar"]),
        writes=int(fields["syscw"]),
        read_bytes=int(fields["rchar"]),
        reads=int(fields["syscr"]),
    )


def peak_mb() -> float:
    """The most memory that this process has had at once, in MB (10⁶ bytes).

    Not `getrusage`: that begins with what the process that started this one had.
    """
    lines = (_SELF / "status").read_text(encoding="ascii").splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6
