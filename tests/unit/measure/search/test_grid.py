"""What the surfaces see of a plan: a dimension for each thing that varies, and none for what does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hcopt.analysis.plan import THREADS, plan_sweep
from hcopt.config.sections import SweepSection
from hcopt.measure.search.grid import grid_of
from hcopt.records.measurement import SweepPlan
from hcopt.records.model import ModelConfigVariant
from tests.support.records import default_variant

# On four cores: instances × threads ÷ cores of each variant, the default with a thread for each core.
FOUR_CORES = {(1, None): 1.0, (1, "4"): 1.0, (1, "2"): 0.5, (2, "2"): 1.0, (2, "1"): 0.5, (2, "4"): 2.0}


def plan(cores: int | None, default: ModelConfigVariant | None = None, **sweep: Any) -> SweepPlan:
    """Over instances and threads alone, at one load."""
    section = SweepSection(
        **{"max_batch_size": (16,), "max_queue_delay_us": (0,), "concurrency": (8,), **sweep},
    )
    own = default or default_variant()
    return plan_sweep(section, own, model_name="M", instance_kind="KIND_CPU", server_cores=cores)


def columns(found: SweepPlan) -> list[list[float]]:
    """The dimensions, each as its values at the points."""
    return np.asarray(grid_of(found).features.T).tolist()  # type: ignore[no-any-return]


def test_threads_of_all_instances_against_the_cores_are_a_dimension() -> None:
    swept = plan(4)
    ratios = [
        FOUR_CORES[variant.instance_count, dict(variant.parameters).get(THREADS)] for variant in grid_of(swept).variants
    ]
    # From a half to twice the cores, in logarithms.
    expected = [(np.log2(ratio) + 1) / 2 for ratio in ratios]
    assert any(np.allclose(column, expected) for column in columns(swept))


@pytest.mark.parametrize("cores", [None, 4])
def test_cores_are_no_dimension_where_threads_do_not_vary(cores: int | None) -> None:
    without = plan(None, intra_op_thread_count=())
    assert columns(plan(cores, intra_op_thread_count=())) == columns(without)
    same = plan(cores, replace(default_variant(), parameters=((THREADS, "2"),)), intra_op_thread_count=(2,))
    assert columns(same) == columns(without)


def test_threads_are_a_dimension_of_their_own_where_nobody_knows_the_cores() -> None:
    own = replace(default_variant(), parameters=((THREADS, "2"),))
    swept = plan(None, own, instance_count=(1,), intra_op_thread_count=(1, 2, 4))
    assert [variant.parameters[0][1] for variant in grid_of(swept).variants] == ["2", "1", "4"]
    expected = [np.log2(3 / 2) / np.log2(5 / 2), 0.0, 1.0]
    assert any(np.allclose(column, expected) for column in columns(swept))


def test_each_file_of_the_model_is_a_category() -> None:
    section = SweepSection(max_batch_size=(16,), max_queue_delay_us=(0,), concurrency=(8,), intra_op_thread_count=())
    files = ("a.onnx", "b.onnx")
    found = plan_sweep(section, default_variant(), model_name="M", instance_kind="KIND_CPU", model_files=files)
    shown = [variant.model_file for variant in grid_of(found).variants]
    for file in files:
        assert [float(one == file) for one in shown] in columns(found)


def test_accelerator_is_a_dimension_where_it_varies() -> None:
    same = {"instance_count": (1,), "intra_op_thread_count": ()}
    assert columns(plan(None, **same, execution_accelerator=("none", "openvino"))) == [[0.0, 1.0]]
    assert columns(plan(None, **same, execution_accelerator=("none",))) == [[0.0]]
