"""One measuring hcopt a machine: a lock file that says whose run it is, and that the kernel frees with its owner.

Not by filelock: in a folder for everybody it refuses the file that a killed run of another user has left.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

import psutil

from hcopt.errors import BusyError
from hcopt.records.note import Note

_NAME = "hcopt.lock"
_MAX_TEXT_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who measures on this machine.

    Attributes:
        command: Its command line, without logins.
        folder: Its run's folder, as soon as it has one.
        since: UTC, ISO 8601.
        pid: Its process.
        user: Who started it.
    """

    command: str
    folder: str | None = None
    since: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    pid: int = field(default_factory=os.getpid)
    user: str = field(default_factory=lambda: psutil.Process().username())

    @property
    def said(self) -> str:
        """As a person reads it."""
        folder = "" if self.folder is None else f" in {self.folder}"
        return f"process {self.pid} of {self.user}, `{self.command}`{folder}, since {self.since}"


def lock_file() -> Path:
    """The machine's, or that of everybody with the same TMPDIR."""
    return Path(tempfile.gettempdir()) / _NAME


@contextmanager
def measuring_alone(
    command: str, *, force: bool, note: Callable[[Note], None], file: Path | None = None
) -> Iterator[Callable[[Path], None]]:
    """Keeps other runs off this machine for as long as the context lasts; gives what is to be told the run's folder.

    Args:
        command: The command line, for those who come later.
        force: Goes on beside another run, without the lock, after it has told whose it is.
        note: Told that.
        file: Another place for the lock.

    Raises:
        BusyError: Another run measures, and `force` is off.
    """
    path = lock_file() if file is None else file
    owner = Owner(command=command)
    try:
        descriptor = _locked(path)
    except BlockingIOError:
        there = _owner(path)
        whose = "one that does not say whose it is" if there is None else there.said
        if not force:
            raise BusyError(
                f"another hcopt measures on this machine: {whose}",
                remedy="Wait for its end, or go on beside it with --force: each then disturbs the other's figures.",
            ) from None
        note(Note.of("another_run_measures", whose=whose))
        yield lambda _: None
        return
    except OSError as error:
        # A lock that cannot be had is no reason not to measure.
        note(Note.of("no_machine_lock", path=str(path), reason=str(error.strerror or error)))
        yield lambda _: None
        return
    try:
        _write(descriptor, owner)
        yield lambda folder: _write(descriptor, replace(owner, folder=str(folder)))
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _locked(path: Path) -> int:
    """The open lock file, locked.

    Raises:
        BlockingIOError: Somebody else has it.
        OSError: It cannot be opened.
    """
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last owner may have removed it between the opening and the locking: then nobody else would see it.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.lstat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _opened(path: Path) -> int:
    """Never through a link, and never something that is no file: everybody may write to the folder."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        # Without O_CREAT: where everybody may write, the kernel lets nobody create what another one has.
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        with suppress(PermissionError):
            os.fchmod(descriptor, 0o666)  # also for a user whose umask would keep the others out
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no file")
    return descriptor


def _write(descriptor: int, owner: Owner) -> None:
    # A full disk takes nothing of the lock itself.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(owner)).encode(), 0)


def _owner(path: Path) -> Owner | None:
    try:
        with os.fdopen(_opened(path), "rb") as file:
            return Owner(**json.loads(file.read(_MAX_TEXT_BYTES)))
    except (OSError, ValueError, TypeError):
        return None
