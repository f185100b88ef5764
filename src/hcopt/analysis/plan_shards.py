"""Cuts a SweepPlan into shards, which several machines of one kind measure at once."""

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

# Every shard measures the default too: of four variants and the default a fifth of the time is for what is known by
# then, beside some 20 s for a server and a profiler that start. Smaller shards end hardly sooner and cost more of both.
MIN_SHARD_VARIANTS = 4

# The best cuts of 512 variants take some seconds to find, of thousands minutes.
_MAX_EXACT_VARIANTS = 300

# Of each variant the place of its value on each axis of the grid, in the order in which the values appear.
_Coordinates = tuple[tuple[int, ...], ...]
_Indices = tuple[int, ...]


class _Division(NamedTuple):
    """Ordered by what is better: fewer shards, then more equal ones."""

    shard_count: int
    squares: int
    groups: tuple[_Indices, ...]


class _Cut(NamedTuple):
    parts: tuple[_Indices, _Indices]
    coordinates: tuple[_Coordinates, _Coordinates]


def cut_into_shards(plan: SweepPlan, count: int) -> tuple[SweepPlan, ...]:
    """Cuts a plan into at most `count` shards, the largest first, each a plan with the default and all loads.

    A cut goes between the values of one setting through the whole shard. So a profiler that measures every combination
    of a shard's values (Model Analyzer) measures the shard's variants only: of a plan with all combinations exactly
    them, of one that leaves some out no others than those.

    The largest shard is as small as such cuts allow, since it ends last; with that there are as few shards as possible,
    and those as equal as possible; of more than `_MAX_EXACT_VARIANTS` variants nearly so. None has fewer than
    `MIN_SHARD_VARIANTS` variants unless the plan has. The shards measure the sum of their `measurement_count`: the
    plan's, and once more the default's for each shard but one.

    Args:
        plan: What is to be measured; its notes stay with the first shard, its variants keep names and order.
        count: Most shards; at least one.

    Raises:
        ValueError: `count` is below one.
    """
    if count < 1:
        raise ValueError(f"not a number of shards: {count}")
    whole = _coordinates([_settings(variant) for variant in plan.variants])
    groups = _divided(whole, count) if len(whole) <= _MAX_EXACT_VARIANTS else _halved(whole, count)
    shares = [tuple(plan.variants[index] for index in sorted(group)) for group in groups]
    return tuple(
        replace(plan, variants=share, notes=plan.notes if number == 0 else ()) for number, share in enumerate(shares)
    )


def has_gaps(plan: SweepPlan) -> bool:
    """Whether Model Analyzer, which combines all values of a plan's variants, comes to more than the plan has."""
    return _span(_coordinates([_settings(variant) for variant in plan.variants])) > len(plan.variants)


def _settings(variant: ModelConfigVariant) -> tuple[Hashable, ...]:
    """One value for each axis along which Model Analyzer combines."""
    return (
        variant.model_file,
        variant.instance_count,
        variant.execution_accelerator,
        variant.max_queue_delay_us,
        variant.preferred_batch_sizes,
        *variant.parameters,
        variant.max_batch_size,
    )


def _coordinates(points: Sequence[tuple[Hashable, ...]]) -> _Coordinates:
    """Grids of one shape come to the same coordinates, so that each shape is worked out once."""
    axes = []
    for axis in zip(*points, strict=True):
        place = {value: number for number, value in enumerate(dict.fromkeys(axis))}
        axes.append([place[value] for value in axis])
    return tuple(zip(*axes, strict=True))


def _span(coordinates: _Coordinates) -> int:
    """Combinations that Model Analyzer measures for these, wanted or not."""
    return math.prod(max(axis) + 1 for axis in zip(*coordinates, strict=True))


def _halved(whole: _Coordinates, count: int) -> list[_Indices]:
    """The largest shard in two as equally as it can be, again and again."""
    shards = [(-len(whole), tuple(range(len(whole))))]
    done = list[_Indices]()
    while shards and len(shards) + len(done) < count:
        _, largest = heapq.heappop(shards)
        cut = min(
            _cuts(_coordinates([whole[index] for index in largest])),
            key=lambda cut: abs(len(cut.parts[0]) - len(cut.parts[1])),
            default=None,
        )
        if cut is None:
            done.append(largest)
            continue
        for part in cut.parts:
            heapq.heappush(shards, (-len(part), tuple(largest[index] for index in part)))
    return sorted((*done, *(indices for _, indices in shards)), key=lambda group: (-len(group), min(group)))


def _divided(whole: _Coordinates, count: int) -> list[_Indices]:
    cuts = cache(lambda coordinates: tuple(_cuts(coordinates)))

    def best_division(largest: int) -> _Division | None:
        """Into shards of at most so many combinations; None where that cannot be."""

        @cache
        def divide(coordinates: _Coordinates) -> _Division | None:
            span = _span(coordinates)
            if span <= largest:
                return _Division(1, span**2, (tuple(range(len(coordinates))),))
            return min((found for cut in cuts(coordinates) if (found := joined(cut)) is not None), default=None)

        def joined(cut: _Cut) -> _Division | None:
            first, second = (divide(coordinates) for coordinates in cut.coordinates)
            if first is None or second is None:
                return None
            groups = [
                tuple(part[index] for index in group)
                for part, division in zip(cut.parts, (first, second), strict=True)
                for group in division.groups
            ]
            return _Division(first.shard_count + second.shard_count, first.squares + second.squares, tuple(groups))

        return divide(whole)

    def suffices(largest: int) -> bool:
        found = best_division(largest)
        return found is not None and found.shard_count <= count

    # Whatever can be done with smaller shards can be done with larger ones.
    least = 1 + bisect_left(range(1, _span(whole)), True, key=suffices)
    division = best_division(least)
    assert division is not None  # the whole is one shard of its own span
    return sorted(division.groups, key=lambda group: (-_span(_chosen(whole, group)), min(group)))


def _cuts(coordinates: _Coordinates) -> Iterator[_Cut]:
    """Every cut in two that leaves enough variants in both parts."""
    for axis in zip(*coordinates, strict=True):
        for second_from in range(1, max(axis) + 1):
            first = tuple(index for index, place in enumerate(axis) if place < second_from)
            second = tuple(index for index, place in enumerate(axis) if place >= second_from)
            if min(len(first), len(second)) >= MIN_SHARD_VARIANTS:
                yield _Cut((first, second), (_chosen(coordinates, first), _chosen(coordinates, second)))


def _chosen(coordinates: _Coordinates, indices: _Indices) -> _Coordinates:
    return _coordinates([coordinates[index] for index in indices])
