"""When a confirmation is judged, and what each look may spend."""

from __future__ import annotations

from itertools import islice

import pytest

from hcopt.analysis.sequential import first_look, min_blocks, planned, share_to_spend


def test_looks_come_after_whole_cycles_of_orders_and_ever_more_blocks() -> None:
    looks = list(islice(planned(0.01, 5), 5))
    assert [look.block_count for look in looks] == [12, 24, 48, 96, 192]
    assert all(look.block_count % 6 == 0 for look in looks)


def test_look_that_the_time_ends_with_has_what_those_before_have_left() -> None:
    # By the square of the time: half of it has spent a quarter.
    assert [look.share for look in islice(planned(0.01, 5), 4)] == pytest.approx([1, 3 / 4, 3 / 4, 3 / 4])


@pytest.mark.parametrize(("alpha", "blocks"), [(0.4, 12), (0.01, 12), (0.001, 24), (1e-7, 36)])
def test_first_look_waits_for_the_blocks_that_can_reach_half_of_alpha(alpha: float, blocks: int) -> None:
    assert first_look(alpha, 5) == next(planned(alpha, 5)).block_count == blocks
    assert 5 * 2.0 ** (1 - blocks) <= alpha / 2


@pytest.mark.parametrize(
    ("alpha", "comparisons", "blocks"), [(0.01, 2, 9), (0.05, 1, 6), (1 / 128, 2, 9), (0.25, 2, 4), (0.49, 1, 3)]
)
def test_min_blocks_can_just_reach_alpha(alpha: float, comparisons: int, blocks: int) -> None:
    assert min_blocks(alpha, comparisons) == blocks
    assert comparisons * 2.0 ** (1 - blocks) <= alpha


def test_all_looks_together_spend_the_whole_error_rate_and_no_more() -> None:
    spent, shares = 0.0, list[float]()
    for used_ratio in (0.1, 0.3, 0.5, 1.0):
        shares.append(share_to_spend(used_ratio, spent))
        spent = used_ratio
    assert shares == pytest.approx([0.01, 0.08, 0.16, 0.75])
    assert sum(shares) == pytest.approx(1.0)


def test_look_that_comes_at_once_spends_next_to_nothing() -> None:
    assert 0 < share_to_spend(0.25, 0.25) < 1e-6
