"""What of a request's time is the model's: a server's requests against ONNX Runtime alone, block by block. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from hcopt.records.measurement import Measurement
from hcopt.records.verdict import Estimate, ModelAlone

# As the profiler of a measurement in which no server took part.
ONNXRUNTIME = "onnxruntime"
# Fewer do not hold the median between their lowest and their highest with 95 %.
_MIN_BLOCKS = 6


def compare_with_model(measurements: Iterable[Measurement]) -> ModelAlone | None:
    """Both sides of the blocks of the phase `onnxruntime_alone`; None where no block has both.

    The last one counts where a block was measured twice: an interrupted run had only one side of the first.
    """
    served, alone = dict[int | None, Measurement](), dict[int | None, Measurement]()
    for one in measurements:
        if one.latency is not None and one.latency.p50_ms:
            (alone if one.profiler == ONNXRUNTIME else served)[one.block] = one
    blocks = [block for block in served if block in alone]
    if not blocks:
        return None
    requests_ms, models_ms = ([_median_ms(side[block]) for block in blocks] for side in (served, alone))
    queues_us = [server.queue_us for block in blocks if (server := served[block].server) is not None]
    one = served[blocks[0]]
    return ModelAlone(
        config_name=one.variant.config_name,
        client_batch_size=one.load.client_batch_size,
        block_count=len(blocks),
        request_ms=_middle(requests_ms),
        model_ms=_middle(models_ms),
        model_ratio=_middle([model / request for model, request in zip(models_ms, requests_ms, strict=True)]),
        queue_ms=median(queues_us) / 1000 if queues_us else None,
    )


def _middle(values: Sequence[float]) -> Estimate:
    """The median of a few blocks, and the lowest and the highest of them: a busy moment of the machine moves neither it
    nor the other blocks, and may change a block's times tenfold.

    Source: the sign test's interval; it misses the true median once in 2**(n - 1) times, of six blocks in 3.1 %.
    """
    if len(values) < _MIN_BLOCKS:
        return Estimate(estimate=median(values))
    return Estimate(estimate=median(values), ci_low=min(values), ci_high=max(values))


def _median_ms(measurement: Measurement) -> float:
    assert measurement.latency is not None and measurement.latency.p50_ms is not None  # seen to above
    return measurement.latency.p50_ms
