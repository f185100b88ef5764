"""Each kind of error has the exit code that scripts rely on."""

from __future__ import annotations

from pathlib import Path

from hcopt import errors


def test_exit_codes_are_the_documented_ones() -> None:
    codes = {kind.__name__: kind.exit_code for kind in errors.HcoptError.__subclasses__()}
    assert codes == {
        "ConfigError": 2,
        "ModelSourceError": 3,
        "RuntimeStartError": 4,
        "ProfileError": 5,
        "NoFeasibleConfigError": 6,
        "OutputError": 7,
        "RegressionError": 8,
        "BusyError": 9,
        "SeveralModelsError": 10,
        "InterruptedRunError": 130,
    }
    assert errors.HcoptError.exit_code == 1


def test_error_carries_message_remedy_and_log() -> None:
    error = errors.ProfileError("it failed", remedy="Try again.", log=Path("run.log"))
    assert (str(error), error.message, error.remedy, error.log) == (
        "it failed",
        "it failed",
        "Try again.",
        Path("run.log"),
    )
    bare = errors.ConfigError("it failed")
    assert (bare.remedy, bare.log) == (None, None)
