"""What models need of memory, on the real embedded server, with models of which that is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import PerfAnalyzer
from hcopt.measure.memory_check import MemoryCheck
from hcopt.measure.served_model import ServedModel
from hcopt.measure.window import WindowRunner
from hcopt.model.triton_config import apply_variant, parse_text, to_json, variant_of
from hcopt.records.measurement import LoadPoint
from hcopt.records.model import ModelConfigVariant
from hcopt.records.verdict import RankedVariant
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.runtime import EmbeddedRuntime, EmbeddedServer
from tests.support import onnx_models as models
from tests.support.triton import PYTHON_BASED, input_and_output

WEIGHTS_MB = 200
FEATURES = 1024
# A row of 1 MB.
LONG_ROW = 1 << 18


@dataclass(frozen=True)
class Served:
    """One model on a server of its own."""

    server: EmbeddedServer
    control: ModelControl
    default: ModelConfigVariant
    runner: WindowRunner

    def needed_mb(self, variant: ModelConfigVariant, load: LoadPoint) -> float:
        check = MemoryCheck(runner=self.runner, loads=(load,), limit_mb=None)
        entry = RankedVariant(
            variant=variant, load=load, throughput_infer_per_s=100.0, latency_p99_ms=1.0, feasible=True
        )
        assert not check.unfit([entry])
        needed = check.needed_mb[variant.settings]
        assert needed is not None
        return needed


@contextmanager
def serving(
    folder: Path, proto: onnx.ModelProto, tensors: str, runtime: EmbeddedRuntime | None = None
) -> Iterator[Served]:
    repository = folder / "repository"
    models.save(proto, repository / "model" / "1")
    text = 'name: "model"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 8\n' + tensors
    text += "instance_group { count: 1 kind: KIND_CPU }\ndynamic_batching { }\n"
    (repository / "model" / "config.pbtxt").write_text(text)
    base = parse_text(text)
    with (runtime or EmbeddedRuntime()).serve(repository, folder) as server, ModelControl(server.endpoint) as control:
        served = ServedModel(control, "model", lambda variant: to_json(apply_variant(base, variant, "KIND_CPU")))
        runner = WindowRunner(
            served=served,
            perf_analyzer=PerfAnalyzer(
                tools=server.tools,
                model_name=lambda: "model",
                input_arguments=("--input-data", "zero"),
                folder=folder,
                server_times=served.watch,
                memory_mb=server.memory_mb,
            ),
            restart_server_if_dead=server.restart_if_dead,
            context=RunContext(),
            memory_mb=server.memory_mb,
            restart_server=server.restart,
        )
        yield Served(server=server, control=control, default=variant_of(base, "model_config_default"), runner=runner)


def memory_of(server: EmbeddedServer) -> float:
    found = server.memory_mb()
    assert found is not None
    return found


def test_memory_rises_by_the_weights_of_each_instance_and_falls_with_the_server_s_start(tmp_path: Path) -> None:
    outputs = WEIGHTS_MB * (1 << 18) // FEATURES
    tensors = (
        f'input {{ name: "input" data_type: TYPE_FP32 dims: {FEATURES} }}\n'
        f'output {{ name: "output" data_type: TYPE_FP32 dims: {outputs} }}\n'
    )
    with serving(tmp_path, models.linear_model(FEATURES, outputs=outputs), tensors) as served:
        empty_mb = memory_of(served.server)
        served.runner.served.reload(served.default)
        one_mb = memory_of(served.server)
        served.runner.served.reload(replace(served.default, instance_count=2))
        two_mb = memory_of(served.server)
        served.runner.served.unload()
        served.server.restart()
        assert memory_of(served.server) < empty_mb + 0.2 * WEIGHTS_MB
    for more_mb in (one_mb - empty_mb, two_mb - one_mb):
        assert 0.8 * WEIGHTS_MB < more_mb < 1.6 * WEIGHTS_MB


def test_peak_rises_with_the_rows_that_are_under_way_and_not_with_what_was_served_before(tmp_path: Path) -> None:
    with serving(tmp_path, models.identity_model(shape=(-1, LONG_ROW)), input_and_output(dims=str(LONG_ROW))) as served:
        light_mb = served.needed_mb(served.default, LoadPoint(concurrency=1))
        heavy_mb = served.needed_mb(served.default, LoadPoint(concurrency=16, client_batch_size=4))
        # What is measured next begins with a fresh server again.
        again_mb = served.needed_mb(served.default, LoadPoint(concurrency=1))
    # 16 requests of 4 MB are under way, each with an answer of the same size.
    assert heavy_mb > light_mb + 64
    assert again_mb < light_mb + 32


def test_instances_of_the_python_based_backend_are_part_of_the_server(tmp_path: Path) -> None:
    with serving(tmp_path, models.identity_model(), input_and_output(), PYTHON_BASED) as served:
        empty_mb = memory_of(served.server)
        served.runner.served.reload(replace(served.default, instance_count=2))
        assert memory_of(served.server) > empty_mb + 30
