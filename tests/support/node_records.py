"""Finished runs that nodes of a cluster measured. All figures are made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.run import RunRecord
from tests.support.records import HEAVY, LIGHT, default_variant, grid_variants, measurement, run_record


def names(count: int) -> tuple[str, ...]:
    """So many nodes, as a cluster names them."""
    return tuple(f"worker-{number:02d} (10.0.3.{number})" for number in range(1, count + 1))


def on_nodes(nodes: Sequence[str], *, unlinked: Sequence[str] = (), **changes: Any) -> RunRecord:
    """A run whose sweep had a block on each node, the last of them the fastest; the first has measured all else.

    Nodes of `unlinked` have measured one configuration that nobody else has.
    """
    given = run_record(**changes)
    others = tuple(replace(m, node=nodes[0]) for m in given.measurements if m.phase != "sweep")
    swept = tuple(m for number, node in enumerate(nodes) for m in _block(node, number, len(nodes)))
    alone = tuple(_alone(node, number) for number, node in enumerate(unlinked))
    return replace(given, measurements=(*_noise(nodes[0]), *swept, *alone, *others, *_open_loop(nodes[0])))


def _block(node: str, number: int, count: int) -> tuple[Measurement, ...]:
    """The default, which every block has, and the node's own share of the grid."""
    speed = 0.9 + 0.2 * number / max(1, count - 1)
    grid = grid_variants()
    own = grid[number :: min(count, len(grid))] if number < len(grid) else ()
    loads = ((LIGHT, 3400.0, 3.9), (HEAVY, 5000.0, 9.8))
    return tuple(
        measurement(variant, load, (throughput * speed, p99 / speed), node=node, steal_ratio=0.002 * (number + 1))
        for variant in (default_variant(), *own)
        for load, throughput, p99 in loads
    )


def _alone(node: str, number: int) -> Measurement:
    variant = replace(grid_variants()[0], config_name=f"alone_{number}", max_batch_size=1000 + number)
    return measurement(variant, HEAVY, (4000.0, 10.0), node=node, steal_ratio=None)


def _noise(node: str) -> tuple[Measurement, ...]:
    return tuple(
        measurement(default_variant(), HEAVY, (4500.0, 10.0), phase="noise", block=block, node=node)
        for block in range(6)
        for _ in range(2)
    )


def _open_loop(node: str) -> tuple[Measurement, ...]:
    load = LoadPoint(request_rate_per_s=4000.0)
    figures = measurement(grid_variants()[6], HEAVY, (4000.0, 20.0), phase="open_loop", node=node)
    return tuple(replace(figures, load=load, block=block) for block in range(4))
