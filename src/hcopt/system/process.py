"""Starts other programs: a time limit, a log file, a process group of their own, and a clean end.

The only user of subprocess. Whatever it starts ends with this process, also where that is killed: see `watchdog`.
"""

from __future__ import annotations

import atexit
import glob
import os
import resource
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO, TypeAlias

from hcopt.system import watchdog

# What others hold in their hands; they need not know what it is made of.
Program: TypeAlias = subprocess.Popen[bytes]

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


class _Watchdog:
    """The watchdog of this process and what it knows. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = count()
        self._mark = f"{os.getpid()}-{secrets.token_hex(8)}."
        self._marks: dict[int, str] = {}
        self._known: set[str] = set()
        self._program = self._started()
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._leave_to_parent)

    def new_mark(self) -> str:
        """What the next program carries; ends in a dot, so that no mark is the beginning of another."""
        return f"{self._mark}{next(self._numbers)}."

    def take(self, process: Program, mark: str) -> None:
        """From now on the program's group dies with this process."""
        self._marks[process.pid] = mark
        self.tell(str(process.pid))

    def release(self, process: Program) -> None:
        """For a program whose group is gone: ends what has left the group, where anything may have."""
        mark = self._marks.pop(process.pid, None)
        # One that ended well has waited for its children; to look for them takes a while on a large machine.
        if mark is not None and process.returncode != 0:
            watchdog.kill_marked(mark)
        self.forget(str(process.pid))

    def tell(self, what: str) -> None:
        """Adds a group, or a pattern of files."""
        with self._lock:
            self._known.add(what)
            self._write(f"+{what}\n")

    def forget(self, what: str) -> None:
        """Takes it off."""
        with self._lock:
            self._known.discard(what)
            self._write(f"-{what}\n")

    def close(self) -> None:
        """Lets the watchdog end, and waits for it."""
        with self._lock:
            self._program.communicate()

    def _write(self, line: str) -> None:
        assert self._program.stdin is not None
        try:
            self._program.stdin.write(os.fsencode(line))
        except BrokenPipeError:
            # Somebody has killed it: the next one learns all that is known.
            self._program.stdin.close()
            self._program.wait()
            self._program = self._started()

    def _started(self) -> Program:
        # It ends with this process and by nothing else: who ends a whole service sends its signal to all of it. Blocked
        # here, since a program inherits that, and has it from its very first moment.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        try:
            program = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    watchdog.__file__,
                    self._mark,
                    *([watchdog.DETACHED] if _detached.is_set() else []),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
                bufsize=0,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        assert program.stdin is not None
        program.stdin.write(b"".join(os.fsencode(f"+{what}\n") for what in self._known))
        return program

    def _leave_to_parent(self) -> None:
        """In a forked child, which must not hold the pipe open."""
        _watchdog_of.cache_clear()
        atexit.unregister(self.close)
        assert self._program.stdin is not None
        self._program.stdin.close()
        self._program.returncode = 0  # no child of this one's


_starting = threading.Lock()
_detached = threading.Event()


def detach_watchdog() -> None:
    """Has the watchdog of this process be no child of it; for processes whose owner kills their children at their end.

    To be called before anything is started.
    """
    _detached.set()


@cache
def _watchdog_of(pid: int) -> _Watchdog:  # noqa: ARG001 - a forked child has one of its own
    return _Watchdog()


def _watchdog() -> _Watchdog:
    with _starting:
        return _watchdog_of(os.getpid())


@contextmanager
def removed_at_death(pattern: Path) -> Iterator[None]:
    """Files that this process removes itself, unless it is killed within the context: then the watchdog does.

    Args:
        pattern: An absolute path, whose last part may be a pattern as a shell has them.
    """
    told = f"{glob.escape(str(pattern.parent))}/{pattern.name}"
    _watchdog().tell(told)
    try:
        yield
    finally:
        _watchdog().forget(told)


@contextmanager
def temporary_folder(prefix: str = "hcopt-", *, parent: Path | None = None) -> Iterator[Path]:
    """A new folder that only this user may enter; gone with the context, and with this process where that is killed.

    Raises:
        OSError: It cannot be made.
    """
    # Named before it is made, so that there is no moment in which a kill leaves it.
    folder = (parent or Path(tempfile.gettempdir()).absolute()) / f"{prefix}{secrets.token_hex(8)}"
    with removed_at_death(folder):
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _start(argv: Sequence[str], *, stdout: int | IO[bytes], env: Mapping[str, str], cwd: Path | None) -> Program:
    """A program in a session of its own, watched until `end_group`."""
    guard = _watchdog()
    mark = guard.new_mark()
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        env={**env, watchdog.MARK: mark},
        cwd=cwd,
        start_new_session=True,
    )
    guard.take(process, mark)
    return process


def end_group(process: Program, grace_s: float = _GRACE_S) -> None:
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
        _watchdog().release(process)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


@contextmanager
def service(
    argv: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path | None = None, grace_s: float = _GRACE_S
) -> Iterator[Program]:
    """Runs a program for as long as the context lasts; its output goes to `log`, its group ends with the context.

    Raises:
        OSError: The program cannot be started.
    """
    with log.open("ab") as output:
        process = _start(argv, stdout=output, env=env, cwd=cwd)
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
        process = _start(argv, stdout=subprocess.PIPE, env=env, cwd=cwd)
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
    process: Program,
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


def _wait_until(process: Program, deadline: float) -> bool:
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
