"""The sequence of looks on a made-up server: when it stops, and what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hcopt.analysis.blocks import in_windows
from hcopt.analysis.confirmation import confirm, first_window_count, nothing_feasible, unmeasured_default_first
from hcopt.analysis.finalists import Finalists
from hcopt.config.sections import ConfirmationSection
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note, NoteCode
from hcopt.records.verdict import Confirmation, RankedVariant, Ranking
from hcopt.words.notes import sentence
from tests.support.records import HEAVY, LIGHT, default_variant, grid_variants, measurement, run_record

BEST, RUNNER_UP, OTHER = grid_variants()[6], grid_variants()[5], grid_variants()[4]
DEFAULT = default_variant()
SETTINGS = ConfirmationSection()


def ranked(variant: ModelConfigVariant, *, feasible: bool = True, load: LoadPoint = HEAVY) -> RankedVariant:
    return RankedVariant(
        variant=variant, load=load, throughput_infer_per_s=1e6, latency_p99_ms=0.001, feasible=feasible
    )


THREE = Finalists(best=ranked(BEST), default=ranked(DEFAULT), runner_up=ranked(RUNNER_UP))


def ripple(block: int, variant: ModelConfigVariant) -> float:
    """Some noise that is the same in every run and averages to nothing over six blocks."""
    return 1 + 0.005 * ((block * (2 if variant == DEFAULT else 1)) % 3 - 1)


@dataclass
class Server:
    """Throughput by variant, misses of 2,000 requests by variant and block; each window takes a second."""

    rates: dict[ModelConfigVariant, float]
    misses: Callable[[ModelConfigVariant, int], int | None] = lambda variant, block: 2
    now: float = 0.0
    windows: list[tuple[ModelConfigVariant, LoadPoint, int]] = field(default_factory=list)
    extensions: list[int] = field(default_factory=list)

    def measure(self, variant: ModelConfigVariant, load: LoadPoint, block: int) -> Measurement:
        self.now += 1.0
        self.windows.append((variant, load, block))
        return measurement(
            variant,
            load,
            (self.rates[variant] * ripple(block, variant), 9.0),
            phase="confirmation",
            block=block,
            request_count=2000,
            miss_count=self.misses(variant, block),
        )

    def confirm(
        self, finalists: Finalists = THREE, *, limit_ms: float | None = 50.0, max_s: float = 240.0, first_block: int = 0
    ) -> Confirmation:
        return confirm(
            finalists,
            in_windows(self.measure),
            latency_p99_limit_ms=limit_ms,
            settings=SETTINGS,
            max_s=max_s,
            first_block=first_block,
            undecided=lambda found, more, block_s: self.extensions.append(more),
            clock=lambda: self.now,
        )


CLEAR = {BEST: 6000.0, DEFAULT: 5000.0, RUNNER_UP: 5500.0}
CLOSE = {BEST: 5000.0, DEFAULT: 5000.0 / 1.018, RUNNER_UP: 5000.0}


def test_clear_difference_is_decided_at_the_first_look() -> None:
    server = Server(CLEAR)
    found = server.confirm(max_s=60.0)
    assert (found.verdict, found.block_count, found.look_count) == ("better", 12, 1)
    assert server.extensions == []
    assert len(server.windows) == first_window_count(THREE, SETTINGS) == 36
    assert Counter(variant for variant, _, _ in server.windows) == {BEST: 12, DEFAULT: 12, RUNNER_UP: 12}


def test_look_that_comes_early_asks_for_more_than_twelve_blocks_can_show() -> None:
    # 36 of 240 s spend 2 % of α: twelve blocks cannot reach that, whatever they show.
    server = Server(CLEAR)
    assert (server.confirm().verdict, len(server.windows), server.extensions) == ("better", 72, [12])


def test_undecided_looks_add_blocks_until_the_misses_are_decided() -> None:
    # The first six blocks have many misses each, later ones none: with every look the share falls.
    server = Server(CLEAR, misses=lambda variant, block: 60 if variant == BEST and block < 3 else 0)
    found = server.confirm(max_s=10_000)
    assert found.verdict == "better"
    assert found.look_count > 1
    assert found.block_count in (24, 48, 96, 192)
    assert server.extensions[0] == 12
    assert sum(server.extensions) == found.block_count - 12


def test_time_that_is_up_ends_it_and_the_last_look_says_what_would_decide() -> None:
    # Twelve and two misses of 2,000 in turn: 0.35 % against 1 %, but two blocks in three vary wildly.
    server = Server(CLEAR, misses=lambda variant, block: 90 if block % 4 == 0 else 0)
    found = server.confirm(max_s=60.0)
    assert (found.verdict, found.block_count, found.look_count) == ("undecided", 20, 2)
    assert found.best is not None
    assert found.best.feasibility == "undecided"
    assert "is not decided: 1.12% of its requests took longer" in sentence(found.reason)


def test_blocks_that_would_decide_the_misses_are_named() -> None:
    server = Server(CLEAR, misses=lambda variant, block: 40 if block % 4 == 0 else 0)
    found = server.confirm(max_s=40.0)
    assert found.best is not None
    assert found.best.blocks_to_decide is not None
    assert found.block_count == 13
    assert f"about {found.best.blocks_to_decide} blocks would decide" in sentence(found.reason)
    assert server.confirm(max_s=3.0 * found.best.blocks_to_decide + 1).verdict == "better"


def test_infeasible_winner_ends_its_round_at_once() -> None:
    server = Server(CLEAR, misses=lambda variant, block: 100 if variant == BEST else 0)
    found = server.confirm()
    assert found.best is not None
    assert (found.best.variant, found.best.feasibility, found.block_count) == (BEST, "infeasible", 12)
    assert found.verdict == "undecided"


def test_open_feasibility_of_the_default_keeps_it_going() -> None:
    server = Server(CLEAR, misses=lambda variant, block: 20 if variant == DEFAULT else 0)
    found = server.confirm()
    assert found.block_count == 80  # all the time there is
    assert (found.verdict, found.default and found.default.feasibility) == ("better", "undecided")


def test_open_relation_to_the_runner_up_costs_no_further_blocks() -> None:
    server = Server({BEST: 6000.0, DEFAULT: 5000.0, RUNNER_UP: 5895.0})
    found = server.confirm(max_s=60.0)
    assert found.runner_up_relation is not None
    assert (found.verdict, found.block_count) == ("better", 12)


def test_no_time_at_all_measures_nothing() -> None:
    server = Server(CLEAR)
    found = server.confirm(max_s=-1.0)
    assert (found.verdict, found.best, server.windows) == ("undecided", None, [])


def test_time_for_less_than_a_look_is_judged_with_the_whole_error_rate() -> None:
    found = Server(CLEAR).confirm(max_s=30.0)
    assert (found.verdict, found.block_count, found.look_count) == ("better", 10, 1)


def test_further_round_goes_on_with_the_block_numbers() -> None:
    server = Server(CLEAR)
    server.confirm(first_block=18, max_s=60.0)
    assert {block for _, _, block in server.windows} == set(range(18, 30))


def test_default_at_another_load_is_measured_at_both_and_compared_at_both() -> None:
    server = Server(CLEAR)
    found = server.confirm(replace(THREE, default=ranked(DEFAULT, load=LIGHT)), max_s=80.0)
    assert len(server.windows) == 4 * 12
    assert Counter(load for variant, load, _ in server.windows if variant == DEFAULT) == {LIGHT: 12, HEAVY: 12}
    assert found.default is not None
    assert found.default.load == LIGHT
    assert found.default_at_best_load is not None
    assert (found.default_at_best_load.variant, found.default_at_best_load.load) == (DEFAULT, HEAVY)
    assert found.equal_load is not None
    assert (found.equal_load.candidate, found.equal_load.verdict) == (BEST.config_name, "better")


def test_equal_loads_need_no_comparison_of_their_own() -> None:
    found = Server(CLEAR).confirm()
    assert (found.equal_load, found.default_at_best_load) == (None, None)


def test_nothing_feasible_says_by_how_much_it_is_missed() -> None:
    closest = replace(ranked(OTHER, feasible=False, load=LIGHT), latency_p99_ms=61.25)
    ranking = Ranking(ranked=(closest,), latency_p99_limit_ms=50.0, failed_count=0)
    found = nothing_feasible(ranking, [], 50.0)
    assert (found.verdict, found.best) == ("no_feasible_config", None)
    assert sentence(found.reason) == (
        f"No configuration keeps p99 within 50 ms: the closest, {OTHER.config_name} at concurrency 8, has 61.2 ms "
        "(1.23 times the limit)."
    )
    # Fresh figures of the default count too, whoever was refuted.
    fresh = Server(CLEAR).confirm()
    assert fresh.default is not None
    swept = replace(ranked(DEFAULT, feasible=False), latency_p99_ms=61.25)
    found = nothing_feasible(replace(ranking, ranked=(swept,)), [fresh], 50.0)
    assert found.reason.values["p99_ms"] == fresh.default.latency_p99_ms.estimate != 61.25
    assert (
        sentence(nothing_feasible(replace(ranking, ranked=()), [], 50.0).reason)
        == "No configuration could be measured."
    )


# A default that cannot be measured


def undecided(code: NoteCode, **values: str) -> Confirmation:
    return Confirmation(verdict="undecided", reason=Note.of(code, **values), best=None, default=None)


def swept(*default: tuple[float, float] | None) -> list[Measurement]:
    return [
        measurement(BEST, HEAVY, (5000.0, 9.0)),
        *(measurement(DEFAULT, HEAVY, figures, error=None if figures else "too slow") for figures in default),
    ]


def test_default_that_the_sweep_could_not_measure_is_said_first() -> None:
    plan = run_record().plan
    found = unmeasured_default_first(undecided("default_unmeasured"), plan, swept(None, None))
    said = "The default could not be measured: too slow. So there is nothing to compare the best with."
    assert sentence(found.reason) == said
    other = unmeasured_default_first(undecided("refuted", name="A", why="fails"), plan, swept(None))
    assert sentence(other.reason) == "The default could not be measured: too slow. A fails."


def test_default_that_was_measured_once_is_not() -> None:
    found = undecided("default_unmeasured")
    assert unmeasured_default_first(found, run_record().plan, swept(None, (5000.0, 9.0))) is found
    assert unmeasured_default_first(found, run_record().plan, swept()) is found
