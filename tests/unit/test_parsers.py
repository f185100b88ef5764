"""For any bytes, and for valid files that were altered anywhere, a parser returns or raises hcopt's own error."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hcopt.config.load import load_config
from hcopt.config.sections import Config
from hcopt.deploy.scaling import Scaling, read_scaling, write_scaling
from hcopt.measure.model_analyzer.recorded_answers import _report
from hcopt.measure.model_analyzer.report import measured_point, read_report
from hcopt.records.measurement import LatencySummary, LoadPoint, Measurement, ServerTimes
from hcopt.records.model import ModelConfigVariant
from hcopt.records.search import Decision
from hcopt.store.decisions import append_decision, read_decisions
from hcopt.store.measurements import append_measurement, read_measurements, read_pairs
from tests.support.fakes import export_text
from tests.support.parsers import PARSERS, altered, parse, valid_files
from tests.support.records import default_variant

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    return valid_files(tmp_path_factory.mktemp("valid"))


def once(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        parse(name, content, Path(folder))


def test_valid_files_are_taken_by_their_parsers(valid: dict[str, list[bytes]], tmp_path: Path) -> None:
    assert valid.keys() == PARSERS.keys()
    for name, contents in valid.items():
        for index, content in enumerate(contents):
            folder = tmp_path / f"{name}-{index}"
            folder.mkdir()
            if (name, index) not in REFUSED:
                PARSERS[name](content, folder)


# Its weights are not there, a key that is none, a name that this folder does not have: refused, and good to begin from.
REFUSED = {("onnx", 1), ("config.yaml", 1), ("mlmodel", 0)}


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=40)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_any_bytes_are_read_or_refused_by_hcopt_itself(name: str, content: bytes) -> None:
    once(name, content)


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(index=st.integers(0, 9), random=st.randoms(use_true_random=False))
def test_altered_files_are_read_or_refused_by_hcopt_itself(
    name: str, valid: dict[str, list[bytes]], index: int, random: Random
) -> None:
    contents = valid[name]
    once(name, altered(contents[index % len(contents)], random))


@pytest.mark.parametrize("name", PARSERS)
def test_what_once_broke_a_parser_and_the_same_alterations_each_time(
    name: str, valid: dict[str, list[bytes]], tmp_path: Path
) -> None:
    known = [file.read_bytes() for file in sorted((CORPUS / name).glob("*"))]
    random = Random(name)
    made = [altered(random.choice(valid[name]), random) for _ in range(150)]
    for content in (*known, *made):
        parse(name, content, tmp_path)


# --- round trips -----------------------------------------------------------------------------------------------------

figures = st.floats(min_value=1e-6, max_value=1e12)
ratios = st.floats(0, 1)
loads = st.builds(LoadPoint, concurrency=st.integers(1, 4096), client_batch_size=st.integers(1, 64)) | st.builds(
    LoadPoint, request_rate_per_s=figures
)
variants = st.builds(
    ModelConfigVariant,
    config_name=st.text(min_size=1, max_size=20),
    max_batch_size=st.integers(0, 2**31 - 1),
    instance_count=st.integers(1, 100),
    max_queue_delay_us=st.integers(0, 2**60),
    parameters=st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=2).map(tuple),
    preferred_batch_sizes=st.lists(st.integers(1, 99), max_size=3).map(tuple),
)
latencies = st.builds(
    LatencySummary,
    avg_ms=figures,
    p50_ms=st.none() | figures,
    p90_ms=figures,
    p95_ms=figures,
    p99_ms=figures,
)
times = st.builds(
    ServerTimes,
    queue_us=figures,
    compute_input_us=figures,
    compute_infer_us=figures,
    compute_output_us=figures,
)
common = {
    "phase": st.sampled_from(["noise", "sweep", "confirmation", "open_loop"]),
    "profiler": st.text(max_size=9),
    "variant": variants,
    "load": loads,
    "started_at": st.datetimes().map(lambda time: f"{time.isoformat()}+00:00"),
    "block": st.none() | st.integers(0, 99),
    "elapsed_s": st.none() | figures,
    "steal_ratio": st.none() | ratios,
}
measured = st.builds(
    Measurement,
    **common,
    duration_s=st.none() | figures,
    throughput_infer_per_s=figures,
    latency=latencies,
    request_count=st.none() | st.integers(0, 10**9),
    miss_count=st.none() | st.integers(0, 10**9),
    server=st.none() | times,
    samples_file=st.none() | st.text(max_size=9),
)
failed = st.builds(Measurement, **common, error=st.text())


@settings(max_examples=60)
@given(st.lists(measured | failed, max_size=4))
def test_measurements_come_back_as_they_were_written(taken: list[Measurement]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        (Path(folder) / "measurements.jsonl").touch()
        for one in taken:
            append_measurement(Path(folder), one)
        assert read_measurements(Path(folder)) == tuple(taken)


@settings(max_examples=60)
@given(
    st.lists(
        st.builds(
            Decision,
            action=st.sampled_from(["start", "drop", "stop"]),
            reason=st.text(),
            block=st.integers(0, 9),
            window_count=st.integers(0, 99),
            elapsed_s=figures,
            cause=st.sampled_from(["slow", "gain"]),
            config_name=st.none() | st.text(),
            throughput_ratio=st.none() | figures,
        ),
        max_size=4,
    )
)
def test_decisions_come_back_as_they_were_written(taken: list[Decision]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for one in taken:
            append_decision(Path(folder), one)
        assert read_decisions(Path(folder)) == tuple(taken)


@settings(max_examples=60)
@given(
    st.builds(
        Scaling,
        servers=st.integers(2, 9),
        cpus_per_server=st.integers(1, 9),
        block_count=st.integers(2, 9),
        ratio=figures,
        ci_low=figures,
        ci_high=figures,
    )
)
def test_scaling_comes_back_as_it_was_written(scaling: Scaling) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        write_scaling(Path(folder), scaling)
        assert read_scaling(Path(folder)) == scaling


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2**60), st.integers(0, 2**60)), min_size=1, max_size=20),
    st.sets(st.integers(0, 19)),
)
def test_export_gives_back_its_requests(requests: list[tuple[int, int]], unanswered: set[int]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        file = Path(folder) / "export.json"
        file.write_text(export_text(requests, unanswered=list(unanswered)))
        expected = [(sent, -1 if i in unanswered else answered) for i, (sent, answered) in enumerate(requests)]
        assert sorted(map(tuple, read_pairs(file).tolist())) == sorted(expected)


@settings(max_examples=60)
@given(figures, latencies, times, st.integers(1, 4096))
def test_recorded_answer_is_read_as_perf_analyzers_report(
    rate: float, latency: LatencySummary, server: ServerTimes, concurrency: int
) -> None:
    load = LoadPoint(concurrency=concurrency)
    one = Measurement(
        phase="sweep",
        profiler="model-analyzer",
        variant=default_variant(),
        load=load,
        started_at="2026-11-24T00:00:00Z",
        throughput_infer_per_s=rate,
        latency=latency,
        server=server,
    )
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        file = Path(folder) / "report.csv"
        file.write_text(_report(one))
        row = read_report(file)
    assert row is not None
    again = measured_point(default_variant(), load, one.started_at, row, None)
    assert (again.throughput_infer_per_s, again.server) == (rate, server)
    assert again.latency is not None
    assert math.isclose(again.latency.p99_ms, latency.p99_ms, rel_tol=1e-12)


names = st.text(min_size=1, max_size=9)


@settings(max_examples=60)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "sweep": st.fixed_dictionaries(
                {},
                optional={
                    "concurrency": st.lists(st.integers(1, 4096), min_size=1, max_size=3),
                    "max_queue_delay_us": st.lists(st.integers(0, 10**7), min_size=1, max_size=3),
                    "parameters": st.dictionaries(
                        names, st.lists(st.integers(-9, 9) | st.text(max_size=5) | st.booleans(), max_size=3)
                    ),
                },
            ),
            "constraints": st.fixed_dictionaries({"latency_p99_ms": st.none() | figures}),
            "mlflow": st.fixed_dictionaries({"experiment": names}),
            "model": st.fixed_dictionaries({"name": st.none() | names}),
        },
    )
)
def test_configuration_comes_back_from_a_runs_record(given_keys: dict[str, object]) -> None:
    config = Config.model_validate(given_keys)
    written = json.loads(json.dumps(config.model_dump(mode="json"), allow_nan=False))
    assert load_config(recorded=written, environment={}) == config
