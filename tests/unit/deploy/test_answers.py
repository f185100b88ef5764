"""`hcopt capacity`: its answers fit one another, the report and the manifests that were written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hcopt.deploy.answers import Answer, answer, write_deployment
from hcopt.deploy.capacity import parse_growth, sustained_cost
from hcopt.deploy.kubernetes.options import Options
from hcopt.deploy.load_trace import LoadTrace
from hcopt.errors import ConfigError
from hcopt.store.run_folder import RunFolder
from tests.support.planned_run import planned_record, write_planned_run

# Ten minutes at a load that is far from the base and the peak of the manifests.
TRACE = LoadTrace(times_s=(0.0, 600.0), rates_infer_per_s=(90_000.0, 90_000.0))
PRICE = 0.36


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_planned_run(tmp_path / "results")


def asked(run: RunFolder, **question: Any) -> Answer:
    return answer(run, growth=parse_growth("2x/10m"), **question)


def written(run: RunFolder, folder: Path, **changes: Any) -> Path:
    """The folder of the run's manifests."""
    given = {"base_infer_per_s": 60_000.0, "peak_infer_per_s": 500_000.0, **changes}
    options = Options(growth=parse_growth("2x/10m"), growth_text="2x/10m", **given)
    write_deployment(run, options, command="hcopt kubernetes", strict=False, out=folder)
    return folder


def test_load_that_replicas_carry_asks_for_these_replicas(run: RunFolder) -> None:
    found = asked(run, replicas=10)
    load = found.load_at_target_infer_per_s
    assert load is not None and load == pytest.approx(9 * found.target_infer_per_s)
    assert found.load_at_capacity_infer_per_s == 10 * 5800
    assert asked(run, rate_infer_per_s=load).replicas == 10
    assert asked(run, rate_infer_per_s=load + 1).replicas == 11


def test_cost_is_that_of_the_report_and_what_is_planned_beside_it_is_another(run: RunFolder) -> None:
    found = asked(run, price_per_hour=PRICE)
    # 0.36 an hour is 0.0001 a second; a million inferences take 1e6 / 5800 s.
    assert found.cost_per_million == pytest.approx(100 / 5800)
    assert found.cost_per_million == sustained_cost(planned_record(), lambda _: PRICE)
    assert found.planned_infer_per_s_per_pod == found.target_infer_per_s
    assert found.planned_cost_per_million == pytest.approx(100 / found.target_infer_per_s)


def test_planned_cost_has_the_pod_to_spare_in_it(run: RunFolder) -> None:
    of_load = asked(run, rate_infer_per_s=6000, price_per_hour=PRICE)
    assert of_load.replicas == 3
    assert of_load.planned_cost_per_million == pytest.approx(100 / 2000)
    of_pods = asked(run, replicas=3, price_per_hour=PRICE)
    assert of_pods.planned_infer_per_s_per_pod == pytest.approx(of_pods.target_infer_per_s * 2 / 3)
    assert asked(run, replicas=3).planned_cost_per_million is None


@pytest.mark.parametrize("autoscaler", ["hpa", "keda"])
def test_simulated_autoscaler_is_that_of_the_manifests(run: RunFolder, tmp_path: Path, autoscaler: str) -> None:
    folder = written(run, tmp_path / "deploy", autoscaler=autoscaler)
    found, planned = asked(run, trace=TRACE, manifests=folder), asked(run, trace=TRACE)
    assert found.simulated is not None and planned.simulated is not None
    spec = found.simulated.autoscaler
    assert (spec.min_replicas, spec.max_replicas, spec.targets[1]) == (16, 120, 63)
    assert spec.targets[0] == int(found.target_infer_per_s), "the manifests round T down"
    assert spec.scale_down_window_s == planned.simulated.autoscaler.scale_down_window_s
    assert found.manifests == folder / ("hpa.yaml" if autoscaler == "hpa" else "scaledobject.yaml")
    assert found.as_json()["simulation"]["manifests"] == str(found.manifests)
    assert (planned.manifests, planned.simulated.autoscaler.max_replicas) == (None, 23)


def test_manifests_count_as_they_are_with_the_delays_that_they_were_made_for(run: RunFolder, tmp_path: Path) -> None:
    folder = written(run, tmp_path / "deploy", pod_start_s=200)
    text = (folder / "hpa.yaml").read_text(encoding="utf-8")
    by_hand = re.sub(r"minReplicas: .*", "minReplicas: 4", text)
    (folder / "hpa.yaml").write_text(re.sub(r'averageValue: "\d+"  # floor\(T\)', "averageValue: 2500m", by_hand))
    jump = LoadTrace(times_s=(0.0, 60.0, 61.0, 400.0), rates_infer_per_s=(5.0, 5.0, 60_000.0, 60_000.0))
    found = asked(run, trace=jump, manifests=folder).simulated
    assert found is not None
    assert (found.autoscaler.min_replicas, found.autoscaler.targets[0]) == (4, 2.5)
    more = [moment.time_s for moment in found.moments if moment.replicas > 4]
    ready = [moment.time_s for moment in found.moments if moment.ready > 4]
    assert ready[0] - more[0] == 200


def test_manifests_of_another_run_are_refused(run: RunFolder, tmp_path: Path) -> None:
    other = write_planned_run(tmp_path / "others")
    folder = written(other, tmp_path / "deploy")
    with pytest.raises(ConfigError, match=rf"written for run {other.run_id}, and the capacity is that of {run.run_id}"):
        asked(run, trace=TRACE, manifests=folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("maxReplicas: 120", "maxReplicas: 3", "not an autoscaler"),
        ("maxReplicas: 120", "maxReplicas: 999999", "at most 150,000"),
        ("# start = ", "# begin = ", "cannot read the autoscaler"),
        ("spec:", "- spec", "cannot read the autoscaler"),
        ("minReplicas: 16", "minReplicas: few", "cannot read the autoscaler"),
    ],
)
def test_damaged_manifests_are_said(run: RunFolder, tmp_path: Path, old: str, new: str, said: str) -> None:
    file = written(run, tmp_path / "deploy") / "hpa.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=said) as refused:
        asked(run, trace=TRACE, manifests=file.parent)
    assert refused.value.remedy


def test_folder_without_manifests_is_refused(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither hpa\.yaml nor scaledobject\.yaml"):
        asked(run, trace=TRACE, manifests=tmp_path)
