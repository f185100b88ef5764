"""The A/A measurement on a fake server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from hcopt.analysis.blocks import Candidate
from hcopt.analysis.noise import MIN_BLOCKS
from hcopt.config.sections import Config
from hcopt.errors import ProfileError, RuntimeStartError
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.noise import BLOCKS, measure_noise
from hcopt.measure.turns.pace import QUICK, Pace
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import FailureCause, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.records.verdict import Noise
from tests.support import fakes
from tests.support.notes import said
from tests.support.records import HEAVY, measurement, run_record

PLAN = run_record().plan


@dataclass
class Machine:
    """Serves and measures: throughputs by window, the last one for ever; None is a window without figures."""

    throughputs: list[float | None]
    steal_ratio: float = 0.0
    stall_s: float = 0.0
    dies: bool = False
    served: list[str] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    recorded: list[Measurement] = field(default_factory=list)
    progress: fakes.RecordedProgress = field(default_factory=fakes.RecordedProgress)
    notes: list[Note] = field(default_factory=list)
    cause: FailureCause | None = None

    def forget_all(self) -> None:
        pass

    def reload(self, variant: ModelConfigVariant) -> None:
        self.served.append(variant.config_name)
        if self.dies:
            raise RuntimeStartError("Triton does not answer")

    def measure(self, window: Window) -> Measurement:
        self.windows.append(window)
        throughput = self.throughputs.pop(0) if len(self.throughputs) > 1 else self.throughputs[0]
        figures = None if throughput is None else (throughput, 9.0)
        return measurement(
            window.variant,
            window.load,
            figures,
            phase=window.phase,
            block=window.block,
            steal_ratio=self.steal_ratio,
            failure_cause=self.cause if figures is None else None,
        )

    def gate(self, gate: str = "warn", turns: object = None) -> Noise | None:
        runner = WindowRunner(
            served=self,
            perf_analyzer=self,
            restart_server_if_dead=lambda: None,
            context=RunContext(record=self.recorded.append, note=self.notes.append, progress=self.progress),
            turns=turns,
        )
        return measure_noise(runner, PLAN, Config.model_validate({"noise": {"gate": gate}}))


def test_default_is_measured_against_itself_at_the_heaviest_load() -> None:
    machine = Machine([5000.0])
    found = machine.gate()
    assert found is not None
    assert found.block_count == BLOCKS
    assert machine.served == [PLAN.default.config_name] * (2 * BLOCKS + 1), "loaded afresh for every window"
    assert {window.load for window in machine.windows} == {HEAVY}
    assert {m.phase for m in machine.recorded} == {"noise"}
    assert [m.block for m in machine.recorded] == [None, *(block for block in range(BLOCKS) for _ in range(2))]
    assert machine.progress.phases == [("noise", 2 * BLOCKS + 1)]


def test_first_window_gives_the_rate_that_the_others_are_sized_for() -> None:
    machine = Machine([1234.0, 1200.0])
    machine.gate()
    assert {window.expected_infer_per_s for window in machine.windows[1:]} == {1234.0}


def test_planned_blocks_know_of_windows_that_outlast_the_server_s_own_stalls() -> None:
    usual, stalling = Machine([5000.0]).gate(), Machine([5000.0], stall_s=0.5).gate()
    assert usual is not None and stalling is not None
    assert stalling.planned_blocks == int(240 / (3 * (3.0 + 1.5))) < usual.planned_blocks


def test_first_window_is_longer_where_the_model_is_too_slow_for_it() -> None:
    machine = Machine([None, 2.0])
    assert machine.gate() is not None
    assert [window.window_s for window in machine.windows[:3]] == [1.0, 5.0, 1.0]


def test_default_that_cannot_be_measured_gives_no_noise_and_costs_three_windows() -> None:
    machine = Machine([None])
    assert machine.gate() is None
    assert len(machine.recorded) == 3
    assert Machine([5000.0], dies=True).gate() is None


def test_block_with_a_failed_window_does_not_count() -> None:
    found = Machine([5000.0, 5000.0, None, *[5000.0] * 10]).gate()
    assert found is not None
    assert found.block_count == BLOCKS - 1


def test_windows_that_the_default_failed_are_told_and_no_part_of_the_noise() -> None:
    machine = Machine([5000.0, 5000.0, None, *[5000.0] * 10], cause="refused")
    assert machine.gate() is not None
    [note] = machine.notes
    assert said(note).startswith(f"The default failed on its own account in 1 of {2 * BLOCKS} windows")
    quiet = Machine([5000.0, 5000.0, None, *[5000.0] * 10], cause="other")
    quiet.gate()
    assert quiet.notes == []


def test_strict_gate_refuses_a_noisy_machine_and_says_what_to_do() -> None:
    with pytest.raises(ProfileError, match=r"CPU time taken by the hypervisor 20% \(limit 5%\)") as error:
        Machine([5000.0], steal_ratio=0.2).gate("strict")
    assert error.value.remedy is not None and "leave out --strict" in error.value.remedy
    assert Machine([5000.0], steal_ratio=0.2).gate("warn") is not None
    assert Machine([5000.0], steal_ratio=0.02).gate("strict") is not None


def test_strict_gate_refuses_a_machine_of_which_it_knows_nothing() -> None:
    with pytest.raises(ProfileError, match="could not be measured"):
        Machine([None]).gate("strict")


@dataclass
class TakesTurns:
    """Alternates between two throughputs, or fails."""

    fails: bool = False
    sessions: int = 0

    def pace_of(self, *_: object, **__: object) -> Pace:
        return QUICK

    def measure(self, candidates: Sequence[Candidate], blocks: Sequence[int], **_: object) -> list[Measurement]:
        self.sessions += 1
        if self.fails:
            raise ProfileError("a perf_analyzer has ended")
        one, other = candidates
        assert one == other
        return [
            measurement(one.variant, one.load, (rate, 9.0), phase="noise", block=block)
            for block in blocks
            for rate in ((5000.0, 5100.0) if block % 2 else (5100.0, 5000.0))
        ]


def test_default_takes_turns_with_itself_where_the_confirmation_will() -> None:
    machine, turns = Machine([5000.0]), TakesTurns()
    found = machine.gate(turns=turns)
    assert found is not None
    assert (turns.sessions, found.block_count, len(machine.windows)) == (1, BLOCKS, 1)
    assert found.pair_sd_ratio == pytest.approx(0.0198, abs=1e-4)
    assert (found.window_s, found.block_s) == (None, QUICK.block_s(3))
    assert found.planned_blocks == int(240 / QUICK.block_s(3))


def test_windows_take_the_place_of_turns_that_fail() -> None:
    machine, turns = Machine([5000.0]), TakesTurns(fails=True)
    found = machine.gate(turns=turns)
    assert found is not None
    # 60 · 4 s over three windows of 1 + 1.5 s.
    assert (found.window_s, found.planned_blocks, len(machine.windows)) == (1.0, 32, 1 + 2 * BLOCKS)
    assert any("could not take turns" in said(note) for note in machine.notes)


def test_slow_default_has_fewer_blocks_and_the_sweep_s_time_is_told_before_it() -> None:
    machine = Machine([2.0])
    found = machine.gate()
    assert found is not None
    assert (found.block_count, found.throughput_infer_per_s) == (MIN_BLOCKS, 2.0)
    assert found.round_s == HEAVY.concurrency / 2
    [note] = [note for note in machine.notes if note.code == "slow_sweep"]
    assert "sweep.concurrency: [" in said(note)


def test_default_without_figures_is_told_with_the_keys_that_help() -> None:
    machine = Machine([None])
    assert machine.gate() is None
    [note] = machine.notes
    assert "in 25 s at concurrency" in said(note)


def test_default_that_answers_with_errors_is_told_with_them_and_not_as_slow() -> None:
    machine = Machine([None], cause="refused")
    assert machine.gate() is None
    [note] = machine.notes
    assert note.code == "default_unmeasured_before_sweep"
