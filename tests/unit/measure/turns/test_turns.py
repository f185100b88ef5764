"""Turns: their order, which requests count, and what becomes of a session that does not work."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hcopt.analysis.blocks import Candidate
from hcopt.errors import ProfileError
from hcopt.measure.load.perf_analyzer import PerfAnalyzer
from hcopt.measure.turns.pace import QUICK, TURN_S, Pace, pace_of, planned_turns
from hcopt.measure.turns.session import Turn, samples_of
from hcopt.measure.turns.taker import TurnTaker
from hcopt.records.measurement import LoadPoint, ServerTimes
from hcopt.store.measurements import RequestSamples, figures, read_samples
from hcopt.system.process import Finished
from tests.support.fakes import ENDPOINT, HUNG, WELL, Call, FakeTools, export_text, host_path
from tests.support.records import default_variant, grid_variants

LOAD = LoadPoint(concurrency=8)
ONE, OTHER = (Candidate(variant=variant, load=LOAD) for variant in (default_variant(), grid_variants()[1]))
MS = 1_000_000


def pace(turn_s: float = 0.4, passes: int = 1) -> Pace:
    return Pace(turn_s=turn_s, passes=passes, lead_s=0.01)


def test_turns_of_a_block_go_forth_and_back_and_two_in_a_row_are_one() -> None:
    assert planned_turns(2, 0, pace()) == [(0, 0.4), (1, 0.8), (0, 0.4)]
    assert planned_turns(2, 1, pace()) == [(1, 0.4), (0, 0.8), (1, 0.4)]
    assert [side for side, _ in planned_turns(2, 0, pace(passes=2))] == [0, 1, 0, 1, 0, 1]
    for block in range(12):
        turns = planned_turns(3, block, pace(0.1, passes=4))
        assert all(sum(seconds for side, seconds in turns if side == one) == pytest.approx(0.8) for one in range(3))
        assert all(one != other for (one, _), (other, _) in pairwise(turns))


@pytest.mark.parametrize(
    ("rate", "limit_ms", "found"),
    [
        pytest.param(10_000.0, None, Pace(turn_s=TURN_S, passes=QUICK.passes, lead_s=0.01), id="quick"),
        pytest.param(400.0, None, Pace(turn_s=0.6, passes=1, lead_s=0.06), id="30 answers to each of 8 slots"),
        pytest.param(10_000.0, 200.0, Pace(turn_s=0.4, passes=1, lead_s=0.01), id="late requests have to be seen"),
        pytest.param(200.0, None, None, id="slow: windows"),
        pytest.param(10_000.0, 600.0, None, id="a long limit: windows"),
    ],
)
def test_turn_is_long_enough_for_many_answers(rate: float, limit_ms: float | None, found: Pace | None) -> None:
    rates = {ONE.variant.config_name: rate, OTHER.variant.config_name: 50_000.0}
    chosen = pace_of([ONE, OTHER], rates, latency_p99_limit_ms=limit_ms, row_bytes=0)
    assert (chosen is None) == (found is None)
    if chosen is not None and found is not None:
        assert astuple(chosen) == pytest.approx(astuple(found))


@pytest.mark.parametrize(("row_bytes", "blocks"), [(100, 12), (3000, 8), (30_000, None)])
def test_session_is_as_long_as_its_export_stays_small(row_bytes: float, blocks: int | None) -> None:
    rates = {ONE.variant.config_name: 10_000.0, OTHER.variant.config_name: 10_000.0}
    found = pace_of([ONE, OTHER], rates, latency_p99_limit_ms=None, row_bytes=row_bytes)
    assert (None if found is None else found.blocks) == blocks


def test_requests_that_the_server_itself_leaves_take_windows() -> None:
    rates = {ONE.variant.config_name: 10_000.0, OTHER.variant.config_name: 10_000.0}
    assert pace_of([ONE, OTHER], rates, latency_p99_limit_ms=None, row_bytes=0, stall_s=0.5) is None


def test_block_takes_its_turns_and_a_part_of_its_session() -> None:
    assert 3 * 2 * 0.4 < pace().block_s(3) < 3 * 2 * 0.4 + 1


def counters(requests: int, ns: int) -> dict[str, object]:
    parts = ("success", "queue", "compute_input", "compute_infer", "compute_output")
    return {"inference_stats": {part: {"count": requests, "ns": requests * ns} for part in parts}}


def turn(began_ms: float, ended_ms: float) -> Turn:
    began, ended = int(began_ms * MS), int(ended_ms * MS)
    return Turn(began_ns=began, ended_ns=ended, before=counters(0, 0), after=counters(10, 2000))


def pairs(*times_ms: tuple[float, float]) -> np.ndarray:
    return np.array([(sent * MS, received * MS) for sent, received in times_ms]).astype(np.int64)


def taken(turns: list[Turn], sent_and_received: np.ndarray, lead_s: float = 0.01) -> RequestSamples:
    return samples_of(turns, sent_and_received, lead_s=lead_s)


def test_requests_of_turns_count_and_those_that_a_stop_cut_off_with_their_time_until_then() -> None:
    found = taken(
        [turn(100, 200), turn(500, 600)],
        pairs((50, 60), (99, 101), (110, 112), (150, 152), (199, 501), (300, 310), (510, 513), (590, 700)),
    )
    assert [round(one / MS) for one in found.sent_ns] == [0, 40, 89, 400, 480]
    assert [round(one / MS) for one in found.latency_ns] == [2, 2, 1, 3, 10]
    # What counts begins 10 ms after a turn: from 110 to 200 and from 510 to 600 ms, from the first request on.
    assert found.stretches_ns == [(0, 90 * MS), (400 * MS, 490 * MS)]


def test_throughput_is_over_the_turns_and_not_over_what_lies_between() -> None:
    steady = [(start + n, start + n + 1.5) for start in (0, 1000) for n in range(100)]
    found = figures(taken([turn(0, 100), turn(1000, 1100)], pairs(*steady)), client_batch_size=4)
    # A request each ms, of four rows.
    assert found.throughput_infer_per_s == pytest.approx(4000, rel=0.03)
    assert found.duration_s == pytest.approx(0.18)
    assert found.latency.p99_ms == pytest.approx(1.5)


def test_request_that_outlasts_its_turn_is_late() -> None:
    """It never came back within the turn, but the time until the stop is more than the limit already."""
    steady = [(float(n), n + 1.0) for n in range(20, 200)]
    found = figures(taken([turn(0, 200)], pairs((15.0, 900.0), *steady)), client_batch_size=1, latency_limit_ms=50.0)
    assert found.miss_count == 1


def test_unanswered_request_of_a_turn_has_failed() -> None:
    unanswered = pairs((20, 21), (30, 31))
    unanswered[0, 1] = -1
    assert taken([turn(0, 100)], unanswered).failed_count == 1


def test_turn_without_an_answer_is_no_measurement() -> None:
    with pytest.raises(ProfileError, match="without an answered request"):
        taken([turn(0, 100)], pairs((200, 201)))


@dataclass
class Served:
    """Has room for as many as it is told; loads in no time."""

    room: bool = True
    load_s: float = 0.0

    def load_beside(self, variants: Sequence[object]) -> dict[object, tuple[str, str]] | None:
        return {one: (f"model_{n}", "{}") for n, one in enumerate(dict.fromkeys(variants))} if self.room else None


@dataclass
class TakesTurns:
    """Takes the turns of a plan on a made-up clock, in which each request takes 2 ms."""

    finished: Finished = WELL
    lost_turns: int = 0
    plans: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, call: Call) -> Finished:
        assert call.tool == "python3"
        plan = json.loads(host_path(call.arguments[1]).read_text())
        self.plans.append(plan)
        now, sent = 10**18, [list[int]() for _ in plan["sides"]]
        for number, (side, seconds, _) in enumerate(plan["turns"][: len(plan["turns"]) - self.lost_turns]):
            ended = now + int(seconds * 1e9)
            sent[side] += range(now, ended, 2 * MS)
            none = {"inference_stats": {"success": {"count": 0}}}
            before, after = (none, none) if "ready" in plan["sides"][side] else (counters(1, 9), counters(5, 9))
            told = {"turn": number, "began_ns": now, "ended_ns": ended, "before": before, "after": after}
            call.say(json.dumps(told))
            now = ended + 20 * MS
        for side, times in zip(plan["sides"], sent, strict=True):
            command = side["command"]
            if "ready" in side:
                export = Path(json.loads(Path(command[-1]).read_text())["export"])
            else:
                export = host_path(command[command.index("--profile-export-file") + 1])
            export.write_text(export_text([(time, time + 2 * MS) for time in times]))
        return self.finished


def taker(folder: Path, turns: TakesTurns, served: Served | None = None) -> TurnTaker:
    perf_analyzer = PerfAnalyzer(
        tools=FakeTools([turns]),
        model_name=lambda: "unused",
        input_arguments=("--input-data", "rows.json"),
        folder=folder,
        server_times=lambda: lambda: None,
        latency_p99_limit_ms=1.0,
    )
    return TurnTaker(served=served or Served(), perf_analyzer=perf_analyzer, row_bytes=100)


def test_session_gives_a_measurement_of_each_candidate_in_each_block(tmp_path: Path) -> None:
    turns, told = TakesTurns(), []
    measured = taker(tmp_path, turns).measure(
        [ONE, OTHER], range(3, 5), pace=pace(), phase="confirmation", on_turn=lambda *what: told.append(what)
    )
    assert {(one.block, one.variant) for one in measured} == {(b, c.variant) for b in (3, 4) for c in (ONE, OTHER)}
    for one in measured:
        assert one.throughput_infer_per_s == pytest.approx(500, rel=0.02)
        assert one.latency is not None and one.latency.p99_ms == pytest.approx(2.0)
        assert one.miss_count == one.request_count, "all take longer than the limit of 1 ms"
        assert one.server == ServerTimes(
            queue_us=0.009, compute_input_us=0.009, compute_infer_us=0.009, compute_output_us=0.009
        )
        assert read_samples(tmp_path / str(one.samples_file)).turns_ns is not None
    assert told == [(c, b) for b, sides in ((3, (OTHER, ONE, OTHER)), (4, (ONE, OTHER, ONE))) for c in sides]
    assert [path for path in (tmp_path / "samples" / "confirmation").iterdir() if path.is_dir()] == []
    (plan,) = turns.plans
    assert plan["http"] == ENDPOINT.http
    assert plan["sides"][0]["command"][:3] == ["/inside/bin/perf_analyzer", "-m", "model_0"]


def test_each_side_is_loaded_at_its_first_turn_of_a_block_unless_that_is_slow(tmp_path: Path) -> None:
    for load_s, loads in ((0.05, [True, True, False, True, True, False]), (0.5, 6 * [False])):
        turns = TakesTurns()
        taker(tmp_path, turns, Served(load_s=load_s)).measure([ONE, OTHER], [0, 1], pace=pace(), phase="confirmation")
        assert [load for *_, load in turns.plans[0]["turns"]] == loads


@pytest.mark.parametrize(
    "turns",
    [TakesTurns(finished=replace(WELL, returncode=1)), TakesTurns(finished=HUNG), TakesTurns(lost_turns=1)],
    ids=["failed", "hung", "a turn lost"],
)
def test_session_that_does_not_come_to_its_end_gives_nothing(turns: TakesTurns, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="the turns ended with"):
        taker(tmp_path, turns).measure([ONE, OTHER], range(2), pace=pace(), phase="confirmation")
    assert list((tmp_path / "samples" / "confirmation").iterdir()) == []


def test_without_room_for_all_there_are_no_turns(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="no room"):
        taker(tmp_path, TakesTurns(), Served(room=False)).measure([ONE, OTHER], [0], pace=pace(), phase="confirmation")
