"""What the report says of one pod and many: the figures of `hcopt capacity`, and where they are assumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hcopt.deploy.capacity import lower_bound, sustained, target_rate, usual_reaction
from hcopt.deploy.kubernetes.options import Options
from hcopt.deploy.kubernetes.plan import plan_deployment
from hcopt.deploy.scaling import Scaling
from hcopt.records.measurement import Backend
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Estimate
from hcopt.report.pages.pods import example_loads, pod_sections
from hcopt.report.values import Section
from hcopt.words import EN
from tests.support.planned_run import capacity, native_environment, planned_record
from tests.support.records import no_feasible_config_record, undecided_record

LINEAR = Scaling(servers=2, cpus_per_server=2, block_count=8, ratio=0.968, ci_low=0.941, ci_high=0.995)


def _sections(run: RunRecord | None = None, scaling: Scaling | None = None) -> dict[str, Section]:
    return {section.name: section for section in pod_sections(run or planned_record(), scaling, EN)}


def _stands(run: RunRecord | None = None, scaling: Scaling | None = None) -> dict[str, str]:
    table = _sections(run, scaling)["linearity"].table
    assert table is not None
    return {row[0].value: row[2].value for row in table.rows}


def test_figures_are_those_of_the_manifests():
    run, section = planned_record(), _sections()["scaling"]
    reaction = usual_reaction(run)
    given = {"base_infer_per_s": 10_000.0, "peak_infer_per_s": 100_000.0}
    plan = plan_deployment(
        run, Options(**given, growth=reaction.growth, growth_text="2x/10m"), command="hcopt kubernetes"
    )
    facts = dict(section.facts)
    assert f"averageValue {plan.scale.target.value}," in facts["HPA target"]
    assert f"averageValue {plan.scale.pending.value}:" in facts["Guard"]
    assert "C = 5,800 infer/s" in section.lines[0] and "T = 4,235 infer/s" in section.lines[1]
    assert section.table is not None
    pods = {row[0].value: row[1].value for row in section.table.rows}
    assert pods["100,000"] == str(plan.scale.max_replicas.value)
    assert pods["10,000"] == str(plan.scale.min_replicas.value)


def test_more_load_never_takes_fewer_pods_and_none_is_above_its_target():
    run, table = planned_record(), _sections()["scaling"].table
    assert table is not None and len(table.rows) == 5
    pods = [int(row[1].value) for row in table.rows]
    assert pods == sorted(pods)
    target = target_rate(lower_bound(sustained(run)), usual_reaction(run))
    assert all(float(row[3].value.replace(",", "")) <= target for row in table.rows)


@pytest.mark.parametrize(
    ("capacity_infer_per_s", "loads"),
    [
        (5800.0, (10_000, 20_000, 50_000, 100_000, 200_000)),
        (5000.0, (5000, 10_000, 20_000, 50_000, 100_000)),
        (0.4, (1, 2, 5, 10, 20)),
    ],
)
def test_example_loads_are_round_and_not_below_what_one_pod_carries(capacity_infer_per_s, loads):
    assert example_loads(capacity_infer_per_s) == loads


def test_what_the_deployment_does_not_share_with_the_run_is_assumed():
    assert set(_stands().values()) == {"assumed"}
    native = _stands(planned_record(environment=native_environment()))
    assert native["Same server"] == "measured" and native["Same CPU"] == "assumed"


def test_native_backend_of_hcopt_is_named_with_its_onnxruntime():
    own = replace(
        native_environment(),
        onnxruntime_version="1.32.0",
        backend=Backend(name="onnxruntime", implementation="hcopt-native"),
    )
    rows = _sections(run=planned_record(environment=own))["linearity"].table.rows
    (said,) = (row[2].detail for row in rows if row[0].value == "Same server")
    assert "native, hcopt's own) over ONNX Runtime 1.32.0; the image has its own" in said


@pytest.mark.parametrize(
    ("scaling", "said", "stands"),
    [
        (None, "Linear scaling is assumed here", "assumed"),
        (LINEAR, "2 isolated servers carried 0.968 (0.941 to 0.995) of 2 times one", "measured"),
        (replace(LINEAR, ratio=0.9, ci_low=0.82, ci_high=0.97), "Linear scaling is not shown", "assumed"),
        (replace(LINEAR, cpus_per_server=4), "measured with 4 CPUs a server; the pods have 2", "assumed"),
    ],
)
def test_linearity_is_measured_or_called_assumed(scaling, said, stands):
    assert said in _sections(scaling=scaling)["linearity"].lines[0]
    assert _stands(scaling=scaling)["Independence"] == stands


def test_choice_that_is_undecided_is_assumed():
    assert "Golden choice" not in _stands()
    undecided = undecided_record(capacity=capacity())
    assert _stands(undecided)["Golden choice"] == "assumed"


def test_commands_name_the_run_and_its_results_where_they_are_not_the_usual_ones():
    run = planned_record()
    assert _sections(run)["linearity"].commands == (
        f"hcopt kubernetes {run.run_id} --base 10000 --peak 200000 --growth 2x/10m --out deploy",
        f"hcopt capacity {run.run_id} --rate 200000",
        f"hcopt scale-check {run.run_id}",
    )
    elsewhere = replace(run, folder=Path("/my data/runs") / run.run_id)
    assert _sections(elsewhere)["linearity"].commands[-1].endswith("--output '/my data'")


@pytest.mark.parametrize(
    ("run", "said", "remedy"),
    [
        (no_feasible_config_record(), "no configuration is shown to meet the limit", "widen the sweep"),
        (planned_record(capacity=None), "did not measure the rate", "capacity.max_minutes"),
        (
            planned_record(
                capacity=capacity(sustainable_rate_infer_per_s=Estimate(estimate=0.0, ci_low=0.0, ci_high=2000.0))
            ),
            "at no rate that was tried is p99 shown to stay within 50\u00a0ms",
            "give the check more time",
        ),
    ],
    ids=["nothing feasible", "not checked", "no rate"],
)
def test_without_a_capacity_nothing_is_computed_and_the_remedy_is_said(run, said, remedy):
    sections = _sections(run)
    assert list(sections) == ["scaling"] and sections["scaling"].table is None
    assert said in sections["scaling"].lines[0] and remedy in sections["scaling"].lines[1]
