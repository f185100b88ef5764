"""The confirmation on a running server: finalists measured in blocks, an infeasible winner replaced by the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hcopt.analysis import confirmation
from hcopt.analysis.blocks import Candidate, Measure, in_windows
from hcopt.analysis.finalists import Finalists, choose_finalists
from hcopt.analysis.ranking import find_default, pooled
from hcopt.config.sections import Config
from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.memory_check import MemoryCheck
from hcopt.measure.turns.pace import Pace
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import LoadPoint, Measurement, SweepPlan
from hcopt.records.model import ModelConfigVariant, Settings
from hcopt.records.note import Note
from hcopt.records.verdict import Confirmation, Ranking
from hcopt.words.notes import sentence


def confirm_finalists(
    runner: WindowRunner, plan: SweepPlan, ranking: Ranking, config: Config, *, window_s: float | None = None
) -> Confirmation:
    """Measures until a winner is not refuted by fresh data, or none is left.

    A resumed run goes on with the blocks that an interrupted one has measured, the one that was cut in two included.
    That is sound: looks spend their part of the error rates by the time used, which `Replay.clock` goes on counting,
    and not by what was seen; the interruption knows nothing of the figures either. Within the block that was cut, the
    gap adds noise to its differences. Its sign is as likely to favour either candidate, as orders balance:
    the signed-rank test, which asks for symmetric differences and not for equal variances, stays exact. To measure the
    blocks again instead would give up data, and a second chance to whoever interrupts.

    Before that, what each of them needs of memory is measured; one that needs more than it may is out.

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
    memory = MemoryCheck(runner=runner, loads=plan.loads, limit_mb=config.constraints.memory_mb)
    bold, excluded = ranking.bold, set[str]()
    while True:
        finalists = choose_finalists(ranking.feasible, default, excluded=excluded, bold=bold)
        if finalists is None:
            nothing = confirmation.nothing_feasible(ranking, refuted, config.constraints.latency_p99_ms)
            return replace(nothing, reason=memory.nothing_left(ranking.feasible) or nothing.reason)
        began = clock()
        unfit = memory.unfit(finalists.entries)
        # That is no time of the confirmation's.
        ends_at += clock() - began
        # The default stays for the comparison.
        if candidates := [entry for entry in unfit if entry in (finalists.best, finalists.runner_up)]:
            excluded.update(entry.variant.config_name for entry in candidates)
            bold = None if bold is None or bold.variant.config_name in excluded else bold
            continue
        found = _confirm(
            runner,
            finalists,
            taken,
            config,
            out=memory.out,
            max_s=ends_at - clock(),
            window_s=interval_s if window_s is None else window_s,
        )
        failures = tuple(failed for one in (*refuted, found) for failed in one.failures)
        if found.refuted is None:
            return _with_memory(replace(_not_alone(found, plan, ranking), failures=failures), memory)
        refuted.append(found)
        if bold is None:
            excluded.add(found.refuted)
        # The same variant may still stand at a lighter load.
        bold = None
        runner.context.note(_replaced(found))


def _with_memory(found: Confirmation, memory: MemoryCheck) -> Confirmation:
    """The confirmation with what each of its finalists needs."""
    best, default, runner_up, equal = (
        None if one is None else replace(one, memory_mb=memory.needed_mb.get(one.variant.settings))
        for one in (found.best, found.default, found.runner_up, found.default_at_best_load)
    )
    return replace(found, best=best, default=default, runner_up=runner_up, default_at_best_load=equal)


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
    out: Mapping[Settings, Note],
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
        return runner.measure(window)

    def measure_blocks(candidates: Sequence[Candidate], blocks: Sequence[int]) -> list[Measurement]:
        found = way.measure_blocks(candidates, blocks)
        taken.extend(found)
        return found

    def undecided(found: Confirmation, more: int, block_s: float) -> None:
        progress.extended(more * len(candidates))
        if (note := _so_far(found, block_s)) is not None:
            progress.told(sentence(note))

    candidates, limit_ms, turns = finalists.plan.candidates, config.constraints.latency_p99_ms, runner.turns
    pace = None if turns is None else turns.pace_of(candidates, rates, latency_p99_limit_ms=limit_ms)
    way = _Blocks(runner=runner, measure=measure, pace=pace)
    return confirmation.confirm(
        finalists,
        measure_blocks,
        latency_p99_limit_ms=limit_ms,
        settings=settings,
        max_s=max_s,
        block_s=0.0 if pace is None else pace.block_s(len(candidates)),
        at_once=1 if pace is None else pace.blocks,
        first_block=1 + max((one.block for one in taken if one.block is not None), default=-1),
        undecided=undecided,
        out=out,
        clock=runner.context.replay.clock,
    )


def _so_far(found: Confirmation, block_s: float) -> Note | None:
    """How wide the interval of the undecided comparison is now, and when it would suffice."""
    compared = found.improvement or found.runner_up_relation
    if compared is None:
        return None
    ratio, needed = compared.throughput_ratio, compared.blocks_to_decide
    if ratio.ci_low is None or ratio.ci_high is None:
        return None
    return Note.of(
        "undecided_so_far",
        name=compared.candidate,
        baseline=compared.baseline,
        change=ratio.estimate - 1,
        low=ratio.ci_low - 1,
        high=ratio.ci_high - 1,
        needed=""
        if needed is None
        else Note.of("would_decide_in", minutes=max(0.1, (needed - found.block_count) * block_s / 60)),
    )


@dataclass(slots=True, kw_only=True)
class _Blocks:
    """Measures blocks in turns, or, where that is not possible or has failed once, window by window.

    Attributes:
        runner: Measures.
        measure: Measures one window.
        pace: Of the turns; None: in windows.
    """

    runner: WindowRunner
    measure: Measure
    pace: Pace | None

    def measure_blocks(self, candidates: Sequence[Candidate], blocks: Sequence[int]) -> list[Measurement]:
        """What an interrupted run has measured of a block is completed by windows."""
        known = [block for block in blocks if self._is_known(candidates, block)]
        new, measure_in_windows = [block for block in blocks if block not in known], in_windows(self.measure)
        found = measure_in_windows(candidates, known)
        if not new or self.pace is None:
            return found + measure_in_windows(candidates, new)
        taken = self.runner.measure_turns(candidates, new, pace=self.pace, phase="confirmation")
        if taken is None:
            self.pace = None
            taken = measure_in_windows(candidates, new)
        return found + taken

    def _is_known(self, candidates: Sequence[Candidate], block: int) -> bool:
        knows = self.runner.context.replay.knows
        return any(knows("confirmation", one.variant, one.load, block) for one in candidates)


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
