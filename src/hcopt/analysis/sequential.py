"""After how many blocks a confirmation looks at its data, and which part of α each look may spend. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile

# Blocks at the first look: whole cycles of the orders of two to four candidates, and enough for a share of misses.
_CYCLE = 12


# A look that came at once would spend nothing, and no quantile belongs to that.
_MIN_SHARE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the data.

    Attributes:
        block_count: Blocks that it waits for.
        share: Part of every error rate that it may spend, 0-1, where the time is up with it.
    """

    block_count: int
    share: float


def planned(alpha: float, comparisons: int) -> Iterator[Look]:
    """All looks: after 12, 24, 48, 96 … blocks; the first one later where α is too small for twelve.

    Each look spends a part of the error rates: few of them leave the most to the last.
    """
    first, before = first_look(alpha, comparisons), 0
    for index in count():
        blocks = first * 2**index
        yield Look(block_count=blocks, share=share_to_spend(1.0, before / blocks))
        before = blocks


def planned_within(max_blocks: int, alpha: float, comparisons: int) -> Iterator[Look]:
    """Those of the looks that come before so many blocks."""
    return takewhile(lambda look: look.block_count < max_blocks, planned(alpha, comparisons))


def share_to_spend(used_ratio: float, spent: float) -> float:
    """The part of every error rate for a look now: by the square of the time used up, less what is spent.

    Early looks get small parts, which suffice for what is clear, and the last one gets the most: what is open until
    then has an interval that is hardly wider than without the others. The parts add up to one when the time is up. By
    the union bound no claim is wrong more often than its error rate says, however many looks there are, and whatever
    made an earlier one go on: when a look comes depends on the clock, not on what was measured.

    Args:
        used_ratio: Time used up, 0-1; 1 at the last look.
        spent: The time that was used up at the look before it, 0-1.

    Source: Lan & DeMets (1983), Discrete Sequential Boundaries for Clinical Trials, Biometrika 70, 659-663, with the
        spending function αt² of the power family of Kim & DeMets (1987), Biometrika 74, 149-154; Lan & DeMets (1989),
        Group Sequential Procedures: Calendar versus Information Time, Statistics in Medicine 8, 1191-1198. The union
        bound in place of their joint distribution holds for every statistic.
    """
    return max(used_ratio**2 - spent**2, _MIN_SHARE)


def first_look(alpha: float, comparisons: int) -> int:
    """Blocks of the first look: a multiple of twelve at which the signed-rank test can reach its part of α by Holm."""
    return _CYCLE * math.ceil(min_blocks(alpha / 2, comparisons) / _CYCLE)


def min_blocks(alpha: float, comparisons: int) -> int:
    """The fewest blocks whose two-sided signed-rank test can reach a family-wise α over so many comparisons by Holm."""
    return max(2, math.ceil(math.log2(2 * comparisons / alpha)))
