"""The grid, numbered as Model Analyzer does, and what the plan leaves out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcopt.analysis.plan import (
    THREADS,
    expected_sweep_s,
    parameter_text,
    plan_on,
    plan_sweep,
    slow_sweep_note,
    sweep_interval_ms,
    thread_notes,
)
from hcopt.analysis.plan_shards import has_gaps
from hcopt.config.sections import SweepSection
from hcopt.errors import ConfigError
from hcopt.records.measurement import Backend, LoadPoint, SweepPlan
from hcopt.records.model import InstanceKind, ModelConfigVariant
from hcopt.records.note import Note
from tests.support.notes import said
from tests.support.records import MODEL_NAME, default_variant, run_record


def _notes(sweep: SweepSection, *, max_batch_size: int) -> tuple[Note, ...]:
    default = replace(default_variant(), max_batch_size=max_batch_size)
    notes = plan_sweep(sweep, default, model_name=MODEL_NAME, instance_kind="KIND_CPU").notes
    return tuple(note for note in notes if note.code not in ("same_as_default", "threads_elsewhere"))


def test_plan_says_what_is_not_swept_when_the_model_cannot_batch() -> None:
    (note,) = _notes(SweepSection(instance_count=(1, 2)), max_batch_size=0)
    assert said(note).endswith("a request holds one row: 2 variants are left.")


def test_plan_says_nothing_when_nothing_is_left_out() -> None:
    assert _notes(SweepSection(), max_batch_size=16) == ()
    assert _notes(SweepSection(max_batch_size=(4,), max_queue_delay_us=(0,)), max_batch_size=0) == ()


def plan(default: ModelConfigVariant | None = None, **sweep: object) -> SweepPlan:
    """Threads are not swept unless a test says so."""
    section = SweepSection.model_validate({"intra_op_thread_count": [], **sweep})
    return plan_sweep(section, default or default_variant(), model_name="M", instance_kind="KIND_CPU")


def threads_on(
    cores: int | None, instance_kind: InstanceKind = "KIND_CPU", default: ModelConfigVariant | None = None, **sweep: Any
) -> SweepPlan:
    """The sweep of a server with so many cores, over instances and threads alone."""
    section = SweepSection(**{"max_batch_size": (8,), "max_queue_delay_us": (0,), **sweep})
    own = default or default_variant()
    return plan_sweep(section, own, model_name="M", instance_kind=instance_kind, server_cores=cores)


def threads_of(found: SweepPlan) -> dict[int, list[str | None]]:
    """For each number of instances, the threads of one."""
    threads: dict[int, list[str | None]] = {}
    for variant in found.variants:
        threads.setdefault(variant.instance_count, []).append(dict(variant.parameters).get(THREADS))
    return threads


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
    found = threads_on(6, instance_count=(1, 2, 3, 8), intra_op_thread_count=("auto",))
    assert threads_of(found) == {1: ["6"], 2: ["3"], 3: ["2"], 8: ["1"]}
    assert found.server_cores == 6


def test_auto_threads_that_come_to_a_listed_number_are_one_variant() -> None:
    found = threads_on(2, intra_op_thread_count=("auto", 1, 2))
    assert threads_of(found) == {1: ["2", "1"], 2: ["1", "2"]}
    assert [v.config_name for v in found.variants] == [f"M_config_{n}" for n in range(4)]


@pytest.mark.parametrize(
    ("cores", "threads"),
    [
        (1, {1: ["1"], 2: ["1"]}),
        (2, {1: ["1", "2"], 2: ["1", "2"]}),
        (3, {1: ["1", "3"], 2: ["1", "3"]}),
        (8, {1: ["4", "8"], 2: ["2", "4", "8"]}),
        (64, {1: ["32", "64"], 2: ["16", "32", "64"]}),
    ],
)
def test_default_sweep_has_threads_that_under_and_oversubscribe_the_cores(
    cores: int, threads: dict[int, list[str | None]]
) -> None:
    assert threads_of(threads_on(cores)) == threads


def test_default_run_on_two_cores_leaves_ten_minutes_enough_for_its_other_stages() -> None:
    found = threads_on(2, max_batch_size=(8, 16), max_queue_delay_us=(0, 500))
    assert (len(found.variants), found.measurement_count) == (16, 34)
    assert not has_gaps(found)
    # 4 min of confirmation and 1.5 of capacity, at most, and half a minute for noise and start.
    assert expected_sweep_s(found, interval_ms=1000) < 60 * 4


@given(st.integers(1, 512), st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True))
def test_shares_of_the_cores_are_threads_of_all_instances_up_to_twice_as_many(cores: int, instances: list[int]) -> None:
    for count, threads in threads_of(threads_on(cores, instance_count=tuple(instances))).items():
        numbers = [int(text or 0) for text in threads]
        assert len(set(numbers)) == len(numbers)
        assert all(1 <= number <= cores for number in numbers)
        assert all(number * count <= max(2 * cores, count) for number in numbers)
        # Where one thread for each instance is not too many already, the cores are nearly full with some of them.
        assert max(numbers) * count > cores - count


def test_one_place_decides_which_threads_are_swept() -> None:
    old = {"parameters": {THREADS: (1, "AUTO")}}
    assert threads_of(threads_on(4, **old)) == {1: ["1", "4"], 2: ["1", "2"]}
    assert threads_of(threads_on(4, intra_op_thread_count=(), **old)) == {1: ["1", "4"], 2: ["1", "2"]}
    with pytest.raises(ConfigError, match="both list threads"):
        threads_on(4, intra_op_thread_count=(2,), **old)


def test_threads_that_are_not_swept_are_as_the_default_has_them() -> None:
    own = replace(default_variant(), parameters=((THREADS, "3"),))
    assert threads_of(threads_on(4, default=own, intra_op_thread_count=())) == {1: ["3"], 2: ["3"]}


@pytest.mark.parametrize(
    ("cores", "kind", "code"), [(None, "KIND_CPU", "threads_elsewhere"), (8, "KIND_GPU", "threads_of_gpu")]
)
def test_shares_of_cores_that_do_not_count_are_not_swept_and_numbers_are(
    cores: int | None, kind: InstanceKind, code: str
) -> None:
    found = threads_on(cores, kind)
    assert threads_of(found) == {1: [None], 2: [None]}
    assert [(note.code, note.values["shares"]) for note in found.notes] == [(code, "auto/2, auto, auto*2")]
    assert threads_of(threads_on(cores, kind, intra_op_thread_count=("auto", 2))) == {1: ["2"], 2: ["2"]}
    assert threads_on(cores, kind, intra_op_thread_count=(2,)).notes == ()
    assert threads_on(cores, kind, intra_op_thread_count=()).notes == ()


def _on(chosen: int | None, default: ModelConfigVariant, cpus: int = 2) -> tuple[SweepPlan, list[str]]:
    """The plan of a server where ONNX Runtime takes so many threads by itself, and the codes of its notes."""
    environment = replace(run_record().environment, onnxruntime_thread_count=chosen, cpu_count=cpus)
    planned = threads_on(2, default=default, max_batch_size=(16,), max_queue_delay_us=(500,))
    return plan_on(planned, environment), [note.code for note in thread_notes(planned, environment)]


LEFT = replace(default_variant(), max_batch_size=16, instance_count=1, max_queue_delay_us=500)


def test_variant_that_asks_for_the_one_thread_of_the_default_is_left_out() -> None:
    found, codes = _on(1, LEFT)
    assert threads_of(found) == {1: ["2"], 2: ["1", "2"]}
    assert codes == ["thread_of_default"]
    assert has_gaps(found)


def test_variant_with_as_many_threads_as_the_default_stays_since_those_are_pinned() -> None:
    found, codes = _on(2, LEFT)
    assert threads_of(found) == {1: ["1", "2"], 2: ["1", "2"]}
    assert codes == ["threads_as_default"]


@pytest.mark.parametrize("text", ["1", "2"])
def test_default_that_sets_its_threads_leaves_nothing_to_onnx_runtime(text: str) -> None:
    found, codes = _on(1, replace(LEFT, parameters=((THREADS, text),)))
    assert (len(found.variants), codes) == (4, [])


def test_nothing_is_said_where_nobody_knows_what_onnx_runtime_takes() -> None:
    found, codes = _on(None, LEFT)
    assert (len(found.variants), codes) == (4, [])


def test_threads_beyond_the_server_s_cpus_are_told() -> None:
    assert _on(64, LEFT)[1] == ["threads_beyond_cpus"]


def test_grid_of_nothing_but_the_default_stays_for_model_analyzer() -> None:
    environment = replace(run_record().environment, onnxruntime_thread_count=1)
    alone = threads_on(
        2,
        default=LEFT,
        max_batch_size=(16,),
        max_queue_delay_us=(500,),
        instance_count=(1,),
        intra_op_thread_count=(1,),
    )
    assert plan_on(alone, environment) == alone
    assert list(thread_notes(alone, environment)) == []


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


def test_each_file_of_the_model_is_swept_at_every_setting_after_the_models_own() -> None:
    section = SweepSection(intra_op_thread_count=())
    alone = plan_sweep(section, default_variant(), model_name="M", instance_kind="KIND_CPU")
    found = plan_sweep(
        section, default_variant(), model_name="M", instance_kind="KIND_CPU", model_files=("a.onnx", "b.onnx")
    )
    count = len(alone.variants)
    assert found.variants[:count] == alone.variants
    assert [one.model_file for one in found.variants] == [""] * count + ["a.onnx"] * count + ["b.onnx"] * count
    assert len({one.settings for one in found.variants}) == 3 * count
    assert found.variants[count].config_name == f"M_config_{count}_a"
    assert not has_gaps(found)
    assert found.measurement_count - len(alone.loads) == 3 * (alone.measurement_count - len(alone.loads))


def test_accelerators_are_crossed_with_instances_and_threads() -> None:
    found = plan(
        max_batch_size=[8],
        max_queue_delay_us=[0],
        instance_count=[1, 2],
        intra_op_thread_count=[1, 2],
        execution_accelerator=["none", "openvino", "none"],
    )
    combinations = [(v.instance_count, v.execution_accelerator, dict(v.parameters)[THREADS]) for v in found.variants]
    # As Model Analyzer numbers them: later keys of its configuration vary faster.
    assert combinations == [(n, name, t) for n in (1, 2) for name in ("none", "openvino") for t in ("1", "2")]
    assert len({v.settings for v in found.variants}) == 8


def test_accelerator_of_the_default_stays_where_none_is_swept() -> None:
    own = replace(default_variant(), execution_accelerator="openvino")
    assert {v.execution_accelerator for v in plan(own).variants} == {"openvino"}
    assert {v.execution_accelerator for v in plan(own, execution_accelerator=["none"]).variants} == {"none"}


@pytest.mark.parametrize("implementation", ["hcopt-native", "native"])
def test_openvino_is_measured_with_as_many_threads_as_it_can_be_told(implementation: Any) -> None:
    found = plan(
        max_batch_size=[8],
        max_queue_delay_us=[0],
        instance_count=[1],
        intra_op_thread_count=[1, 2],
        execution_accelerator=["none", "openvino"],
    )
    backend = Backend(name="onnxruntime", implementation=implementation)
    here = replace(run_record().environment, backend=backend, cpu_count=2)
    kept = [(v.execution_accelerator, dict(v.parameters)[THREADS]) for v in plan_on(found, here).variants]
    notes = [note.values["count"] for note in thread_notes(found, here) if note.code == "openvino_threads_unequal"]
    if implementation == "hcopt-native":
        assert (len(kept), notes) == (4, [])
    else:
        # NVIDIA's backend tells OpenVINO nothing, and it takes all CPUs.
        assert (kept, notes) == ([("none", "1"), ("none", "2"), ("openvino", "2")], [1])


def test_accelerators_are_crossed_with_the_files_of_the_model() -> None:
    section = SweepSection(
        max_batch_size=(8,),
        max_queue_delay_us=(0,),
        instance_count=(1,),
        intra_op_thread_count=(),
        execution_accelerator=("none", "openvino"),
    )
    found = plan_sweep(
        section, default_variant(), model_name="M", instance_kind="KIND_CPU", model_files=("a.onnx",)
    ).variants
    assert [(v.model_file, v.execution_accelerator) for v in found] == [
        ("", "none"),
        ("", "openvino"),
        ("a.onnx", "none"),
        ("a.onnx", "openvino"),
    ]
