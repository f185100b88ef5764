"""The tree of errors that a user can act on, each with its exit code. Nothing here prints or exits."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

INTERRUPTED_EXIT_CODE = 130


class HcoptError(Exception):
    """Something a user can act on.

    Args:
        message: What failed, and with which value.
        remedy: What to do about it, as one sentence or one command.
        log: The file with the details, where there is one.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str | None = None, log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.log = log


class ConfigError(HcoptError):
    """config.yaml, the environment or the command line says something that cannot be done."""

    exit_code = 2


class ModelSourceError(HcoptError):
    """The model cannot be had, or is not one that can be served."""

    exit_code = 3


class RuntimeStartError(HcoptError):
    """Triton (embedded, in Docker, or somebody else's) does not serve."""

    exit_code = 4


class ModelLoadError(RuntimeStartError):
    """Triton answers, and refuses to load a model."""


class ProfileError(HcoptError):
    """There is no usable measurement."""

    exit_code = 5


class NoFeasibleConfigError(HcoptError):
    """The run is complete, and no configuration meets the limits."""

    exit_code = 6


class OutputError(HcoptError):
    """A report, a manifest or the tracking server could not be written."""

    exit_code = 7


class RegressionError(HcoptError):
    """`hcopt check` found a regression that is real."""

    exit_code = 8


class BusyError(HcoptError):
    """Another run measures on this machine."""

    exit_code = 9


class SeveralModelsError(HcoptError):
    """Of several models, one or more have not ended well; the others are done."""

    exit_code = 10


class InterruptedRunError(HcoptError):
    """Ctrl-C or SIGTERM."""

    exit_code = INTERRUPTED_EXIT_CODE
