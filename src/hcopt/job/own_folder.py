"""The folder of a run, for nobody else as long as it is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from hcopt.errors import BusyError, OutputError
from hcopt.store.run_folder import RunFolder, new_run, remove_stillborn
from hcopt.store.unfinished import Unfinished
from hcopt.system.files import folder_lock


@contextmanager
def own_folder(
    results: Path,
    unfinished: Unfinished | None,
    opened: Callable[[Path], None],
    *,
    turn: AbstractContextManager[object],
) -> Iterator[RunFolder]:
    """The folder of a new run, or of the one to go on with, for nobody else as long as the context lasts.

    Args:
        results: The folder that shows results.
        unfinished: The run to go on with; None begins a new one.
        opened: Takes the folder.
        turn: See `Job.turn`.

    Raises:
        BusyError: Another process has it.
        OutputError: It cannot be written, nor can what the context writes.
    """
    try:
        with ExitStack() as stack:
            with turn:
                remove_stillborn(results)
                folder = new_run(results) if unfinished is None else unfinished.folder
                if not stack.enter_context(folder_lock(folder.path)):
                    raise BusyError(f"run {folder.run_id} is under way: there is nothing to resume")
            opened(folder.path)
            yield folder
    except OSError as error:
        raise OutputError(
            unwritten(error, results), remedy="Make room, or give another folder with --output."
        ) from error


def unwritten(error: OSError, results: Path) -> str:
    """What could not be written, and why."""
    return f"cannot write {error.filename or results}: {error.strerror or error}"
