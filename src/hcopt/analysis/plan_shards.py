"""A SweepPlan is cut into blocks that several machines of one kind can measure at once; who gets which is another's."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from hcopt.records.measurement import SweepPlan
from hcopt.records.model import ModelConfigVariant

# Every block measures the default too: of four variants and the default a fifth of the time is for what is known by
# then, beside some 20 s for a server and a profiler that start. Smaller blocks end hardly sooner and cost more of both.
SMALLEST_BLOCK = 4

# The best cuts of 512 variants take some seconds to find, of thousands minutes.
_MOST_EXACT = 300

# Of each variant the place of its value on each axis of the grid, in the order in which the values appear.
_Places = tuple[tuple[int, ...], ...]
_Indices = tuple[int, ...]


class _Division(NamedTuple):
    """Ordered by what is better: fewer blocks, then more equal ones."""

    block_count: int
    squares: int
    groups: tuple[_Indices, ...]


class _Cut(NamedTuple):
    sides: tuple[_Indices, _Indices]
    places: tuple[_Places, _Places]


def plan_blocks(plan: SweepPlan, count: int) -> tuple[SweepPlan, ...]:
    """Cuts a plan into at most `count` blocks, the largest first, each a plan with the default and all loads.

    A cut goes between the values of one setting through the whole block. So a profiler that measures every combination
    of a block's values (Model Analyzer) measures the block's variants only: of a plan with all combinations exactly
    them, of one that leaves some out no others than those.

    The largest block is as small as such cuts allow, since it ends last; with that there are as few blocks as possible,
    and those as equal as possible; of more than `_MOST_EXACT` variants nearly so. None has fewer than `SMALLEST_BLOCK`
    variants unless the plan has. The blocks measure the sum of their `measurement_count`: the plan's, and once more the
    default's for each block but one.

    Args:
        plan: What is to be measured; its notes stay with the first block, its variants keep names and order.
        count: Most blocks; at least one.

    Raises:
        ValueError: `count` is below one.
    """
    if count < 1:
        raise ValueError(f"not a number of blocks: {count}")
    whole = _places([_settings(variant) for variant in plan.variants])
    groups = _divided(whole, count) if len(whole) <= _MOST_EXACT else _halved(whole, count)
    shares = [tuple(plan.variants[index] for index in sorted(group)) for group in groups]
    return tuple(
        replace(plan, variants=share, notes=plan.notes if number == 0 else ()) for number, share in enumerate(shares)
    )


def _settings(variant: ModelConfigVariant) -> tuple[Hashable, ...]:
    """One value for each axis along which Model Analyzer combines."""
    return (
        variant.instance_count,
        variant.max_queue_delay_us,
        variant.preferred_batch_sizes,
        *variant.parameters,
        variant.max_batch_size,
    )


def _places(points: Sequence[tuple[Hashable, ...]]) -> _Places:
    """Grids of one shape come to the same places, so that each shape is worked out once."""
    axes = []
    for axis in zip(*points, strict=True):
        place = {value: number for number, value in enumerate(dict.fromkeys(axis))}
        axes.append([place[value] for value in axis])
    return tuple(zip(*axes, strict=True))


def _span(places: _Places) -> int:
    """Combinations that Model Analyzer measures for these, wanted or not."""
    return math.prod(max(axis) + 1 for axis in zip(*places, strict=True))


def _halved(whole: _Places, count: int) -> list[_Indices]:
    """The largest block in two as equally as it can be, again and again."""
    blocks = [(-len(whole), tuple(range(len(whole))))]
    done = list[_Indices]()
    while blocks and len(blocks) + len(done) < count:
        _, largest = heapq.heappop(blocks)
        cut = min(_cuts(_places([whole[index] for index in largest])), key=_inequality, default=None)
        if cut is None:
            done.append(largest)
            continue
        for side in cut.sides:
            heapq.heappush(blocks, (-len(side), tuple(largest[index] for index in side)))
    return sorted((*done, *(indices for _, indices in blocks)), key=lambda group: (-len(group), min(group)))


def _inequality(cut: _Cut) -> int:
    return abs(len(cut.sides[0]) - len(cut.sides[1]))


def _divided(whole: _Places, count: int) -> list[_Indices]:
    cuts = cache(lambda places: tuple(_cuts(places)))

    def fewest(largest: int) -> _Division | None:
        """Into blocks of at most so many combinations; None where that cannot be."""

        @cache
        def divide(places: _Places) -> _Division | None:
            span = _span(places)
            if span <= largest:
                return _Division(1, span**2, (tuple(range(len(places))),))
            return min((found for cut in cuts(places) if (found := joined(cut)) is not None), default=None)

        def joined(cut: _Cut) -> _Division | None:
            first, second = (divide(places) for places in cut.places)
            if first is None or second is None:
                return None
            groups = [
                tuple(side[index] for index in group)
                for side, division in zip(cut.sides, (first, second), strict=True)
                for group in division.groups
            ]
            return _Division(first.block_count + second.block_count, first.squares + second.squares, tuple(groups))

        return divide(whole)

    def suffices(largest: int) -> bool:
        found = fewest(largest)
        return found is not None and found.block_count <= count

    # Whatever can be done with smaller blocks can be done with larger ones.
    least = 1 + bisect_left(range(1, _span(whole)), True, key=suffices)
    division = fewest(least)
    assert division is not None  # the whole is one block of its own span
    return sorted(division.groups, key=lambda group: (-_span(_chosen(whole, group)), min(group)))


def _cuts(places: _Places) -> Iterator[_Cut]:
    """Every cut in two that leaves enough on both sides."""
    for axis in zip(*places, strict=True):
        for second_from in range(1, max(axis) + 1):
            first = tuple(index for index, place in enumerate(axis) if place < second_from)
            second = tuple(index for index, place in enumerate(axis) if place >= second_from)
            if min(len(first), len(second)) >= SMALLEST_BLOCK:
                yield _Cut((first, second), (_chosen(places, first), _chosen(places, second)))


def _chosen(places: _Places, indices: _Indices) -> _Places:
    return _places([places[index] for index in indices])
