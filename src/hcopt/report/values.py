"""What a report consists of: text that is ready to be laid out, as PDF or as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hcopt.words import Language

Tone = Literal["good", "neutral", "open", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One of the three questions of the first page: what to deploy, how much better, how sure."""

    question: str
    answer: str
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The verdict: a badge, a sentence, three answers, and under them what is known of the limit and of the capacity.

    Attributes:
        facts: At most two answers of a smaller size; none where there is no limit.
    """

    tone: Tone
    badge: str
    sentence: str
    answers: tuple[Answer, ...]
    facts: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A figure, or a name, and under it its interval, or what it stands for."""

    value: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """One row of the first page's table; `left` is None where there is nothing to compare with."""

    label: str
    left: Cell | None
    right: Cell
    lines: tuple[str, ...]
    differs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonTable:
    """Default against best; headings are (role, name) pairs."""

    left: tuple[str, str] | None
    right: tuple[str, str]
    rows: tuple[ComparisonRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigLine:
    """A line of config.pbtxt, and whether the default lacks it."""

    text: str
    differs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """The config.pbtxt to deploy.

    Attributes:
        excerpt: What fits the first page: all of it, or the lines that differ from the default.
        lines: All of it, where the excerpt is not; else nothing.
    """

    title: str
    caption: str
    excerpt: tuple[ConfigLine, ...]
    lines: tuple[ConfigLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells under a header.

    Attributes:
        word_columns: So many columns from the left hold words; the others hold figures.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    word_columns: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Where a chart goes; without the chart (there was no data for it) the caption goes too.

    Attributes:
        chart: Its name among the charts of the run.
    """

    chart: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the report after the first page, from top to bottom: title, lines, facts, table, note, figures,
    commands.

    Attributes:
        name: confirmation, breakdown, open_loop, scaling, linearity, noise, nodes, search or sweep.
        lines: What the data show, a sentence each.
        facts: (label, value) pairs.
        note: How the table and the figures came about, in small print.
        commands: To go on with, a line each.
    """

    name: str
    title: str
    lines: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    note: str = ""
    figures: tuple[Figure, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementRow:
    """One measurement of the sweep."""

    rank: str
    name: str
    batch: str
    instances: str
    delay: str
    model_file: str
    threads: str
    parameters: str
    load: str
    throughput: str
    latency: str
    feasible: str
    ranked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A measurement without figures."""

    name: str
    load: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that a report says; pairs are (label, value)."""

    language: Language
    model_name: str
    run_id: str
    hcopt_version: str
    measured_at: str
    command: tuple[str, ...]
    headline: Headline
    table: ComparisonTable | None
    caveats: tuple[str, ...]
    config: ConfigFile | None
    remedies: tuple[str, ...]
    sections: tuple[Section, ...]
    measurements: tuple[MeasurementRow, ...]
    measurements_title: str
    measurements_caption: str
    has_files: bool
    has_threads: bool
    has_parameters: bool
    has_limit: bool
    failures: tuple[Failure, ...]
    failures_caption: str
    environment: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    method: tuple[str, ...]
    limits: tuple[str, ...]
