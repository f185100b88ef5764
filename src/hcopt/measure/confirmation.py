"""The confirmation on a running server: finalists measured in blocks, an infeasible winner replaced by the next."""

from __future__ import annotations

from dataclasses import replace

from hcopt.analysis import confirmation
from hcopt.analysis.finalists import Finalists, choose_finalists
from hcopt.analysis.ranking import find_default, pooled
from hcopt.config.sections import Config
from hcopt.measure.perf_analyzer import Window
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import LoadPoint, Measurement, SweepPlan
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.records.verdict import Confirmation, Ranking


def confirm_finalists(
    runner: WindowRunner, plan: SweepPlan, ranking: Ranking, config: Config, *, window_s: float | None = None
) -> Confirmation:
    """Measures until a winner is not refuted by fresh data, or none is left.

    A resumed run goes on with the blocks that an interrupted one has measured, the one that was cut in two included.
    That is sound: looks spend their part of the error rates by the time used, which `Replay.clock` goes on counting,
    and not by what was seen; the interruption knows nothing of the figures either. Within the block that was cut, the
    gap adds noise to its differences. Its sign is as likely to favour either candidate, as orders balance:
    the sign-flip test, which asks for symmetric differences and not for equal variances, stays exact. To measure the
    blocks again instead would give up data, and a second chance to whoever interrupts.

    Args:
        runner: Measures and records the windows; its `note` gets what the user has to know about how it went.
        plan: What was swept.
        ranking: The sweep's order.
        config: Its `confirmation`, limits and window length count.
        window_s: Length of a window in seconds; None: the configuration's measurement interval.

    Raises:
        RuntimeStartError: The server died.
    """
    interval_s = config.profiler.measurement_interval_ms / 1000
    default, refuted, taken = find_default(plan, ranking), list[Confirmation](), list[Measurement]()
    clock = runner.context.replay.clock
    ends_at = clock() + 60 * config.confirmation.max_minutes
    while True:
        excluded = [found.refuted for found in refuted if found.refuted is not None]
        finalists = choose_finalists(ranking.feasible, default, excluded=excluded)
        if finalists is None:
            return confirmation.nothing_feasible(ranking, refuted, config.constraints.latency_p99_ms)
        found = _confirm(
            runner,
            finalists,
            taken,
            config,
            max_s=ends_at - clock(),
            window_s=interval_s if window_s is None else window_s,
        )
        failures = tuple(failed for one in (*refuted, found) for failed in one.failures)
        if found.refuted is None:
            return replace(_not_alone(found, plan, ranking), failures=failures)
        refuted.append(found)
        runner.context.note(_replaced(found))


def _not_alone(found: Confirmation, plan: SweepPlan, ranking: Ranking) -> Confirmation:
    """The verdict, unless the default won because nothing else could be measured: that shows nothing."""
    alone = {entry.variant.settings for entry in ranking.ranked} == {plan.default.settings}
    if found.verdict != "tied" or not alone or len(pooled(plan)) == 1:
        return found
    return replace(found, verdict="undecided", reason=Note.of("default_alone"))


def _confirm(
    runner: WindowRunner,
    finalists: Finalists,
    taken: list[Measurement],
    config: Config,
    *,
    max_s: float,
    window_s: float,
) -> Confirmation:
    """One round; adds what it measures to `taken`, after which it numbers its blocks."""
    settings, progress = config.confirmation, runner.context.progress
    progress.phase("confirmation", steps=confirmation.first_window_count(finalists, settings))
    rates = {e.variant.config_name: e.throughput_infer_per_s for e in finalists.entries}

    def measure(variant: ModelConfigVariant, load: LoadPoint, block: int) -> Measurement:
        window = Window(
            variant=variant,
            load=load,
            expected_infer_per_s=rates[variant.config_name],
            window_s=window_s,
            phase="confirmation",
            block=block,
        )
        taken.append(measurement := runner.measure(window))
        return measurement

    return confirmation.confirm(
        finalists,
        measure,
        latency_p99_limit_ms=config.constraints.latency_p99_ms,
        settings=settings,
        max_s=max_s,
        first_block=1 + max((one.block for one in taken if one.block is not None), default=-1),
        extend=progress.extended,
        clock=runner.context.replay.clock,
    )


def _replaced(refuted: Confirmation) -> Note:
    """That a candidate is out, by the reason of its verdict."""
    name, why = refuted.refuted or "", refuted.reason.values["why"]
    assert isinstance(why, Note)  # as in every `refuted`
    if why.code == "fails_windows":
        said = why.values
        return Note.of(
            "refuted_by_failures", name=name, failed=said["failed"], windows=said["windows"], reason=said["reason"]
        )
    if why.code == "answers_with_errors":
        return Note.of("refuted_by_errors", name=name)
    assert refuted.best is not None  # it has a p99 that is too high
    return Note.of("refuted_by_p99", name=name, p99_ms=refuted.best.latency_p99_ms.estimate)
