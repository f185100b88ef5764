"""The two profilers with the real Triton, perf_analyzer and Model Analyzer."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from hcopt.analysis.blocks import Candidate
from hcopt.analysis.plan import plan_sweep
from hcopt.config.sections import SweepSection
from hcopt.errors import ProfileError
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import PerfAnalyzer, Window
from hcopt.measure.load.refused import RefusedShare
from hcopt.measure.model_analyzer.profiler import ModelAnalyzer
from hcopt.measure.profiler import ProfileJob
from hcopt.measure.served_model import ServedModel
from hcopt.measure.turns.pace import QUICK
from hcopt.measure.turns.taker import TurnTaker
from hcopt.model.inputs.values import LoadData, LoadTensor
from hcopt.model.triton_config import apply_variant, parse_text, queue_stall_s, to_json, variant_of
from hcopt.records.measurement import LoadPoint, Measurement, SweepPlan
from hcopt.records.model import ModelConfigVariant
from hcopt.store.measurements import read_samples
from hcopt.triton.base import Tools
from tests.support import onnx_models as models
from tests.support.fakes import RecordedProgress
from tests.support.triton import ImpatientTools, Triton, input_and_output

CONFIG = f"{input_and_output()}instance_group {{ count: 1 kind: KIND_CPU }}\ndynamic_batching {{ }}\n"
# Much that no sweep sets.
RICH = f"""{input_and_output()}
instance_group [{{ count: 1 kind: KIND_CPU rate_limiter {{ priority: 2 resources [{{ name: "R" count: 1 }}] }} }}]
dynamic_batching {{
  priority_levels: 2
  default_priority_level: 1
  default_queue_policy {{ default_timeout_microseconds: 60000000 max_queue_size: 1000 }}
  priority_queue_policy [{{ key: 2 value {{ timeout_action: DELAY max_queue_size: 500 }} }}]
}}
optimization {{ priority: PRIORITY_MAX input_pinned_memory {{ enable: false }} }}
parameters [{{ key: "enable_mem_pattern" value {{ string_value: "0" }} }}]
"""
# perf_analyzer's own default is random bits, and with one NaN among them its export is empty.
INPUT = ("--input-data", "zero")


@dataclass(frozen=True)
class Sample:
    """A model on the session's server."""

    triton: Triton
    name: str

    @property
    def default(self) -> ModelConfigVariant:
        return variant_of(parse_text(self.text()), f"{self.name}_config_default")

    def served(self, *, keeps_loaded: bool = False) -> ServedModel:
        base = parse_text(self.text())
        return ServedModel(
            self.triton.control,
            self.name,
            lambda v: to_json(apply_variant(base, v, "KIND_CPU")),
            repository=self.triton.repository if keeps_loaded else None,
            max_instances=self.triton.server.max_instances,
        )

    def driver(self, folder: Path, tools: Tools | None = None) -> tuple[PerfAnalyzer, ServedModel]:
        served = self.served()
        driver = PerfAnalyzer(
            tools=tools or self.triton.server.tools,
            model_name=lambda: self.name,
            input_arguments=INPUT,
            folder=folder,
            server_times=served.watch,
        )
        return driver, served

    def window(self, **changes: object) -> Window:
        window = Window(
            variant=self.default,
            load=LoadPoint(concurrency=4, client_batch_size=2),
            expected_infer_per_s=10_000,
            window_s=1.0,
            phase="confirmation",
            block=0,
        )
        return replace(window, **changes)  # type: ignore[arg-type]

    def text(self) -> str:
        return (self.triton.repository / self.name / "config.pbtxt").read_text()


@pytest.fixture
def sample(triton: Triton) -> Sample:
    return Sample(triton, triton.add(CONFIG, models.identity_model()))


def test_window_on_the_real_server_has_figures_that_hold_together(sample: Sample, tmp_path: Path) -> None:
    driver, served = sample.driver(tmp_path)
    served.reload(sample.default)
    taken = driver.measure(sample.window())
    assert taken.error is None
    assert taken.throughput_infer_per_s is not None
    assert taken.latency is not None
    assert taken.latency.p50_ms is not None
    # Little's law: what is under way at once is rate times latency, however fast the machine is.
    under_way = taken.throughput_infer_per_s / 2 * taken.latency.avg_ms / 1000
    assert under_way == pytest.approx(4, rel=0.6)
    assert taken.latency.p50_ms <= taken.latency.p90_ms <= taken.latency.p95_ms <= taken.latency.p99_ms
    assert taken.server is not None
    served_ms = (taken.server.queue_us + taken.server.compute_infer_us) / 1000
    assert 0 < served_ms < 2 * taken.latency.avg_ms
    assert taken.client_cpu_ratio is not None
    assert 0 < taken.client_cpu_ratio < 1
    assert taken.samples_file is not None
    samples = read_samples(tmp_path / taken.samples_file)
    assert taken.request_count is not None
    assert 0 < taken.request_count <= len(samples.sent_ns)
    assert (samples.sent_ns[1:] >= samples.sent_ns[:-1]).all()
    assert not list(tmp_path.rglob("*.json"))


