"""The heavy part of a report in a process of its own: V8 draws, Typst lays out, and their memory goes with them.

Without it hcopt's own process would have the memory of both on top of a whole run's measurements; and a crash of either
costs a report, which can be made again. Not by concurrent.futures.ProcessPoolExecutor: its process outlives a hcopt
that is killed, gets the terminal's Ctrl-C and writes to the terminal, and has no time limit that would end it.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hcopt.errors import OutputError
from hcopt.system import process

Result = TypeVar("Result")

_MAX_S = 900.0


def run_in_worker(part: str, function: Callable[..., Result], *arguments: Any) -> Result:
    """What a function of a module returns, called in another process.

    Args:
        part: The part of the report that it makes, for messages.
        function: It may raise a ValueError or an OutputError.
        arguments: Can be pickled, like the result.

    Raises:
        OutputError: The function or its process has failed, or there is no room for temporary files.
    """
    try:
        with process.temporary_folder() as folder:
            return _answer(folder, part, function, arguments)
    except OSError as error:
        raise OutputError(
            f"cannot make a part of the report ({part}) among the temporary files: {error.strerror or error}",
            remedy="Make room in the folder of temporary files, or set TMPDIR to another.",
        ) from error


def _answer(folder: Path, part: str, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    call, answer, log = folder / "call", folder / "answer", folder / "log"
    call.write_bytes(pickle.dumps((function, arguments)))
    # The same modules as here, wherever they were found; nothing else of the environment.
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"}
    argv = [sys.executable, "-m", __name__, str(call), str(answer)]
    ended = process.run(argv, log=log, timeout_s=_MAX_S, env=environment, cwd=folder)
    if ended.returncode == os.EX_IOERR:
        raise OSError(process.last_lines(log, 1))
    if ended.returncode != 0:
        how = f"did not end within {_MAX_S:g} s" if ended.timed_out else f"ended with {ended.returncode}"
        raise OutputError(f"cannot make a part of the report ({part}): {process.last_lines(log, 1) or how}")
    result: Result = pickle.loads(answer.read_bytes())
    return result


def _main(call: Path, answer: Path) -> None:
    function, arguments = pickle.loads(call.read_bytes())
    try:
        result = function(*arguments)
    except (ValueError, OutputError) as error:
        # The last line of the log is what the other process says.
        sys.exit(" ".join(str(error).split()))
    try:
        answer.write_bytes(pickle.dumps(result))
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        sys.exit(os.EX_IOERR)


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))
