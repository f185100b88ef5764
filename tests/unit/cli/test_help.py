"""What `--help` shows, and the completion of shells."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from hcopt.cli.app import app

WIDE = {"COLUMNS": "200", "TERM": "dumb"}


def panels(*arguments: str) -> dict[str, list[str]]:
    """The groups that a help shows, in order, and the names in each."""
    shown = CliRunner().invoke(app, [*arguments, "--help"], env=WIDE).stdout
    found: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if title := re.match(r"╭─ (.+?) ─", line):
            names = found.setdefault(title[1], [])
        elif name := re.match(r"│ [ *]*(-{0,2}[a-z-]+) ", line):
            names.append(name[1])
    return found


def test_commands_are_grouped_in_the_order_of_work() -> None:
    found = panels()
    assert found.pop("Options") == ["--version", "--install-completion", "--show-completion", "--help"]
    found["Deploy"] = [name for name in found["Deploy"] if name != "ray-job"]  # shown where Ray is installed
    assert list(found.items()) == [
        ("Measure", ["profile", "scale-check", "check"]),
        ("Results", ["log", "report", "compare"]),
        ("Deploy", ["kubernetes", "capacity"]),
        ("Service", ["fetch", "seed", "doctor"]),
    ]


def test_options_of_profile_that_matter_come_first() -> None:
    found = panels("profile")
    assert list(found) == ["Arguments", "Options", "Where Triton runs", "How it measures", "Output"]
    matter = ["--model", "--config", "--set", "--output", "--dry-run", "--resume", "--promote", "--help"]
    assert found["Options"] == matter


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_is_told_how_to_complete_and_gets_the_commands(shell: str) -> None:
    script = CliRunner().invoke(app, prog_name="hcopt", env={"_HCOPT_COMPLETE": f"source_{shell}"})
    assert f"_HCOPT_COMPLETE=complete_{shell}" in script.stdout
    typed = {"COMP_WORDS": "hcopt kub", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "hcopt kub"}
    answer = CliRunner().invoke(
        app,
        prog_name="hcopt",
        env={"_HCOPT_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args", **typed},
    )
    assert "kubernetes" in answer.stdout
