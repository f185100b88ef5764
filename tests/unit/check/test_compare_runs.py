"""Two runs side by side: ratios only between equal conditions, with intervals that hold for unpaired blocks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcopt.check.compare_runs import RunComparison, compare_runs
from hcopt.check.conclusion import relation
from hcopt.records.measurement import Backend, Environment, LoadPoint, Measurement
from hcopt.records.run import RunRecord, SentRows
from hcopt.records.verdict import Estimate
from tests.support.records import (
    HEAVY,
    LIGHT,
    grid_variants,
    model_artifact,
    no_feasible_config_record,
    run_record,
    undecided_record,
)


def scaled(run: RunRecord, factor: float, *, only: str | None = None) -> RunRecord:
    """The run on a machine that is so much faster, or with one variant that is."""

    def faster(m: Measurement) -> Measurement:
        if m.throughput_infer_per_s is None or only not in (None, m.variant.config_name):
            return m
        return replace(m, throughput_infer_per_s=factor * m.throughput_infer_per_s)

    return replace(run, measurements=tuple(map(faster, run.measurements)))


def elsewhere(**changes: object) -> RunRecord:
    run = run_record()
    return replace(run, environment=replace(run.environment, **changes))  # type: ignore[arg-type]


def keys(comparison: RunComparison) -> list[str]:
    return [difference.key for difference in comparison.differences]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(1.01, 1.2, "higher"), (0.8, 0.99, "lower"), (0.9, 1.1, "not_shown"), (1.0, 1.1, "not_shown")],
)
def test_relation_is_shown_only_by_an_interval_without_one(low: float, high: float, said: str) -> None:
    assert relation(Estimate(estimate=1.0, ci_low=low, ci_high=high)) == said
    assert relation(Estimate(estimate=2.0)) == "not_shown"


def test_same_configuration_twice_is_a_repeatability_check() -> None:
    found = compare_runs(run_record(), scaled(run_record(), 1.001))
    assert found.is_repeatability_check
    assert found.ratios is not None
    assert found.ratios.throughput.estimate == pytest.approx(1.001)
    assert found.conclusion.startswith("Repeatability check")
    assert found.conclusion.endswith("no difference shown.")


def test_same_configuration_under_another_name_is_the_same() -> None:
    run = run_record()
    assert run.confirmation.best is not None
    variant = replace(run.confirmation.best.variant, config_name="other_config_99")
    best = replace(run.confirmation.best, variant=variant)
    assert compare_runs(run, replace(run, confirmation=replace(run.confirmation, best=best))).same_configuration


def test_repeated_run_that_differs_is_laid_to_the_runs() -> None:
    found = compare_runs(run_record(), scaled(run_record(), 1.2))
    assert "higher in B" in found.conclusion
    assert found.conclusion.endswith("It is the runs that differ.")


def test_machine_that_became_faster_cancels_in_the_gain_over_the_default() -> None:
    found = compare_runs(run_record(), scaled(run_record(), 1.2))
    assert found.ratios is not None
    assert found.ratios.default_throughput is not None and found.ratios.gain_over_default is not None
    assert found.ratios.default_throughput.estimate == pytest.approx(1.2)
    assert found.ratios.gain_over_default.estimate == pytest.approx(1.0)
    assert any("the machine itself changed" in remark for remark in found.remarks)


def sent(size: int, sha256: str) -> SentRows:
    return SentRows(sha256=sha256 * 64, count=256, shapes=(("text", (1, size)), ("mask", (1, size))))


def test_rows_of_another_shape_are_another_condition() -> None:
    found = compare_runs(run_record(rows=sent(16, "a")), run_record(rows=sent(1024, "b")))
    [difference] = found.differences
    assert (difference.key, found.ratios) == ("rows", None)
    assert difference.a == "256 rows of text [1, 16], mask [1, 16], sha256 aaaaaaaaaaaa"
    assert difference.b is not None and "[1, 1024]" in difference.b
    assert "(rows)" in found.conclusion


def test_same_rows_are_the_same_whatever_else_was_noted_of_them() -> None:
    found = compare_runs(run_record(rows=sent(16, "a")), run_record(rows=SentRows(sha256="a" * 64)))
    assert (found.differences, found.is_repeatability_check) == ((), True)


def test_run_that_notes_no_rows_is_not_known_to_have_sent_the_same() -> None:
    found = compare_runs(run_record(rows=sent(16, "a")), run_record())
    assert [(one.key, one.b) for one in found.differences] == [("rows", None)]


def test_better_configuration_shows_in_the_gain_over_the_default() -> None:
    run = run_record()
    assert run.confirmation.best is not None and run.confirmation.runner_up is not None
    other = replace(run.confirmation, best=run.confirmation.runner_up, runner_up=run.confirmation.best)
    found = compare_runs(run, replace(run, confirmation=other, best_config_pbtxt="another"))
    assert found.ratios is not None and found.ratios.gain_over_default is not None
    assert not found.same_configuration and not found.is_repeatability_check
    assert found.ratios.gain_over_default.estimate == pytest.approx(6249 / 6438)
    assert found.conclusion.startswith("Golden over the run's own default, B/A 0.971")


def test_default_that_is_not_the_same_is_no_measure_of_the_machine() -> None:
    run = run_record()
    found = compare_runs(run, replace(run, default_config_pbtxt="another"))
    assert found.ratios is not None
    assert (found.ratios.default_throughput, found.ratios.gain_over_default) == (None, None)


def test_default_that_is_golden_in_both_has_no_gain_of_its_own() -> None:
    run = run_record()
    default = run.confirmation.default
    kept = replace(run, confirmation=replace(run.confirmation, best=default, verdict="tied"))
    found = compare_runs(kept, kept)
    assert found.ratios is not None
    assert found.ratios.gain_over_default is None


def test_run_whose_default_shares_no_block_with_the_golden_configuration_has_no_gain() -> None:
    run = run_record()
    default = run.plan.default.config_name
    apart = tuple(
        replace(m, block=m.block + 100) if m.block is not None and m.variant.config_name == default else m
        for m in run.measurements
    )
    found = compare_runs(replace(run, measurements=apart), run).ratios
    assert found is not None and found.default_throughput is not None
    assert found.gain_over_default is None


def test_only_the_last_whole_blocks_of_the_confirmation_count() -> None:
    """A refuted candidate's blocks, the sweep and the A/A windows are left out."""
    run = run_record()
    best = grid_variants()[6]
    taken = list(run.measurements)
    wild = [m for m in taken if m.variant == best and m.block is not None]
    early = [replace(m, block=m.block - 8, throughput_infer_per_s=1.0) for m in wild if m.block is not None]
    noise = [replace(m, phase="noise", throughput_infer_per_s=1.0) for m in wild]
    failed = [replace(wild[0], block=8, throughput_infer_per_s=None, latency=None, error="gone")]
    other_load = [replace(wild[0], load=LIGHT, throughput_infer_per_s=1.0)]
    changed = replace(run, measurements=(*early, *taken, *noise, *failed, *other_load))
    assert compare_runs(run, changed).ratios == compare_runs(run, run).ratios


