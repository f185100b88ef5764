"""One model, switched from variant to variant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hcopt.errors import RuntimeStartError
from hcopt.measure.served_model import ServedModel
from hcopt.records.measurement import ServerTimes
from hcopt.records.model import ModelConfigVariant
from tests.support.fakes import FakeControl
from tests.support.records import MODEL_NAME, grid_variants

FIRST, SECOND, THIRD, *_ = grid_variants()


def served(control: FakeControl) -> ServedModel:
    return ServedModel(control, MODEL_NAME, lambda variant: f"json of {variant.config_name}")  # type: ignore[arg-type]


def test_each_switch_loads_the_variant_s_configuration_afresh() -> None:
    control = FakeControl()
    model = served(control)
    for variant in (FIRST, SECOND, SECOND):
        model.reload(variant)
    assert control.loaded == [f"json of {variant.config_name}" for variant in (FIRST, SECOND, SECOND)]


def test_nothing_is_served_after_an_unload_and_after_a_server_s_death() -> None:
    control = FakeControl()
    model = served(control)
    for end in (model.unload, model.forget_all):
        model.reload(FIRST)
        assert model.serving == FIRST
        end()
        assert model.serving is None
    assert control.loaded[1] == f"{MODEL_NAME} unloaded"


def test_variant_that_cannot_be_loaded_comes_through() -> None:
    with pytest.raises(RuntimeStartError, match="refused"):
        served(FakeControl(refused={f"json of {FIRST.config_name}"})).reload(FIRST)


def test_watch_gives_the_server_s_means_over_the_window() -> None:
    model = served(FakeControl(loaded=["x"], requests=500))
    end = model.watch()
    assert end() == ServerTimes(queue_us=4.0, compute_input_us=1.0, compute_infer_us=3.0, compute_output_us=2.0)


def test_watch_of_a_model_that_is_not_loaded_comes_through() -> None:
    with pytest.raises(RuntimeStartError, match="no statistics"):
        served(FakeControl()).watch()


def test_window_in_which_the_model_went_away_has_no_server_times() -> None:
    control = FakeControl(loaded=["x"])
    end = served(control).watch()
    control.loaded.clear()
    assert end() is None


def test_window_in_which_the_model_was_loaded_again_has_no_server_times() -> None:
    control = FakeControl(loaded=["x"], requests=50_000)
    end = served(control).watch()
    control.load(MODEL_NAME)  # its counters begin at 0 again
    assert end() is None


def side_by_side(
    control: FakeControl, repository: Path, max_instances: Callable[[int], int] = lambda _: 100
) -> ServedModel:
    return ServedModel(
        control,  # type: ignore[arg-type]
        MODEL_NAME,
        json_of,
        repository=repository,
        max_instances=max_instances,
    )


def json_of(variant: ModelConfigVariant, name: str = MODEL_NAME) -> str:
    return json.dumps({"name": name, "of": variant.config_name})


def own_json(variant: ModelConfigVariant) -> str:
    return json_of(variant, variant.config_name)


def test_variant_whose_turn_comes_again_is_there_under_its_own_name(tmp_path: Path) -> None:
    control = FakeControl()
    model = side_by_side(control, tmp_path)
    for variant in (FIRST, SECOND, FIRST):
        model.load_or_reuse(variant)
        assert (model.serving, model.name) == (variant, variant.config_name)
    assert control.loaded == [f"{MODEL_NAME} unloaded", own_json(FIRST), own_json(SECOND)]
    assert (tmp_path / FIRST.config_name).readlink() == Path(MODEL_NAME)


def test_variants_that_are_kept_are_not_alone_until_all_is_unloaded(tmp_path: Path) -> None:
    model = side_by_side(FakeControl(), tmp_path)
    assert model.is_alone
    model.load_or_reuse(FIRST)
    assert not model.is_alone
    model.reload(SECOND)
    assert model.is_alone


def test_variant_whose_turn_is_the_longest_ago_makes_room(tmp_path: Path) -> None:
    control = FakeControl()
    model = side_by_side(control, tmp_path, lambda _: FIRST.instance_count + SECOND.instance_count)
    for variant in (FIRST, SECOND, FIRST, THIRD):
        model.load_or_reuse(variant)
    assert control.loaded[3:] == [f"{SECOND.config_name} unloaded", own_json(THIRD)]


def test_one_variant_alone_may_need_more_room_than_there_is(tmp_path: Path) -> None:
    model = side_by_side(FakeControl(), tmp_path, lambda _: 0)
    for variant in (FIRST, SECOND):
        model.load_or_reuse(variant)
        assert model.name == variant.config_name


def test_where_no_other_may_be_loaded_a_turn_is_a_fresh_load() -> None:
    control = FakeControl()
    model = served(control)
    for _ in range(2):
        model.load_or_reuse(FIRST)
        assert model.name == MODEL_NAME
    assert control.loaded == 2 * [f"json of {FIRST.config_name}"]


@pytest.mark.parametrize("end", ["unload", "reload"])
def test_all_that_was_kept_is_gone_before_a_model_is_served_alone(end: str, tmp_path: Path) -> None:
    control = FakeControl()
    model = side_by_side(control, tmp_path)
    for variant in (FIRST, SECOND):
        model.load_or_reuse(variant)
    model.reload(THIRD) if end == "reload" else model.unload()
    gone = (FIRST.config_name, SECOND.config_name, MODEL_NAME)
    assert control.loaded[3:6] == [f"{name} unloaded" for name in gone]
    assert control.waited == gone
    assert model.name == MODEL_NAME


def test_variant_that_failed_is_loaded_afresh_for_its_next_turn(tmp_path: Path) -> None:
    control = FakeControl()
    model = side_by_side(control, tmp_path)
    model.load_or_reuse(FIRST)
    model.invalidate()
    assert model.serving is None
    model.load_or_reuse(FIRST)
    assert control.loaded.count(own_json(FIRST)) == 2


def test_variant_that_could_not_be_loaded_is_not_taken_for_a_loaded_one(tmp_path: Path) -> None:
    control = FakeControl(refused={own_json(FIRST)})
    model = side_by_side(control, tmp_path)
    with pytest.raises(RuntimeStartError, match="refused"):
        model.load_or_reuse(FIRST)
    assert model.serving is None
    control.refused.clear()
    model.load_or_reuse(FIRST)
    assert own_json(FIRST) in control.loaded


def test_after_a_server_s_death_nothing_is_kept(tmp_path: Path) -> None:
    control = FakeControl()
    model = side_by_side(control, tmp_path)
    model.load_or_reuse(FIRST)
    model.forget_all()
    model.load_or_reuse(FIRST)
    assert control.loaded.count(own_json(FIRST)) == 2
