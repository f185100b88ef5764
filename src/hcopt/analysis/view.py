"""Default beside best: the two configurations of a run that report, terminal and MLflow show side by side. Pure.

Nothing is judged here. Who is best, and why, is what the confirmation has decided.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal, TypeAlias

from hcopt.analysis.memory import needed_memory_mb
from hcopt.analysis.stats import positive_interval
from hcopt.records.measurement import LoadPoint
from hcopt.records.model import MODEL_FILE, ModelConfigVariant
from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Comparison, Confirmation, ConfirmedVariant, Estimate, Feasibility, RankedVariant

Role = Literal["default", "best", "candidate", "runner_up", "closest"]
Value: TypeAlias = int | float | str | LoadPoint | Estimate | None

_NOT_ALWAYS = ("miss_ratio", "memory_mb")
SETTINGS = ("max_batch_size", "instance_count", "max_queue_delay_us")
ACCELERATOR = "execution_accelerator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One configuration with the figures that may be shown.

    Attributes:
        role: What it is in this run; only the verdict `better` makes a `best`.
        feasibility: What is known of the p99 limit; the sweep only has its p99 to judge by.
        confirmed: Whether the figures come from the confirmation; those of the sweep have no interval.
        miss_ratio: Share of the requests over the limit; None without a limit or without a confirmation.
        memory_mb: What a server needs that serves it alone; None where that was not measured.
    """

    role: Role
    variant: ModelConfigVariant
    load: LoadPoint
    throughput_infer_per_s: Estimate
    latency_p99_ms: Estimate
    feasibility: Feasibility
    confirmed: bool
    miss_ratio: Estimate | None = None
    memory_mb: float | None = None

    @property
    def feasible(self) -> bool:
        """Whether the limit holds, by whatever is known."""
        return self.feasibility == "feasible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of both configurations' table.

    Attributes:
        what: A setting by its name in config.pbtxt, `load`, or a figure by its name in `Side`.
        values: Of each side, left first; a setting is None where it is left to the backend or has no effect. Figures
            have their 95 % intervals.
    """

    what: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """`right` against `left`; the comparison's ratios are right / left, and None where nothing compared them."""

    left: Side | None
    right: Side | None
    comparison: Comparison | None

    @property
    def sides(self) -> tuple[Side, ...]:
        """Those that are there, left first."""
        return tuple(side for side in (self.left, self.right) if side is not None)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All that is shown of the two side by side."""
        return rows_of(self.sides)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPoint:
    """One configuration at one load of the sweep, under whatever names: the mean of its measurements."""

    variant: ModelConfigVariant
    load: LoadPoint
    throughput_infer_per_s: float
    latency_p99_ms: float


def rows_of(sides: Sequence[Side]) -> tuple[Row, ...]:
    """Settings, swept parameters, load, figures; share of late requests and memory where one of them has it."""
    parameters = sorted({key for side in sides for key, _ in side.variant.parameters})
    # Where all serve model.onnx there is nothing to say.
    files = ("model_file",) if any(side.variant.model_file for side in sides) else ()
    if any(side.variant.execution_accelerator != "none" for side in sides):
        parameters.append(ACCELERATOR)
    settings = {
        setting: tuple(setting_value(side.variant, setting) for side in sides)
        for setting in (*files, *SETTINGS, *parameters)
    }
    figures = ["load", "throughput_infer_per_s", "latency_p99_ms"]
    figures += [known for known in _NOT_ALWAYS if any(getattr(side, known) is not None for side in sides)]
    measured = {figure: tuple(getattr(side, figure) for side in sides) for figure in figures}
    return tuple(Row(what=what, values=values) for what, values in (*settings.items(), *measured.items()))


def setting_value(variant: ModelConfigVariant, setting: str) -> int | str | None:
    """A setting of a variant; None for a parameter left to the backend, and for the delay where nothing batches."""
    if setting == "max_queue_delay_us" and not batches(variant):
        return None
    if setting == "model_file":
        return variant.model_file or MODEL_FILE
    if setting in (*SETTINGS, ACCELERATOR):
        value: int | str = getattr(variant, setting)
        return value
    return dict(variant.parameters).get(setting)


def deployed(variant: ModelConfigVariant, load: LoadPoint) -> dict[str, str | int]:
    """What files and MLflow name of every configuration: its settings and the load of its figures."""
    return {
        "config_name": variant.config_name,
        **{setting: getattr(variant, setting) for setting in SETTINGS},
        "model_file": variant.model_file or MODEL_FILE,
        ACCELERATOR: variant.execution_accelerator,
        "concurrency": load.concurrency,
        "client_batch_size": load.client_batch_size,
    }


def batches(variant: ModelConfigVariant) -> bool:
    """Whether the server puts requests together, so that a queue delay means something."""
    return variant.max_batch_size > 0 and variant.dynamic_batching


def reasons(found: Confirmation) -> Iterator[Note]:
    """The reason of a verdict, and then the reason that it gives for its own part."""
    reason: object = found.reason
    while isinstance(reason, Note):
        yield reason
        reason = reason.values.get("then")


def why_default_is_out(found: Confirmation) -> Note | None:
    """Why only the best is left, so that no ratio of throughputs is claimed; None where both may be deployed."""
    last = [*reasons(found)][-1]
    why = last.values.get("why")
    is_only_best = last.code in ("only_best_answers", "only_best_keeps_limit", "only_best_fits_memory")
    return why if is_only_best and isinstance(why, Note) else None


def default_misses_limit(found: Confirmation) -> bool:
    """Whether only the best keeps the p99 limit, or answers, so that the default has no throughput to compare with."""
    return [*reasons(found)][-1].code in ("only_best_answers", "only_best_keeps_limit")


def improvement(found: Confirmation) -> Comparison | None:
    """Best against default; None where the default misses the limit: then it has no throughput to compare with."""
    return None if found.default is None or found.default.feasibility == "infeasible" else found.improvement


def default_wins(run: RunRecord) -> bool:
    """Whether the best configuration is the user's own."""
    best = run.confirmation.best
    return best is not None and best.variant.settings == run.plan.default.settings


