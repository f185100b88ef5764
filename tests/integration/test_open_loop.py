"""Open-loop windows with the real Triton and perf_analyzer; what they say holds however busy the machine is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hcopt.measure.load.open_loop import OpenLoop
from hcopt.measure.load.perf_analyzer import PerfAnalyzer
from hcopt.measure.served_model import ServedModel
from hcopt.model.triton_config import apply_variant, parse_text, to_json, variant_of
from hcopt.store.measurements import read_samples
from tests.support import onnx_models as models
from tests.support.triton import Triton, input_and_output

CONFIG = f"{input_and_output()}instance_group {{ count: 1 kind: KIND_CPU }}\ndynamic_batching {{ }}\n"
# A lag or a latency beyond what a busy machine does to a request in a hundred.
PATIENT_MS = 1500.0


@pytest.fixture
def open_loop(triton: Triton, tmp_path: Path) -> OpenLoop:
    """Short windows of a model that is being served."""
    name = triton.add(CONFIG, models.identity_model())
    base = parse_text((triton.repository / name / "config.pbtxt").read_text())
    served = ServedModel(triton.control, name, lambda variant: to_json(apply_variant(base, variant, "KIND_CPU")))
    variant = variant_of(base, f"{name}_config_default")
    served.reload(variant)
    folder = tmp_path / "a run's = folder"
    folder.mkdir()
    perf_analyzer = PerfAnalyzer(
        tools=triton.server.tools,
        model_name=lambda: name,
        input_arguments=("--input-data", "zero"),
        folder=folder,
        server_times=served.watch,
    )
    return OpenLoop(
        perf_analyzer=perf_analyzer,
        variant=variant,
        client_batch_size=2,
        latency_p99_limit_ms=50.0,
        seed=3,
        window_s=1.5,
    )


def test_window_sends_each_request_of_its_schedule_and_counts_from_its_time(
    open_loop: OpenLoop, triton: Triton
) -> None:
    patient = replace(open_loop, latency_p99_limit_ms=PATIENT_MS)
    taken, schedule = patient.measure(200.0, 0), patient.schedule(200.0, 0)
    assert taken.error is None
    assert taken.request_count == np.count_nonzero(schedule.intended_ns >= schedule.warm_up_ns)
    assert taken.throughput_infer_per_s == pytest.approx(200, rel=0.3)
    assert taken.miss_count is not None
    assert taken.miss_count < 0.05 * taken.request_count
    assert taken.server is not None
    assert taken.latency is not None
    assert 0 < taken.server.compute_infer_us / 1000 < taken.latency.avg_ms
    samples = read_samples(patient.perf_analyzer.folder / str(taken.samples_file))
    assert samples.sent_ns.tolist() == schedule.intended_ns.tolist()
    assert samples.lag_ns is not None
    assert 0 == samples.lag_ns.min() <= np.median(samples.lag_ns) < PATIENT_MS * 1e6 / 10
    assert (samples.latency_ns > samples.lag_ns).all()
    # The server saw them too, and no more beside them than the file's end and its second round.
    counts = triton.statistics(patient.perf_analyzer.model_name(), requests=len(schedule.intended_ns))
    assert counts.fail_count == 0
    assert counts.inference_count == 2 * counts.success_count
    assert len(schedule.intended_ns) <= counts.success_count <= 2 * len(schedule.intended_ns)


def test_rate_that_nobody_can_send_is_invalid_or_infeasible(open_loop: OpenLoop) -> None:
    taken = replace(open_loop, window_s=0.3).measure(200_000.0, 0)
    if taken.error is None:
        assert taken.miss_count is not None
        assert taken.request_count is not None
        assert taken.miss_count > 0.01 * taken.request_count
    assert list(open_loop.perf_analyzer.folder.glob("*.txt")) == []
