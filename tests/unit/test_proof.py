"""The confirmation when fresh data refute the sweep."""

from __future__ import annotations

from dataclasses import dataclass

from hcopt.config import Config
from hcopt.profiler.perf_analyzer import Window
from hcopt.progress import SilentProgress
from hcopt.proof import Proof
from hcopt.schema import Confirmation, Measurement, ModelConfigVariant, Note
from tests.notes import said
from tests.records import MODEL_NAME, grid_variants, measurement, run_record


class AnyModel:
    """A server that serves whatever it is asked for."""

    def switch_to(self, variant: ModelConfigVariant) -> None:
        pass


@dataclass(frozen=True)
class Windows:
    """Every window gives 5000 infer/s and a p99 of 9 ms, or 60 ms for those named."""

    slow: tuple[str, ...]

    def measure(self, window: Window) -> Measurement:
        p99_ms = 60.0 if window.variant.config_name in self.slow else 9.0
        return measurement(
            window.variant,
            window.load,
            (5000.0, p99_ms),
            phase=window.phase,
            profiler="perf_analyzer",
            block=window.block,
        )


def _proved(*slow: int) -> tuple[Confirmation, list[Note]]:
    run, notes = run_record(), list[Note]()
    proof = Proof(
        config=Config(),
        plan=run.plan,
        ranking=run.ranking,
        served=AnyModel(),
        perf_analyzer=Windows(slow=tuple(grid_variants()[number].config_name for number in slow)),
        check_server=lambda: None,
        record=lambda _: None,
        note=notes.append,
        progress=SilentProgress(),
    )
    return proof.run(), notes


def test_winner_that_keeps_the_limit_needs_no_note() -> None:
    found, notes = _proved()
    assert found.best is not None and found.best.variant.config_name == f"{MODEL_NAME}_config_6"
    assert notes == []


def test_winner_that_misses_the_limit_is_replaced_by_the_next_and_the_user_is_told() -> None:
    found, notes = _proved(6, 5)
    assert found.best is not None and found.best.variant.config_name == f"{MODEL_NAME}_config_4"
    assert [said(note) for note in notes] == [
        f"{MODEL_NAME}_config_{number} misses the p99 limit on fresh data (60 ms): the next one is confirmed instead."
        for number in (6, 5)
    ]
