"""The confirmation when fresh data refute the sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest

from hcopt.analysis.blocks import Candidate
from hcopt.config.sections import Config
from hcopt.errors import ModelLoadError, ProfileError, RuntimeStartError
from hcopt.measure.confirmation import confirm_finalists
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import PerfAnalyzer, Window
from hcopt.measure.served_model import ServedModel
from hcopt.measure.turns.pace import QUICK, Pace
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from hcopt.records.verdict import Confirmation, Ranking
from hcopt.store.replay import Replay
from hcopt.words.notes import sentence
from tests.support import fakes
from tests.support.notes import said
from tests.support.records import MODEL_NAME, default_variant, grid_variants, measurement, run_record

RUN = run_record()
RATES = {entry.variant.config_name: entry.throughput_infer_per_s for entry in RUN.ranking.ranked}
SIXTH, FIFTH, FOURTH = (grid_variants()[number] for number in (6, 5, 4))


class AnyModel:
    """A server that serves whatever it is asked for."""

    def forget_all(self) -> None:
        pass

    def reload(self, variant: ModelConfigVariant) -> None:
        pass


@dataclass(frozen=True)
class Windows:
    """Every window gives what the sweep gave, and a p99 of 9 ms, or 60 ms for those named."""

    slow: tuple[str, ...]

    def measure(self, window: Window) -> Measurement:
        p99_ms = 60.0 if window.variant.config_name in self.slow else 9.0
        return measurement(
            window.variant,
            window.load,
            (RATES[window.variant.config_name], p99_ms),
            phase=window.phase,
            profiler="perf_analyzer",
            block=window.block,
        )


def _proved(*slow: int) -> tuple[Confirmation, list[Note]]:
    run, notes = run_record(), list[Note]()
    runner = WindowRunner(
        served=AnyModel(),
        perf_analyzer=Windows(slow=tuple(grid_variants()[number].config_name for number in slow)),
        restart_server_if_dead=lambda: None,
        context=RunContext(note=notes.append),
    )
    return confirm_finalists(runner, run.plan, run.ranking, Config()), notes


def test_winner_that_keeps_the_limit_needs_no_note() -> None:
    found, notes = _proved()
    assert found.best is not None and found.best.variant.config_name == f"{MODEL_NAME}_config_6"
    assert notes == []


def test_winner_that_misses_the_limit_is_replaced_by_the_next_and_the_user_is_told() -> None:
    found, notes = _proved(6, 5)
    assert found.best is not None and found.best.variant.config_name == f"{MODEL_NAME}_config_4"
    assert [said(note) for note in notes] == [
        f"{MODEL_NAME}_config_{number} misses the p99 limit on fresh data (60 ms), so it is no longer a candidate."
        for number in (6, 5)
    ]


@dataclass
class Server:
    """A proof on a fake server: the sweep's throughput, and a p99 of 9 ms or what `p99_ms` says for a variant."""

    p99_ms: dict[str, float] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    slow_at: set[tuple[str, int]] = field(default_factory=set)
    window_s: float = 1.0
    longer_s: float | None = None
    wobble: float = 0.0
    now: float = 0.0
    died: bool = False
    breaks_at: int = 0
    served: list[str] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    recorded: list[Measurement] = field(default_factory=list)
    progress: fakes.RecordedProgress = field(default_factory=fakes.RecordedProgress)

    def forget_all(self) -> None:
        pass

    def reload(self, variant: ModelConfigVariant) -> None:
        self.served.append(variant.config_name)
        if variant.config_name in self.refused:
            raise ModelLoadError(f"Triton cannot load the model {MODEL_NAME}: refused")
        if len(self.served) == self.breaks_at:
            raise RuntimeStartError("Triton does not answer")

    def measure(self, window: Window) -> Measurement:
        self.windows.append(window)
        self.now += self.window_s
        figures = (RATES[window.variant.config_name], self.p99_ms.get(window.variant.config_name, 9.0))
        if (window.variant.config_name, window.load.concurrency) in self.slow_at:
            figures = (figures[0], 60.0)
        figures = (figures[0], figures[1] * (1 + self.wobble * (-1) ** (window.block or 0)))
        return measurement(window.variant, window.load, figures, phase=window.phase, block=window.block)

    def restart_if_dead(self) -> str | None:
        if self.died:
            raise RuntimeStartError("tritonserver has ended by itself with -9")
        return "the container has ended with 137" if len(self.served) == self.breaks_at else None

    def prove(self, ranking: Ranking = RUN.ranking, **confirmation: float) -> Confirmation:
        context = RunContext(
            record=self.recorded.append,
            note=self.progress.note,
            progress=self.progress,
            replay=Replay(monotonic=lambda: self.now),
        )
        runner = WindowRunner(
            served=self, perf_analyzer=self, restart_server_if_dead=self.restart_if_dead, context=context
        )
        config = Config.model_validate({"confirmation": confirmation})
        return confirm_finalists(runner, RUN.plan, ranking, config, window_s=self.longer_s)


