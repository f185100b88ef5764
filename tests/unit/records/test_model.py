"""A variant of a model's configuration: what is checked when it is made, and what makes it the same as another."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from hcopt.records.model import ModelConfigVariant
from tests.support.records import default_variant, grid_variants


@pytest.mark.parametrize("changes", [{"max_batch_size": -1}, {"instance_count": 0}, {"max_queue_delay_us": -1}])
def test_variant_that_no_server_could_have_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="not a model configuration"):
        replace(default_variant(), **changes)  # type: ignore[arg-type]


def test_settings_leave_out_the_name_and_nothing_else() -> None:
    variant = grid_variants()[1]
    assert variant.settings == default_variant().settings
    different: list[ModelConfigVariant] = [
        replace(variant, max_batch_size=1),
        replace(variant, instance_count=9),
        replace(variant, max_queue_delay_us=9),
        replace(variant, parameters=(("a", "1"),)),
        replace(variant, dynamic_batching=False),
    ]
    assert len({one.settings for one in (variant, *different)}) == 6


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        default_variant().instance_count = 2  # type: ignore[misc]
