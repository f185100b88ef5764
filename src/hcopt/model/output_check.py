"""Compares answers row by row: how far is a variant of a model, or another runtime, from the model? And in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hcopt.config.sections import ToleranceSection
from hcopt.model.batch_check import row_feeds
from hcopt.model.inputs.values import LoadData
from hcopt.model.onnx_session import open_session, run_model
from hcopt.records.model import ModelSignature, OutputDifference, TensorSpec
from hcopt.records.note import Note

if TYPE_CHECKING:
    from hcopt.model.onnx_session import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a comparison has shown.

    Attributes:
        outputs: One entry for each output, in the model's order.
        row_count: Rows that were run; fewer than there are where the time was up.
    """

    outputs: tuple[OutputDifference, ...]
    row_count: int


def compare_outputs(
    model: Path, variant: Path, signature: ModelSignature, rows: Rows, *, limit_s: float = float("inf")
) -> Compared:
    """Runs both files on each row alone, in random order, and compares their outputs.

    Args:
        model: The model's ONNX file.
        variant: The variant's, with the same inputs and outputs.
        signature: Of both.
        rows: As `check_servable` takes them.
        limit_s: After this time no further row is run.

    Raises:
        ModelSourceError: A file cannot be opened.
        RunError: A file cannot run on a row.
    """
    count, feed = row_feeds(signature, rows)
    sessions = [open_session(file) for file in (model, variant)]
    ends_s = time.monotonic() + limit_s

    def answers() -> Iterator[tuple[Rows, Rows]]:
        # As drawn once for all runs, so that those that there is time for are a sample.
        for done, row in enumerate(np.random.default_rng(0).permutation(count).tolist()):
            if done and time.monotonic() >= ends_s:
                return
            own, other = (run_model(session, signature, feed(row)) for session in sessions)
            yield own, other

    return compare_answers(signature.outputs, answers())


def compare_answers(outputs: Iterable[TensorSpec], answers: Iterable[tuple[Rows, Rows]]) -> Compared:
    """Compares what has been answered.

    Args:
        outputs: Those that are compared.
        answers: The model's own and the other to each row, by the outputs' names.
    """
    tallies = [_tally_of(spec.datatype)(spec.name) for spec in outputs]
    done = 0
    for own, other in answers:
        for tally in tallies:
            tally.add(np.asarray(own[tally.output]), np.asarray(other[tally.output]))
        done += 1
    return Compared(outputs=tuple(tally.found() for tally in tallies), row_count=done)


class _Numbers:
    """Differences of an output's numbers, row by row."""

    def __init__(self, output: str) -> None:
        self.output = output
        self._largest, self._sum, self._count, self._incomparable = 0.0, 0.0, 0, 0
        self._low, self._high = float("inf"), float("-inf")

    def add(self, own: NDArray[Any], other: NDArray[Any]) -> None:
        """Takes the output of one row, of both files."""
        if own.shape != other.shape:
            self._incomparable += max(own.size, other.size)
            return
        # More digits than either has, so that nothing that is finite in both overflows or is rounded away.
        left, right = own.astype(np.longdouble), other.astype(np.longdouble)
        both = np.isfinite(left) & np.isfinite(right)
        same = (left == right) | (np.isnan(left) & np.isnan(right))
        self._incomparable += int(np.count_nonzero(~both & ~same))
        self._low = min(self._low, float(np.min(left, initial=np.inf, where=both)))
        self._high = max(self._high, float(np.max(left, initial=-np.inf, where=both)))
        differences = np.abs(np.subtract(left, right, where=both, out=np.zeros_like(left)))
        self._largest = max(self._largest, _finite(np.max(differences, initial=0.0)))
        self._sum = _finite(np.longdouble(self._sum) + differences.sum())
        self._count += int(np.count_nonzero(both))

    def found(self) -> OutputDifference:
        """What all rows have shown."""
        spread = _finite(np.longdouble(self._high) - np.longdouble(self._low)) if self._count else 0.0
        return OutputDifference(
            output=self.output,
            max_difference=self._largest,
            mean_difference=self._sum / max(1, self._count),
            spread=spread or abs(self._low if self._count else 0.0) or 1.0,
            incomparable=self._incomparable,
        )


class _Labels:
    """Agreement of an output's labels, row by row."""

    def __init__(self, output: str) -> None:
        self.output = output
        self._same, self._count, self._incomparable = 0, 0, 0

    def add(self, own: NDArray[Any], other: NDArray[Any]) -> None:
        """Takes the output of one row, of both files."""
        if own.shape != other.shape:
            self._incomparable += max(own.size, other.size)
            return
        self._same += int(np.count_nonzero(own == other))
        self._count += own.size

    def found(self) -> OutputDifference:
        """What all rows have shown."""
        agreement = self._same / self._count if self._count else 1.0
        return OutputDifference(output=self.output, agreement_ratio=agreement, incomparable=self._incomparable)


def _tally_of(datatype: str) -> Callable[[str], _Numbers | _Labels]:
    return _Numbers if datatype.startswith(("FP", "BF")) else _Labels


def _finite(value: Any) -> float:
    """As a float; what is beyond the largest is that."""
    return float(min(value, np.finfo(np.float64).max))


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


def rows_note(load: LoadData, checked: int) -> Note:
    """On how many of which rows answers were compared."""
    if load.origin == "input example":
        return Note.of("variant_rows_example", checked=checked, count=load.row_count)
    return Note.of("variant_rows_synthetic", checked=checked, count=load.row_count)


def difference_note(found: OutputDifference) -> Note:
    """How far an output is from the model's own."""
    if found.incomparable:
        return Note.of("variant_incomparable", output=found.output, count=found.incomparable)
    if found.agreement_ratio is not None:
        return Note.of("variant_labels", output=found.output, agreement=found.agreement_ratio)
    return Note.of(
        "variant_numbers",
        output=found.output,
        largest=found.max_difference or 0.0,
        largest_ratio=found.max_ratio or 0.0,
        mean=found.mean_difference or 0.0,
        mean_ratio=found.mean_ratio or 0.0,
    )


def beyond_note(far: tuple[OutputDifference, ...], rows: Note, tolerance: ToleranceSection) -> Note:
    """The outputs that differ by more than they may, and by how much they may."""
    return Note.of(
        "variant_beyond",
        rows=rows,
        outputs=tuple(map(difference_note, far)),
        difference=tolerance.max_difference_ratio,
        agreement=tolerance.min_agreement_ratio,
    )
