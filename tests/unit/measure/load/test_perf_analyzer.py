"""The driver with tools that play: what it asks for, and what it makes of each way to fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import pytest

from hcopt.errors import RuntimeStartError
from hcopt.measure.load.perf_analyzer import PerfAnalyzer, Window, load_s
from hcopt.records.measurement import LoadPoint, Measurement, ServerTimes
from hcopt.store.measurements import read_samples
from hcopt.system.process import Finished
from tests.support import fakes
from tests.support.records import default_variant

TIMES = ServerTimes(queue_us=4.0, compute_input_us=1.0, compute_infer_us=3.0, compute_output_us=2.0)
WINDOW = Window(
    variant=default_variant(),
    load=LoadPoint(concurrency=8, client_batch_size=4),
    expected_infer_per_s=8000,
    window_s=1.0,
    phase="confirmation",
    block=3,
)


def times() -> Callable[[], ServerTimes]:
    return lambda: TIMES


def driver(folder: Path, *plays: fakes.Play) -> tuple[PerfAnalyzer, fakes.FakeTools]:
    tools = fakes.FakeTools(list(plays))
    perf_analyzer = PerfAnalyzer(
        tools=tools, model_name=lambda: "M", input_arguments=("--input-data", "rows"), folder=folder, server_times=times
    )
    return perf_analyzer, tools


def measure(folder: Path, *plays: fakes.Play) -> tuple[Measurement, fakes.FakeTools]:
    perf_analyzer, tools = driver(folder, *plays)
    return perf_analyzer.measure(WINDOW), tools


def files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def test_window_becomes_a_measurement_with_figures_and_samples(tmp_path: Path) -> None:
    taken, _ = measure(tmp_path, fakes.exports(fakes.steady(1001)))
    assert (taken.phase, taken.profiler, taken.block) == ("confirmation", "perf_analyzer", 3)
    assert (taken.variant, taken.load) == (WINDOW.variant, WINDOW.load)
    assert taken.error is None
    assert taken.duration_s == pytest.approx(0.9)  # 1 s less a tenth of warm-up
    assert taken.throughput_infer_per_s == pytest.approx(4000)  # 1,000 requests of 4 rows a second
    assert taken.latency is not None
    assert taken.latency.p99_ms == pytest.approx(2.0)
    assert taken.server == TIMES
    assert taken.client_cpu_ratio is not None
    assert 0 < taken.client_cpu_ratio <= 0.5  # 0.5 s of CPU time in 1 s
    assert taken.samples_file is not None
    assert len(read_samples(tmp_path / taken.samples_file).sent_ns) == 1001


@pytest.mark.parametrize(("limit_ms", "misses"), [(None, None), (1.9, 899), (2.0, 0)])
def test_window_counts_what_took_longer_than_the_limit(
    tmp_path: Path, limit_ms: float | None, misses: int | None
) -> None:
    perf_analyzer, _ = driver(tmp_path, fakes.exports(fakes.steady(1001)))
    taken = replace(perf_analyzer, latency_p99_limit_ms=limit_ms).measure(WINDOW)
    # 1,001 requests a millisecond apart, less 100 of warm-up and 2 that were sent within 2 ms of the end.
    assert (taken.request_count, taken.miss_count, taken.error_count) == (899, misses, 0)


def test_window_counts_requests_that_the_export_shows_unanswered(tmp_path: Path) -> None:
    taken, _ = measure(tmp_path, fakes.exports(fakes.steady(1001), unanswered=[50, 500, 501]))
    assert taken.error_count == 2  # the first one was warm-up
    assert taken.request_count == 897


def test_export_is_gone_after_a_window(tmp_path: Path) -> None:
    taken, _ = measure(tmp_path, fakes.exports(fakes.steady(1001)))
    assert files(tmp_path) == [taken.samples_file]


def test_windows_alike_keep_samples_of_their_own(tmp_path: Path) -> None:
    perf_analyzer, _ = driver(tmp_path, *2 * [fakes.exports(fakes.steady(101))])
    assert perf_analyzer.measure(WINDOW).samples_file != perf_analyzer.measure(WINDOW).samples_file


def test_arguments_ask_for_the_load_over_the_whole_window(tmp_path: Path) -> None:
    _, tools = measure(tmp_path, fakes.exports(fakes.steady(101)))
    [call] = tools.calls
    assert call.tool == "perf_analyzer"
    assert call.folder == tmp_path
    expected = {
        "-m": "M",
        "-u": "server:1",
        "-i": "grpc",
        "-b": "4",
        "--concurrency-range": "8",
        "--measurement-mode": "time_windows",
        "--measurement-interval": "278",  # three windows, 1.2 intervals each: 1 s
        "--max-trials": "3",
        "--input-data": "rows",
    }
    assert {option: call.value(option) for option in expected} == expected
    # It hangs with a number of requests, and is the slower one without --async.
    assert "--async" in call.arguments
    assert "--request-count" not in call.arguments


@pytest.mark.parametrize(
    ("rate", "concurrency", "rows", "window_s", "expected_s"),
    [
        (8000, 8, 1, 1.0, 1.0),
        (8000, 8, 1, 0.1, 0.1),
        # A request takes 10 s: each of the three windows has to see two rounds of answers.
        (3.2, 32, 1, 1.0, 60.0),
        (3.2, 8, 4, 1.0, 60.0),
        # 200,000 requests are enough, and all that perf_analyzer should have to keep in memory.
        (10_000, 8, 1, 600.0, 20.0),
        (10_000, 8, 4, 600.0, 80.0),
    ],
)
def test_load_lasts_as_asked_but_for_some_answers_and_not_too_many(
    rate: float, concurrency: int, rows: int, window_s: float, expected_s: float
) -> None:
    load = LoadPoint(concurrency=concurrency, client_batch_size=rows)
    assert load_s(replace(WINDOW, expected_infer_per_s=rate, load=load, window_s=window_s)) == pytest.approx(expected_s)


def test_load_outlasts_the_server_s_own_stalls() -> None:
    """Each of the three windows sees the ends of two."""
    assert load_s(replace(WINDOW, expected_infer_per_s=8000.0, window_s=0.5), stall_s=0.5) == pytest.approx(3.0)
    assert load_s(replace(WINDOW, expected_infer_per_s=8000.0, window_s=5.0), stall_s=0.5) == pytest.approx(5.0)


def test_time_limit_is_beyond_the_load_of_a_slow_model(tmp_path: Path) -> None:
    perf_analyzer, tools = driver(tmp_path, fakes.exports(fakes.steady(101)))
    slow = replace(WINDOW, expected_infer_per_s=3.2)
    perf_analyzer.measure(slow)
    assert tools.calls[0].timeout_s > load_s(slow) == pytest.approx(60.0)


BAD_PLAYS = [
    pytest.param(fakes.ends(fakes.HUNG), "did not end within 17 s", id="hangs"),
    pytest.param(
        fakes.ends(Finished(returncode=99, elapsed_s=1.0), "Failed to init", "the input", "is missing"),
        "ended with 99: Failed to init\nthe input\nis missing",
        id="fails",
    ),
    pytest.param(fakes.exports(fakes.steady(101), cut=True), "cannot be read", id="cut export"),
    pytest.param(fakes.ends(fakes.WELL), "cannot be read", id="no export"),
    pytest.param(fakes.exports([]), "no request that was answered", id="empty export"),
]


@pytest.mark.parametrize(("bad", "said"), BAD_PLAYS)
def test_window_that_gives_nothing_is_tried_once_more(tmp_path: Path, bad: fakes.Play, said: str) -> None:
    taken, tools = measure(tmp_path, bad, fakes.exports(fakes.steady(1001)))
    assert taken.error is None
    assert len(tools.calls) == 2
    assert tools.calls[0].arguments == tools.calls[1].arguments  # under the same conditions


@pytest.mark.parametrize(("bad", "said"), BAD_PLAYS)
def test_window_that_gives_nothing_twice_is_a_failed_measurement(tmp_path: Path, bad: fakes.Play, said: str) -> None:
    taken, _ = measure(tmp_path, bad, bad)
    assert taken.error is not None
    assert said in taken.error
    assert (taken.throughput_infer_per_s, taken.latency, taken.samples_file) == (None, None, None)
    assert (taken.variant, taken.load, taken.block, taken.phase) == (WINDOW.variant, WINDOW.load, 3, "confirmation")
    assert [name for name in files(tmp_path) if not name.startswith("logs/")] == []


REFUSED = Finished(returncode=99, elapsed_s=0.4)
REFUSAL = "Thread [5] had error: [request id: 1407] Exceeds maximum queue size"
NO_ANSWERS = "No valid requests recorded within time interval. Please use a larger time window."


def test_requests_that_the_server_refuses_are_the_variant_s_outcome_and_not_tried_again(tmp_path: Path) -> None:
    taken, tools = measure(tmp_path, fakes.ends(REFUSED, "Failed to maintain", REFUSAL), fakes.exports(fakes.steady(9)))
    assert len(tools.calls) == 1
    assert taken.failure_cause == "refused"
    assert taken.error == "the server answered with an error: [request id: 1407] Exceeds maximum queue size"


@pytest.mark.parametrize(
    ("play", "cause"),
    [
        pytest.param(fakes.ends(REFUSED, NO_ANSWERS), "unanswered", id="no answers"),
        pytest.param(fakes.ends(fakes.HUNG), "unanswered", id="time limit"),
        pytest.param(fakes.exports([]), "unanswered", id="empty export"),
        pytest.param(fakes.ends(REFUSED, "Failed to init the input"), "other", id="perf_analyzer itself"),
        pytest.param(fakes.exports(fakes.steady(101), cut=True), "other", id="cut export"),
    ],
)
def test_failed_window_says_on_whose_account(tmp_path: Path, play: fakes.Play, cause: str) -> None:
    assert measure(tmp_path, play, play)[0].failure_cause == cause


def test_window_without_answers_says_nothing_where_the_rate_is_a_guess(tmp_path: Path) -> None:
    silent = fakes.ends(REFUSED, NO_ANSWERS)
    perf_analyzer, _ = driver(tmp_path, silent, silent)
    assert perf_analyzer.measure(replace(WINDOW, rate_is_known=False)).failure_cause == "other"


def test_refusals_of_an_earlier_window_are_not_those_of_this_one(tmp_path: Path) -> None:
    crash = fakes.ends(Finished(returncode=-9, elapsed_s=0.1), "killed")
    perf_analyzer, _ = driver(tmp_path, fakes.ends(REFUSED, REFUSAL), crash, crash)
    assert [perf_analyzer.measure(WINDOW).failure_cause for _ in range(2)] == ["refused", "other"]


def test_export_of_a_failed_perf_analyzer_does_not_count(tmp_path: Path) -> None:
    failing = fakes.exports(fakes.steady(1001), finished=Finished(returncode=1, elapsed_s=1.0))
    taken, _ = measure(tmp_path, failing, failing)
    assert taken.error is not None


def test_window_without_a_request_after_its_warm_up_is_a_failed_measurement(tmp_path: Path) -> None:
    one = fakes.exports([(1, 2)])
    taken, _ = measure(tmp_path, one, one)
    assert taken.error is not None
    assert "too short" in taken.error


def test_dead_server_comes_through(tmp_path: Path) -> None:
    perf_analyzer, tools = driver(tmp_path)

    def dead() -> Callable[[], ServerTimes | None]:
        raise RuntimeStartError("Triton has no statistics")

    with pytest.raises(RuntimeStartError):
        replace(perf_analyzer, server_times=dead).measure(WINDOW)
    assert tools.calls == []


def test_client_cpu_share_is_unknown_where_nobody_counted(tmp_path: Path) -> None:
    uncounted = Finished(returncode=0, elapsed_s=1.0, cpu_s=None)
    taken, _ = measure(tmp_path, fakes.exports(fakes.steady(101), finished=uncounted))
    assert taken.error is None
    assert taken.client_cpu_ratio is None


@pytest.mark.parametrize("answered", [True, False])
def test_server_that_answers_slowly_is_not_taken_for_one_that_hangs(tmp_path: Path, answered: bool) -> None:
    hangs = fakes.ends(fakes.HUNG)
    perf_analyzer, _ = driver(tmp_path, hangs, hangs)
    suspicions: list[str] = []
    watched = replace(
        perf_analyzer,
        server_times=lambda: lambda: TIMES if answered else None,
        unanswered=suspicions.append,
    )
    assert watched.measure(WINDOW).error is not None
    assert suspicions == ([] if answered else [f"{WINDOW.variant.config_name} does not answer"])


def test_window_has_the_memory_that_the_server_held_meanwhile(tmp_path: Path) -> None:
    perf_analyzer, _ = driver(tmp_path, fakes.exports(fakes.steady(1001)))
    shown = chain((300.0,), repeat(500.0))
    taken = replace(perf_analyzer, memory_mb=lambda: next(shown)).measure(WINDOW)
    assert taken.server_memory_mb == 500.0
