"""Which profiler a configuration gets, and what it goes by."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from hcopt.config.sections import Config
from hcopt.measure.adaptive import Adaptive
from hcopt.measure.choose import choose_profiler
from hcopt.measure.model_analyzer.profiler import ModelAnalyzer
from hcopt.measure.profiler import Profiler
from hcopt.measure.search.values import NOISE, SearchSettings
from tests.support.records import noise


def chosen(noise_ratio: float | None = None, **settings: object) -> Profiler:
    config = Config.model_validate({"profiler": settings, "constraints": {"latency_p99_ms": 50}})
    return choose_profiler(
        config, None if noise_ratio is None else replace(noise(), pair_sd_ratio=math.sqrt(2) * noise_ratio)
    )


def test_model_analyzer_measures_the_whole_plan() -> None:
    found = chosen(kind="model-analyzer", measurement_interval_ms=700)
    assert found == ModelAnalyzer(interval_ms=700, latency_p99_limit_ms=50)
    assert found.measures_whole_plan


def test_adaptive_search_has_half_the_interval_and_its_budget() -> None:
    found = chosen(kind="adaptive", measurement_interval_ms=1600, max_minutes=2, seed=7)
    settings = SearchSettings(latency_p99_limit_ms=50, window_s=0.8, budget_s=120, seed=7)
    assert found == Adaptive(settings)
    assert not found.measures_whole_plan


@pytest.mark.parametrize(("measured", "expected"), [(None, NOISE), (0.0, 0.01), (0.3, 0.3)])
def test_noise_that_a_search_begins_with_is_never_none(measured: float | None, expected: float) -> None:
    found = chosen(measured, kind="adaptive")
    assert isinstance(found, Adaptive)
    assert found.settings.noise_ratio == pytest.approx(expected)


def test_windows_are_never_shorter_than_perf_analyzer_is_worth() -> None:
    found = chosen(kind="adaptive", measurement_interval_ms=200)
    assert isinstance(found, Adaptive)
    assert found.settings.window_s == 0.4


def test_model_analyzer_s_windows_are_as_long_as_a_slow_model_s_answers_take() -> None:
    config = Config.model_validate({"profiler": {"measurement_interval_ms": 1000}})
    found = replace(noise(), throughput_infer_per_s=noise().load.concurrency / 4)
    slow, quick = choose_profiler(config, found), choose_profiler(config, noise())
    assert isinstance(slow, ModelAnalyzer)
    assert isinstance(quick, ModelAnalyzer)
    # Two rounds of 4 s each.
    assert (slow.interval_ms, quick.interval_ms) == (8000, 1000)
