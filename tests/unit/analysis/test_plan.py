"""The grid, numbered as Model Analyzer does, and what the plan leaves out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hcopt.analysis.plan import expected_sweep_s, parameter_text, plan_sweep, slow_sweep_note, sweep_interval_ms
from hcopt.config.sections import SweepSection
from hcopt.errors import ConfigError
from hcopt.records.measurement import LoadPoint, SweepPlan
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from tests.support.notes import said
from tests.support.records import MODEL_NAME, default_variant


def _notes(sweep: SweepSection, *, max_batch_size: int) -> tuple[Note, ...]:
    default = replace(default_variant(), max_batch_size=max_batch_size)
    notes = plan_sweep(sweep, default, model_name=MODEL_NAME, instance_kind="KIND_CPU").notes
    return tuple(note for note in notes if note.code != "same_as_default")


def test_plan_says_what_is_not_swept_when_the_model_cannot_batch() -> None:
    (note,) = _notes(SweepSection(instance_count=(1, 2)), max_batch_size=0)
    assert said(note).endswith("a request holds one row: 2 variants by instance count.")


def test_plan_says_nothing_when_nothing_is_left_out() -> None:
    assert _notes(SweepSection(), max_batch_size=16) == ()
    assert _notes(SweepSection(max_batch_size=(4,), max_queue_delay_us=(0,)), max_batch_size=0) == ()


def plan(default: ModelConfigVariant | None = None, **sweep: object) -> SweepPlan:
    section = SweepSection.model_validate(sweep)
    return plan_sweep(section, default or default_variant(), model_name="M", instance_kind="KIND_CPU")


def test_variants_are_numbered_as_model_analyzer_numbers_them() -> None:
    # Seen in Model Analyzer 1.58: instances outermost, then the delay, then parameters, the batch size innermost.
    found = plan(max_batch_size=[8, 16], instance_count=[1, 2], max_queue_delay_us=[0, 500], parameters={"a": [1, 2]})
    settings = [
        (v.config_name, v.instance_count, v.max_queue_delay_us, dict(v.parameters)["a"], v.max_batch_size)
        for v in found.variants
    ]
    assert settings == [
        ("M_config_0", 1, 0, "1", 8),
        ("M_config_1", 1, 0, "1", 16),
        ("M_config_2", 1, 0, "2", 8),
        ("M_config_3", 1, 0, "2", 16),
        ("M_config_4", 1, 500, "1", 8),
        ("M_config_5", 1, 500, "1", 16),
        ("M_config_6", 1, 500, "2", 8),
        ("M_config_7", 1, 500, "2", 16),
        ("M_config_8", 2, 0, "1", 8),
        ("M_config_9", 2, 0, "1", 16),
        ("M_config_10", 2, 0, "2", 8),
        ("M_config_11", 2, 0, "2", 16),
        ("M_config_12", 2, 500, "1", 8),
        ("M_config_13", 2, 500, "1", 16),
        ("M_config_14", 2, 500, "2", 8),
        ("M_config_15", 2, 500, "2", 16),
    ]


def test_document_s_configurations_are_in_the_default_sweep() -> None:
    found = plan()
    assert len(found.variants) == 8
    (same,) = (v for v in found.variants if v.settings == found.default.settings)
    assert [note.code for note in found.notes] == ["same_as_default"]
    assert said(found.notes[0]).startswith(f"{same.config_name} is the default once more")
    assert any((v.max_batch_size, v.instance_count, v.max_queue_delay_us) == (8, 2, 500) for v in found.variants)


def test_values_keep_the_order_of_the_configuration() -> None:
    found = plan(max_batch_size=[16, 4], instance_count=[2, 1], max_queue_delay_us=[0], concurrency=[32, 8])
    assert [(v.instance_count, v.max_batch_size) for v in found.variants] == [(2, 16), (2, 4), (1, 16), (1, 4)]
    assert [load.concurrency for load in found.loads] == [32, 8]


def test_parameters_vary_in_the_order_of_their_names_whatever_the_configuration_has() -> None:
    # A variant keeps them by name, and that is how Model Analyzer gets to know them: the numbers have to agree.
    sweep = {"max_batch_size": [8], "instance_count": [1], "max_queue_delay_us": [0]}
    found = plan(**sweep, parameters={"b": [1, 2], "a": [3, 4]})
    values = [tuple(dict(v.parameters).values()) for v in found.variants]
    assert values == [("3", "1"), ("3", "2"), ("4", "1"), ("4", "2")]


def test_values_given_twice_count_once() -> None:
    found = plan(
        max_batch_size=[8, 8],
        instance_count=[1, 1],
        max_queue_delay_us=[0, 0],
        concurrency=[4, 4],
        client_batch_size=[1, 1],
        parameters={"a": [1, "1", "true", True]},
    )
    assert [v.parameters for v in found.variants] == [(("a", "1"),), (("a", "true"),)]
    assert found.loads == (LoadPoint(concurrency=4),)
    assert found.measurement_count == 3


def test_every_load_is_every_concurrency_with_every_client_batch() -> None:
    found = plan(concurrency=[8, 32], client_batch_size=[1, 4])
    assert [(load.client_batch_size, load.concurrency) for load in found.loads] == [(1, 8), (1, 32), (4, 8), (4, 32)]
    assert found.measurement_count == 9 * 4


def test_variants_keep_the_default_s_own_parameters_and_change_what_is_swept() -> None:
    own = replace(default_variant(), parameters=(("intra_op_thread_count", "4"), ("z", "kept")))
    found = plan(own, max_batch_size=[8], instance_count=[1], parameters={"intra_op_thread_count": [1, 2]})
    assert {v.parameters for v in found.variants} == {
        (("intra_op_thread_count", "1"), ("z", "kept")),
        (("intra_op_thread_count", "2"), ("z", "kept")),
    }
    assert found.default == own


def test_model_that_cannot_batch_is_swept_over_instances_and_parameters_only() -> None:
    default = replace(default_variant(), max_batch_size=0)
    found = plan(default, instance_count=[1, 3], client_batch_size=[4], parameters={"a": [1, 2]})
    settings = [(v.max_batch_size, v.max_queue_delay_us, v.instance_count, v.parameters[0][1]) for v in found.variants]
    assert settings == [(0, 0, 1, "1"), (0, 0, 1, "2"), (0, 0, 3, "1"), (0, 0, 3, "2")]
    assert {load.client_batch_size for load in found.loads} == {1}


@pytest.mark.parametrize(
    "key", ["max_batch_size", "instance_count", "max_queue_delay_us", "concurrency", "client_batch_size"]
)
def test_sweep_without_points_is_refused_and_the_key_named(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"sweep\.{key} is empty"):
        plan(**{key: []})


def test_parameter_without_values_is_refused_and_named() -> None:
    with pytest.raises(ConfigError, match=r"sweep\.parameters\.a is empty"):
        plan(parameters={"a": []})


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (2, "2"), (0.5, "0.5"), ("x", "x")])
def test_parameter_is_written_as_triton_reads_it(value: bool | float | str, text: str) -> None:
    assert parameter_text(value) == text


def test_expected_time_grows_with_windows_measurements_and_variants() -> None:
    small = plan(max_batch_size=[8], concurrency=[8])
    more_loads = plan(max_batch_size=[8], concurrency=[8, 16])
    more_variants = plan(concurrency=[8])
    base_s = expected_sweep_s(small, interval_ms=1000)
    assert expected_sweep_s(small, interval_ms=2000) == pytest.approx(base_s + 3 * small.measurement_count)
    assert base_s < expected_sweep_s(more_loads, interval_ms=1000)
    assert base_s < expected_sweep_s(more_variants, interval_ms=1000)


def test_auto_threads_are_the_server_s_cores_shared_out_over_the_instances() -> None:
    section = SweepSection(
        max_batch_size=(8,),
        instance_count=(1, 2, 3, 8),
        max_queue_delay_us=(0,),
        parameters={"intra_op_thread_count": ("auto",)},
    )
    found = plan_sweep(section, default_variant(), model_name="M", instance_kind="KIND_CPU", server_cores=6)
    assert [(v.instance_count, dict(v.parameters)["intra_op_thread_count"]) for v in found.variants] == [
        (1, "6"),
        (2, "3"),
        (3, "2"),
        (8, "1"),
    ]


def test_auto_threads_that_come_to_a_listed_number_are_one_variant() -> None:
    section = SweepSection(
        max_batch_size=(8,),
        instance_count=(1, 2),
        max_queue_delay_us=(0,),
        parameters={"intra_op_thread_count": ("auto", 1, 2)},
    )
    found = plan_sweep(section, default_variant(), model_name="M", instance_kind="KIND_CPU", server_cores=2)
    assert [(v.instance_count, v.parameters[0][1]) for v in found.variants] == [(1, "2"), (1, "1"), (2, "1"), (2, "2")]
    assert [v.config_name for v in found.variants] == [f"M_config_{n}" for n in range(4)]


def test_auto_threads_of_a_server_elsewhere_are_refused() -> None:
    with pytest.raises(ConfigError, match="nobody knows the cores"):
        plan(parameters={"intra_op_thread_count": ["auto"]})


def test_auto_is_an_ordinary_word_for_other_parameters() -> None:
    assert plan(parameters={"a": ["auto"]}).variants[0].parameters == (("a", "auto"),)


def test_preferred_batch_sizes_are_a_dimension_without_what_triton_refuses() -> None:
    found = plan(
        max_batch_size=[4, 8],
        instance_count=[1],
        max_queue_delay_us=[0],
        preferred_batch_size=[[], [4, 2, 4], [8]],
    )
    assert [(v.preferred_batch_sizes, v.max_batch_size) for v in found.variants] == [
        ((), 4),
        ((), 8),
        ((2, 4), 4),
        ((2, 4), 8),
        ((8,), 8),
    ]


def test_preferred_batch_sizes_that_are_not_swept_stay_the_default_s_as_far_as_they_fit() -> None:
    own = replace(default_variant(), preferred_batch_sizes=(4, 16))
    found = plan(own, max_batch_size=[8, 16], instance_count=[1], max_queue_delay_us=[0])
    assert [v.preferred_batch_sizes for v in found.variants] == [(4,), (4, 16)]


def test_preferred_batch_sizes_that_fit_nowhere_are_refused() -> None:
    with pytest.raises(ConfigError, match="preferred_batch_size"):
        plan(max_batch_size=[4], preferred_batch_size=[[8]])


def test_windows_of_a_sweep_are_as_asked_but_for_a_slow_model() -> None:
    assert [sweep_interval_ms(1000, round_s) for round_s in (None, 0.01, 0.5, 2.0)] == [1000, 1000, 1000, 4000]


def test_slow_sweep_is_told_with_the_concurrency_that_makes_it_short() -> None:
    note = slow_sweep_note(plan(concurrency=(8, 32)), asked_ms=1000, infer_per_s=8.0)
    assert note is not None
    # A round of 4 s, so windows of 8 s: an eighth of the concurrency has those of 1 s.
    assert (note.values["window_s"], note.values["fewer"]) == (8.0, 4)
    assert int(str(note.values["less"])) < int(str(note.values["minutes"]))
    assert "At 8 infer/s and concurrency 32" in said(note)


def test_nothing_is_told_of_a_sweep_that_takes_as_long_as_was_asked() -> None:
    assert slow_sweep_note(plan(), asked_ms=1000, infer_per_s=5000.0) is None
    # Asked for so: the user knows.
    assert slow_sweep_note(plan(), asked_ms=60_000, infer_per_s=8.0) is None
