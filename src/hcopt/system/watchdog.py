"""A program that outlives hcopt by a moment: when hcopt is gone, however it went, it ends all that hcopt had started.

`process` starts one for each hcopt process. It reads lines from a pipe whose other end only hcopt holds, so that the
kernel itself tells of a death: `+GROUP` for a process group that lives, `-GROUP` for one that has ended, `+/PATTERN`
and `-/PATTERN` for files that are to go with their owner. It runs as a file, without hcopt's packages and without
psutil, since it is started before everything else and has to be there at once.
"""

from __future__ import annotations

import glob
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

# In the environment of everything that hcopt starts, and so of what those start: Model Analyzer gives its perf_analyzer
# a session of its own, which the group's end does not reach.
MARK = "HCOPT_STARTED_BY"
DETACHED = "detached"
_PROC = Path("/proc")
# What is being started just now shows its mark a moment later.
_QUIET_LOOKS = 3
_LOOKS = 200
_BETWEEN_LOOKS_S = 0.05


def marked(prefix: str, proc: Path = _PROC) -> Iterator[int]:
    """Processes of this user whose mark begins with `prefix`; one that has ended has no environment any more."""
    wanted = f"{MARK}={prefix}".encode()
    for folder in proc.iterdir():
        if folder.name.isdecimal():
            # Another user's, or just gone.
            with suppress(OSError):
                variables = (folder / "environ").read_bytes().split(b"\0")
                if any(variable.startswith(wanted) for variable in variables):
                    yield int(folder.name)


def kill_marked(prefix: str) -> bool:
    """Kills them until none is left, also those that one of them has started meanwhile; False where one stays."""
    quiet = 0
    for _ in range(_LOOKS):
        found = [pid for pid in marked(prefix) if pid != os.getpid()]
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        quiet = 0 if found else quiet + 1
        if quiet == _QUIET_LOOKS:
            return True
        time.sleep(_BETWEEN_LOOKS_S)
    return False


def watch(lines: Iterable[bytes]) -> tuple[set[int], set[str]]:
    """Reads until the other end is gone: the groups that lived then, and the patterns of what is to be removed."""
    groups, patterns = set[int](), set[str]()
    for line in lines:
        sign, what = line[:1], os.fsdecode(line[1:].rstrip(b"\n"))
        if what.startswith("/"):
            (patterns.add if sign == b"+" else patterns.discard)(what)
        else:
            (groups.add if sign == b"+" else groups.discard)(int(what))
    return groups, patterns


def _main(mark: str, *, detached: bool) -> None:
    # As nobody's child: who kills the children of what has started it does not find it.
    if detached and os.fork():
        os._exit(0)
    groups, patterns = watch(sys.stdin.buffer)
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    kill_marked(mark)
    for pattern in patterns:
        for path in map(Path, glob.glob(pattern)):  # noqa: PTH207 - the pattern is absolute
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


if __name__ == "__main__":
    _main(sys.argv[1], detached=DETACHED in sys.argv)
