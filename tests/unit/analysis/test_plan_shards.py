"""Shards of a plan: every variant once, nothing but them for Model Analyzer to measure, and none much larger."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcopt.analysis.plan import plan_sweep
from hcopt.analysis.plan_shards import _MAX_EXACT_VARIANTS, MIN_SHARD_VARIANTS, cut_into_shards, has_gaps
from hcopt.config.sections import SweepSection
from hcopt.measure.model_analyzer.config import _model_config_parameters
from hcopt.records.json import JsonObject
from hcopt.records.measurement import SweepPlan
from hcopt.records.model import ModelConfigVariant
from hcopt.records.note import Note
from tests.support.records import default_variant

NOTE = Note.of("batch_not_swept", variants=3)
COUNTS = st.integers(1, 9)
FILES = st.sampled_from(((), ("int8.onnx",), ("int8.onnx", "ours.onnx")))


def plan(default: ModelConfigVariant | None = None, *, model_files: tuple[str, ...] = (), **sweep: object) -> SweepPlan:
    section = SweepSection.model_validate({"intra_op_thread_count": [], **sweep})
    found = plan_sweep(
        section,
        default or default_variant(),
        model_name="M",
        instance_kind="KIND_CPU",
        server_cores=8,
        model_files=model_files,
    )
    return replace(found, notes=(NOTE,))


def some(*values: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3, unique=True)


@st.composite
def full_plans(draw: st.DrawFn) -> SweepPlan:
    """With all combinations of their values."""
    default = replace(default_variant(), max_batch_size=draw(st.sampled_from((0, 16))))
    return plan(
        default,
        model_files=draw(FILES),
        max_batch_size=draw(some(8, 16, 32, 64)),
        instance_count=draw(some(1, 2, 3, 4, 6, 8)),
        max_queue_delay_us=draw(some(0, 100, 500)),
        preferred_batch_size=draw(st.sampled_from(([], [[], [4]], [[4, 8], [2], []]))),
        parameters=draw(st.sampled_from(({}, {"a": [1, 2]}, {"b": ["x", "y"], "a": [True, False]}))),
        concurrency=draw(some(1, 8)),
    )


@st.composite
def ragged_plans(draw: st.DrawFn) -> SweepPlan:
    """Threads belong to the instances, and some preferred sizes are above the largest batch."""
    return plan(
        model_files=draw(FILES),
        max_batch_size=draw(some(4, 8, 16, 32)),
        instance_count=draw(some(1, 2, 3, 4, 8)),
        max_queue_delay_us=draw(some(0, 100, 500)),
        preferred_batch_size=draw(st.sampled_from(([], [[], [8], [16]], [[], [32]]))),
        intra_op_thread_count=draw(st.sampled_from(([], ["auto", 1], ["auto", "auto/2", "auto*2"]))),
    )


def combinations(found: SweepPlan) -> set[tuple[object, ...]]:
    """What Model Analyzer measures, from what it is told."""
    asked: JsonObject = _model_config_parameters(found)
    batching = asked.get("dynamic_batching", {})
    parameters = asked.get("parameters", {})
    texts = [[(key, text) for text in value["string_value"]] for key, value in parameters.items()]
    points = product(
        asked.get("max_batch_size", [0]),
        asked["instance_group"][0]["count"],
        batching.get("max_queue_delay_microseconds", [0]),
        product(*texts),
        [True],
        [tuple(sizes) for sizes in batching.get("preferred_batch_size", [[]])],
        asked.get("default_model_filename", [""]),
        ["none"],
    )
    return set(points)


def settings_of(found: SweepPlan) -> set[tuple[object, ...]]:
    return {variant.settings for variant in found.variants}


def sizes(shards: tuple[SweepPlan, ...]) -> list[int]:
    return [len(shard.variants) for shard in shards]


@given(st.one_of(full_plans(), ragged_plans()), COUNTS)
def test_every_variant_is_in_one_shard_by_its_name_and_in_the_plan_s_order(whole: SweepPlan, count: int) -> None:
    shards = cut_into_shards(whole, count)
    assert 1 <= len(shards) <= count
    assert sorted(v.config_name for shard in shards for v in shard.variants) == sorted(
        v.config_name for v in whole.variants
    )
    for shard in shards:
        assert shard.variants == tuple(v for v in whole.variants if v in shard.variants)
        assert replace(shard, variants=whole.variants, notes=whole.notes) == whole
    assert sum(shard.measurement_count for shard in shards) == whole.measurement_count + (len(shards) - 1) * len(
        whole.loads
    )


@given(full_plans(), COUNTS)
def test_model_analyzer_measures_exactly_the_shard_s_variants(whole: SweepPlan, count: int) -> None:
    for shard in cut_into_shards(whole, count):
        assert combinations(shard) == settings_of(shard)


@given(ragged_plans(), COUNTS)
def test_model_analyzer_measures_no_variant_of_another_shard_where_the_plan_leaves_some_out(
    whole: SweepPlan, count: int
) -> None:
    for shard in cut_into_shards(whole, count):
        assert combinations(shard) & settings_of(whole) == settings_of(shard)


@given(st.one_of(full_plans(), ragged_plans()))
def test_plan_has_gaps_where_model_analyzer_combines_more_than_it_has(whole: SweepPlan) -> None:
    assert has_gaps(whole) is (combinations(whole) != settings_of(whole))


@given(st.one_of(full_plans(), ragged_plans()), COUNTS)
def test_no_shard_is_so_small_that_it_is_not_worth_a_machine(whole: SweepPlan, count: int) -> None:
    shards = cut_into_shards(whole, count)
    assert len(shards) == 1 or min(sizes(shards)) >= MIN_SHARD_VARIANTS


@given(full_plans(), COUNTS)
def test_more_machines_never_make_the_largest_shard_larger_and_it_comes_first(whole: SweepPlan, count: int) -> None:
    shards = cut_into_shards(whole, count)
    assert sizes(shards) == sorted(sizes(shards), reverse=True)
    assert sizes(cut_into_shards(whole, count + 1))[0] <= sizes(shards)[0]


@given(full_plans(), st.integers(1, 4))
def test_shards_are_equal_where_one_setting_s_values_can_be_shared_out(whole: SweepPlan, count: int) -> None:
    shares = len({v.instance_count for v in whole.variants}), len(whole.variants) // count
    # Of more variants the shards are nearly equal.
    exact = len(whole.variants) <= _MAX_EXACT_VARIANTS
    if exact and shares[0] % count == 0 and shares[1] >= MIN_SHARD_VARIANTS:
        assert sizes(cut_into_shards(whole, count)) == [shares[1]] * count


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [16]),
        (2, [8, 8]),
        (3, [6, 6, 4]),  # a row, and the other three in two halves
        (4, [4, 4, 4, 4]),
        (9, [4, 4, 4, 4]),
    ],
)
def test_four_by_four_is_cut_as_equally_as_can_be(count: int, expected: list[int]) -> None:
    whole = plan(max_batch_size=[4, 8, 16, 32], instance_count=[1, 2, 3, 4], max_queue_delay_us=[0])
    assert sizes(cut_into_shards(whole, count)) == expected


def test_where_the_largest_cannot_be_smaller_there_are_as_few_shards_as_possible_and_those_are_equal() -> None:
    whole = plan(max_batch_size=[4, 8], instance_count=[1, 2, 3, 4, 5], max_queue_delay_us=[0, 100])
    assert sizes(cut_into_shards(whole, 3)) == [8, 6, 6]
    assert sizes(cut_into_shards(whole, 4)) == [5, 5, 5, 5]


def test_a_row_of_values_is_cut_only_where_enough_is_left_on_both_sides() -> None:
    eight, seven = ([1, 2, 3, 4, 5, 6, 7, 8][:count] for count in (8, 7))
    one = {"max_batch_size": [8], "max_queue_delay_us": [0]}
    assert sizes(cut_into_shards(plan(**one, instance_count=eight), 3)) == [4, 4]
    assert sizes(cut_into_shards(plan(**one, instance_count=seven), 3)) == [7]


def test_threads_that_belong_to_the_instances_are_cut_by_them() -> None:
    # In one shard Model Analyzer would measure 2 × 2 × 4 combinations for 8 variants.
    whole = plan(
        max_batch_size=[4, 8, 16, 32],
        instance_count=[1, 2],
        max_queue_delay_us=[0],
        intra_op_thread_count=["auto"],
    )
    shards = cut_into_shards(whole, 2)
    assert [{v.instance_count for v in shard.variants} for shard in shards] == [{1}, {2}]
    assert all(combinations(shard) == settings_of(shard) for shard in shards)


def test_one_shard_is_the_plan_itself_and_notes_stay_with_the_first() -> None:
    whole = plan()
    assert cut_into_shards(whole, 1) == (whole,)
    assert [shard.notes for shard in cut_into_shards(whole, 2)] == [(NOTE,), ()]


def test_the_same_plan_is_cut_in_the_same_way() -> None:
    whole = plan(instance_count=[1, 2, 3], max_batch_size=[4, 8, 16])
    assert cut_into_shards(whole, 3) == cut_into_shards(whole, 3)


def test_no_shards_are_refused() -> None:
    with pytest.raises(ValueError, match="not a number of shards: 0"):
        cut_into_shards(plan(), 0)


@pytest.mark.parametrize("count", [2, 7, 60])
def test_large_plan_is_cut_quickly_and_nearly_equally(count: int) -> None:
    whole = plan(
        max_batch_size=list(range(1, 11)), instance_count=list(range(1, 11)), max_queue_delay_us=list(range(0, 100, 10))
    )
    shards = cut_into_shards(whole, count)
    assert len(shards) == count
    assert sum(sizes(shards)) == len(whole.variants) == 1000
    assert len(set().union(*map(settings_of, shards))) == 1000
    assert all(combinations(shard) == settings_of(shard) for shard in shards)
    assert sizes(shards)[0] <= 2.5 * 1000 / count