@dataclass
class TakesTurns:
    """Measures what a server would in turns, and fails at the sessions that are named."""

    server: Server
    fails_at: tuple[int, ...] = ()
    sessions: list[tuple[int, ...]] = field(default_factory=list)

    def pace_of(self, *_: object, **__: object) -> Pace:
        return QUICK

    def measure(
        self, candidates: Sequence[Candidate], blocks: Sequence[int], *, on_turn: object, **_: object
    ) -> list[Measurement]:
        self.sessions.append(tuple(blocks))
        if len(self.sessions) in self.fails_at:
            raise ProfileError("a perf_analyzer has ended")
        found = []
        for block in blocks:
            for one in candidates:
                self.server.now += 0.8
                figures = (RATES[one.variant.config_name], 9.0)
                found.append(measurement(one.variant, one.load, figures, phase="confirmation", block=block))
        return found


def proved_in_turns(server: Server, turns: TakesTurns, known: Sequence[Measurement] = ()) -> Confirmation:
    context = RunContext(
        record=server.recorded.append,
        note=server.progress.note,
        progress=server.progress,
        replay=Replay(known, monotonic=lambda: server.now),
    )
    runner = WindowRunner(
        served=server,
        perf_analyzer=server,
        restart_server_if_dead=server.restart_if_dead,
        context=context,
        turns=turns,
    )
    config = Config.model_validate({"confirmation": {"max_minutes": 1.0}})
    return confirm_finalists(runner, RUN.plan, RUN.ranking, config)


def test_finalists_take_turns_in_sessions_up_to_the_next_look_each_measurement_recorded() -> None:
    server = Server()
    turns = TakesTurns(server)
    found = proved_in_turns(server, turns)
    assert (found.verdict, found.block_count) == ("better", 12)
    assert turns.sessions == [tuple(range(12))]
    assert server.windows == []
    assert len(server.recorded) == 36
    assert sum(one.elapsed_s or 0 for one in server.recorded) == pytest.approx(36 * 0.8)
    assert server.progress.measurements == server.recorded


def test_turns_that_fail_once_leave_the_rest_to_windows_and_the_user_is_told() -> None:
    server = Server()
    turns = TakesTurns(server, fails_at=(1,))
    found = proved_in_turns(server, turns)
    assert (found.verdict, found.block_count) == ("better", 12)
    assert len(turns.sessions) == 1
    assert {window.block for window in server.windows} == set(range(12))
    (note,) = server.progress.notes
    assert "could not take turns of a fraction of a second (a perf_analyzer has ended)" in said(note)


def test_blocks_that_an_interrupted_run_had_measured_are_completed_and_the_others_take_turns() -> None:
    first = Server()
    proved_in_turns(first, TakesTurns(first))
    # It was killed as it recorded the eighth block.
    known, server = first.recorded[: 7 * 3 + 1], Server()
    turns = TakesTurns(server)
    found = proved_in_turns(server, turns, known)
    assert (found.verdict, found.block_count) == ("better", 12)
    assert {window.block for window in server.windows} == {7}
    assert turns.sessions == [tuple(range(8, 12))]


def test_look_that_decides_nothing_says_how_wide_the_interval_is() -> None:
    server = Server(p99_ms={default_variant().config_name: 50.0}, wobble=0.05)
    server.prove()
    assert server.progress.lines[0][0].startswith(f"{SIXTH.config_name} against {default_variant().config_name}: +")


