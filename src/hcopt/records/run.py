"""One finished run, and what became of one of several models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hcopt.errors import HcoptError
from hcopt.records.measurement import Environment, Measurement, SweepPlan
from hcopt.records.model import ModelArtifact
from hcopt.records.note import Note
from hcopt.records.search import Decision
from hcopt.records.verdict import Capacity, Confirmation, ModelAlone, Noise, Ranking


@dataclass(frozen=True, slots=True, kw_only=True)
class SentRows:
    """The rows that the requests of a run carried, in turn.

    Attributes:
        sha256: Over all their values.
        count: How many different ones; None in older runs.
        shapes: Each input with the shape of one row, as it is sent; empty in older runs.
    """

    sha256: str
    count: int | None = None
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __str__(self) -> str:
        """For people, e.g. `16 rows of input [1024], sha256 5f1d3c6e9a2b`."""
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in self.shapes)
        rows = f"{self.count} rows of {shapes}, " if shapes else ""
        return f"{rows}sha256 {self.sha256[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One finished run, all that a report, MLflow or a manifest needs.

    Attributes:
        folder: The run's own folder.
        command: The command line that made it.
        alpha: Family-wise error rate of the verdict `better`.
        indifference_ratio: Differences below this count as none.
        default_config_pbtxt: Text of the default's config.pbtxt.
        best_config_pbtxt: Text of the golden config.pbtxt, or None.
        noise: The A/A measurement; None where it was switched off.
        capacity: The open-loop check of the best configuration; None where there is no limit or nothing to check.
        alone: The best configuration's requests beside ONNX Runtime alone; None where that was not measured.
        elapsed_s: Seconds a phase, in order.
        decisions: Of the adaptive search, in order; none where another profiler measured.
        notes: What the user has to know about this run (conversions, dropped dimensions, noise …).
        rows: What its requests carried; None where that was not noted.
        memory_limit_mb: What a configuration may need of memory, or None.
    """

    run_id: str
    folder: Path
    started_at: str
    command: str
    model: ModelArtifact
    plan: SweepPlan
    environment: Environment
    measurements: tuple[Measurement, ...]
    ranking: Ranking
    confirmation: Confirmation
    alpha: float
    indifference_ratio: float
    default_config_pbtxt: str
    best_config_pbtxt: str | None
    noise: Noise | None = None
    capacity: Capacity | None = None
    alone: ModelAlone | None = None
    elapsed_s: Mapping[str, float] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    notes: tuple[Note, ...] = ()
    rows: SentRows | None = None
    memory_limit_mb: float | None = None

    @property
    def golden_model(self) -> ModelArtifact:
        """The files that the best configuration serves; those of the model where there is none."""
        best = self.confirmation.best
        return self.model.served_from("" if best is None else best.variant.model_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailure:
    """What kept a model's run from ending well.

    Attributes:
        exit_code: What hcopt ends with where it is the only model.
        message: What failed.
        remedy: What to do about it.
    """

    exit_code: int
    message: str
    remedy: str | None = None

    @classmethod
    def of(cls, error: HcoptError) -> RunFailure:
        """An error as a value."""
        return cls(exit_code=error.exit_code, message=error.message, remedy=error.remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutcome:
    """What became of one of several models.

    Attributes:
        source_uri: Where it comes from, without a login.
        label: What its folder is called among those of the others; its name, unless two have the same.
        hardware: The kind of machine that it was measured on, where the run was on a cluster.
        run_id: Its own run; None where it was not begun.
        record: What that found; None where it came to no end.
        failure: None where all went well. With a record, too: its limit is met by no configuration, or its report or
            MLflow is missing.
    """

    source_uri: str
    label: str
    hardware: str | None = None
    run_id: str | None = None
    record: RunRecord | None = None
    failure: RunFailure | None = None
