"""What `hcopt check` compares, and how long its windows are; the measuring itself is in the integration tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hcopt.check.baseline import model_folder
from hcopt.errors import ConfigError, ProfileError
from hcopt.measure.load.perf_analyzer import Window, failed
from hcopt.measure.side_by_side import measure_speed
from hcopt.model.prepare import Prepared
from hcopt.records.measurement import LoadPoint, Measurement
from tests.support.records import default_variant, measurement, run_record

LOAD = LoadPoint(concurrency=8)


@dataclass
class SlowModel:
    """Gives figures only in windows that expect no more than so many infer/s."""

    infer_per_s: float
    asked: list[Window] = field(default_factory=list)

    def measure(self, window: Window) -> Measurement:
        self.asked.append(window)
        if window.expected_infer_per_s > 2 * self.infer_per_s:
            return failed(window, "No valid requests recorded within time interval.")
        return measurement(default_variant(), LOAD, (self.infer_per_s, 9.0))


def speed(model: SlowModel) -> Window:
    prepared: Any = SimpleNamespace(plan=run_record().plan)
    return measure_speed(cast(Prepared, prepared), LOAD, window_s=1.0, measure=model.measure)


@pytest.mark.parametrize(("infer_per_s", "windows"), [(5000.0, 1), (40.0, 1), (4.0, 2), (0.4, 3)])
def test_slow_models_are_asked_for_longer_until_they_answer(infer_per_s: float, windows: int) -> None:
    model = SlowModel(infer_per_s)
    assert speed(model).expected_infer_per_s == infer_per_s
    assert len(model.asked) == windows


def test_model_that_never_answers_is_said() -> None:
    with pytest.raises(ProfileError, match="No valid requests"):
        speed(SlowModel(0.001))


def model_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.pbtxt").touch()
    return folder


def test_golden_is_a_models_folder_or_the_one_that_holds_it(tmp_path: Path) -> None:
    model = model_in(tmp_path / "golden" / "model")
    assert model_folder(model) == model
    assert model_folder(tmp_path / "golden") == model


def test_golden_of_two_models_is_refused(tmp_path: Path) -> None:
    model_in(tmp_path / "one")
    model_in(tmp_path / "two")
    with pytest.raises(ConfigError, match="holds 2: one, two"):
        model_folder(tmp_path)


def test_golden_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.pbtxt"):
        model_folder(tmp_path)
