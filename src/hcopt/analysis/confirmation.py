"""The verdict on the sweep's finalists from fresh, paired measurements. Pure but for the `measure` it is given.

The sweep's figures play no part in the claim: a maximum over noisy measurements is too good to be true.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from textwrap import shorten

from hcopt.analysis import sequential
from hcopt.analysis.blocks import BlockClock, MeasureBlocks
from hcopt.analysis.comparison import COMPARISONS
from hcopt.analysis.finalists import Finalists
from hcopt.analysis.p99_limit import fails_too_often
from hcopt.analysis.verdict import NOBODY, decide, is_settled, why_it_fails
from hcopt.config.sections import ConfirmationSection
from hcopt.records.measurement import Measurement, SweepPlan
from hcopt.records.model import ModelArtifact, Settings
from hcopt.records.note import Note
from hcopt.records.verdict import Confirmation, Ranking

# Of what a failed window says.
_MAX_LETTERS = 200


def first_window_count(finalists: Finalists, settings: ConfirmationSection) -> int:
    """Windows up to the first look."""
    return len(finalists.plan.candidates) * sequential.first_look(settings.alpha, COMPARISONS)


def confirm(
    finalists: Finalists,
    measure: MeasureBlocks,
    *,
    latency_p99_limit_ms: float | None,
    settings: ConfirmationSection,
    max_s: float,
    block_s: float = 0.0,
    at_once: int = 1,
    first_block: int = 0,
    undecided: Callable[[Confirmation, int, float], None] = lambda *_: None,
    out: Mapping[Settings, Note] = NOBODY,
    clock: Callable[[], float] = time.monotonic,
) -> Confirmation:
    """Measures blocks and looks at them until everything is decided or the time is up.

    Args:
        finalists: Who is measured.
        measure: Measures some blocks.
        latency_p99_limit_ms: The limit, or None.
        settings: α and the indifference zone.
        max_s: No block begins that would not end within it, if it took as long as the longest so far.
        block_s: What a block is expected to take; 0 where nobody knows.
        at_once: So many blocks, at most, are measured in one go.
        first_block: The number of the first block; a further round goes on with the numbers, since its data are new.
        undecided: Told of each look that decided nothing, with the blocks up to the next one and the seconds a block.
        out: See `decide`.
        clock: Seconds that only grow.
    """
    taken, timer, candidates = list[Measurement](), BlockClock(max_s, clock, block_s), finalists.plan.candidates
    done, spent, found = 0, 0.0, None
    for look_count, look in enumerate(sequential.planned(settings.alpha, COMPARISONS), start=1):
        if found is not None:
            undecided(found, look.block_count - done, timer.block_s)
        # Of the first blocks nobody knows how long they take.
        while count := timer.room(min(look.block_count - done, at_once)) or int(not done and max_s > 0):
            with timer.blocks(count):
                taken += measure(candidates, range(first_block + done, first_block + done + count))
            done += count
        used_ratio = timer.used_ratio()
        found = decide(
            finalists,
            taken,
            latency_p99_limit_ms=latency_p99_limit_ms,
            settings=settings,
            share=sequential.share_to_spend(used_ratio, spent),
            look_count=look_count,
            out=out,
        )
        if used_ratio == 1 or is_settled(found, settings):
            return found
        spent = used_ratio
    raise AssertionError("the looks do not end")


def unmeasured_default_first(found: Confirmation, plan: SweepPlan, swept: Iterable[Measurement]) -> Confirmation:
    """The verdict; a default that the sweep could not measure is the first thing that it says.

    Args:
        found: The verdict.
        plan: What was swept.
        swept: The sweep's measurements, failed ones too.
    """
    windows = [one for one in swept if one.variant.settings == plan.default.settings]
    if not windows or any(one.error is None for one in windows):
        return found
    why = shorten(str(windows[0].error), _MAX_LETTERS, placeholder=" …")
    then = Note.of("nothing_to_compare_with") if found.reason.code == "default_unmeasured" else found.reason
    return replace(found, reason=Note.of("default_unmeasured_first", why=why, then=then))


def with_outputs(found: Confirmation, model: ModelArtifact) -> Confirmation:
    """The verdict; one for a variant of the model says with it how far that one's answers are from the model's."""
    outputs = None if found.best is None else model.outputs_note(found.best.variant.model_file)
    if outputs is None:
        return found
    return replace(found, reason=Note.of("winner_is_variant", then=found.reason, outputs=outputs))


def nothing_feasible(ranking: Ranking, refuted: Sequence[Confirmation], limit_ms: float | None) -> Confirmation:
    """The confirmation of a run in which no configuration meets the limit.

    What fresh data were taken of stands with these figures.

    Args:
        ranking: The sweep's order.
        refuted: The confirmations that ended with a refuted candidate.
        limit_ms: The limit; None where there is none, and too many requests failed.
    """
    measured = [one for found in refuted for one in (found.default, found.runner_up, found.best) if one is not None]
    fresh = {one.variant.config_name: one.latency_p99_ms.estimate for one in measured}
    failures = tuple(failed for found in refuted for failed in found.failures)
    failing = {failed.config_name for failed in failures if failed.variant_count}
    entries = [
        replace(entry, latency_p99_ms=fresh.get(entry.variant.config_name, entry.latency_p99_ms))
        for entry in ranking.ranked
        # A low p99 of few answers is no short distance from the limit.
        if not fails_too_often(entry.failed_ratio) and entry.variant.config_name not in failing
    ]
    closest = min(entries, key=lambda entry: entry.latency_p99_ms, default=None)
    if closest is not None and limit_ms is not None:
        reason = Note.of(
            "nothing_keeps_limit",
            limit_ms=limit_ms,
            name=closest.variant.config_name,
            concurrency=closest.load.concurrency,
            p99_ms=closest.latency_p99_ms,
            times=closest.latency_p99_ms / limit_ms,
        )
    elif (failed := next((one for one in failures if one.variant_count), None)) is not None:
        reason = Note.of("nothing_answers", name=failed.config_name, why=why_it_fails(failed))
    elif ranking.ranked:
        least = min(ranking.ranked, key=lambda entry: entry.failed_ratio)
        reason = Note.of("everything_fails", name=least.variant.config_name, share=least.failed_ratio)
    else:
        reason = Note.of("nothing_measured")
    return Confirmation(
        verdict="no_feasible_config",
        reason=reason,
        best=None,
        default=refuted[-1].default if refuted else None,
        block_count=refuted[-1].block_count if refuted else 0,
        failures=failures,
    )
