"""The memory of some processes together, as Linux counts it; reading it makes each of them hold still for a moment.

Source: proc_pid_smaps(5) and proc_pid_status(5): `smaps_rollup`, `RssFile`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hcopt.system.files import text_or_none

_PROC = Path("/proc")
_KB_PER_MB = 1024


def processes_memory_mb(pids: Iterable[int], *, proc: Path = _PROC) -> float | None:
    """Memory of some processes that belong together; what several of them share counts once.

    The sum of their proportional set sizes (PSS), but for the files that they map: of these no less than what one of
    them maps counts, since a program that has nothing to do with them, such as another Triton of this installation,
    would make their proportion smaller.

    Args:
        pids: The processes; one that has ended holds nothing.
        proc: Where Linux shows processes.

    Returns:
        None where it is not to be seen of any of them.
    """
    total_kb, files_kb, largest_files_kb, is_seen = 0, 0, 0, False
    for pid in pids:
        sizes = _kilobytes(proc / str(pid) / "smaps_rollup")
        if "Pss" not in sizes:
            continue  # it has just ended, or is another user's
        is_seen = True
        total_kb += sizes["Pss"]
        # Linux 5.4 has the parts of PSS; before it, the proportions stay as they are.
        if "Pss_File" in sizes:
            files_kb += sizes["Pss_File"]
            largest_files_kb = max(largest_files_kb, _kilobytes(proc / str(pid) / "status").get("RssFile", 0))
    return (total_kb + max(0, largest_files_kb - files_kb)) / _KB_PER_MB if is_seen else None


def _kilobytes(file: Path) -> dict[str, int]:
    """The lines of a file that give so many kB."""
    lines = (line.partition(":") for line in (text_or_none(file) or "").splitlines())
    return {name: int(value.removesuffix(" kB")) for name, _, value in lines if value.endswith(" kB")}
