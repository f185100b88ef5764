"""Runs that end in the less common ways, made from those of `tests.support.records`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hcopt.records.note import Note
from hcopt.records.run import RunRecord
from hcopt.records.verdict import (
    Comparison,
    Confirmation,
    ConfirmedVariant,
    Estimate,
    FailedWindows,
    Feasibility,
    Noise,
)
from tests.support.records import (
    HEAVY,
    LIGHT,
    MODEL_NAME,
    default_first,
    default_variant,
    grid_variants,
    measurement,
    noise,
    run_record,
    undecided_record,
)

# Estimate and bounds of a share of slow requests that decide a limit of 1 % this way.
MISSES: dict[Feasibility, Estimate] = {
    "feasible": Estimate(estimate=0.002, ci_low=0.001, ci_high=0.004),
    "undecided": Estimate(estimate=0.008, ci_low=0.003, ci_high=0.014),
    "infeasible": Estimate(estimate=0.031, ci_low=0.022, ci_high=0.043),
}


def judged(entry: ConfirmedVariant | None, feasibility: Feasibility) -> ConfirmedVariant:
    """The same finalist with another verdict on the limit."""
    assert entry is not None
    return replace(entry, feasibility=feasibility, miss_ratio=MISSES[feasibility])


def default_wins_record(relation: Comparison | None, **changes: Any) -> RunRecord:
    """The user's own configuration is the best; `relation` is it against the runner-up."""
    run = run_record()
    found = run.confirmation
    reason = Note.of("default_has_most_within_limit")
    if relation is not None:
        figures = Note.of("ratio", ratio=1 / relation.throughput_ratio.estimate)
        reason = Note.of(
            "default_is_best", compared=(Note.of("against_default", name=relation.baseline, figures=figures),)
        )
    confirmation = replace(
        found,
        verdict="tied",
        reason=reason,
        best=found.default,
        improvement=None,
        runner_up=found.runner_up if relation else None,
        runner_up_relation=relation,
    )
    kept = replace(
        run,
        confirmation=confirmation,
        ranking=run.ranking if relation else default_first(run.ranking),
        best_config_pbtxt=run.default_config_pbtxt,
        capacity=None,
    )
    return replace(kept, **changes)


def default_beats_record(**changes: Any) -> RunRecord:
    """The user's own configuration is shown to be faster than the runner-up."""
    relation = Comparison(
        candidate=default_variant().config_name,
        baseline=grid_variants()[5].config_name,
        throughput_ratio=Estimate(estimate=1.12, ci_low=1.1, ci_high=1.14),
        latency_p99_ratio=Estimate(estimate=0.95, ci_low=0.91, ci_high=0.99),
        p_value=0.0078,
        verdict="better",
        reason=Note.of("ratio_better", figures=Note.of("ratio", ratio=1.12), alpha=0.01),
    )
    run = default_wins_record(relation)
    assert run.confirmation.runner_up is not None
    slower = replace(
        run.confirmation.runner_up,
        throughput_infer_per_s=Estimate(estimate=4421.0, ci_low=4362.0, ci_high=4480.0),
        latency_p99_ms=Estimate(estimate=10.45, ci_low=10.2, ci_high=10.7),
    )
    return replace(replace(run, confirmation=replace(run.confirmation, runner_up=slower)), **changes)


def failed_windows(config_name: str, own: int, other: int = 0) -> FailedWindows:
    """Of 36 windows at concurrency 32."""
    return FailedWindows(
        config_name=config_name,
        load=HEAVY,
        window_count=36,
        variant_count=own,
        other_count=other,
        reason="the server answered with an error: Exceeds maximum queue size",
    )


def failing_default_record(**changes: Any) -> RunRecord:
    """The default refuses two windows of three; what it does in the others is no baseline."""
    run = run_record()
    why = Note.of("fails_windows", failed=24, windows=36, reason="Exceeds maximum queue size")
    confirmation = replace(
        run.confirmation,
        reason=Note.of("only_best_keeps_limit", why=why),
        default=judged(run.confirmation.default, "infeasible"),
        failures=(
            failed_windows(default_variant().config_name, 24),
            failed_windows(grid_variants()[6].config_name, 0, 1),
        ),
    )
    return replace(replace(run, confirmation=confirmation), **changes)


def default_first_record(**changes: Any) -> RunRecord:
    """The default won the sweep, and the runner-up is ahead on fresh data, by less than is shown."""
    run = default_beats_record()
    relation = run.confirmation.runner_up_relation
    assert relation is not None
    ahead = replace(
        relation,
        throughput_ratio=Estimate(estimate=0.971, ci_low=0.94, ci_high=1.003),
        verdict="undecided",
        blocks_to_decide=48,
    )
    why = Note.of("ratio", ratio=1.03)
    reason = Note.of("default_undecided", name=relation.baseline, why=why)
    confirmation = replace(run.confirmation, verdict="undecided", reason=reason, runner_up_relation=ahead)
    return replace(replace(run, confirmation=confirmation), **changes)


