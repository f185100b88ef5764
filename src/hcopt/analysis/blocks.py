"""Candidates measured in blocks: each once a block, in balanced orders, within a time. Pure but for `measure`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.records.verdict import FailedWindows

Measure = Callable[[ModelConfigVariant, LoadPoint, int], Measurement]
# Takes some candidates and the numbers of some blocks.
MeasureBlocks = Callable[["Sequence[Candidate]", Sequence[int]], list[Measurement]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A variant with its load that is compared with others: measured once a block."""

    variant: ModelConfigVariant
    load: LoadPoint


Windows = Sequence[Measurement]


class BlockClock:
    """How many more blocks would end in time, if each took as long as the longest so far.

    Args:
        max_s: The time.
        clock: Seconds that only grow.
        block_s: What a block is expected to take; 0 where nobody knows.
    """

    def __init__(self, max_s: float, clock: Callable[[], float], block_s: float = 0.0) -> None:
        self._clock = clock
        self._max_s = max_s
        self._ends_at = clock() + max_s
        self._longest_s = block_s

    @property
    def block_s(self) -> float:
        """Seconds of the longest block so far."""
        return self._longest_s

    def room(self, wanted: int) -> int:
        """So many of the wanted blocks, none of which has to be cut."""
        left_s = self._ends_at - self._clock()
        if left_s < self._longest_s:
            return 0
        return wanted if self._longest_s == 0 else min(wanted, int(left_s / self._longest_s))

    def used_ratio(self) -> float:
        """Time used up, 0-1; 1 as soon as there is none for another block."""
        return 1 - (self._ends_at - self._clock()) / self._max_s if self.room(1) else 1.0

    @contextmanager
    def blocks(self, count: int) -> Iterator[None]:
        """Takes the time of some blocks."""
        started = self._clock()
        yield
        self._longest_s = max(self._longest_s, (self._clock() - started) / count)


def balanced_orders(count: int) -> tuple[tuple[int, ...], ...]:
    """Orders of `count` candidates in which each stands equally often at each place and after each other one.

    Each order is followed by its mirror image, so that a steady drift within blocks cancels over two of them. Two
    candidates have two orders, three all six, four the four of a Williams square.

    Source: Williams (1949), Experimental Designs Balanced for the Estimation of Residual Effects of Treatments,
        Australian Journal of Scientific Research 2, 149-168.
    """
    zigzag = [(step + 1) // 2 if step % 2 else -(step // 2) for step in range(count)]
    rows = (tuple((place + shift) % count for place in zigzag) for shift in range(count))
    return tuple(dict.fromkeys(order for row in rows for order in (row, row[::-1])))


def in_windows(measure: Measure) -> MeasureBlocks:
    """Blocks window by window."""
    return lambda candidates, blocks: [one for block in blocks for one in measure_block(candidates, measure, block)]


def measure_block(candidates: Sequence[Candidate], measure: Measure, block: int) -> list[Measurement]:
    """One window of each candidate, in the block's order."""
    orders = balanced_orders(len(candidates))
    return [measure(candidates[index].variant, candidates[index].load, block) for index in orders[block % len(orders)]]


def windows_of(
    candidates: Iterable[Candidate], measurements: Iterable[Measurement]
) -> dict[Candidate, dict[int, Measurement]]:
    """Of each candidate its windows with figures, by their blocks, in order."""
    found: dict[Candidate, dict[int, Measurement]] = {candidate: {} for candidate in candidates}
    taken = [one for one in measurements if one.error is None and one.block is not None]
    for one in sorted(taken, key=lambda one: one.block or 0):
        own = found.get(Candidate(variant=one.variant, load=one.load))
        if own is not None and one.block is not None:
            own[one.block] = one
    return found


def paired(one: Mapping[int, Measurement], other: Mapping[int, Measurement]) -> tuple[Windows, Windows]:
    """The windows of both in the blocks in which both have figures; what a third one did there plays no part."""
    both = [block for block in one if block in other]
    return [one[block] for block in both], [other[block] for block in both]


def failed_windows(
    candidates: Iterable[Candidate], measurements: Iterable[Measurement]
) -> dict[Candidate, FailedWindows]:
    """Of each candidate of which windows in blocks failed."""
    windows: dict[Candidate, list[Measurement]] = {candidate: [] for candidate in candidates}
    for one in measurements:
        if one.block is not None and (own := windows.get(Candidate(variant=one.variant, load=one.load))) is not None:
            own.append(one)
    return {one: failed for one, own in windows.items() if (failed := _failed(one, own)) is not None}


def _failed(candidate: Candidate, windows: Sequence[Measurement]) -> FailedWindows | None:
    failed = sorted((one for one in windows if one.error is not None), key=lambda one: not one.failed_by_variant)
    if not failed:
        return None
    by_variant = sum(one.failed_by_variant for one in failed)
    return FailedWindows(
        config_name=candidate.variant.config_name,
        load=candidate.load,
        window_count=len(windows),
        variant_count=by_variant,
        other_count=len(failed) - by_variant,
        reason=failed[0].error or "",
    )
