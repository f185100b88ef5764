"""Recorded measurements are handed out once each, and their time counts."""

from __future__ import annotations

from dataclasses import replace

from hcopt.store.replay import Replay
from tests.support.records import HEAVY, LIGHT, default_variant, grid_variants, measurement

FIRST = measurement(default_variant(), HEAVY, (100.0, 1.0), phase="noise", block=0, elapsed_s=2.0)
SECOND = replace(FIRST, throughput_infer_per_s=110.0, elapsed_s=3.0)
OTHER = measurement(grid_variants()[0], LIGHT, (90.0, 1.0), phase="confirmation", block=4, elapsed_s=5.0)


def test_windows_of_one_kind_come_in_their_order_and_each_once() -> None:
    replay = Replay((FIRST, OTHER, SECOND))
    taken = [replay.take("noise", default_variant(), HEAVY, 0) for _ in range(3)]
    assert taken == [FIRST, SECOND, None]
    assert replay.take("confirmation", grid_variants()[0], LIGHT, 4) == OTHER
    assert len(replay) == 3


def test_window_of_another_phase_block_or_load_is_not_taken() -> None:
    replay = Replay((FIRST,))
    assert replay.take("confirmation", default_variant(), HEAVY, 0) is None
    assert replay.take("noise", default_variant(), HEAVY, 1) is None
    assert replay.take("noise", default_variant(), LIGHT, 0) is None


def test_clock_counts_what_was_taken_as_if_it_were_measured_now() -> None:
    replay = Replay((FIRST, SECOND, OTHER), monotonic=lambda: 1000.0)
    before = replay.clock()
    replay.take("noise", default_variant(), HEAVY, 0)
    replay.take("noise", default_variant(), HEAVY, 0)
    assert replay.clock() - before == 5.0
    assert (replay.spent_s("noise"), replay.spent_s("confirmation"), replay.spent_s("sweep")) == (5.0, 5.0, 0.0)


def test_clock_stands_still_between_known_windows_and_runs_after_the_last() -> None:
    now = [0.0]
    replay = Replay((FIRST, SECOND), monotonic=lambda: now[0])
    now[0] = 1.0  # until the first window is asked for, as in the interrupted run
    replay.take("noise", default_variant(), HEAVY, 0)
    assert replay.clock() == 3.0
    now[0] = 1.5
    replay.take("noise", default_variant(), HEAVY, 0)
    assert replay.clock() == 6.0
    now[0] = 1.75
    assert replay.clock() == 6.25


def test_new_window_s_time_holds_what_was_decided_before_it_in_its_phase() -> None:
    now = [0.0]
    replay = Replay(monotonic=lambda: now[0])
    taken = []
    for phase in ("noise", "sweep", "sweep"):
        now[0] += 0.25
        began = replay.begin()
        now[0] += 1.0
        taken.append(replay.end(phase, began))
    assert taken == [1.0, 1.0, 1.25]
    assert replay.clock() == now[0]


def test_point_that_was_left_out_took_no_time() -> None:
    assert Replay((replace(FIRST, elapsed_s=None), SECOND)).spent_s("noise") == 3.0
