"""Compares answers to the same rows: how far are another runtime's from the model's own? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hcopt.records.model import OutputDifference

Answers: TypeAlias = Sequence[Mapping[str, NDArray[Any]]]


def compare_answers(own: Answers, others: Answers) -> tuple[OutputDifference, ...]:
    """How far each output is from the model's own.

    Args:
        own: The model's outputs by name, for each request.
        others: The same requests' from elsewhere.
    """
    return tuple(
        _difference(name, [one[name] for one in own], [other[name] for other in others]) for name in (own or [{}])[0]
    )


def beyond(
    outputs: Sequence[OutputDifference], *, max_difference_ratio: float, min_agreement_ratio: float
) -> tuple[OutputDifference, ...]:
    """The outputs that differ by more than they may."""
    return tuple(
        found
        for found in outputs
        if found.incomparable
        or (found.max_ratio is not None and found.max_ratio > max_difference_ratio)
        or (found.agreement_ratio is not None and found.agreement_ratio < min_agreement_ratio)
    )


def _difference(name: str, own: Sequence[NDArray[Any]], others: Sequence[NDArray[Any]]) -> OutputDifference:
    pairs = [*zip(own, others, strict=True)]
    alike = [(one, other) for one, other in pairs if one.shape == other.shape]
    misfits = sum(max(one.size, other.size) for one, other in pairs if one.shape != other.shape)
    left, right = (_joined([pair[side] for pair in alike]) for side in (0, 1))
    if own[0].dtype.kind != "f":
        agreement = float(np.mean(left == right)) if left.size else 1.0
        return OutputDifference(output=name, agreement_ratio=agreement, incomparable=misfits)
    left, right = left.astype(np.float64), right.astype(np.float64)
    both = np.isfinite(left) & np.isfinite(right)
    same = (left == right) | (np.isnan(left) & np.isnan(right))
    numbers, differences = left[both], np.abs(left[both] - right[both])
    spread = float(np.ptp(numbers)) if numbers.size else 0.0
    return OutputDifference(
        output=name,
        incomparable=misfits + int(np.count_nonzero(~both & ~same)),
        max_difference=float(np.max(differences, initial=0.0)),
        mean_difference=float(np.mean(differences)) if differences.size else 0.0,
        spread=spread or abs(float(numbers[0]) if numbers.size else 0.0) or 1.0,
    )


def _joined(values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([np.ravel(one) for one in values]) if values else np.zeros(0)
