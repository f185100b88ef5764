"""A window that an interrupted run has measured is not measured again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from hcopt.analysis.rate_search import Limits
from hcopt.measure.capacity import find_rate
from hcopt.measure.context import RunContext
from hcopt.measure.load.open_loop import OpenLoop
from hcopt.measure.load.perf_analyzer import Window, failed
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.store.replay import Replay
from tests.support.records import HEAVY, default_variant, measurement

KNOWN = measurement(default_variant(), HEAVY, (100.0, 1.0), phase="noise", block=0, elapsed_s=2.0)


@dataclass
class Windows:
    """Counts what is measured and served."""

    measured: list[Window] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    serving: ModelConfigVariant | None = None
    fails: bool = False

    def reload(self, variant: ModelConfigVariant) -> None:
        self.served.append(variant.config_name)
        self.serving = variant

    def load_or_reuse(self, variant: ModelConfigVariant) -> None:
        self.served.append(f"turn to {variant.config_name}")
        self.serving = variant

    def invalidate(self) -> None:
        self.served.append("distrusted")

    def forget_all(self) -> None:
        self.serving = None

    def measure(self, window: Window) -> Measurement:
        self.measured.append(window)
        if self.fails:
            return failed(window, "no answer")
        return measurement(window.variant, window.load, (90.0, 1.0), phase=window.phase, block=window.block)


def opened(windows: Windows, recorded: list[Measurement], replay: Replay | None = None) -> WindowRunner:
    return WindowRunner(
        served=windows,
        perf_analyzer=windows,
        restart_server_if_dead=lambda: None,
        context=RunContext(record=recorded.append, replay=replay or Replay()),
    )


def test_known_window_is_given_back_without_the_server_and_the_next_one_is_measured_and_timed() -> None:
    windows, recorded = Windows(), list[Measurement]()
    made = opened(windows, recorded, Replay((KNOWN,)))
    window = Window(
        variant=default_variant(), load=HEAVY, expected_infer_per_s=100.0, window_s=1.0, phase="noise", block=0
    )
    assert made.measure(window) == KNOWN
    assert (windows.served, recorded) == ([], [])
    fresh = made.measure(window)
    assert recorded == [fresh]
    assert fresh.elapsed_s is not None and fresh.elapsed_s > 0


def test_variant_is_loaded_for_the_first_window_of_a_visit_that_is_not_known() -> None:
    windows, recorded = Windows(), list[Measurement]()
    made = opened(windows, recorded, Replay((KNOWN,)))
    window = Window(
        variant=default_variant(), load=HEAVY, expected_infer_per_s=100.0, window_s=1.0, phase="noise", block=0
    )
    made.measure(window)
    for _ in range(2):
        made.measure(replace(window, reload=False))
    assert windows.served == [default_variant().config_name]


def test_variant_that_is_kept_for_its_next_turn_is_trusted_until_a_window_fails() -> None:
    windows, recorded = Windows(), list[Measurement]()
    made = opened(windows, recorded)
    window = Window(
        variant=default_variant(), load=HEAVY, expected_infer_per_s=100.0, window_s=1.0, phase="sweep", keep_loaded=True
    )
    made.measure(window)
    windows.fails = True
    made.measure(window)
    turn = f"turn to {default_variant().config_name}"
    assert windows.served == [turn, turn, "distrusted"]


def test_further_load_of_a_visit_needs_no_turn_of_its_own() -> None:
    windows, recorded = Windows(), list[Measurement]()
    made = opened(windows, recorded)
    window = Window(
        variant=default_variant(), load=HEAVY, expected_infer_per_s=100.0, window_s=1.0, phase="sweep", keep_loaded=True
    )
    made.measure(window)
    made.measure(replace(window, reload=False))
    assert windows.served == [f"turn to {default_variant().config_name}"]


def test_known_open_loop_windows_count_and_their_time_does(tmp_path: Path) -> None:
    now, asked = [0.0], list[tuple[float, int]]()

    @dataclass(frozen=True)
    class Arrivals(OpenLoop):
        def measure(self, rate_infer_per_s: float, window_index: int) -> Measurement:
            asked.append((rate_infer_per_s, window_index))
            now[0] += 3.0
            counts = {"request_count": 1000, "miss_count": 0}
            window = self.window(rate_infer_per_s, window_index)
            return measurement(window.variant, window.load, (rate_infer_per_s, 1.0), **counts)

    def search(replay: Replay, recorded: list[Measurement]) -> object:
        arrivals = Arrivals(
            perf_analyzer=None, variant=default_variant(), client_batch_size=1, latency_p99_limit_ms=5.0, seed=0
        )
        return find_rate(opened(Windows(), recorded, replay), arrivals, 1000.0, Limits(max_s=75.0))

    whole = list[Measurement]()
    found = search(Replay(monotonic=lambda: now[0]), whole)
    first = list(asked)
    known = [
        replace(one, phase="open_loop", block=index, elapsed_s=3.0)
        for one, (_, index) in zip(whole[:4], first, strict=False)
    ]
    assert all(isinstance(one.load, LoadPoint) and one.load.request_rate_per_s for one in known)
    asked.clear()
    rest = list[Measurement]()
    assert search(Replay(known, monotonic=lambda: now[0]), rest) == found
    assert asked == first[4:]
