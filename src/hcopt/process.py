"""Starts other programs: a time limit, a log file, a process group of their own, and a clean end.

The only user of subprocess.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_GRACE_S = 5.0
# What a pipe holds on Linux unless it is told otherwise: pipe(7).
_PIPE_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended.

    Attributes:
        returncode: None where it was killed for its time limit.
        elapsed_s: Wall time.
        cpu_s: CPU time of the program and of those of its children that it waited for; None where nobody counted.
    """

    returncode: int | None
    elapsed_s: float
    cpu_s: float | None = None

    @property
    def timed_out(self) -> bool:
        """Whether the time limit ended it."""
        return self.returncode is None


def end_group(process: subprocess.Popen[bytes], grace_s: float = _GRACE_S) -> None:
    """Ends a process and its whole group: SIGTERM, then SIGKILL after `grace_s` seconds."""
    try:
        if process.poll() is None:
            _signal_group(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
    finally:
        # Always: children outlive a leader that died (stubs of a crashed tritonserver do), and a second Ctrl-C may cut
        # the grace short.
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


@contextmanager
def service(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path | None = None, grace_s: float = _GRACE_S
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program for as long as the context lasts; its output goes to `log`, its group ends with the context.

    Raises:
        OSError: The program cannot be started.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_group(process, grace_s)


def run(
    argv: Sequence[str],
    *,
    log: Path,
    timeout_s: float,
    env: Mapping[str, str],
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    grace_s: float = _GRACE_S,
) -> Finished:
    """Runs a program to its end or its time limit; its output goes to `log` and, line by line, to `on_line`.

    Whatever ends this call (the limit, an exception in `on_line`, Ctrl-C) ends the program's whole process group.

    Raises:
        OSError: The program cannot be started.
    """
    started, cpu_before_s = time.monotonic(), _children_cpu_s()
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
        assert process.stdout is not None
        with process.stdout:
            try:
                in_time = _drain(process, started + timeout_s, output.write, on_line)
                returncode = process.wait() if in_time else None
            finally:
                end_group(process, grace_s)
    return Finished(returncode=returncode, elapsed_s=time.monotonic() - started, cpu_s=_children_cpu_s() - cpu_before_s)


def _children_cpu_s() -> float:
    """CPU time of all children that have ended; the difference around one child is that child's."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _drain(
    process: subprocess.Popen[bytes],
    deadline: float,
    write: Callable[[bytes], object],
    on_line: Callable[[str], None] | None,
) -> bool:
    """Copies the output until the program ends (True) or the deadline passes (False)."""
    assert process.stdout is not None
    pending, unread = b"", _PIPE_BYTES
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while unread > 0:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            # In steps, because a grandchild may hold the pipe open after the program itself has ended. What the program
            # left in it is read; what the grandchild goes on writing is not waited for.
            ended = process.poll() is not None
            if not selector.select(0 if ended else min(left, 0.5)):
                if ended:
                    break
                continue
            chunk = os.read(process.stdout.fileno(), _PIPE_BYTES)
            if not chunk:
                ended = _wait_until(process, deadline)
                break
            unread -= len(chunk) if ended else 0
            write(chunk)
            pending = hand_over(pending + chunk, on_line)
    if ended and pending:
        hand_over(pending + b"\n", on_line)
    return ended


def hand_over(text: bytes, on_line: Callable[[str], None] | None) -> bytes:
    """Gives each whole line to `on_line`; returns the unfinished one."""
    if on_line is None:
        return b""
    *lines, rest = text.replace(b"\r", b"\n").split(b"\n")
    for line in lines:
        on_line(line.decode(errors="replace"))
    return rest


def _wait_until(process: subprocess.Popen[bytes], deadline: float) -> bool:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log file, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 65536))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-count:])