def everything_slow(p99_ms: float = 60.0) -> dict[str, float]:
    return {entry.variant.config_name: p99_ms for entry in RUN.ranking.ranked}


def test_each_finalist_is_measured_in_twelve_blocks_at_its_load_and_recorded() -> None:
    server = Server()
    found = server.prove(max_minutes=1.0)
    assert found.block_count == 12
    assert len(server.recorded) == len(server.windows) == 36
    assert {window.block for window in server.windows} == set(range(12))
    assert {window.variant.config_name for window in server.windows} == {
        v.config_name for v in (SIXTH, FIFTH, default_variant())
    }
    assert {(w.phase, w.window_s, w.load.concurrency) for w in server.windows} == {("confirmation", 1.0, 32)}
    assert all(window.expected_infer_per_s == RATES[window.variant.config_name] for window in server.windows)
    assert server.progress.phases == [("confirmation", 36)]
    assert server.progress.extensions == []
    assert server.progress.measurements == server.recorded


def test_every_window_begins_with_a_fresh_load() -> None:
    server = Server()
    server.prove()
    assert server.served == [window.variant.config_name for window in server.windows]


def test_replacement_is_confirmed_on_new_blocks() -> None:
    server = Server(p99_ms={SIXTH.config_name: 60.0})
    found = server.prove(max_minutes=1.5)
    assert found.best is not None
    assert found.best.variant == FIFTH
    assert found.block_count == 12  # its own, not those of the first round
    assert {window.block for window in server.windows if window.variant == FIFTH} == set(range(24))
    assert found.runner_up is not None
    assert found.runner_up.variant == FOURTH


def test_bold_proposal_that_is_refuted_gives_way_to_the_safe_one_of_the_same_variant() -> None:
    light = replace(RUN.ranking.ranked[0], load=LoadPoint(concurrency=8))
    bold = replace(RUN.ranking.ranked[0], throughput_infer_per_s=1.5 * light.throughput_infer_per_s)
    server = Server(slow_at={(SIXTH.config_name, bold.load.concurrency)})
    found = server.prove(replace(RUN.ranking, ranked=(light, *RUN.ranking.ranked[1:]), bold=bold))
    assert found.best is not None
    assert (found.best.variant, found.best.load) == (SIXTH, light.load)
    (note,) = server.progress.notes
    assert f"{SIXTH.config_name} misses the p99 limit" in said(note)


def test_bold_proposal_that_keeps_the_limit_is_recommended() -> None:
    light = replace(RUN.ranking.ranked[0], load=LoadPoint(concurrency=8))
    found = Server().prove(replace(RUN.ranking, ranked=(light, *RUN.ranking.ranked[1:]), bold=RUN.ranking.ranked[0]))
    assert found.best is not None
    assert (found.best.variant, found.best.load) == (SIXTH, RUN.ranking.ranked[0].load)


def test_refuted_default_still_stands_beside_the_next_winner() -> None:
    default_first = replace(
        RUN.ranking, ranked=tuple(sorted(RUN.ranking.ranked, key=lambda entry: entry.variant != default_variant()))
    )
    found = Server(p99_ms={default_variant().config_name: 60.0}).prove(default_first)
    assert (found.verdict, found.best and found.best.variant) == ("better", SIXTH)
    assert found.default is not None
    assert not found.default.feasible


def test_all_refuted_is_told_with_the_fresh_figures() -> None:
    server = Server(p99_ms={**everything_slow(), FOURTH.config_name: 55.0})
    found = server.prove(max_minutes=60.0)
    assert (found.verdict, found.best) == ("no_feasible_config", None)
    assert f"the closest, {FOURTH.config_name} at concurrency 32, has 55 ms (1.10 times the limit)" in sentence(
        found.reason
    )
    assert found.default is not None
    assert found.default.latency_p99_ms.estimate == 60.0
    assert len(server.progress.notes) == len(RUN.ranking.ranked)


