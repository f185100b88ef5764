"""The conclusion of a comparison of two runs, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate

Relation = Literal["higher", "lower", "not_shown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One condition that was not the same in both runs; None where a run does not know it.

    Attributes:
        key: Its name in the run's environment, `model.sha256`, `client_batch_size` or `rows`.
        a: Its value in A.
        b: Its value in B.
        why: Why it forbids a ratio.
    """

    key: str
    a: str | None
    b: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """B / A with 95 % intervals over unpaired blocks.

    Attributes:
        throughput: Of the golden configurations, each at its own load.
        latency_p99: Of the same.
        default_throughput: Of the default, where it was the same at the same load in both runs: what the machine itself
            did between them. None elsewhere.
        gain_over_default: Of golden / default, paired within each run, so that the machine's own change cancels; None
            without a common default, or where the default is golden in both runs.
    """

    throughput: Estimate
    latency_p99: Estimate
    default_throughput: Estimate | None
    gain_over_default: Estimate | None


def relation(ratio: Estimate) -> Relation:
    """On which side of 1 a ratio's interval lies; `not_shown` where it holds 1 or there is none."""
    if ratio.ci_low is not None and ratio.ci_low > 1:
        return "higher"
    return "lower" if ratio.ci_high is not None and ratio.ci_high < 1 else "not_shown"


def why_no_ratio(a: RunRecord, b: RunRecord, differences: Sequence[Difference]) -> str:
    """Why two runs have no ratio."""
    if differences:
        keys = ", ".join(difference.key for difference in differences)
        return f"Not comparable: the runs were measured under different conditions ({keys}), so no ratio is given."
    for name, run in (("A", a), ("B", b)):
        best = run.confirmation.best
        if best is None:
            return f"No ratio: {name} has no golden configuration ({run.confirmation.verdict})."
        if best.feasibility == "infeasible":
            return f"No ratio: what {name} measured last does not keep its p99 limit."
    return "No ratio: the measurements of the confirmation are missing in one of the runs."


def conclusion_of(ratios: Ratios, *, repeated: bool) -> str:
    """What the ratios show; `repeated` where both runs measured the same."""
    figures = f"throughput B/A {interval_text(ratios.throughput)}"
    found = relation(ratios.throughput)
    if repeated:
        opening = f"Repeatability check, the same configuration under the same load in both runs: {figures}"
        if found == "not_shown":
            return f"{opening}: no difference shown."
        return f"{opening}: {_said(found)}, by more than blocks of one run vary. It is the runs that differ."
    if ratios.gain_over_default is None:
        return (
            f"{figures[0].upper()}{figures[1:]}: {_said(found)}. What the machine itself did between the runs is in it."
        )
    gain = interval_text(ratios.gain_over_default)
    return (
        f"Golden over the run's own default, B/A {gain}: {_said(relation(ratios.gain_over_default))}. "
        f"Measured as they were, {figures}: {_said(found)}."
    )


def _said(found: Relation) -> str:
    return {"higher": "higher in B", "lower": "lower in B", "not_shown": "no difference shown"}[found]


def interval_text(ratio: Estimate) -> str:
    """A ratio with its interval in words."""
    if ratio.ci_low is None or ratio.ci_high is None:
        return f"{ratio.estimate:.3f} (one block: no interval)"
    return f"{ratio.estimate:.3f} (95 % interval {ratio.ci_low:.3f} to {ratio.ci_high:.3f})"


def remarks_on(a: RunRecord, b: RunRecord, ratios: Ratios | None, *, same_configuration: bool) -> tuple[str, ...]:
    """What has to be known to read a comparison rightly."""
    remarks = _setting_remarks(a, b, same_configuration=same_configuration)
    return (*remarks, *(() if ratios is None else _ratio_remarks(a, b, ratios)))


def _setting_remarks(a: RunRecord, b: RunRecord, *, same_configuration: bool) -> list[str]:
    remarks = []
    limits = [run.ranking.latency_p99_limit_ms for run in (a, b)]
    if limits[0] != limits[1]:
        said = " and ".join("none" if limit is None else f"{limit:g} ms" for limit in limits)
        remarks.append(f"The p99 limits differ ({said}): each configuration was chosen for its own.")
    versions = [run.environment.hcopt_version for run in (a, b)]
    if versions[0] != versions[1]:
        remarks.append(f"Made by hcopt {versions[0]} and {versions[1]}, which may measure in different ways.")
    for name, run in (("A", a), ("B", b)):
        if run.noise is not None and run.noise.exceeded:
            remarks.append(f"{name}'s machine went beyond the limits of `noise`: {', '.join(run.noise.exceeded)}.")
    best_a, best_b = a.confirmation.best, b.confirmation.best
    if best_a is None or best_b is None:
        return remarks
    if best_a.variant.settings == best_b.variant.settings and not same_configuration:
        remarks.append("What is swept is the same in both, but the rest of config.pbtxt is not.")
    for name, run, best in (("A", a, best_a), ("B", b, best_b)):
        if run.confirmation.verdict == "undecided":
            remarks.append(f"{name}'s configuration is a candidate: that run did not prove it.")
        if best.feasibility == "undecided":
            remarks.append(f"That {name} keeps its p99 limit is not shown.")
    return remarks


def _ratio_remarks(a: RunRecord, b: RunRecord, ratios: Ratios) -> list[str]:
    best_a, best_b = a.confirmation.best, b.confirmation.best
    assert best_a is not None and best_b is not None  # there are ratios of them
    remarks = []
    if best_a.load != best_b.load:
        loads = f"concurrency {best_a.load.concurrency} and {best_b.load.concurrency}"
        remarks.append(f"Each configuration is measured at its own best load: {loads}.")
    if ratios.default_throughput is not None:
        drift = relation(ratios.default_throughput)
        meaning = "the machine did not visibly change" if drift == "not_shown" else "the machine itself changed"
        figures = interval_text(ratios.default_throughput)
        remarks.append(f"The default, the same in both runs, has throughput B/A {figures}: {meaning} between them.")
    remarks.append(
        "Blocks of two runs do not pair: the intervals are Welch's, over the variation between blocks within each run. "
        "They do not cover what changed from one run to the other."
    )
    return remarks
