"""Real and broken perf_analyzer exports, figures computed by hand, and a log that a crash may cut."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcopt.errors import ProfileError
from hcopt.records.measurement import LatencySummary, Measurement
from hcopt.store.measurements import (
    FILE_NAME,
    RequestSamples,
    append_measurement,
    figures,
    is_usable,
    read_export,
    read_measurements,
    read_pairs,
    read_samples,
    write_samples,
)
from tests.support.fakes import export_text
from tests.support.records import default_variant, run_record

REAL_EXPORT = Path(__file__).parents[2] / "data" / "perf_analyzer_2.51.0" / "export.json"
MS = 1_000_000


def read(folder: Path, text: str | bytes, *, warm_up_ratio: float = 0.0) -> RequestSamples:
    file = folder / "export.json"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_export(file, warm_up_ratio=warm_up_ratio)


def samples(requests: list[tuple[int, int]], *, warm_up_ms: int = 0, end_ms: int) -> RequestSamples:
    """Requests as (sent, latency) in ms."""
    return RequestSamples(
        sent_ns=np.array([sent * MS for sent, _ in requests], dtype=np.int64),
        latency_ns=np.array([latency * MS for _, latency in requests], dtype=np.int64),
        warm_up_ns=warm_up_ms * MS,
        end_ns=end_ms * MS,
    )


def test_real_export_is_read_whole() -> None:
    found = read_export(REAL_EXPORT, warm_up_ratio=0.25)
    # By another way: the whole file as one document.
    requests = json.loads(REAL_EXPORT.read_bytes())["experiments"][0]["requests"]
    pairs = sorted((entry["timestamp"], entry["response_timestamps"][-1]) for entry in requests)
    assert len(pairs) == 121
    assert found.sent_ns.tolist() == [sent - pairs[0][0] for sent, _ in pairs]
    assert found.latency_ns.tolist() == [answered - sent for sent, answered in pairs]
    assert found.end_ns == pairs[-1][0] - pairs[0][0]
    assert found.warm_up_ns == found.end_ns // 4


def test_figures_of_real_export_agree_with_what_perf_analyzer_printed() -> None:
    found = figures(read_export(REAL_EXPORT, warm_up_ratio=0.0), client_batch_size=2)
    # It printed 2007.54 infer/sec and p50 1112 µs over the same 0.12 s, bounds and some requests aside.
    assert found.throughput_infer_per_s == pytest.approx(2007.54, rel=0.05)
    assert found.latency.p50_ms == pytest.approx(1.112, rel=0.05)


@pytest.mark.parametrize("kept_ratio", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_cut_export_is_refused(tmp_path: Path, kept_ratio: float) -> None:
    text = REAL_EXPORT.read_bytes()
    with pytest.raises(ProfileError, match=r"export\.json cannot be read"):
        read(tmp_path, text[: int(len(text) * kept_ratio)])


@pytest.mark.parametrize(
    "text", ["{]", "no JSON", b"\xff\xfe\x00", '{"experiments": [{"requests": [{"timestamp": "x"}]}]}']
)
def test_export_that_is_damaged_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(ProfileError, match="cannot be read"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["{}", "[]", '{"experiments": []}', export_text([])])
def test_export_without_an_answer_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ProfileError, match="no request that was answered"):
        read(tmp_path, text)


def test_missing_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read"):
        read_export(tmp_path / "nothing.json", warm_up_ratio=0)


def test_request_without_answer_is_left_out_and_of_several_answers_the_last_counts(tmp_path: Path) -> None:
    requests = [
        {"timestamp": 100, "response_timestamps": [150, 180]},
        {"timestamp": 110, "response_timestamps": []},
        {"timestamp": 120},
        {"timestamp": 130, "response_timestamps": [190]},
    ]
    found = read(tmp_path, json.dumps({"experiments": [{"requests": requests}]}))
    assert found.sent_ns.tolist() == [0, 30]
    assert found.latency_ns.tolist() == [80, 60]


def test_requests_without_answer_are_counted_where_they_were_sent_after_the_warm_up(tmp_path: Path) -> None:
    requests = [
        {"timestamp": at, "response_timestamps": [] if at in (101, 160) else [at + 5]} for at in range(100, 201)
    ]
    found = read(tmp_path, json.dumps({"experiments": [{"requests": requests}]}), warm_up_ratio=0.5)
    assert (len(found.sent_ns), found.failed_count) == (99, 1)


def test_export_of_requests_that_all_went_unanswered_is_refused(tmp_path: Path) -> None:
    requests = [{"timestamp": 100, "response_timestamps": []}]
    with pytest.raises(ProfileError, match="no request that was answered"):
        read(tmp_path, json.dumps({"experiments": [{"requests": requests}]}))


def test_fields_in_other_order_and_requests_in_other_order_change_nothing(tmp_path: Path) -> None:
    requests = [
        {"response_timestamps": [190], "request_inputs": {"input": [1.0]}, "timestamp": 130},
        {"response_outputs": [{"output": 0.0}], "response_timestamps": [180], "timestamp": 100},
    ]
    found = read(tmp_path, json.dumps({"version": "x", "experiments": [{"x": 1, "requests": requests}]}))
    assert found.sent_ns.tolist() == [0, 30]
    assert found.latency_ns.tolist() == [80, 60]


def test_tensors_named_like_the_fields_are_no_timestamps(tmp_path: Path) -> None:
    tensors = {"timestamp": [5, 6], "response_timestamps": [7], "text": '{"timestamp": 8}'}
    requests = [
        {"timestamp": 100, "request_inputs": tensors, "response_timestamps": [150], "response_outputs": [tensors]}
    ]
    found = read(tmp_path, json.dumps({"experiments": [{"requests": requests}]}))
    assert (found.sent_ns.tolist(), found.latency_ns.tolist()) == ([0], [50])


def test_timestamps_beyond_the_precision_of_floats_are_exact(tmp_path: Path) -> None:
    start = 2**60 + 1  # the next float is 256 away
    found = read(tmp_path, export_text([(start, start + 1), (start + 2, start + 5)]))
    assert found.sent_ns.tolist() == [0, 2]
    assert found.latency_ns.tolist() == [1, 3]


@pytest.mark.parametrize("number", ["18446744073709551615", "-9223372036854775808", "1e400", "-1e-400"])
def test_tensor_values_beyond_64_bits_are_passed_over(tmp_path: Path, number: str) -> None:
    # perf_analyzer 2.51 writes uint64 tensors like this, and outputs from memory that it has freed.
    text = export_text([(100, 150)]).replace('"timestamp"', f'"request_inputs": {{"x": [{number}]}}, "timestamp"')
    assert read(tmp_path, text).latency_ns.tolist() == [50]


def test_figures_count_between_warm_up_and_the_last_sending() -> None:
    # One request in flight at a time: sent every 10 ms, answered after 5 ms.
    found = figures(samples([(t, 5) for t in range(0, 101, 10)], warm_up_ms=20, end_ms=100), client_batch_size=3)
    assert found.duration_s == pytest.approx(0.08)
    # Answers at 25, 35 … 95: eight of them, three rows each. The one at 105 came after the end.
    assert found.throughput_infer_per_s == pytest.approx(8 * 3 / 0.08)
    # Sent at 20, 30 … 90; what was sent within the longest latency of the end might have unanswered neighbours.
    assert found.request_count == 8
    assert found.latency == LatencySummary(avg_ms=5, p50_ms=5, p90_ms=5, p95_ms=5, p99_ms=5)


def test_figures_count_the_requests_that_took_longer_than_the_limit_and_only_those() -> None:
    # Latencies of 0 … 9 ms in turn; sent after 91 ms, nine requests do not count.
    window = samples([(t, t % 10) for t in range(101)], end_ms=100)
    counted = {limit: figures(window, client_batch_size=1, latency_limit_ms=limit) for limit in (6.999, 7.0, 9.0)}
    assert {found.request_count for found in counted.values()} == {92}
    assert {limit: found.miss_count for limit, found in counted.items()} == {6.999: 27, 7.0: 18, 9.0: 0}
    assert figures(window, client_batch_size=1).miss_count is None


def test_figures_percentiles_are_those_of_the_requests_in_the_window() -> None:
    # 100 requests a millisecond apart with latencies 1 … 100 µs, then silence; a slow one in the warm-up.
    sent = np.arange(101, dtype=np.int64) * MS
    latency = np.concatenate([[900 * MS], np.arange(1, 101, dtype=np.int64) * 1000])
    window = RequestSamples(sent_ns=sent, latency_ns=latency, warm_up_ns=MS, end_ns=200 * MS)
    found = figures(window, client_batch_size=1)
    assert found.request_count == 100
    assert found.latency.avg_ms == pytest.approx(0.0505)
    # Linear between the ranks: rank 0.99 · 99 = 98.01 from 0.
    assert found.latency.p99_ms == pytest.approx(0.09901)
    assert found.latency.p50_ms == pytest.approx(0.0505)


def test_figures_leave_out_what_was_sent_too_late_to_be_seen_slow() -> None:
    # A slow request takes 40 ms; sent after 60 ms it would not be in an export that ends at 100 ms.
    requests = [(t, 40 if t == 10 else 1) for t in range(101)]
    assert figures(samples(requests, end_ms=100), client_batch_size=1).request_count == 61


def test_figures_keep_half_of_the_window_at_least() -> None:
    requests = [(t, 90 if t == 10 else 1) for t in range(101)]
    assert figures(samples(requests, end_ms=100), client_batch_size=1).request_count == 51


@pytest.mark.parametrize(
    ("requests", "warm_up_ms", "end_ms"),
    [([(0, 1)], 0, 0), ([(0, 1), (1, 1)], 10, 10), ([(0, 50), (10, 50)], 0, 10)],
    ids=["one request", "nothing after the warm-up", "nothing answered in time"],
)
def test_figures_of_an_empty_window_are_refused(requests: list[tuple[int, int]], warm_up_ms: int, end_ms: int) -> None:
    with pytest.raises(ProfileError, match="too short"):
        figures(samples(requests, warm_up_ms=warm_up_ms, end_ms=end_ms), client_batch_size=1)


@given(st.lists(st.tuples(st.integers(0, 10**10), st.integers(1, 10**9)), min_size=2, max_size=50), st.floats(0, 0.9))
def test_figures_are_positive_and_percentiles_rise(requests: list[tuple[int, int]], warm_up_ratio: float) -> None:
    sent, latency = (np.array(column, dtype=np.int64) for column in zip(*sorted(requests), strict=True))
    end = int(sent[-1])
    window = RequestSamples(sent_ns=sent, latency_ns=latency, warm_up_ns=int(end * warm_up_ratio), end_ns=end)
    try:
        found = figures(window, client_batch_size=1)
    except ProfileError:
        return
    shown = found.latency
    assert shown.p50_ms is not None
    assert is_usable(found.throughput_infer_per_s, found.duration_s, shown.avg_ms, shown.p99_ms)
    assert shown.p50_ms <= shown.p90_ms <= shown.p95_ms <= shown.p99_ms <= latency.max() / 1e6 * (1 + 1e-12)


def test_samples_come_back_as_they_were_written(tmp_path: Path) -> None:
    written = replace(read_export(REAL_EXPORT, warm_up_ratio=0.1), failed_count=3)
    write_samples(written, tmp_path / "one.npz")
    found = read_samples(tmp_path / "one.npz")
    assert found.sent_ns.tolist() == written.sent_ns.tolist()
    assert found.latency_ns.tolist() == written.latency_ns.tolist()
    assert (found.warm_up_ns, found.end_ns) == (written.warm_up_ns, written.end_ns)
    assert found.failed_count == 3
    assert [path.name for path in tmp_path.iterdir()] == ["one.npz"]
    assert (tmp_path / "one.npz").stat().st_size < REAL_EXPORT.stat().st_size / 10


def test_damaged_samples_are_refused(tmp_path: Path) -> None:
    write_samples(read_export(REAL_EXPORT, warm_up_ratio=0.1), tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    middle = len(whole) // 2
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    damaged = {
        "empty": b"",
        "text": b"no archive",
        "cut": whole[:middle],
        "flipped": whole[:200] + bytes(byte ^ 0xFF for byte in whole[200:400]) + whole[400:],
        "array": (tmp_path / "array.npy").read_bytes(),
        "other fields": (tmp_path / "other.npz").read_bytes(),
    }
    for name, content in damaged.items():
        file = tmp_path / f"{name}.npz"
        file.write_bytes(content)
        with pytest.raises(ProfileError, match=name):
            read_samples(file)
    with pytest.raises(ProfileError, match="missing"):
        read_samples(tmp_path / "missing.npz")


def measurement(**changes: object) -> Measurement:
    return replace(run_record().measurements[0], **changes)  # type: ignore[arg-type]


def test_log_gives_back_every_field_of_every_measurement(tmp_path: Path) -> None:
    text = "Ω, two\nlines, \N{LINE SEPARATOR} and a \x00"
    variant = replace(default_variant(), parameters=(("a", "1"), ("ä", "")), dynamic_batching=False)
    written = (*run_record().measurements, measurement(variant=variant), _failed(text))
    for one in written:
        append_measurement(tmp_path, one)
    assert read_measurements(tmp_path) == written
    assert len((tmp_path / FILE_NAME).read_bytes().splitlines()) == len(written)


def _failed(text: str) -> Measurement:
    return measurement(error=text, throughput_infer_per_s=None, latency=None)


def test_empty_log_has_no_measurements(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    assert read_measurements(tmp_path) == ()


@pytest.mark.parametrize("kept", [1, 30, -2])
def test_last_line_that_a_crash_cut_is_left_out(tmp_path: Path, kept: int) -> None:
    for one in run_record().measurements[:2]:
        append_measurement(tmp_path, one)
    first, second = (tmp_path / FILE_NAME).read_bytes().splitlines()
    (tmp_path / FILE_NAME).write_bytes(first + b"\n" + second[:kept])
    assert read_measurements(tmp_path) == run_record().measurements[:1]


@pytest.mark.parametrize("line", [b"{", b"", b"null", b'{"phase": "sweep"}', b"\xff", b'{"phase": "nap"}'])
def test_damaged_line_before_the_last_is_refused_with_its_number(tmp_path: Path, line: bytes) -> None:
    append_measurement(tmp_path, measurement())
    whole = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(whole + line + b"\n" + whole)
    with pytest.raises(ProfileError, match="line 2 is damaged"):
        read_measurements(tmp_path)


def test_missing_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=FILE_NAME):
        read_measurements(tmp_path)


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_log_refuses_what_json_cannot_say_and_stays_whole(tmp_path: Path, figure: float) -> None:
    append_measurement(tmp_path, measurement())
    with pytest.raises(ValueError, match="figures are finite"):
        append_measurement(tmp_path, measurement(steal_ratio=figure))
    assert read_measurements(tmp_path) == (measurement(),)


@pytest.mark.parametrize("literal", ["NaN", "Infinity"])
def test_log_with_what_json_cannot_say_is_refused(tmp_path: Path, literal: str) -> None:
    append_measurement(tmp_path, measurement(throughput_infer_per_s=7.5))
    file = tmp_path / FILE_NAME
    file.write_text(file.read_text().replace(": 7.5", f": {literal}"))
    with pytest.raises(ProfileError, match="line 1 is damaged"):
        read_measurements(tmp_path)


@pytest.mark.parametrize(
    ("values", "usable"),
    [((1.0, 0.1), True), ((0.0,), False), ((-1.0,), False), ((1.0, float("nan")), False), ((float("inf"),), False)],
)
def test_usable_is_positive_and_finite(values: tuple[float, ...], *, usable: bool) -> None:
    assert is_usable(*values) is usable


def test_requests_are_in_order_whichever_way_they_are_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Answers in the order of sending too, so that ties have one order.
    sent = np.random.default_rng(0).integers(1, 200, size=500).tolist()
    (tmp_path / "export.json").write_text(export_text([(one, one + 10) for one in sent]))
    few = read_pairs(tmp_path / "export.json")
    monkeypatch.setattr("hcopt.store.measurements._FEW_REQUESTS", 0)
    many = read_pairs(tmp_path / "export.json")
    assert many.tolist() == few.tolist() == [[one, one + 10] for one in sorted(sent)]


def test_clock_that_was_set_back_during_a_window_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="the clock was set back"):
        read(tmp_path, export_text([(10 * MS, 12 * MS), (11 * MS, 9 * MS)]))


def test_line_that_does_not_fit_leaves_the_log_whole(tmp_path: Path) -> None:
    one = run_record().measurements[0]
    append_measurement(tmp_path, one)
    size_bytes = (tmp_path / FILE_NAME).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes + 100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            append_measurement(tmp_path, one)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / FILE_NAME).stat().st_size == size_bytes
    assert read_measurements(tmp_path) == (one,)