def test_nothing_feasible_in_the_sweep_is_told_without_measuring() -> None:
    infeasible = tuple(replace(entry, feasible=False, latency_p99_ms=75.0) for entry in RUN.ranking.ranked)
    server = Server()
    found = server.prove(replace(RUN.ranking, ranked=infeasible))
    assert found.verdict == "no_feasible_config"
    assert "has 75 ms (1.50 times the limit)" in sentence(found.reason)
    assert server.windows == []


def test_time_limit_holds_over_all_rounds() -> None:
    server = Server(p99_ms=everything_slow(), window_s=10.0)
    found = server.prove(max_minutes=4.9)
    # 294 s: nine blocks of 30 s, in which the first is refuted, and one of the next, which refutes nobody.
    assert len(server.windows) == 30
    assert found.best is not None
    assert (found.verdict, found.best.variant, found.best.feasibility) == ("undecided", FIFTH, "undecided")


def test_undecided_look_tells_how_many_measurements_more() -> None:
    server = Server(p99_ms={default_variant().config_name: 50.0}, wobble=0.05)
    found = server.prove()
    assert found.block_count == 80
    assert server.progress.phases == [("confirmation", 36)]
    assert server.progress.extensions[:3] == [36, 72, 144]


def test_window_may_be_longer_than_the_configuration_s_interval() -> None:
    server = Server(longer_s=2.5)
    server.prove()
    assert {window.window_s for window in server.windows} == {2.5}


def test_finalist_that_cannot_be_loaded_is_a_failed_measurement_and_the_others_go_on() -> None:
    server = Server(refused={FIFTH.config_name})
    found = server.prove(max_minutes=1.0)
    failed = [one for one in server.recorded if one.error is not None]
    assert {(one.variant, one.load.concurrency, one.error) for one in failed} == {
        (FIFTH, 32, f"Triton cannot load the model {MODEL_NAME}: refused")
    }
    assert [one.block for one in failed] == list(range(12))
    assert len(server.recorded) == 36
    assert found.best is not None
    assert found.runner_up is None


def test_dead_server_ends_the_proof() -> None:
    server = Server(refused={SIXTH.config_name}, died=True)
    with pytest.raises(RuntimeStartError, match="ended by itself"):
        server.prove()
    assert [one.error for one in server.recorded] == [f"Triton cannot load the model {MODEL_NAME}: refused"]


def test_server_that_was_brought_back_costs_the_one_measurement_and_is_its_reason() -> None:
    server = Server(breaks_at=2)
    found = server.prove(max_minutes=1.0)
    assert [one.error for one in server.recorded if one.error is not None] == [
        "the container has ended with 137: Triton does not answer"
    ]
    assert {one.failure_cause for one in server.recorded if one.error is not None} == {"other"}, "no fault of its own"
    # Eleven whole blocks are enough to reach the first look's part of α by Holm.
    assert len(server.recorded) == 36
    assert (found.verdict, found.block_count) == ("better", 12)


def test_real_driver_and_served_model_work_in_it(tmp_path: Path) -> None:
    control = fakes.FakeControl(refused={FIFTH.config_name})
    served = ServedModel(control, MODEL_NAME, lambda variant: variant.config_name)  # type: ignore[arg-type]
    tools = fakes.FakeTools(24 * [fakes.exports(fakes.steady(1001))])
    driver = PerfAnalyzer(
        tools=tools, model_name=lambda: MODEL_NAME, input_arguments=(), folder=tmp_path, server_times=served.watch
    )
    recorded: list[Measurement] = []
    ticks = count(step=0.3)
    runner = WindowRunner(
        served=served,
        perf_analyzer=driver,
        restart_server_if_dead=lambda: None,
        # A clock that was read goes on: windows of no time would spend nothing.
        context=RunContext(record=recorded.append, replay=Replay(monotonic=lambda: next(ticks))),
    )
    found = confirm_finalists(runner, RUN.plan, RUN.ranking, Config())
    assert found.verdict == "tied"  # all windows are alike
    assert control.loaded.count(SIXTH.config_name) == 12
    measured = [one for one in recorded if one.error is None]
    assert len(measured) == 24
    assert all(one.server is not None and one.server.queue_us == pytest.approx(4.0) for one in measured)
