"""Files that are whole or not there: written beside their place and renamed into it; or lines, added whole.

The only module that opens files under `results/` for writing (`tests/unit/test_whole_files.py` names the exceptions).
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# What tempfile puts into a name.
_DRAFT = re.compile(r"\..+\.[a-z0-9_]{8}(\.[^.]+)?")
_PROBE_BYTES = 1 << 20


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; renamed to `path` when the context ends well, else removed.

    Raises:
        OSError: The folder or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp's 0600 is for secrets; results are for the team.
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all.

    Raises:
        OSError: The folder or the file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_whole_bytes(path: Path, content: bytes) -> None:
    """Writes a file, whole or not at all.

    Raises:
        OSError: The folder or the file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def text_or_none(file: Path) -> str | None:
    """The text of a small file of the system, without white space around it; None where it cannot be read."""
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return None


def copy_whole(source: Path, target: Path) -> None:
    """Copies a file's content, whole or not at all.

    Raises:
        OSError: The one cannot be read, or the other not written.
    """
    with whole_file(target) as temporary:
        shutil.copyfile(source, temporary)


def link_tree(source: Path, target: Path) -> None:
    """Shows a folder at another place of the same disk, by links that need no second copy and outlive the first place.

    What is there already is replaced.

    Raises:
        OSError: The one cannot be read, or the other not written.
    """
    _remove(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without such links
        copy_whole(Path(source), Path(target))


def append_line(path: Path, line: str) -> None:
    """Adds a line and waits until the disk has it; where that fails, the file is as it was.

    A loss of power may still leave a part of the last line: whoever reads the file has to bear with that.

    Raises:
        OSError: The file cannot be written.
    """
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        before = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, f"{line}\n".encode())
            os.fsync(descriptor)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)
    if is_new:
        _sync_folder(path.parent)


def check_room(folder: Path, size_bytes: int = _PROBE_BYTES) -> None:
    """Does nothing where a file of this size can be written; it does not stay.

    Only writing tells: what a quota, or a limit of the process, leaves is not what the file system says is free.

    Raises:
        OSError: It cannot be written; its file name is the folder's.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(size_bytes))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(folder)) from error


def remove_drafts(folder: Path) -> None:
    """Removes what a killed process was writing anywhere in a folder, files and folders; for whoever has it alone."""
    for path in sorted(folder.rglob(".*")):
        if _DRAFT.fullmatch(path.name):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def folder_lock(folder: Path, *, surely: bool = False) -> Iterator[bool]:
    """Keeps other processes off a folder as long as they ask too; False where another one has it.

    A file system without locks keeps nobody off; with `surely` that is False too.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _locked(descriptor, without_locks=not surely)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, *, without_locks: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return without_locks
    return True


def point_to(link: Path, target: str, *, drafts: Path | None = None) -> None:
    """Makes `link` a symbolic link to `target`, in one step where it was another one.

    Args:
        link: The link.
        target: Where it leads from its own folder.
        drafts: A folder on the same file system to make it in; None takes the link's own.

    Raises:
        OSError: The link cannot be made.
    """
    temporary = (drafts or link.parent) / f".{link.name}.{secrets.token_hex(4)}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    try:
        temporary.replace(link)
    finally:
        temporary.unlink(missing_ok=True)


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        # A full disk takes a part first, and says so with the next one.
        left = left[os.write(descriptor, left) :]


def _sync_folder(folder: Path) -> None:
    """So that the file's name outlives a loss of power too; not every file system does this for a folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    # The only way to read it is to set it.
    current = os.umask(0)
    os.umask(current)
    return current
