"""A finished run whose sweep was an adaptive search; its figures are made up and fit those of `records`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hcopt.records.model import ModelConfigVariant
from hcopt.records.run import RunRecord
from hcopt.records.search import Decision
from tests.support.records import HEAVY, LIGHT, default_variant, grid_variants, measurement, run_record

# Variant of the grid, -1 the default; load; infer/s; p99 in ms; in the order in which they were measured.
_WINDOWS = (
    (-1, LIGHT, 3380.0, 3.9),
    (3, LIGHT, 3010.0, 4.5),
    (5, HEAVY, 6220.0, 8.3),
    (0, HEAVY, 4690.0, 10.5),
    (6, HEAVY, 6610.0, 7.8),
    (4, HEAVY, 6090.0, 62.0),
    (6, HEAVY, 6470.0, 8.0),
    (5, HEAVY, 6290.0, 8.2),
)
# Windows of a block, and when it had been measured.
_BLOCKS = ((4, 3.2), (6, 5.1), (8, 7.4))


def _variant(number: int) -> ModelConfigVariant:
    return default_variant() if number < 0 else grid_variants()[number]


def _drop(number: int, **changes: Any) -> Decision:
    given = {
        "action": "drop",
        "reason": "at most 88.1% of the throughput of the best",
        "block": 2,
        "window_count": 6,
        "elapsed_s": 5.1,
        "cause": "slow",
        "config_name": _variant(number).config_name,
        "concurrency": 32,
        "client_batch_size": 1,
        "throughput_ratio": 0.71,
        "ratio_low": 0.62,
        "ratio_high": 0.82,
        "feasible_probability": 1.0,
        "latency_p99_ms": 10.4,
    }
    return Decision(**{**given, **changes})


def _race(block: int, number: int) -> Decision:
    count, elapsed_s = _BLOCKS[block - 1]
    place = {"config_name": _variant(number).config_name, "concurrency": 32, "client_batch_size": 1}
    return Decision(action="race", reason="", block=block, window_count=count, elapsed_s=elapsed_s, **place)


def search_end(**changes: Any) -> Decision:
    """Going on would gain little."""
    given = {"action": "stop", "reason": "", "block": 3, "window_count": 8, "elapsed_s": 7.4, "cause": "gain"}
    return Decision(**{**given, "gain_ratio": 0.0012, "budget_s": 120.0, **changes})


def _unvisited(number: int) -> Decision:
    name = _variant(number).config_name
    return Decision(action="unvisited", reason="", block=3, window_count=8, elapsed_s=7.4, config_name=name)


def decisions() -> tuple[Decision, ...]:
    """config_5, then config_6 is the best so far; three are dropped, one of them over the limit; two never measured."""
    late = {"cause": "late", "throughput_ratio": 0.93, "latency_p99_ms": 61.5, "feasible_probability": 0.0001}
    return (
        Decision(action="start", reason="", block=0, window_count=0, elapsed_s=0.0),
        _race(1, 5),
        _drop(-1, throughput_ratio=0.52, ratio_low=0.45, ratio_high=0.6, concurrency=8),
        _drop(0),
        _race(2, 6),
        _drop(4, block=3, window_count=8, elapsed_s=7.4, **late),
        search_end(),
        _unvisited(2),
        _unvisited(7),
        replace(_race(3, 6), action="winner"),
    )


def searched_record(**changes: Any) -> RunRecord:
    """The verdict `better` after an adaptive search."""
    run = run_record()
    windows = tuple(
        measurement(_variant(number), load, (throughput, p99_ms), profiler="perf_analyzer", block=index // 4)
        for index, (number, load, throughput, p99_ms) in enumerate(_WINDOWS)
    )
    measured = {_variant(number).settings for number, *_ in _WINDOWS}
    ranked = tuple(entry for entry in run.ranking.ranked if entry.variant.settings in measured)
    confirmed = tuple(m for m in run.measurements if m.phase == "confirmation")
    record = replace(
        run,
        measurements=(*windows, *confirmed),
        ranking=replace(run.ranking, ranked=ranked, failed_count=0),
        decisions=decisions(),
    )
    return replace(record, **changes)
