"""The Typer program, and the boundary of each command: it shows errors as messages and exit codes."""

from __future__ import annotations

import shlex
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from hcopt.errors import HcoptError, InterruptedRunError

# What a service manager, and a terminal that goes away, send; Python itself takes care of Ctrl-C.
_ENDING = (signal.SIGTERM, signal.SIGHUP)

app = typer.Typer(
    name="hcopt",
    help="Finds the Triton configuration with the most throughput within your latency limit, proves it against the "
    "default, and hands it over.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@contextmanager
def boundary(*, debug: bool) -> Iterator[None]:
    """The one place where errors become messages and exit codes."""
    for number in _ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup's SIGHUP stays ignored
            signal.signal(number, _on_signal)
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt as error:
        _fail(InterruptedRunError(str(error) or "interrupted by Ctrl-C"), debug=debug)
    except HcoptError as error:
        _fail(error, debug=debug)
    except Exception as error:
        _fail(
            HcoptError(
                f"unexpected {type(error).__name__}: {error}",
                remedy="Run it again with --debug and report what it says.",
            ),
            debug=debug,
        )


def _on_signal(number: int, _frame: object) -> NoReturn:
    # From here every context manager on the stack ends what it started, as on Ctrl-C; a second one must not stop that.
    # No error of ours: a library's `except Exception` would swallow it.
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise KeyboardInterrupt(f"ended by {signal.Signals(number).name}")


def _fail(error: HcoptError, *, debug: bool) -> NoReturn:
    from rich.console import Console
    from rich.markup import escape

    from hcopt.cli.progress_bar import printable
    from hcopt.config.dotenv import dotenv_file
    from hcopt.system.environ import environment_variables
    from hcopt.system.redaction import redacted

    known = {**dotenv_file(), **environment_variables()}

    def said(text: object) -> str:
        return escape(printable(redacted(str(text), known)))

    if debug:
        print(redacted(traceback.format_exc(), known), file=sys.stderr)
    console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    console.print(f"[bold red]error:[/bold red] {said(error.message)}")
    if error.remedy:
        console.print(f"[bold]what to do:[/bold] {said(error.remedy)}")
    if error.log:
        console.print(f"[bold]log:[/bold] {said(error.log)}")
    raise typer.Exit(error.exit_code)


def command_line() -> str:
    """The command line, without logins."""
    from hcopt.system.redaction import without_credentials

    return without_credentials(shlex.join(["hcopt", *sys.argv[1:]]))


def program() -> str:
    """What to type for this program: its path where its folder is not among those of the shell."""
    return "hcopt" if shutil.which("hcopt") else shlex.quote(sys.argv[0])
