"""The adaptive profiler between a search and what measures its windows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.recordings.replay import Replay, Truth
from benchmarks.recordings.synthetic import synthetic
from hcopt.errors import ProfileError
from hcopt.measure.adaptive import Adaptive
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import Window, failed
from hcopt.measure.profiler import ProfileJob
from hcopt.measure.search.values import SearchSettings
from hcopt.records.measurement import Measurement
from hcopt.store.decisions import read_decisions
from hcopt.store.replay import Replay as RunReplay
from tests.support import fakes

KNOWN = Truth(synthetic(8))


@dataclass
class Windows:
    """Measures from a recording; a window shorter than `shortest_s` is too short, as for a slow model."""

    shortest_s: float = 0.0
    asked: list[Window] = field(default_factory=list)
    measured: list[Measurement] = field(default_factory=list)
    replay: Replay = field(default_factory=lambda: Replay(KNOWN, seed=0, noise_ratio=0.03))

    def measure(self, window: Window) -> Measurement:
        self.asked.append(window)
        if window.window_s < self.shortest_s and window.expected_infer_per_s >= 20_000:
            return failed(window, "the window is too short")
        self.measured.append(self.replay.measure(window.variant, window.load, window.window_s, window.block or 0))
        return self.measured[-1]


def job(folder: Path, windows: Windows | None, measure: Callable[[Window], Measurement] | None = None) -> ProfileJob:
    """A sweep that these windows are measured for, or others on their clock."""
    given = windows or Windows()
    return ProfileJob(
        plan=KNOWN.recording.plan,
        server=fakes.FakeServer(tools=fakes.FakeTools([])),
        repository=folder / "repository",
        folder=folder,
        input_arguments=(),
        context=RunContext(replay=RunReplay(monotonic=given.replay.clock)),
        measure_window=measure if windows is None else measure or windows.measure,
    )


ADAPTIVE = Adaptive(SearchSettings(latency_p99_limit_ms=KNOWN.recording.limit_ms))


def test_each_decision_is_a_line_that_can_be_read_again(tmp_path: Path) -> None:
    windows = Windows()
    ADAPTIVE.profile(job(tmp_path, windows))
    lines = (tmp_path / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
    actions = [json.loads(line)["action"] for line in lines]
    assert (actions[0], actions[-1], actions.count("stop")) == ("start", "winner", 1)
    assert actions == [decision.action for decision in read_decisions(tmp_path)]


def test_windows_belong_to_the_sweep_and_to_their_block(tmp_path: Path) -> None:
    windows = Windows()
    ADAPTIVE.profile(job(tmp_path, windows))
    assert {window.phase for window in windows.asked} == {"sweep"}
    assert all(window.keep_loaded for window in windows.asked)
    assert [window.block for window in windows.asked] == sorted(window.block or 0 for window in windows.asked)
    assert {window.window_s for window in windows.asked} == {0.5}


def test_variant_is_loaded_once_in_a_block_for_all_of_its_loads(tmp_path: Path) -> None:
    windows = Windows()
    ADAPTIVE.profile(job(tmp_path, windows))
    visits = [(window.block, window.variant.config_name) for window in windows.asked]
    assert len(set(visits)) < len(visits), "no block has two loads of one variant: this shows nothing"
    assert [window.reload for window in windows.asked] == [visit not in visits[:n] for n, visit in enumerate(visits)]


def test_variant_is_loaded_again_after_a_failure(tmp_path: Path) -> None:
    windows = Windows(shortest_s=3.0)
    ADAPTIVE.profile(job(tmp_path, windows))
    assert [window.reload for window in windows.asked[:2]] == [True, True]


def test_first_window_is_tried_again_longer_and_later_ones_know_the_rate(tmp_path: Path) -> None:
    windows = Windows(shortest_s=3.0)
    ADAPTIVE.profile(job(tmp_path, windows))
    assert [window.window_s for window in windows.asked[:3]] == [0.5, 5.0, 0.5]
    assert all(window.expected_infer_per_s < 20_000 for window in windows.asked[2:])


def test_a_variant_s_windows_are_sized_by_the_slowest_rate_it_had(tmp_path: Path) -> None:
    windows = Windows()
    ADAPTIVE.profile(job(tmp_path, windows))
    slowest: dict[str, float] = {}
    for window, measured in zip(windows.asked, windows.measured, strict=True):
        name, rate = window.variant.config_name, measured.throughput_infer_per_s or 0.0
        if name in slowest:
            assert window.expected_infer_per_s == slowest[name]
        slowest[name] = min(rate, slowest.get(name, rate))


def test_nothing_that_could_be_measured_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="the default could not be measured, nor any other configuration: gone"):
        ADAPTIVE.profile(job(tmp_path, Windows(), lambda window: failed(window, "gone")))


def test_reason_of_nothing_is_the_default_s_own(tmp_path: Path) -> None:
    """Whoever was measured first."""
    with pytest.raises(ProfileError, match=r"nor any other configuration: Synthetic_config_default$"):
        ADAPTIVE.profile(job(tmp_path, Windows(), lambda window: failed(window, window.variant.config_name)))


def test_job_without_a_way_to_measure_windows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="nothing to measure windows with"):
        ADAPTIVE.profile(job(tmp_path, None))


def test_run_without_a_search_has_no_decisions(tmp_path: Path) -> None:
    assert read_decisions(tmp_path) == ()


def test_damaged_decisions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "decisions.jsonl").write_text('{"action": "jump"}\n')
    with pytest.raises(ProfileError, match="damaged"):
        read_decisions(tmp_path)


def test_resumed_search_takes_the_recorded_windows_and_makes_the_same_decisions(tmp_path: Path) -> None:
    windows = Windows()
    ADAPTIVE.profile(job(tmp_path, windows))
    whole, kept = read_decisions(tmp_path), len(windows.asked) // 2
    recorded, again = RunReplay(windows.measured[:kept]), Windows()

    def measure(window: Window) -> Measurement:
        known = recorded.take(window.phase, window.variant, window.load, window.block)
        return again.measure(window) if known is None else known

    ADAPTIVE.profile(job(tmp_path, again, measure))
    assert again.asked[0] == windows.asked[kept], "goes on where it stopped"
    first = [(one.action, one.reason) for one in whole if one.window_count < kept]
    found = [(one.action, one.reason) for one in read_decisions(tmp_path)]
    assert found[: len(first)] == first
    assert found.count(first[0]) == 1, "none of the interrupted search stands there twice"
