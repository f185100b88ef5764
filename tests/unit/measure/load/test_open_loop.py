"""Open-loop windows with tools that play, and the check on a server that may die under it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from hcopt.analysis.rate_search import FoundRate, Limits
from hcopt.config.sections import Config
from hcopt.errors import RuntimeStartError
from hcopt.measure.capacity import find_capacity, find_rate
from hcopt.measure.context import RunContext
from hcopt.measure.load.open_loop import OpenLoop
from hcopt.measure.load.perf_analyzer import PerfAnalyzer
from hcopt.measure.load.poisson import THREADS
from hcopt.measure.served_model import ServedModel
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.verdict import Capacity, ConfirmedVariant, Estimate
from hcopt.store.measurements import read_samples
from hcopt.store.replay import Replay
from hcopt.system.process import Finished
from tests.support import fakes
from tests.support.records import default_variant

START = 1_795_398_229_452_679_727
MS = 1_000_000


def arrivals_ns(call: fakes.Call) -> np.ndarray:
    """When the file asks for the load's requests, without the trickle of one for each thread behind it."""
    sent_ns = 1000 * np.cumsum([int(line) for line in call.file("--request-intervals").read_text().splitlines()])
    times, counts = np.unique(sent_ns, return_counts=True)
    return sent_ns[sent_ns < times[(counts == THREADS) & (times >= times[-1] - 29.75e9)][0]]


def answers(*, latency_ms: float = 2.0, lag_ms: float = 0.0, lost: int = 0) -> fakes.Play:
    """A perf_analyzer that sends what its file asks for, all but the first request late, and loses the last ones."""

    def play(call: fakes.Call) -> Finished:
        sent = START + arrivals_ns(call)
        sent[1:] += round(lag_ms * MS)
        requests = [(int(at), int(at) + round(latency_ms * MS)) for at in sent[: len(sent) - lost]]
        return fakes.exports(requests)(call)

    return play


def open_loop(
    folder: Path, *plays: fakes.Play, limit_ms: float = 50.0, rows: int = 1
) -> tuple[OpenLoop, fakes.FakeTools]:
    tools = fakes.FakeTools(list(plays))
    perf_analyzer = PerfAnalyzer(
        tools=tools,
        model_name=lambda: "M",
        input_arguments=("--input-data", "rows"),
        folder=folder,
        server_times=lambda: lambda: None,
    )
    driver = OpenLoop(
        perf_analyzer=perf_analyzer,
        variant=default_variant(),
        client_batch_size=rows,
        latency_p99_limit_ms=limit_ms,
        seed=1,
    )
    return driver, tools


