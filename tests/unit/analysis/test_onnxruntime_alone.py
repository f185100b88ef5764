"""What of a request's time is the model's: medians of blocks that have both sides."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcopt.analysis.onnxruntime_alone import compare_with_model
from hcopt.records.measurement import LatencySummary, LoadPoint, Measurement, ServerTimes
from hcopt.records.verdict import Estimate
from tests.support.records import grid_variants, measurement

ONE_REQUEST = LoadPoint(concurrency=1, client_batch_size=4)


def side(block: int, p50_ms: float, *, alone: bool = False) -> Measurement:
    """A block of one side; through Triton a tenth of a millisecond is in the queue."""
    found = measurement(
        grid_variants()[6],
        ONE_REQUEST,
        (100.0, 9.0),
        phase="onnxruntime_alone",
        profiler="onnxruntime" if alone else "perf_analyzer",
        block=block,
    )
    times = ServerTimes(queue_us=100.0, compute_input_us=1.0, compute_infer_us=2.0, compute_output_us=1.0)
    latency = LatencySummary(avg_ms=p50_ms, p50_ms=p50_ms, p90_ms=9.0, p95_ms=9.0, p99_ms=9.0)
    return replace(found, latency=latency, server=None if alone else times)


def blocks(*pairs: tuple[float, float]) -> list[Measurement]:
    return [
        one
        for block, (request_ms, model_ms) in enumerate(pairs)
        for one in (side(block, request_ms), side(block, model_ms, alone=True))
    ]


def test_median_of_six_blocks_has_the_lowest_and_the_highest_beside_it() -> None:
    found = compare_with_model(blocks((2.0, 0.5), (2.2, 0.5), (1.8, 0.6), (2.0, 0.4), (2.4, 0.6), (2.0, 0.5)))
    assert found is not None
    assert found.request_ms == Estimate(estimate=2.0, ci_low=1.8, ci_high=2.4)
    assert found.model_ms == Estimate(estimate=0.5, ci_low=0.4, ci_high=0.6)
    # By blocks: 1/4, 5/22, 1/3, 1/5, 1/4, 1/4.
    ratio = found.model_ratio
    assert (ratio.estimate, ratio.ci_low, ratio.ci_high) == pytest.approx((0.25, 0.2, 1 / 3))
    assert (found.block_count, found.client_batch_size, found.config_name) == (6, 4, grid_variants()[6].config_name)
    assert found.queue_ms == pytest.approx(0.1)


def test_busy_moment_of_the_machine_does_not_move_the_estimate() -> None:
    calm = [(2.0, 0.5)] * 4
    taken = blocks((40.0, 0.5), *calm, (2.0, 9.0))
    assert taken[0].server is not None
    found = compare_with_model([replace(taken[0], server=replace(taken[0].server, queue_us=9000.0)), *taken[1:]])
    assert found is not None
    assert found.queue_ms == pytest.approx(0.1)
    assert (found.request_ms.estimate, found.model_ms.estimate, found.model_ratio.estimate) == (2.0, 0.5, 0.25)


def test_few_blocks_have_no_interval() -> None:
    found = compare_with_model(blocks(*[(2.0, 0.5)] * 5))
    assert found is not None
    assert found.model_ratio == Estimate(estimate=0.25)


def test_blocks_of_one_side_count_for_nothing() -> None:
    assert compare_with_model([side(0, 2.0), side(1, 0.5, alone=True)]) is None
    assert compare_with_model([]) is None


def test_block_that_was_measured_again_counts_as_it_was_then() -> None:
    """An interrupted run had recorded one side of it alone."""
    found = compare_with_model([side(0, 9.0), *blocks((2.0, 0.5))])
    assert found is not None
    assert (found.block_count, found.request_ms.estimate) == (1, 2.0)


def test_queue_is_unknown_without_triton_s_statistics() -> None:
    found = compare_with_model([replace(side(0, 2.0), server=None), side(0, 0.5, alone=True)])
    assert found is not None
    assert found.queue_ms is None
