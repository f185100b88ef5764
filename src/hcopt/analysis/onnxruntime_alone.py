"""What of a request's time is the model's: a server's requests against ONNX Runtime alone, block by block. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from hcopt.analysis.stats import positive_interval, ratio_interval
from hcopt.records.measurement import Measurement
from hcopt.records.verdict import ModelAlone

# As the profiler of a measurement in which no server took part.
ONNXRUNTIME = "onnxruntime"


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
        request_ms=positive_interval(requests_ms),
        model_ms=positive_interval(models_ms),
        model_ratio=ratio_interval(models_ms, requests_ms),
        queue_ms=fmean(queues_us) / 1000 if queues_us else None,
    )


def _median_ms(measurement: Measurement) -> float:
    assert measurement.latency is not None and measurement.latency.p50_ms is not None  # seen to above
    return measurement.latency.p50_ms
