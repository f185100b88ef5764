"""Draws progress on stderr: a bar with the remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from statistics import median
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from hcopt.analysis.onnxruntime_alone import ONNXRUNTIME
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.report import figures
from hcopt.system.progress import Progress
from hcopt.words.notes import sentence

_TITLES: Mapping[str, str] = {
    "seed": "Making sure of the sample model in MLflow under results/",
    "fetch": "Fetching the model and planning",
    "nodes": "Looking at the nodes of the cluster",
    "serve": "Starting Triton",
    "noise": "Noise (the default against itself)",
    "sweep": "Sweep",
    "cluster": "Measuring on the cluster",
    "memory": "Memory of the finalists",
    "confirmation": "Confirmation",
    "onnxruntime_alone": "What Triton costs (in turns with ONNX Runtime alone)",
    "open_loop": "Capacity (requests arriving at random)",
    "report": "Writing the report",
    "log": "Logging to MLflow",
}


_STEPS: Mapping[str, str] = {"cluster": "tasks"}


class TerminalProgress(Progress):
    """A `Progress` for people; a context, because a bar has to be taken off the screen again."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = RichProgress(
            SpinnerColumn(),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            # At the end: on a narrow terminal what does not fit is cut off.
            TextColumn(
                "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
            ),
            console=console,
            transient=True,
            expand=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("", total=None, visible=False)
        self._title = ""
        self._steps: int | None = None
        self._done = 0
        self._known = 0
        self._phase_started = time.monotonic()
        self._telling = threading.Lock()

    def __enter__(self) -> TerminalProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def phase(self, title: str, *, steps: int | None = None) -> None:
        """See `Progress.phase`."""
        shown = _TITLES.get(title, title)
        if steps is not None or shown != self._title:
            count = "" if steps is None else f": {steps} {_STEPS.get(title, 'measurements')}"
            self._console.print(Text.assemble((shown, "bold"), count), highlight=False)
        self._title, self._steps, self._done, self._known = shown, steps, 0, 0
        self._phase_started = time.monotonic()
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(shown, total=steps)

    def extended(self, steps: int) -> None:
        """See `Progress.extended`."""
        self._advance(0, more=steps)
        self._console.print(f"  not decided yet: up to {steps} measurements more", highlight=False)

    def started(self, what: str) -> None:
        """See `Progress.started`."""
        # What stands in brackets is on the phase's line.
        self._bar.update(self._task, description=f"{self._title.partition(' (')[0]}: {_short(what)}")

    def measured(self, measurement: Measurement) -> None:
        """See `Progress.measured`."""
        self._show(describe(measurement), steps=1)

    def measured_in_turns(self, measurements: Sequence[Measurement]) -> None:
        """See `Progress.measured_in_turns`: a line a configuration and load, since there are dozens."""
        by_side: dict[tuple[ModelConfigVariant, LoadPoint, str], list[Measurement]] = {}
        for one in measurements:
            by_side.setdefault((one.variant, one.load, one.profiler), []).append(one)
        for own in by_side.values():
            self._show(describe_blocks(own), steps=len(own))

    def known(self) -> None:
        """See `Progress.known`: counted, but not told as if it were new."""
        self._known += 1
        self._phase_started = time.monotonic()
        self._advance(1)

    def told(self, line: str, *, steps: int = 0, more: int = 0) -> None:
        """See `Progress.told`; called from threads."""
        with self._telling:
            self._show(line, steps=steps, more=more)

    def note(self, note: Note) -> None:
        """See `Progress.note`."""
        print_note(self._console, note)

    def _show(self, line: str, *, steps: int, more: int = 0) -> None:
        """A line, with the count and the remaining time where steps are done with it."""
        self._advance(steps, more=more)
        count, left = (self._count(), self._left()) if steps else ("", "")
        self._console.print(Text(f"  {count}{printable(line)}{left}"), highlight=False)

    def _advance(self, steps: int, *, more: int = 0) -> None:
        self._done += steps
        if more:
            self._steps = (self._steps or 0) + more
        self._bar.update(self._task, advance=steps, total=self._steps)

    def _count(self) -> str:
        if self._steps is None:
            return ""
        return f"[{self._done:>{len(str(self._steps))}}/{self._steps}] "

    def _left(self) -> str:
        """The remaining time of the phase, where no bar shows it."""
        if self._steps is None or self._console.is_terminal or self._done >= self._steps:
            return ""
        each_s = (time.monotonic() - self._phase_started) / (self._done - self._known)
        left_s = each_s * (self._steps - self._done)
        return f" (about {duration(left_s)} left)"


def printable(text: str) -> str:
    """The text without what a terminal would obey: names may come from a registry, a model or a server."""
    return "".join(character if character.isprintable() or character in "\n\t" else "�" for character in text)


def print_note(console: Console, note: Note) -> None:
    """One thing that the user has to know."""
    console.print(Text.assemble("  ", ("note:", "yellow"), f" {printable(sentence(note))}"), highlight=False)


def describe_blocks(measurements: Sequence[Measurement]) -> str:
    """Measurements of one configuration at one load in one line, by their medians."""
    rates = [one.throughput_infer_per_s for one in measurements if one.throughput_infer_per_s is not None]
    p99s_ms = [one.latency.p99_ms for one in measurements if one.latency is not None]
    blocks = len({one.block for one in measurements})
    found = f"{figures.rate(median(rates))}, p99 {median(p99s_ms):.2f} ms"
    return f"{_where(measurements[0])}: {found}{f', medians of {blocks} blocks' if blocks > 1 else ''}"


def _where(measurement: Measurement) -> str:
    load = measurement.load
    rows = f" × {load.client_batch_size} rows" if load.client_batch_size > 1 else ""
    rate = load.request_rate_per_s
    asked = f"concurrency {load.concurrency}" if rate is None else f"{figures.throughput(rate)} requests/s"
    alone = " by ONNX Runtime alone" if measurement.profiler == ONNXRUNTIME else ""
    return f"{_short(measurement.variant.config_name)}{alone}, {asked}{rows}"


def describe(measurement: Measurement) -> str:
    """One measurement in one line."""
    name = _where(measurement)
    if measurement.throughput_infer_per_s is None or measurement.latency is None:
        return f"{name}: failed: {next(iter((measurement.error or '').splitlines()), '')[:160]}"
    return f"{name}: {figures.rate(measurement.throughput_infer_per_s)}, p99 {measurement.latency.p99_ms:.2f} ms"


def _short(text: str) -> str:
    """Without the model's name, which is the same on every line and would leave no room for what differs."""
    before, mark, after = text.partition("_config_")
    return f"config_{after}" if mark and " " not in before else text


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
