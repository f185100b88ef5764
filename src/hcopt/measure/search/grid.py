"""The points of a SweepPlan in a space: equal variants once, each with every load that it can be measured at."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hcopt.analysis.plan import THREADS, thread_count
from hcopt.analysis.ranking import pooled
from hcopt.measure.search.surface import Array, Integers
from hcopt.records.measurement import LoadPoint, SweepPlan
from hcopt.records.model import ModelConfigVariant, Settings

# A delay at which batches begin to wait noticeably, so that 0 and 500 µs do not lie at the ends of a logarithm.
_DELAY_UNIT_US = 100.0


@dataclass(frozen=True)
class Grid:
    """All points of a plan.

    Attributes:
        variants: Distinct ones; the default is the first.
        equal_names: For each, the further names of the same settings.
        loads: For each point, its load.
        owner: For each point, the index of its variant.
        features: (points, dimensions), scaled to 0-1.
        left_out: Variant and load of what cannot be measured: a request larger than the largest batch.
    """

    variants: tuple[ModelConfigVariant, ...]
    equal_names: tuple[tuple[str, ...], ...]
    loads: tuple[LoadPoint, ...]
    owner: Integers
    features: Array
    left_out: tuple[tuple[ModelConfigVariant, LoadPoint], ...]

    def __len__(self) -> int:
        return len(self.loads)

    def variant(self, point: int) -> ModelConfigVariant:
        """The variant that a point belongs to."""
        return self.variants[int(self.owner[point])]

    @cached_property
    def point_of(self) -> dict[tuple[Settings, LoadPoint], int]:
        """The point of each setting and load."""
        return {(self.variant(point).settings, load): point for point, load in enumerate(self.loads)}

    @cached_property
    def log_rows(self) -> Array:
        """For each point, the logarithm of the rows under way at once."""
        return np.log([load.concurrency * load.client_batch_size for load in self.loads])


def grid_of(plan: SweepPlan) -> Grid:
    """The points of a plan, each distinct setting once."""
    groups = tuple(pooled(plan).values())
    variants = tuple(group[0] for group in groups)
    every = [(index, load) for index in range(len(variants)) for load in plan.loads]
    points = [(index, load) for index, load in every if _fits(variants[index], load)]
    return Grid(
        variants=variants,
        equal_names=tuple(tuple(variant.config_name for variant in group[1:]) for group in groups),
        loads=tuple(load for _, load in points),
        owner=np.array([index for index, _ in points], dtype=np.int64),
        features=_features([(variants[index], load) for index, load in points], plan.server_cores),
        left_out=tuple((variants[index], load) for index, load in every if not _fits(variants[index], load)),
    )


def _fits(variant: ModelConfigVariant, load: LoadPoint) -> bool:
    return load.client_batch_size <= max(1, variant.max_batch_size)


def _features(points: Sequence[tuple[ModelConfigVariant, LoadPoint]], server_cores: int | None) -> Array:
    measures: tuple[Callable[[ModelConfigVariant, LoadPoint], float], ...] = (
        lambda variant, _: math.log2(max(1, variant.max_batch_size)),
        lambda variant, _: math.log2(variant.instance_count),
        lambda variant, _: math.log2(1 + variant.max_queue_delay_us / _DELAY_UNIT_US),
        lambda variant, _: float(variant.dynamic_batching),
        lambda variant, _: float(variant.execution_accelerator != "none"),
        _fill,
        _wait,
        lambda _, load: math.log2(load.concurrency),
        lambda _, load: math.log2(load.client_batch_size),
    )
    columns = [[measure(*point) for point in points] for measure in measures]
    words = ([v.preferred_batch_sizes for v, _ in points], [v.model_file for v, _ in points])
    columns += [[float(value == word) for value in values] for values in words for word in _distinct(values)[1:]]
    keys = sorted({key for variant, _ in points for key, _ in variant.parameters})
    for key in keys:
        if key == THREADS and server_cores is not None:
            columns += _thread_columns([variant for variant, _ in points], server_cores)
        else:
            columns += _parameter_columns([dict(variant.parameters).get(key) for variant, _ in points])
    scaled = [_scaled(column) for column in columns if max(column) > min(column)]
    return np.array(scaled or [[0.0] * len(points)]).T


def _fill(variant: ModelConfigVariant, load: LoadPoint) -> float:
    """How far the requests under way can fill the batches of all instances, in logarithms; 0 where they can."""
    rows = load.concurrency * load.client_batch_size
    return math.log2(min(1.0, rows / (variant.instance_count * max(1, variant.max_batch_size))))


def _wait(variant: ModelConfigVariant, load: LoadPoint) -> float:
    """The queue delay as far as it is waited: a batch that is full goes at once, where the surface has a kink.

    Source: Triton's model configuration, dynamic batcher, max_queue_delay_microseconds.
    """
    missing = 1 - 2.0 ** _fill(variant, load)
    return math.log2(1 + missing * variant.max_queue_delay_us / _DELAY_UNIT_US)


def _parameter_columns(values: Sequence[str | None]) -> list[list[float]]:
    """One column of logarithms for numbers; for words, one for each."""
    if all(value is not None and value.isdecimal() for value in values):
        return [[math.log2(1 + int(value or 0)) for value in values]]
    return [[float(value == word) for value in values] for word in _distinct(values)[1:]]


def _thread_columns(variants: Sequence[ModelConfigVariant], server_cores: int) -> list[list[float]]:
    """One column: the logarithm of all instances' threads ÷ cores, since it is there that the surface bends.

    Beside the instances' own column it says as much as the threads of one. Left to ONNX Runtime they count as one for
    each core. No column where they are the same everywhere.
    """
    threads = [thread_count(variant) or server_cores for variant in variants]
    if len(set(threads)) == 1:
        return []
    return [[math.log2(v.instance_count * own / server_cores) for v, own in zip(variants, threads, strict=True)]]


def _distinct(values: Iterable[Hashable]) -> list[Hashable]:
    return list(dict.fromkeys(values))


def _scaled(column: Sequence[float]) -> list[float]:
    low, high = min(column), max(column)
    return [(value - low) / (high - low) for value in column]