def nothing_answers_record(**changes: Any) -> RunRecord:
    """There is no limit, and every configuration refuses too many requests."""
    run = run_record()
    confirmation = Confirmation(
        verdict="no_feasible_config",
        reason=Note.of(
            "nothing_answers",
            name=grid_variants()[6].config_name,
            why=Note.of("fails_windows", failed=24, windows=36, reason="Exceeds maximum queue size"),
        ),
        best=None,
        default=None,
        failures=(failed_windows(grid_variants()[6].config_name, 24),),
    )
    ranking = replace(run.ranking, latency_p99_limit_ms=None)
    return replace(
        replace(run, confirmation=confirmation, ranking=ranking, capacity=None, best_config_pbtxt=None), **changes
    )


def only_best_feasible_record(limit_ms: float = 8.5, **changes: Any) -> RunRecord:
    """Only the best keeps a limit of 8.5 ms; the default's p99 is 9.93 ms."""
    run = run_record()
    found = run.confirmation
    confirmation = replace(
        found,
        reason=Note.of("only_best_keeps_limit", why=Note.of("misses_limit")),
        best=judged(found.best, "feasible"),
        default=judged(found.default, "infeasible"),
    )
    ranking = replace(run.ranking, latency_p99_limit_ms=limit_ms)
    assert run.capacity is not None
    capacity = replace(run.capacity, latency_p99_limit_ms=limit_ms)
    return replace(replace(run, confirmation=confirmation, ranking=ranking, capacity=capacity), **changes)


def limit_open_record(**changes: Any) -> RunRecord:
    """Faster than the default for certain, but not shown to keep the limit."""
    run = run_record()
    best = judged(run.confirmation.best, "undecided")
    seen = Note.of("share_too_late", share=0.008, low=0.003, high=0.014)
    reason = Note.of("limit_undecided", name=best.variant.config_name, seen=seen, needed="")
    confirmation = replace(run.confirmation, verdict="undecided", reason=reason, best=best)
    return replace(replace(run, confirmation=confirmation, capacity=None), **changes)


def equal_load_record(**changes: Any) -> RunRecord:
    """The default's best load is 8, that of the best 32: compared each at its own, and both at 32."""
    run = run_record()
    found = run.confirmation
    assert found.default is not None and found.improvement is not None
    own = replace(
        found.default,
        load=LIGHT,
        throughput_infer_per_s=Estimate(estimate=3410.0, ci_low=3371.0, ci_high=3449.0),
        latency_p99_ms=Estimate(estimate=3.95, ci_low=3.86, ci_high=4.04),
    )
    improvement = replace(
        found.improvement,
        throughput_ratio=Estimate(estimate=1.888, ci_low=1.86, ci_high=1.916),
        latency_p99_ratio=Estimate(estimate=2.015, ci_low=1.97, ci_high=2.06),
    )
    at_its_own = tuple(
        measurement(default_variant(), LIGHT, (3410.0 + 9 * block, 3.95), phase="confirmation", block=block)
        for block in range(8)
    )
    confirmation = replace(
        found,
        default=own,
        improvement=improvement,
        equal_load=found.improvement,
        default_at_best_load=found.default,
        look_count=2,
    )
    measured = replace(run, confirmation=confirmation, measurements=(*run.measurements, *at_its_own))
    return replace(measured, **changes)


def tied_runner_up_record(**changes: Any) -> RunRecord:
    """config_6 and one with three instances count as equal, and config_6 is the cheaper one."""
    run = run_record()
    found = run.confirmation
    assert found.runner_up is not None and found.runner_up_relation is not None
    larger = replace(found.runner_up.variant, instance_count=3, config_name=f"{MODEL_NAME}_config_10")
    relation = replace(
        found.runner_up_relation,
        baseline=larger.config_name,
        throughput_ratio=Estimate(estimate=0.998, ci_low=0.99, ci_high=1.006),
        latency_p99_ratio=Estimate(estimate=0.97, ci_low=0.935, ci_high=1.006),
        verdict="tied",
        blocks_to_decide=None,
    )
    runner_up = replace(found.runner_up, variant=larger)
    advantage = Note.of("fewer_instances", ours=2, theirs=3)
    confirmation = replace(found, runner_up=runner_up, runner_up_relation=relation, advantage=advantage)
    return replace(replace(run, confirmation=confirmation), **changes)


def noisy() -> Noise:
    """A shared machine, beyond two limits of config.yaml."""
    return noise(
        window_s=3.0,
        block_sd_ratio=0.19,
        pair_sd_ratio=0.16,
        resolvable_ratio=0.34,
        max_steal_ratio=0.123,
        exceeded=("steal", "variation"),
    )


def noisy_record(**changes: Any) -> RunRecord:
    """Undecided on a noisy machine."""
    return replace(undecided_record(noise=noisy(), capacity=None), **changes)