def test_variants_are_measured_in_turns_beside_one_another_and_are_gone_at_the_end(
    sample: Sample, tmp_path: Path
) -> None:
    triton, first = sample.triton, sample.default
    second = replace(first, config_name=f"{sample.name}_config_1", instance_count=2)
    served = sample.served(keeps_loaded=True)
    driver = PerfAnalyzer(
        tools=triton.server.tools,
        model_name=lambda: served.name,
        input_arguments=INPUT,
        folder=tmp_path,
        server_times=served.watch,
    )
    for variant in (first, second, first):
        served.load_or_reuse(variant)
        taken = driver.measure(sample.window(variant=variant, window_s=0.5))
        assert taken.error is None
        assert taken.server is not None
    assert loaded(sample) == {first.config_name, second.config_name}
    served.unload()
    assert loaded(sample) == set()


def test_candidates_take_turns_on_the_real_server(sample: Sample, tmp_path: Path) -> None:
    first = sample.default
    second = replace(first, config_name=f"{sample.name}_config_1", instance_count=2)
    served = sample.served(keeps_loaded=True)
    driver = replace(sample.driver(tmp_path)[0], latency_p99_limit_ms=1000.0)
    loads = [LoadPoint(concurrency=count, client_batch_size=2) for count in (4, 8)]
    candidates = [
        Candidate(variant=variant, load=load)
        for variant, load in ((first, loads[0]), (second, loads[0]), (first, loads[1]))
    ]
    taken = TurnTaker(served=served, perf_analyzer=driver, row_bytes=100).measure(
        candidates, range(2), pace=QUICK, phase="confirmation"
    )
    assert {(one.block, one.variant, one.load) for one in taken} == {
        (block, one.variant, one.load) for block in range(2) for one in candidates
    }
    for one in taken:
        assert one.throughput_infer_per_s and one.latency and one.server and one.request_count and one.duration_s
        # As of a window: rate times latency is what is under way at once, on a machine of any speed.
        under_way = one.throughput_infer_per_s / 2 * one.latency.avg_ms / 1000
        assert under_way == pytest.approx(one.load.concurrency, rel=0.6)
        assert 0 < one.server.compute_infer_us / 1000 < 2 * one.latency.avg_ms
        assert one.duration_s > 0
        samples = read_samples(tmp_path / str(one.samples_file))
        assert samples.turns_ns is not None
        assert samples.failed_count == 0
    assert "perf_analyzer" not in {process.name() for process in psutil.Process().children(recursive=True)}
    assert loaded(sample) == {first.config_name, second.config_name}, "they stay for the next session"
    assert not list((tmp_path / "samples" / "confirmation").glob("turns_*"))
    served.unload()


def test_turns_with_rows_that_the_server_refuses_give_nothing_and_leave_nothing(sample: Sample, tmp_path: Path) -> None:
    first = sample.default
    served, rows = sample.served(keeps_loaded=True), tmp_path / "rows.json"
    rows.write_text('{"data": [{"INPUT": [1.0, 2.0, 3.0]}]}')
    driver = replace(sample.driver(tmp_path)[0], input_arguments=("--input-data", str(rows)))
    one = Candidate(variant=first, load=LoadPoint(concurrency=4))
    turns = TurnTaker(served=served, perf_analyzer=driver, row_bytes=100)
    with pytest.raises(ProfileError, match="the turns ended with 1"):
        turns.measure([one, one], [0], pace=QUICK, phase="noise")
    assert "perf_analyzer" not in {process.name() for process in psutil.Process().children(recursive=True)}
    served.unload()


def loaded(sample: Sample) -> set[str]:
    """The variants that are there, or on their way."""
    index = sample.triton.client.get_model_repository_index().models
    return {one.name for one in index if one.name.startswith(f"{sample.name}_config_") and one.state != "UNAVAILABLE"}


