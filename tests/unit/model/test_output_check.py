"""How far answers are apart, by hand-computed numbers."""

from __future__ import annotations

import numpy as np
import pytest

from hcopt.model.output_check import beyond, compare_answers
from hcopt.records.model import OutputDifference

LIMITS = {"max_difference_ratio": 1e-3, "min_agreement_ratio": 0.99}


def compared(own: list[object], others: list[object]) -> OutputDifference:
    """One output, each entry a request's."""
    [found] = compare_answers([{"y": np.asarray(one)} for one in own], [{"y": np.asarray(one)} for one in others])
    return found


def test_numbers_are_compared_over_all_requests_against_their_range() -> None:
    found = compared([[[1.0, 2.0]], [[3.0, 5.0]]], [[[1.0, 2.5]], [[3.0, 4.0]]])
    assert found == OutputDifference(output="y", max_difference=1.0, mean_difference=0.375, spread=4.0)
    assert found.max_ratio == 0.25
    assert beyond([found], **LIMITS) == (found,)


def test_numbers_that_are_all_alike_are_seen_against_their_size() -> None:
    assert compared([[-4.0, -4.0]], [[-4.0, -4.002]]).spread == 4.0
    assert compared([[0.0]], [[0.5]]).max_ratio == 0.5


@pytest.mark.parametrize(("own", "other"), [([np.nan, 1.0], [2.0, 1.0]), ([1.0, 1.0], [np.inf, 1.0])])
def test_value_that_is_finite_on_one_side_alone_is_beyond_every_limit(own: list[float], other: list[float]) -> None:
    found = compared([own], [other])
    assert (found.incomparable, found.max_difference) == (1, 0.0)
    assert beyond([found], **LIMITS) == (found,)


def test_nan_and_infinity_on_both_sides_are_the_same() -> None:
    assert compared([[np.nan, np.inf, 1.0]], [[np.nan, np.inf, 1.0]]).incomparable == 0


def test_answers_of_other_shapes_cannot_be_compared() -> None:
    assert compared([[1.0, 2.0], [1.0]], [[1.0, 2.0, 3.0], [1.0]]).incomparable == 3


@pytest.mark.parametrize("labels", [[1, 2, 3, 4], [b"a", b"b", b"c", b"d"], [True, True, False, False]])
def test_labels_are_the_same_or_not(labels: list[object]) -> None:
    found = compared([labels], [[*labels[:3], labels[0]]])
    assert found == OutputDifference(output="y", agreement_ratio=0.75)
    assert beyond([found], **LIMITS) == (found,)
    assert beyond([compared([labels], [labels])], **LIMITS) == ()


def test_empty_output_is_the_same() -> None:
    assert compared([np.zeros((1, 0))], [np.zeros((1, 0))]).max_ratio == 0
