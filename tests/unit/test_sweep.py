"""The plan's notes."""

from __future__ import annotations

from dataclasses import replace

from hcopt.config import SweepSection
from hcopt.schema import Note
from hcopt.sweep import plan_sweep
from tests.notes import said
from tests.records import MODEL_NAME, default_variant


def _notes(sweep: SweepSection, *, max_batch_size: int) -> tuple[Note, ...]:
    default = replace(default_variant(), max_batch_size=max_batch_size)
    return plan_sweep(sweep, default, model_name=MODEL_NAME, instance_kind="KIND_CPU").notes


def test_plan_says_what_is_not_swept_when_the_model_cannot_batch() -> None:
    (note,) = _notes(SweepSection(instance_count=(1, 2)), max_batch_size=0)
    assert said(note).endswith("max_batch_size and queue delay are not swept: 2 variants by instance count.")


def test_plan_says_nothing_when_nothing_is_left_out() -> None:
    assert _notes(SweepSection(), max_batch_size=16) == ()
    assert _notes(SweepSection(max_batch_size=(4,), max_queue_delay_us=(0,)), max_batch_size=0) == ()