def test_load_lasts_as_long_as_asked_and_reaches_the_server_in_rows(sample: Sample, tmp_path: Path) -> None:
    driver, served = sample.driver(tmp_path)
    served.reload(sample.default)
    taken = driver.measure(sample.window())
    assert taken.duration_s is not None
    assert taken.duration_s > 0.5  # 1 s less the warm-up, and what a busy machine takes of its end
    counts = sample.triton.control.statistics(sample.name)
    assert counts.inference_count == 2 * counts.success_count > 0
    assert counts.fail_count == 0


def test_model_that_is_not_there_is_a_failed_measurement_with_perf_analyzer_s_words(
    sample: Sample, tmp_path: Path
) -> None:
    driver = PerfAnalyzer(
        tools=sample.triton.server.tools,
        model_name=lambda: "nobody",
        input_arguments=INPUT,
        folder=tmp_path,
        server_times=lambda: lambda: None,
    )
    taken = driver.measure(sample.window())
    assert taken.error is not None
    assert "perf_analyzer ended with" in taken.error
    assert "nobody" in taken.error


def test_perf_analyzer_that_hangs_is_killed_with_its_children_on_both_tries(sample: Sample, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    hanging = tmp_path / "hanging"
    hanging.write_text(f"#!/bin/sh\n(trap '' TERM; sleep 600) &\necho $$ $! >>{pids}\nexec sleep 600\n")
    hanging.chmod(0o755)
    tools = replace(sample.triton.server.tools, programs={"perf_analyzer": hanging})
    driver, served = sample.driver(tmp_path, ImpatientTools(tools, patience_s=3.0))
    served.reload(sample.default)
    taken = driver.measure(sample.window())
    assert taken.error is not None
    assert "did not end within" in taken.error
    assert len(pids.read_text().split()) == 4
    _wait_until_gone([int(pid) for pid in pids.read_text().split()])


def _wait_until_gone(pids: Sequence[int]) -> None:
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < deadline, "a hanging perf_analyzer is left"
        time.sleep(0.05)


@dataclass(frozen=True)
class Swept:
    """One sweep by the real Model Analyzer."""

    folder: Path
    plan: SweepPlan
    recorded: list[Measurement]
    progress: RecordedProgress
    served: dict[str, str]
    expected: dict[str, str]

    def of(self, name: str) -> Measurement:
        [found] = [one for one in self.recorded if one.variant.config_name.endswith(f"_config_{name}")]
        return found


@pytest.fixture(scope="module")
def swept(embedded_triton: Triton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    """The default, a variant, two whose thread count is none, and one that the plan leaves out: each at one load.

    `served` is what Triton says of each while Model Analyzer measures it, `expected` where hcopt loads it.
    """
    folder = tmp_path_factory.mktemp("sweep") / "a run's = folder"
    (folder / "logs").mkdir(parents=True)
    sample = Sample(embedded_triton, embedded_triton.add(RICH, models.identity_model()))
    base, control = parse_text(sample.text()), embedded_triton.control
    sweep = SweepSection(
        max_batch_size=(4,),
        instance_count=(2, 1),
        max_queue_delay_us=(100,),
        concurrency=(3,),
        client_batch_size=(2,),
        parameters={"intra_op_thread_count": (1, "two")},
    )
    plan = plan_sweep(sweep, sample.default, model_name=sample.name, instance_kind="KIND_CPU")
    plan = replace(plan, variants=tuple(one for one in plan.variants if one.config_name != f"{sample.name}_config_2"))

    def config_of(variant: ModelConfigVariant) -> str:
        return to_json(base if variant == plan.default else apply_variant(base, variant, "KIND_CPU"))

    expected, served = {}, dict[str, str]()
    for variant in plan.all_variants[:2]:
        control.load(sample.name, config_of(variant))
        expected[variant.config_name] = control.active_config(sample.name)
    control.unload(sample.name)

    class Watching(RecordedProgress):
        def started(self, what: str) -> None:
            super().started(what)
            served[what.partition(",")[0]] = control.active_config(sample.name)

    recorded, progress = list[Measurement](), Watching()
    job = ProfileJob(
        plan=plan,
        server=embedded_triton.server,
        repository=embedded_triton.repository,
        folder=folder,
        input_arguments=INPUT,
        context=RunContext(record=recorded.append, progress=progress),
        config_of=config_of,
        stall_s=queue_stall_s(base),
    )
    ModelAnalyzer(interval_ms=200, latency_p99_limit_ms=100_000.0).profile(job)
    yield Swept(folder, plan, recorded, progress, served, expected)
    control.unload(sample.name)


def test_sweep_serves_the_configuration_that_is_confirmed_by_its_name(swept: Swept) -> None:
    """Queue policies, priorities, optimization, rate limiter and parameters among it, as Triton itself says it."""
    assert swept.served == swept.expected
    for said in swept.expected.values():
        for kept in ("PRIORITY_MAX", "enable_mem_pattern", "max_queue_size", "default_priority_level", "resources"):
            assert kept in said


def test_sweep_records_every_point_once_in_the_plan_s_order(swept: Swept) -> None:
    assert [one.variant for one in swept.recorded] == list(swept.plan.all_variants)
    assert {one.load for one in swept.recorded} == set(swept.plan.loads)
    assert swept.progress.measurements == swept.recorded


def test_what_the_plan_leaves_out_is_not_measured(swept: Swept) -> None:
    log = (swept.folder / "logs" / "model_analyzer.log").read_text()
    assert f"Profiling {swept.plan.model_name}_config_2: " in log
    assert log.count("not measured: failed before, or left out") == 1


def test_sweep_s_figures_agree_with_model_analyzer_s_own_within_its_rounding(swept: Swept) -> None:
    table = swept.folder / "reports/summaries" / swept.plan.model_name / "model_analyzer/metrics-model-inference.csv"
    rows = {row["Model Config Path"]: row for row in csv.DictReader(table.read_text().splitlines())}
    for name in ("default", "0"):
        ours = swept.of(name)
        row = rows.pop(ours.variant.config_name)  # so its numbers are the plan's
        assert ours.throughput_infer_per_s == pytest.approx(float(row["Throughput (infer/sec)"]), abs=0.1)
        assert ours.latency is not None
        assert ours.latency.p99_ms == pytest.approx(float(row["p99 Latency (ms)"]), abs=0.1)
        assert (int(row["Concurrency"]), int(row["Batch"])) == (3, 2)
        assert int(row["Max Batch Size"]) == ours.variant.max_batch_size
        assert ours.server is not None
    assert rows == {}


def test_variant_that_the_backend_refuses_is_a_failed_measurement_with_its_reason(swept: Swept) -> None:
    error = swept.of("1").error
    assert error is not None
    assert error.startswith("the server could not load it: ")
    assert "intra_op_thread_count is 'two'" in error


def test_sweep_leaves_its_report_and_no_work(swept: Swept) -> None:
    left = {path.name for path in swept.folder.iterdir()}
    assert left == {"analyzer.yaml", "logs", "reports"}
    report = swept.folder / "reports/summaries" / swept.plan.model_name / "model_analyzer"
    assert {"metrics-model-inference.csv"} < {path.name for path in report.iterdir()}


# A queue policy that rejects

WAITING = f"""{input_and_output()}instance_group {{ count: 1 kind: KIND_CPU }}
dynamic_batching {{
  max_queue_delay_microseconds: 50000
  default_queue_policy {{ default_timeout_microseconds: 1 }}
}}
"""


def test_requests_that_a_queue_policy_rejects_are_an_outcome_with_their_share(triton: Triton, tmp_path: Path) -> None:
    """A request waits for others up to 50 ms, and is not to wait at all."""
    sample = Sample(triton, triton.add(WAITING, models.identity_model()))
    driver, served = sample.driver(tmp_path)
    rows = LoadTensor(name="input", datatype="FP32", rows=np.ones((3, 4), dtype=np.float32))
    share = RefusedShare(
        control=triton.control, model_name=lambda: sample.name, rows=LoadData(tensors=(rows,), origin="synthetic")
    )
    served.reload(sample.default)
    taken = replace(driver, refused_share=share).measure(sample.window(window_s=0.2))
    assert taken.failure_cause == "refused"
    assert taken.error is not None
    found = re.fullmatch(
        r"([\d.]+)% of [\d,]+ requests are rejected at concurrency 4: .*an error: .*timeout expired", taken.error
    )
    assert found is not None, taken.error
    assert 0 < float(found[1]) <= 100


def test_requests_that_are_answered_are_none_that_are_refused(sample: Sample) -> None:
    good, bad = (
        LoadTensor(name="input", datatype="FP32", rows=np.ones((2, width), dtype=np.float32)) for width in (4, 3)
    )
    sample.triton.control.load(sample.name)
    refused, asked = sample.triton.control.count_refused(sample.name, [[good]], at_once=2, lasts_s=0.2)
    assert refused == 0 < asked
    refused, asked = sample.triton.control.count_refused(sample.name, [[bad]], at_once=2, lasts_s=0.2)
    assert refused == asked > 0
