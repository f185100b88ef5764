"""The verdict on the sweep's finalists from fresh, paired measurements. Pure but for the `measure` it is given.

The sweep's figures play no part in the claim: a maximum over noisy measurements is too good to be true.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from hcopt.analysis import sequential
from hcopt.analysis.blocks import BlockClock, Measure, measure_block
from hcopt.analysis.comparison import COMPARISONS
from hcopt.analysis.finalists import Finalists
from hcopt.analysis.verdict import decide, is_settled, why_it_fails
from hcopt.config.sections import ConfirmationSection
from hcopt.records.measurement import Measurement
from hcopt.records.note import Note
from hcopt.records.verdict import Confirmation, ConfirmedVariant, FailedWindows, RankedVariant


def first_window_count(finalists: Finalists, settings: ConfirmationSection) -> int:
    """Windows up to the first look."""
    return len(finalists.plan.candidates) * sequential.first_look(settings.alpha, COMPARISONS)


def confirm(
    finalists: Finalists,
    measure: Measure,
    *,
    latency_p99_limit_ms: float | None,
    settings: ConfirmationSection,
    max_s: float,
    first_block: int = 0,
    extend: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Confirmation:
    """Measures blocks and looks at them until everything is decided or the time is up.

    Args:
        finalists: Who is measured.
        measure: Takes one window of a variant at a load in a block.
        latency_p99_limit_ms: The limit, or None.
        settings: α and the indifference zone.
        max_s: No block begins that would not end within it, if it took as long as the longest so far.
        first_block: The number of the first block; a further round goes on with the numbers, since its data are new.
        extend: Told how many windows more there will be, where a look decided nothing.
        clock: Seconds that only grow.
    """
    taken, timer, candidates = list[Measurement](), BlockClock(max_s, clock), finalists.plan.candidates
    done, spent = 0, 0.0
    for look_count, look in enumerate(sequential.planned(settings.alpha, COMPARISONS), start=1):
        if done and extend is not None:
            extend((look.block_count - done) * len(candidates))
        while done < look.block_count and timer.has_time():
            with timer.block():
                taken += measure_block(candidates, measure, first_block + done)
            done += 1
        used_ratio = timer.used_ratio()
        found = decide(
            finalists,
            taken,
            latency_p99_limit_ms=latency_p99_limit_ms,
            settings=settings,
            share=sequential.share_to_spend(used_ratio, spent),
            look_count=look_count,
        )
        if used_ratio == 1 or is_settled(found, settings):
            return found
        spent = used_ratio
    raise AssertionError("the looks do not end")


def nothing_feasible(
    closest: RankedVariant | None,
    limit_ms: float | None,
    *,
    default: ConfirmedVariant | None = None,
    block_count: int = 0,
    failures: tuple[FailedWindows, ...] = (),
    least_failing: RankedVariant | None = None,
) -> Confirmation:
    """The confirmation of a run in which no configuration meets the limit.

    Args:
        closest: The one that misses it by least, by its newest figures; None where nothing could be measured without
            failures of its own.
        limit_ms: The limit; None where there is none, and too many requests failed.
        default: The default's figures, where it was measured again before the last candidate was refuted.
        block_count: Blocks in which it was.
        failures: Of whoever had windows that failed.
        least_failing: The one of which the sweep saw the smallest share of requests fail.
    """
    failing = next((one for one in failures if one.variant_count), None)
    if (closest is None or limit_ms is None) and failing is not None:
        reason = Note.of("nothing_answers", name=failing.config_name, why=why_it_fails(failing))
    elif (closest is None or limit_ms is None) and least_failing is not None:
        name = least_failing.variant.config_name
        reason = Note.of("everything_fails", name=name, share=least_failing.failed_ratio)
    elif closest is None or limit_ms is None:
        reason = Note.of("nothing_measured")
    else:
        reason = Note.of(
            "nothing_keeps_limit",
            limit_ms=limit_ms,
            name=closest.variant.config_name,
            concurrency=closest.load.concurrency,
            p99_ms=closest.latency_p99_ms,
            times=closest.latency_p99_ms / limit_ms,
        )
    return Confirmation(
        verdict="no_feasible_config",
        reason=reason,
        best=None,
        default=default,
        block_count=block_count,
        failures=failures,
    )
