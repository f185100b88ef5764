"""hcopt that tells of its stages and file operations, and kills itself at one of them: what a test starts in its place.

A clock cannot aim between an `open` and a `rename`; Python's audit events can. Nothing of this is in hcopt itself.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

FD = "HCOPT_TEST_FD"
AIM = "HCOPT_TEST_AIM"
_OPERATIONS = ("open", "os.rename", "os.link", "os.symlink", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# What is another one in each run: run ids, tempfile's and MLflow's names, the time in a sample's name.
_RANDOM = (
    (re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}"), "RUN"),
    (re.compile(r"[0-9a-f]{32}"), "ID"),
    (re.compile(r"_[0-9a-f]{8,}(?=\.npz)"), "_TIME"),
    (re.compile(r"\.[a-z0-9_]{8}(?=[./]|$)"), ".DRAFT"),
)


def plain_name(path: str) -> str:
    """A path without what is random in it."""
    for pattern, name in _RANDOM:
        path = pattern.sub(name, path)
    return path


@dataclass
class Watch:
    """Sees each file operation under the results and writes a line of JSON about it; kills at the one that is aimed at.

    Attributes:
        results: The folder.
        fd: Where the lines go.
        aim: Stage, operation, plain name, which of these, and how many calls of C functions later; None: nothing.
    """

    results: str
    fd: int
    aim: dict[str, object] | None
    stage: str = "start"
    seen: int = 0

    def begin(self, stage: str) -> None:
        self.stage = stage
        self._tell({"stage": stage})

    def event(self, name: str, arguments: tuple[object, ...]) -> None:
        if name not in _OPERATIONS or not _changes(name, arguments):
            return
        path = _path(arguments[1] if name in ("os.rename", "os.link", "os.symlink") else arguments[0])
        if not path.startswith(self.results):
            return
        operation = {"operation": name, "name": plain_name(path[len(self.results) :])}
        self._tell({"stage": self.stage, **operation})
        aimed = {key: (self.aim or {}).get(key) for key in ("stage", "operation", "name")}
        if aimed == {"stage": self.stage, **operation}:
            self.seen += 1
            if self.aim is not None and self.seen == self.aim["nth"]:
                _die_after(int(str(self.aim["calls"])))

    def _tell(self, line: dict[str, str]) -> None:
        os.write(self.fd, json.dumps(line).encode() + b"\n")


def _changes(name: str, arguments: tuple[object, ...]) -> bool:
    return name != "open" or bool(int(str(arguments[2] or 0)) & _WRITES)


def _path(given: object) -> str:
    if not isinstance(given, str | bytes | os.PathLike):
        return ""  # a descriptor
    return os.path.abspath(os.fsdecode(given))  # noqa: PTH100 - as the caller wrote it, links and all


def _die_after(calls: int) -> None:
    """Before the operation where `calls` is 0, else within what follows it: the write, the flush, the rename."""
    left = calls

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal left
        left -= event in ("c_call", "c_return")
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(count)


def main() -> None:
    """Runs hcopt with the arguments given."""
    aim = os.environ.pop(AIM, "null")
    watch = Watch(str(Path("results").absolute()) + "/", int(os.environ.pop(FD)), json.loads(aim))
    from hcopt.cli import app
    from hcopt.cli.progress_bar import TerminalProgress

    begun = TerminalProgress.phase

    def phase(self: TerminalProgress, title: str, *, steps: int | None = None) -> None:
        watch.begin(title)
        begun(self, title, steps=steps)

    TerminalProgress.phase = phase  # type: ignore[method-assign]
    sys.addaudithook(watch.event)
    app.main()


if __name__ == "__main__":
    main()