@pytest.mark.parametrize(
    "changes",
    [
        {"runtime": "docker"},
        {"backend": Backend(name="onnxruntime", implementation="native")},
        {"triton_version": "2.60.0"},
        {"cpu_model": "another"},
        {"cpuset": "0"},
        {"memory_mb": 8000},
        {"governor": "powersave"},
        {"onnxruntime_version": None},
        {"server_image": "sha256:1"},
    ],
)
def test_other_conditions_forbid_a_ratio_and_say_which_and_why(changes: dict[str, object]) -> None:
    found = compare_runs(run_record(), elsewhere(**changes))
    assert found.ratios is None
    assert keys(found) == list(changes)
    assert str(next(iter(changes))) in found.conclusion
    assert all(difference.why for difference in found.differences)
    assert not found.is_repeatability_check


def test_every_condition_has_a_reason_of_its_own() -> None:
    names = set(Environment.__dataclass_fields__) - {"hcopt_version"}
    other = elsewhere(**dict.fromkeys(names - {"memory_mb", "cpu_count"}, "x"), memory_mb=1, cpu_count=9)
    found = compare_runs(run_record(), other)
    assert {difference.key for difference in found.differences} == names
    assert len({difference.why for difference in found.differences}) >= len(names) - 1


def test_another_model_or_other_rows_a_request_forbid_a_ratio() -> None:
    assert keys(compare_runs(run_record(), run_record(model=model_artifact(sha256="0" * 64)))) == ["model.sha256"]
    run = run_record()
    assert run.confirmation.best is not None
    best = replace(run.confirmation.best, load=LoadPoint(concurrency=32, client_batch_size=4))
    other = replace(run, confirmation=replace(run.confirmation, best=best))
    assert keys(compare_runs(run, other)) == ["client_batch_size"]


