"""One model, switched from variant to variant."""

from __future__ import annotations

import pytest

from hcopt.errors import RuntimeStartError
from hcopt.schema import ServerTimes
from hcopt.serving import ServedModel
from tests.fakes import FakeControl
from tests.records import MODEL_NAME, grid_variants

FIRST, SECOND, *_ = grid_variants()


def served(control: FakeControl) -> ServedModel:
    return ServedModel(control, MODEL_NAME, lambda variant: f"json of {variant.config_name}")  # type: ignore[arg-type]


def test_each_switch_loads_the_variant_s_configuration_afresh() -> None:
    control = FakeControl()
    model = served(control)
    for variant in (FIRST, SECOND, SECOND):
        model.switch_to(variant)
    assert control.loaded == [f"json of {variant.config_name}" for variant in (FIRST, SECOND, SECOND)]


def test_nothing_is_served_after_an_unload_and_after_a_server_s_death() -> None:
    control = FakeControl()
    model = served(control)
    for end in (model.unload, model.lost):
        model.switch_to(FIRST)
        assert model.serving == FIRST
        end()
        assert model.serving is None
    assert control.loaded[1] == f"{MODEL_NAME} unloaded"


def test_variant_that_cannot_be_loaded_comes_through() -> None:
    with pytest.raises(RuntimeStartError, match="refused"):
        served(FakeControl(refused={f"json of {FIRST.config_name}"})).switch_to(FIRST)


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