def pairing(run: RunRecord) -> Pairing:
    """Default against best; where that is impossible, the two that tell the user most."""
    found = run.confirmation
    if found.best is None:
        return _swept_pairing(run)
    if default_wins(run):
        left = None if found.runner_up is None else confirmed_side(found.runner_up, "runner_up")
        return Pairing(left=left, right=confirmed_side(found.best, "default"), comparison=found.runner_up_relation)
    return Pairing(
        left=None if found.default is None else confirmed_side(found.default, "default"),
        right=confirmed_side(found.best, "best" if found.verdict == "better" else "candidate"),
        comparison=found.improvement,
    )


def confirmed_side(entry: ConfirmedVariant, role: Role) -> Side:
    """A finalist with what the confirmation found."""
    return Side(
        role=role,
        variant=entry.variant,
        load=entry.load,
        throughput_infer_per_s=entry.throughput_infer_per_s,
        latency_p99_ms=entry.latency_p99_ms,
        feasibility=entry.feasibility,
        confirmed=True,
        miss_ratio=entry.miss_ratio,
        memory_mb=entry.memory_mb,
    )


def finalists(run: RunRecord) -> tuple[Side, ...]:
    """Best, runner-up and default, each once."""
    found, wins = run.confirmation, default_wins(run)
    best: Role = "default" if wins else "best" if found.verdict == "better" else "candidate"
    entries: tuple[tuple[ConfirmedVariant | None, Role], ...]
    entries = ((found.best, best), (found.runner_up, "runner_up"), (None if wins else found.default, "default"))
    return tuple(confirmed_side(entry, role) for entry, role in entries if entry is not None)


def sweep_points(run: RunRecord) -> tuple[SweepPoint, ...]:
    """What the sweep measured; equal settings are one configuration."""
    points: dict[tuple[Hashable, LoadPoint], list[SweepPoint]] = defaultdict(list)
    for m in run.measurements:
        if m.phase == "sweep" and m.throughput_infer_per_s is not None and m.latency is not None:
            point = SweepPoint(
                variant=m.variant,
                load=m.load,
                throughput_infer_per_s=m.throughput_infer_per_s,
                latency_p99_ms=m.latency.p99_ms,
            )
            points[m.variant.settings, m.load].append(point)
    return tuple(
        replace(
            same[0],
            throughput_infer_per_s=fmean(point.throughput_infer_per_s for point in same),
            latency_p99_ms=fmean(point.latency_p99_ms for point in same),
        )
        for same in points.values()
    )


def _swept_pairing(run: RunRecord) -> Pairing:
    """Default against the one that the verdict's reason names, else against the sweep's first."""
    if not run.ranking.ranked:
        return Pairing(left=None, right=None, comparison=None)
    name = run.confirmation.reason.values.get("name")
    ranked = {entry.variant.settings: entry for entry in run.ranking.ranked}
    named = (entry for entry in run.ranking.ranked if entry.variant.config_name == name)
    right, default = next(named, run.ranking.ranked[0]), ranked.get(run.plan.default.settings)
    if right == default:
        return Pairing(left=None, right=_swept_side(right, "default", run), comparison=None)
    return Pairing(
        left=None if default is None else _swept_side(default, "default", run),
        right=_swept_side(right, "closest" if run.confirmation.verdict == "no_feasible_config" else "candidate", run),
        comparison=None,
    )


def _swept_side(entry: RankedVariant, role: Role, run: RunRecord) -> Side:
    """A ranked variant; where the confirmation measured it, with what that found in place of the sweep's figures."""
    windows = [
        (m.throughput_infer_per_s, m.latency.p99_ms)
        for m in run.measurements
        if m.phase == "confirmation" and m.variant.settings == entry.variant.settings
        if m.throughput_infer_per_s is not None and m.latency is not None
    ]
    throughput, p99_ms = Estimate(estimate=entry.throughput_infer_per_s), Estimate(estimate=entry.latency_p99_ms)
    if windows:
        throughput, p99_ms = (positive_interval(figures) for figures in zip(*windows, strict=True))
    return Side(
        role=role,
        variant=entry.variant,
        load=entry.load,
        throughput_infer_per_s=throughput,
        latency_p99_ms=p99_ms,
        feasibility="feasible" if entry.feasible else "infeasible",
        confirmed=bool(windows),
        memory_mb=needed_memory_mb(run.measurements, entry.variant),
    )