def test_a_little_less_memory_or_another_hcopt_is_the_same_machine() -> None:
    found = compare_runs(run_record(), elsewhere(memory_mb=23880, hcopt_version="0.2.0"))
    assert found.ratios is not None
    assert any("0.1.0 and 0.2.0" in remark for remark in found.remarks)


@pytest.mark.parametrize("turned", [False, True])
def test_run_without_golden_configuration_has_no_ratio(turned: bool) -> None:
    runs = (run_record(), no_feasible_config_record())
    found = compare_runs(*(runs[::-1] if turned else runs))
    assert found.ratios is None
    assert found.conclusion == f"No ratio: {'A' if turned else 'B'} has no golden configuration (no_feasible_config)."
    assert any("p99 limits differ" in remark for remark in found.remarks)


def test_candidate_and_limit_that_is_not_shown_are_remarked() -> None:
    run = undecided_record()
    assert run.confirmation.best is not None
    best = replace(run.confirmation.best, feasibility="undecided")
    found = compare_runs(run_record(), replace(run, confirmation=replace(run.confirmation, best=best)))
    assert any("B's configuration is a candidate" in remark for remark in found.remarks)
    assert any("B keeps its p99 limit is not shown" in remark for remark in found.remarks)


def test_configuration_that_misses_the_limit_has_no_ratio() -> None:
    run = run_record()
    assert run.confirmation.best is not None
    best = replace(run.confirmation.best, feasibility="infeasible")
    found = compare_runs(replace(run, confirmation=replace(run.confirmation, best=best)), run)
    assert found.ratios is None
    assert "what A measured last does not keep its p99 limit" in found.conclusion


def test_lost_measurements_are_said() -> None:
    found = compare_runs(run_record(), run_record(measurements=()))
    assert found.conclusion == "No ratio: the measurements of the confirmation are missing in one of the runs."


def test_different_loads_are_remarked_and_no_repeatability_check() -> None:
    run = run_record()
    assert run.confirmation.best is not None
    best = replace(run.confirmation.best, load=LIGHT)
    moved = tuple(
        replace(m, load=LIGHT) if m.variant == best.variant and m.load == HEAVY and m.block is not None else m
        for m in run.measurements
    )
    found = compare_runs(run, replace(run, measurements=moved, confirmation=replace(run.confirmation, best=best)))
    assert found.ratios is not None
    assert (found.same_configuration, found.same_load, found.is_repeatability_check) == (True, False, False)
    assert any("concurrency 32 and 8" in remark for remark in found.remarks)


def test_rest_of_config_pbtxt_that_differs_is_another_configuration() -> None:
    run = run_record()
    found = compare_runs(run, replace(run, best_config_pbtxt=f"{run.best_config_pbtxt}\nversion_policy {{}}"))
    assert not found.same_configuration
    assert any("the rest of config.pbtxt is not" in remark for remark in found.remarks)
    renamed = str(run.best_config_pbtxt).replace("HomeCreditDefaultModel", "Renamed")
    assert compare_runs(run, replace(run, best_config_pbtxt=renamed)).same_configuration
