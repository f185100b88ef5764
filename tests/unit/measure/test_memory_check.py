"""What finalists need of memory: each alone on a server that has just started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from hcopt.config.sections import Config
from hcopt.errors import ModelLoadError
from hcopt.measure.confirmation import confirm_finalists
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.memory_check import MemoryCheck
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.records.verdict import Confirmation, RankedVariant, Ranking
from hcopt.store.replay import Replay
from hcopt.words.notes import sentence
from tests.support.fakes import RecordedProgress
from tests.support.notes import said
from tests.support.records import HEAVY, LIGHT, MODEL_NAME, default_variant, grid_variants, measurement, run_record

RUN = run_record()
RATES = {entry.variant.config_name: entry.throughput_infer_per_s for entry in RUN.ranking.ranked}
SIXTH, FIFTH, FOURTH = (grid_variants()[number] for number in (6, 5, 4))
DEFAULT = default_variant()


@dataclass
class Server:
    """Holds what is loaded, and what was loaded before until it starts anew."""

    needs_mb: Mapping[ModelConfigVariant, float] = field(default_factory=dict)
    readable: bool = True
    refused: tuple[ModelConfigVariant, ...] = ()
    known: tuple[Measurement, ...] = ()
    now: float = 0.0
    held_mb: float = 40.0
    p99_ms: float = 9.0
    done: list[str] = field(default_factory=list)
    recorded: list[Measurement] = field(default_factory=list)
    progress: RecordedProgress = field(default_factory=RecordedProgress)

    def memory_mb(self) -> float | None:
        return self.held_mb if self.readable else None

    def restart(self) -> None:
        self.done.append("started")
        self.held_mb = 40.0

    def unload(self) -> None:
        self.done.append("unloaded")

    def forget_all(self) -> None:
        """For a server that has died."""

    def reload(self, variant: ModelConfigVariant) -> None:
        if variant in self.refused:
            raise ModelLoadError(f"Triton cannot load the model {MODEL_NAME}: refused")
        self.done.append(variant.config_name.removeprefix(f"{MODEL_NAME}_"))
        self.held_mb += self.needs_mb.get(variant, 60.0)

    def measure(self, window: Window) -> Measurement:
        self.now += 1.0
        figures = (RATES[window.variant.config_name], self.p99_ms)
        return measurement(window.variant, window.load, figures, phase=window.phase, block=window.block)

    @property
    def runner(self) -> WindowRunner:
        context = RunContext(
            record=self.recorded.append,
            note=self.progress.note,
            progress=self.progress,
            replay=Replay(self.known, monotonic=lambda: self.now),
        )
        return WindowRunner(
            served=self,
            perf_analyzer=self,
            restart_server_if_dead=lambda: None,
            context=context,
            memory_mb=self.memory_mb,
            restart_server=self.restart,
        )

    def check(self, limit_mb: float | None = None, loads: tuple[LoadPoint, ...] = (LIGHT, HEAVY)) -> MemoryCheck:
        return MemoryCheck(runner=self.runner, loads=loads, limit_mb=limit_mb)

    def prove(self, limit_mb: float | None, ranking: Ranking = RUN.ranking) -> Confirmation:
        config = Config.model_validate({"constraints": {"memory_mb": limit_mb}})
        return confirm_finalists(self.runner, RUN.plan, ranking, config)

    @property
    def said(self) -> list[str]:
        return [said(note) for note in self.progress.notes]


def entry(variant: ModelConfigVariant, load: LoadPoint = LIGHT) -> RankedVariant:
    return RankedVariant(variant=variant, load=load, throughput_infer_per_s=5000.0, latency_p99_ms=9.0, feasible=True)


def test_variant_is_loaded_alone_on_a_server_that_has_just_started() -> None:
    server = Server(needs_mb={SIXTH: 100.0, FIFTH: 200.0})
    check = server.check()
    assert not check.unfit([entry(SIXTH), entry(FIFTH)])
    assert server.done == ["unloaded", "started", "config_6", "unloaded", "started", "config_5"]
    assert [(one.phase, one.server_memory_mb, one.load) for one in server.recorded] == [
        ("memory", 140.0, HEAVY),
        ("memory", 240.0, HEAVY),
    ]


def test_variant_is_measured_once_under_whatever_name() -> None:
    server = Server()
    check = server.check(limit_mb=50.0)
    for name in (SIXTH.config_name, "another"):
        assert check.unfit([entry(replace(SIXTH, config_name=name))])
    assert len(server.recorded) == 1


def test_load_is_the_one_with_the_most_rows_that_the_variant_takes() -> None:
    server = Server()
    rows = [LoadPoint(concurrency=4, client_batch_size=size) for size in (1, 8, 16)]
    check = server.check(loads=(HEAVY, *rows))
    check.unfit([entry(replace(SIXTH, max_batch_size=size)) for size in (8, 16)])
    # 32 requests of a row, and 4 of 8 rows, are as many rows; 4 of 16 are more.
    assert [one.load for one in server.recorded] == [HEAVY, rows[2]]


def test_known_memory_is_not_measured_again() -> None:
    known = measurement(SIXTH, HEAVY, (5000.0, 9.0), phase="memory", server_memory_mb=300.0)
    server = Server(known=(known,), readable=False)
    check = server.check()
    assert not check.unfit([entry(SIXTH)])
    assert (check.needed_mb[SIXTH.settings], server.done, server.recorded) == (300.0, [], [])


def test_memory_that_cannot_be_read_keeps_nobody_out_as_long_as_there_is_no_limit() -> None:
    server = Server(readable=False)
    found = server.prove(None)
    assert found.best is not None
    assert (found.best.variant, found.best.memory_mb) == (SIXTH, None)
    assert not [one for one in server.recorded if one.phase == "memory"]


def test_memory_of_the_finalists_stands_with_their_figures() -> None:
    found = Server(needs_mb={SIXTH: 100.0, DEFAULT: 50.0}).prove(None)
    assert found.best is not None
    assert found.default is not None
    assert found.runner_up is not None
    assert (found.best.memory_mb, found.default.memory_mb, found.runner_up.memory_mb) == (140.0, 90.0, 100.0)


def test_its_time_is_none_of_the_confirmation_s() -> None:
    with_memory, without = Server().prove(None), Server(readable=False).prove(None)
    assert with_memory.block_count == without.block_count


def test_variant_that_needs_more_than_it_may_is_no_candidate() -> None:
    server = Server(needs_mb={SIXTH: 300.0, FOURTH: 400.0})
    found = server.prove(200.0)
    assert found.best is not None
    assert (found.best.variant, found.best.memory_mb) == (FIFTH, 100.0)
    assert found.runner_up is not None
    assert found.runner_up.variant not in (SIXTH, FOURTH)
    assert server.said == [
        f"{MODEL_NAME}_config_{number} needs {mb}.0 MB of memory, more than constraints.memory_mb allows (200 MB), so "
        "it is no candidate."
        for number, mb in ((6, 340), (4, 440))
    ]


def test_bold_proposal_that_needs_too_much_is_out_at_every_load() -> None:
    server = Server(needs_mb={SIXTH: 300.0})
    first = next(one for one in RUN.ranking.ranked if one.variant == SIXTH)
    found = server.prove(200.0, replace(RUN.ranking, bold=replace(first, load=LoadPoint(concurrency=64))))
    assert found.best is not None
    assert found.best.variant == FIFTH


def test_default_that_needs_too_much_is_compared_and_never_kept() -> None:
    found = Server(needs_mb={DEFAULT: 300.0}).prove(200.0)
    assert (found.verdict, found.reason.code) == ("better", "only_best_fits_memory")
    assert found.default is not None
    assert found.default.memory_mb == 340.0
    assert sentence(found.reason) == (
        "Only the best configuration is shown to keep the memory limit; the default needs 340.0 MB of memory, more "
        "than constraints.memory_mb allows (200 MB)."
    )


def test_default_that_is_the_sweep_s_winner_and_needs_too_much_leaves_its_place() -> None:
    ranked = sorted(RUN.ranking.ranked, key=lambda one: one.variant != DEFAULT)
    found = Server(needs_mb={DEFAULT: 300.0}).prove(200.0, replace(RUN.ranking, ranked=tuple(ranked)))
    assert found.best is not None
    assert found.best.variant == SIXTH
    assert found.verdict == "better"


def test_where_everything_needs_too_much_the_one_that_needs_least_is_named() -> None:
    found = Server(needs_mb={FIFTH: 50.0}).prove(80.0)
    assert (found.verdict, found.best) == ("no_feasible_config", None)
    assert sentence(found.reason) == (
        "No configuration that the other limits leave needs at most 80 MB of memory: "
        f"{MODEL_NAME}_config_5 needs the least, 90.0 MB."
    )


def test_nothing_is_said_of_memory_where_only_a_default_that_is_out_anyway_needs_too_much() -> None:
    only_sixth = tuple(
        replace(one, feasible=one.variant == SIXTH) for one in RUN.ranking.ranked if one.variant in (SIXTH, DEFAULT)
    )
    server = Server(needs_mb={DEFAULT: 300.0}, p99_ms=60.0)
    found = server.prove(200.0, replace(RUN.ranking, ranked=only_sixth))
    assert (found.verdict, found.reason.code) == ("no_feasible_config", "nothing_keeps_limit")


def test_limit_that_cannot_be_checked_is_kept_by_nobody() -> None:
    found = Server(readable=False).prove(200.0)
    assert (found.verdict, found.reason.code) == ("no_feasible_config", "memory_of_none_known")


@pytest.mark.parametrize("limit_mb", [None, 200.0])
def test_variant_whose_memory_cannot_be_measured_is_out_only_where_there_is_a_limit(limit_mb: float | None) -> None:
    server = Server(refused=(SIXTH,))
    check = server.check(limit_mb)
    assert bool(check.unfit([entry(SIXTH)])) == (limit_mb is not None)
    assert [one.failure_cause for one in server.recorded] == ["refused"]
    assert server.said == (
        []
        if limit_mb is None
        else [
            f"{MODEL_NAME}_config_6 is not shown to keep constraints.memory_mb, as the memory that it needs could not "
            "be measured, so it is no candidate."
        ]
    )