def files(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def test_window_has_figures_from_the_intended_times_and_leaves_only_its_samples(tmp_path: Path) -> None:
    driver, _ = open_loop(tmp_path, answers(latency_ms=3.0), rows=2)
    taken = driver.measure(800.0, 5)
    assert taken.error is None
    assert (taken.phase, taken.block, taken.variant) == ("open_loop", 5, default_variant())
    assert (taken.load.request_rate_per_s, taken.load.client_batch_size, taken.load.concurrency) == (400.0, 2, 0)
    assert taken.duration_s == pytest.approx(2.0)  # 2.5 s less a fifth of warm-up
    assert taken.throughput_infer_per_s == pytest.approx(800, rel=0.15)  # 800 requests are so many ± 3.5 %
    assert taken.latency is not None
    assert taken.latency.p99_ms == pytest.approx(3.0)
    assert (taken.miss_count, taken.error_count) == (0, 0)
    assert files(tmp_path) == [taken.samples_file]
    samples = read_samples(tmp_path / str(taken.samples_file))
    assert samples.lag_ns is not None
    assert not samples.lag_ns.any()
    assert samples.sent_ns.tolist() == driver.schedule(800.0, 5).intended_ns.tolist()


def test_arguments_ask_for_the_schedule_in_the_tools_own_paths(tmp_path: Path) -> None:
    driver, tools = open_loop(tmp_path, answers())
    driver.measure(400.0, 0)
    [call] = tools.calls
    assert call.value("--max-threads") == str(THREADS)
    assert call.value("--measurement-mode") == "time_windows"
    # Three windows of 1.2 intervals: lead, load and drain.
    assert 3 * 1.2 * float(call.value("--measurement-interval")) == pytest.approx(2900, abs=4)
    for forbidden in ("--request-count", "--concurrency-range", "--request-rate-range"):
        assert forbidden not in call.arguments
    assert "--async" in call.arguments


def test_lagging_generator_makes_an_invalid_window_that_says_so_and_is_not_repeated(tmp_path: Path) -> None:
    driver, tools = open_loop(tmp_path, answers(lag_ms=30.0))
    taken = driver.measure(400.0, 0)
    assert taken.error is not None
    assert "the load generator lagged: 100.0%" in taken.error
    assert (taken.throughput_infer_per_s, taken.latency, taken.miss_count, taken.samples_file) == (None,) * 4
    assert len(tools.calls) == 1
    assert files(tmp_path) == []


def test_late_sendings_count_in_the_latency(tmp_path: Path) -> None:
    driver, _ = open_loop(tmp_path, answers(latency_ms=47.0, lag_ms=4.0))
    taken = driver.measure(400.0, 0)
    assert taken.request_count is not None
    assert taken.miss_count == taken.request_count > 0


def test_requests_that_went_unanswered_are_misses_and_no_errors(tmp_path: Path) -> None:
    driver, _ = open_loop(tmp_path, answers(lost=30))
    taken = driver.measure(400.0, 0)
    assert (taken.miss_count, taken.error_count) == (30, 0)
    schedule = driver.schedule(400.0, 0)
    assert taken.request_count == np.count_nonzero(schedule.intended_ns >= schedule.warm_up_ns)


@pytest.mark.parametrize(
    ("rate", "limit_ms", "load_s", "drain_s"),
    [
        (400.0, 50.0, 2.5, 0.2),
        (400.0, 2000.0, 8.0, 2.4),  # a request that is late may be so by seconds
        (4.0, 50.0, 10.0, 0.2),  # 40 requests at least
        (1e6, 50.0, 0.2, 0.2),  # 200,000 at most
    ],
)
def test_window_lasts_as_long_as_limit_and_rate_want(
    tmp_path: Path, rate: float, limit_ms: float, load_s: float, drain_s: float
) -> None:
    driver, _ = open_loop(tmp_path, limit_ms=limit_ms)
    schedule = driver.schedule(rate, 0)
    load_end_s = schedule.load_end_ns / 1e9
    assert load_end_s == pytest.approx(0.2 + load_s)
    assert schedule.watched_s - load_end_s == pytest.approx(drain_s)


@pytest.mark.parametrize(
    "play",
    [fakes.ends(fakes.HUNG), fakes.ends(Finished(returncode=1, elapsed_s=1.0), "no"), fakes.exports([], cut=True)],
    ids=["hangs", "fails", "cut export"],
)
def test_window_that_gives_nothing_is_a_failed_measurement(tmp_path: Path, play: fakes.Play) -> None:
    driver, _ = open_loop(tmp_path, play)
    taken = driver.measure(400.0, 0)
    assert taken.error is not None
    assert taken.phase == "open_loop"
    assert [name for name in files(tmp_path) if not name.startswith("logs/")] == []


@dataclass
class Played:
    """The check on tools that answer every request, up to a rate in time."""

    folder: Path
    sustained: float
    lag_ms: float = 0.0
    restart_if_dead: Callable[[], str | None] = lambda: None
    recorded: list[Measurement] = field(default_factory=list)
    progress: fakes.RecordedProgress = field(default_factory=fakes.RecordedProgress)
    control: fakes.FakeControl = field(default_factory=fakes.FakeControl)
    now_s: float = 0.0

    def play(self, call: fakes.Call) -> Finished:
        self.now_s += 3.0
        arrivals = arrivals_ns(call)
        rate = len(arrivals) / 2.5
        return answers(latency_ms=2.0 if rate < self.sustained else 60.0, lag_ms=self.lag_ms)(call)

    def opened(self) -> tuple[WindowRunner, OpenLoop]:
        driver, _ = open_loop(self.folder, *[self.play] * 100)
        served = ServedModel(self.control, "M", lambda variant: variant.config_name)  # type: ignore[arg-type]
        context = RunContext(
            record=self.recorded.append,
            note=self.progress.note,
            progress=self.progress,
            replay=Replay(monotonic=lambda: self.now_s),
        )
        runner = WindowRunner(
            served=served,
            perf_analyzer=driver.perf_analyzer,
            restart_server_if_dead=self.restart_if_dead,
            context=context,
        )
        return runner, driver

    def found(self) -> FoundRate:
        return find_rate(*self.opened(), 1000.0, Limits())

    def capacity(self) -> Capacity | None:
        config = Config.model_validate({"constraints": {"latency_p99_ms": 50}, "profiler": {"seed": 1}})
        best = ConfirmedVariant(
            variant=default_variant(),
            load=LoadPoint(concurrency=4),
            throughput_infer_per_s=Estimate(estimate=1000.0),
            latency_p99_ms=Estimate(estimate=9.0),
            feasibility="feasible",
            block_count=12,
        )
        return find_capacity(self.opened()[0], best, config)


def test_check_serves_the_variant_and_records_every_window(tmp_path: Path) -> None:
    played = Played(tmp_path, sustained=700.0)
    capacity = played.capacity()
    assert played.control.loaded == [default_variant().config_name]
    assert played.progress.phases == [("open_loop", None)]
    assert len(played.recorded) == len(played.progress.steps)
    assert played.progress.measurements == played.recorded
    assert capacity is not None
    assert (capacity.config_name, capacity.client_batch_size, capacity.seed) == (default_variant().config_name, 1, 1)
    assert capacity.latency_p99_limit_ms == 50.0
    rate = capacity.sustainable_rate_infer_per_s
    assert rate.ci_low is not None
    assert 500 < rate.ci_low <= rate.estimate < 1000
    assert capacity.boundary_infer_per_s is not None
    assert rate.estimate == capacity.boundary_infer_per_s.estimate


def test_every_window_that_was_recorded_counts(tmp_path: Path) -> None:
    played = Played(tmp_path, sustained=700.0)
    found = played.found()
    assert sum(one.error is None for one in played.recorded) == found.window_count > 0


def test_server_that_died_is_brought_back_with_its_model_and_the_window_says_so(tmp_path: Path) -> None:
    died = iter(["tritonserver has ended by itself"])
    played = Played(tmp_path, sustained=0.0, restart_if_dead=lambda: next(died, None))
    played.found()
    assert len(played.control.loaded) == 2


def test_server_that_cannot_be_brought_back_ends_the_check_after_the_window_is_recorded(tmp_path: Path) -> None:
    def gone() -> str | None:
        raise RuntimeStartError("tritonserver has ended by itself with -9")

    played = Played(tmp_path, sustained=700.0, restart_if_dead=gone)
    with pytest.raises(RuntimeStartError):
        played.found()
    assert len(played.recorded) == 1


def test_check_without_a_valid_window_has_no_capacity(tmp_path: Path) -> None:
    played = Played(tmp_path, sustained=700.0, lag_ms=30.0)
    assert played.capacity() is None
    assert {note.code for note in played.progress.notes} == {"no_rate_in_time", "rates_invalid"}
