"""What a report consists of: text that is ready to be laid out, as PDF or as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hcopt.report.text import Language

Tone = Literal["good", "neutral", "open", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One of the three questions of the first page: what to deploy, how much better, how sure."""

    question: str
    answer: str
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The verdict: a badge, a sentence, three answers."""

    tone: Tone
    badge: str
    sentence: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A figure and, under it, its interval."""

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
class Finalist:
    """A row of the confirmation's table."""

    role: str
    name: str
    settings: str
    load: str
    throughput: Cell
    latency: Cell
    feasible: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementRow:
    """One measurement of the sweep."""

    rank: str
    name: str
    batch: str
    instances: str
    delay: str
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
    runner_up: str
    finalists: tuple[Finalist, ...]
    finalists_caption: str
    sweep_caption: str
    measurements: tuple[MeasurementRow, ...]
    measurements_caption: str
    has_parameters: bool
    has_limit: bool
    failures: tuple[Failure, ...]
    failures_caption: str
    environment: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    method: tuple[str, ...]
    limits: tuple[str, ...]
