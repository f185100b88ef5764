"""Progress as plain lines where stderr is no terminal, and as a bar where it is one."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from hcopt.cli.progress_bar import TerminalProgress, describe, duration, printable
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.note import Note
from tests.support.records import HEAVY, default_variant, measurement


def plain() -> Console:
    return Console(file=StringIO(), soft_wrap=True)


def said(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def taken(**changes: object) -> Measurement:
    return replace(measurement(default_variant(), HEAVY, (4980.4, 9.874)), **changes)  # type: ignore[arg-type]


def failed(error: str) -> Measurement:
    return taken(throughput_infer_per_s=None, latency=None, error=error)


def test_plain_lines_one_a_measurement_with_count_and_time_left() -> None:
    console = plain()
    with TerminalProgress(console) as progress:
        progress.phase("sweep", steps=10)
        progress.started("anything")
        progress.measured(taken())
        progress.measured(failed("perf_analyzer hung\nand more"))
    title, first, second = said(console).splitlines()
    name = "config_default, concurrency 32"
    assert title == "Sweep: 10 measurements"
    assert first.startswith(f"  [ 1/10] {name}: 4,980 infer/s, p99 9.87 ms (about ")
    assert first.endswith(" left)")
    assert second.startswith(f"  [ 2/10] {name}: failed: perf_analyzer hung (about ")


def test_measurements_in_turns_are_a_line_a_configuration_and_load() -> None:
    console, other = plain(), LoadPoint(concurrency=8)
    with TerminalProgress(console) as progress:
        progress.phase("confirmation", steps=8)
        blocks = [(5000.0, 8.0), (5100.0, 9.0), (9000.0, 30.0)]
        own = [measurement(default_variant(), HEAVY, figures, block=block) for block, figures in enumerate(blocks)]
        progress.measured_in_turns([own[0], taken(load=other, block=0), *own[1:]])
    first, second = said(console).splitlines()[1:]
    assert first.startswith(
        "  [3/8] config_default, concurrency 32: 5,100 infer/s, p99 9.00 ms, medians of 3 blocks (about "
    )
    assert second.startswith("  [4/8] config_default, concurrency 8: 4,980 infer/s, p99 9.87 ms (about ")


def test_last_measurement_has_no_time_left() -> None:
    console = plain()
    with TerminalProgress(console) as progress:
        progress.phase("confirmation", steps=1)
        progress.measured(taken())
    assert said(console).splitlines()[-1].endswith("p99 9.87 ms")


def test_phase_that_takes_longer_than_was_said_counts_on() -> None:
    console = plain()
    with TerminalProgress(console) as progress:
        progress.phase("confirmation", steps=1)
        progress.measured(taken())
        progress.extended(18)
        progress.measured(taken())
    first, more, second = said(console).splitlines()[1:]
    assert first.startswith("  [1/1] ")
    assert more == "  not decided yet: up to 18 measurements more"
    assert second.startswith("  [ 2/19] ")


def test_phase_without_steps_has_neither_count_nor_time() -> None:
    console = plain()
    with TerminalProgress(console) as progress:
        progress.phase("serve")
        progress.measured(taken())
    assert said(console).splitlines()[0] == "Starting Triton"
    assert said(console).splitlines()[1].startswith("  config_default")


def test_further_round_of_a_phase_counts_anew() -> None:
    console = plain()
    with TerminalProgress(console) as progress:
        for _ in range(2):
            progress.phase("confirmation", steps=2)
            progress.measured(taken())
    assert said(console).count("Confirmation: 2 measurements") == 2
    assert said(console).count("[1/2]") == 2


def test_same_phase_again_is_told_once() -> None:
    console = plain()
    with TerminalProgress(console) as progress:
        progress.phase("report")
        progress.phase("report")
    assert said(console).splitlines() == ["Writing the report"]


def test_unknown_phase_is_told_by_its_own_name() -> None:
    console = plain()
    with TerminalProgress(console) as progress:
        progress.phase("polishing")
    assert said(console) == "polishing\n"


@pytest.mark.parametrize("text", ["[bold]x[/bold]", "[/]", "[red", "a\\", "[link=x]", ":smile:", "f:100: x"])
def test_markup_in_names_notes_and_errors_is_literal(text: str) -> None:
    console = plain()
    with TerminalProgress(console) as progress:
        progress.phase(text, steps=3)
        progress.note(Note.of("error", message=text))
        progress.measured(failed(text))
        progress.measured(taken(variant=replace(default_variant(), config_name=text)))
    lines = said(console).splitlines()
    assert lines[0] == f"{text}: 3 measurements"
    assert lines[1] == f"  note: {text}"
    assert f"failed: {text}" in lines[2]
    assert f"{text}, concurrency 32" in lines[3]


def test_what_a_terminal_would_obey_is_taken_out() -> None:
    console, odd = plain(), "a\x1b[31mred\x1b]0;title\x07\rb\u202ec\x9b1m"
    with TerminalProgress(console) as progress:
        progress.note(Note.of("error", message=odd))
        progress.measured(failed(odd))
    assert not set("\x1b\x07\r\u202e\x9b") & set(said(console))
    assert "red" in said(console)
    assert printable("two\nlines\tand 한글 µ é") == "two\nlines\tand 한글 µ é"


def test_long_lines_are_not_broken_in_a_pipe() -> None:
    console = plain()
    with TerminalProgress(console) as progress:
        progress.note(Note.of("error", message="word " * 100))
    assert len(said(console).splitlines()) == 1


def test_terminal_has_a_bar_that_is_gone_afterwards_and_no_time_in_the_lines() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=200, color_system=None)
    with TerminalProgress(console) as progress:
        progress.phase("sweep", steps=3)
        progress.started("[bold]config_0")
        progress.measured(taken())
    text = said(console)
    assert "1/3" in text
    assert "Sweep: [bold]config_0" in text
    assert "left)" not in text
    assert text.rstrip().endswith("\x1b[2K")  # the bar's line is erased


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (taken(load=LoadPoint(concurrency=8, client_batch_size=4)), "concurrency 8 × 4 rows: 4,980 infer/s"),
        (taken(throughput_infer_per_s=0.47), "concurrency 32: 0.47 infer/s"),
        (failed("x" * 500), f"failed: {'x' * 160}"),
        (failed(""), "failed: "),
        (failed("\nsecond"), "failed: "),
    ],
)
def test_measurement_is_described_in_one_line(one: Measurement, text: str) -> None:
    described = describe(one)
    assert text in described
    assert "\n" not in described
    assert len(described) < 300


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1 s"),
        (0.4, "1 s"),
        (89.4, "89 s"),
        (90.0, "2 min"),
        (300.0, "5 min"),
        (5399.0, "90 min"),
        (5400.0, "1.5 h"),
    ],
)
def test_duration_is_told_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_bar_on_a_narrow_terminal_keeps_its_count() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=60)
    with TerminalProgress(console) as progress:
        progress.phase("noise", steps=13)
        progress.started("HomeCreditDefaultModel_config_default, concurrency 32, block 1")
    last = [line for line in said(console).splitlines() if "config_default" in line][-1]
    assert "0/13" in last
