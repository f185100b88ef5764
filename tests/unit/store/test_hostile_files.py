"""Configurations, runs and reports that somebody else has written: refused where they mean harm or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from hcopt.config.load import load_config
from hcopt.config.sections import Config
from hcopt.deploy.kubernetes.manifests import render
from hcopt.deploy.kubernetes.plan import plan_deployment
from hcopt.deploy.scaling import FILE_NAME as SCALING_NAME
from hcopt.deploy.scaling import read_scaling
from hcopt.errors import ConfigError, HcoptError, ModelSourceError, ProfileError
from hcopt.job.handover import write_report
from hcopt.measure.model_analyzer.report import measured_point, read_report
from hcopt.records.measurement import Backend, LoadPoint
from hcopt.store.measurements import FILE_NAME, append_measurement, read_export, read_measurements
from hcopt.store.run_folder import RunFolder, find_run, new_run, read_record, read_state
from hcopt.store.unfinished import latest_unfinished
from hcopt.system import finite_json
from hcopt.tracking.last_answer import _answer
from tests.support.finished_run import write_finished_run
from tests.support.planned_run import planned_record
from tests.support.records import STARTED_AT, default_variant, measurement, run_record
from tests.unit.deploy.kubernetes.test_manifests import options

LAUGHS = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))]


def refused(work: Callable[[], object], said: str, exit_code: int) -> HcoptError:
    with pytest.raises(HcoptError, match=said) as caught:
        work()
    assert caught.value.exit_code == exit_code
    assert caught.value.remedy
    return caught.value


# --- config.yaml -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n".join(LAUGHS), "aliases"),
        ("a: &a {b: *a}", "is not YAML"),
        ("#" * 300_000, "more than 262144 bytes"),
        ("[" * 10_000, "is not YAML"),
        ("x: !!int ''", "is not YAML"),
        ("x: !!timestamp y", "is not YAML"),
        ("x: !!python/object/apply:os.system [true]", "is not YAML"),
    ],
)
def test_yaml_that_explodes_or_brings_code_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text, encoding="utf-8")
    refused(lambda: load_config(file, environment={}), said, 2)


@pytest.mark.parametrize(
    "key", ["s3.access_key", "s3.secret_key", "mlflow.password", "mlflow.token", "mlflow.username"]
)
def test_credentials_have_no_place_in_the_configuration(key: str) -> None:
    error = refused(lambda: load_config(overrides=[f"{key}=planted"], environment={}), "unknown key", 2)
    assert "planted" not in error.message


# --- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "[1", "[" * 100_000])
def test_json_that_is_no_number_or_no_json_is_refused(literal: str) -> None:
    with pytest.raises(ValueError, match=r"number|Expecting|nested"):
        finite_json.loads(f'{{"a": {literal}}}')


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("figure", ["steal_ratio", "duration_s", "avg_ms", "queue_us", "elapsed_s"])
def test_measurement_of_somebody_else_without_a_finite_figure_is_refused(
    tmp_path: Path, literal: str, figure: str
) -> None:
    one = measurement(default_variant(), LoadPoint(concurrency=8), (100.0, 5.0), elapsed_s=1.0)
    append_measurement(tmp_path, one)
    line = json.loads((tmp_path / FILE_NAME).read_bytes())
    for part in (line, line["latency"], line["server"]):
        if figure in part:
            part[figure] = "MARK"
    (tmp_path / FILE_NAME).write_text(json.dumps(line).replace('"MARK"', literal) + "\n")
    refused(lambda: read_measurements(tmp_path), "line 1 is damaged", 5)


@pytest.mark.parametrize(
    ("key", "value"), [("started_at", '"yesterday"'), ("load", '{"request_rate_per_s": Infinity}')]
)
def test_measurement_of_somebody_else_at_no_time_or_load_is_refused(tmp_path: Path, key: str, value: str) -> None:
    append_measurement(tmp_path, measurement(default_variant(), LoadPoint(concurrency=8), (100.0, 5.0)))
    line = {**json.loads((tmp_path / FILE_NAME).read_bytes()), key: "MARK"}
    (tmp_path / FILE_NAME).write_text(json.dumps(line).replace('"MARK"', value) + "\n")
    refused(lambda: read_measurements(tmp_path), "line 1 is damaged", 5)


REPORT = (Path(__file__).parents[2] / "data" / "model_analyzer_1.58.0" / "captures" / "default_2.csv").read_text()


@pytest.mark.parametrize("figure", ["nan", "inf", "-inf", "-1", "0", "", "1e999", "x"])
def test_report_without_a_finite_rate_has_no_figures(tmp_path: Path, figure: str) -> None:
    (tmp_path / "report.csv").write_text(REPORT.replace("2341.96", figure))
    assert read_report(tmp_path / "report.csv") is None


@pytest.mark.parametrize("figure", ["nan", "inf", "1e999", "x", ""])
def test_report_without_finite_server_times_has_none(tmp_path: Path, figure: str) -> None:
    (tmp_path / "report.csv").write_text(REPORT.replace(",127,17,241,", f",127,{figure},241,"))
    row = read_report(tmp_path / "report.csv")
    assert row is not None
    found = measured_point(default_variant(), LoadPoint(concurrency=2), STARTED_AT, row, None)
    assert found.server is None
    assert found.throughput_infer_per_s == 2341.96


@pytest.mark.parametrize(
    "time", ["NaN", "1e999999999", "-1", "9223372036854775808", '"1"', "null", "true", "{}", "[1]"]
)
def test_export_with_a_time_that_is_none_is_refused(tmp_path: Path, time: str) -> None:
    file = tmp_path / "export.json"
    file.write_text(
        f'{{"experiments": [{{"requests": [{{"timestamp": {time}, "response_timestamps": [5]}}]}}]}}', encoding="utf-8"
    )
    with pytest.raises(ProfileError):
        read_export(file, warm_up_ratio=0.1)


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e999", '"x"'])
def test_scaling_of_somebody_else_without_finite_figures_is_refused(tmp_path: Path, literal: str) -> None:
    (tmp_path / SCALING_NAME).write_text(
        f'{{"servers": 2, "cpus_per_server": 1, "block_count": 3, "ratio": {literal}, "ci_low": 1, "ci_high": 1}}'
    )
    refused(lambda: read_scaling(tmp_path), "cannot read", 2)


class OneRun:
    """An MLflow whose runs all have the same file."""

    def list_artifacts(self, _run_id: str, _folder: str | None) -> list[Any]:
        return [type("File", (), {"path": name}) for name in ("summary.json", "golden/config.pbtxt")]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e999", '"x"', "null"])
def test_summary_of_somebody_else_without_finite_figures_is_refused(
    monkeypatch: pytest.MonkeyPatch, literal: str
) -> None:
    figure = '{"estimate": 1.0}'
    best = (
        f'{{"config_name": "c", "concurrency": 8, "client_batch_size": 1, "latency_p99_ms": {figure}, '
        f'"throughput_infer_per_s": {{"estimate": {literal}}}}}'
    )
    text = (
        f'{{"run_id": "r", "environment": {{"cpu_model": "c"}}, "models": [{{"verdict": "better", "best": {best}}}]}}'
    )
    monkeypatch.setattr("hcopt.tracking.last_answer._text", lambda *_: text)
    client: Any = OneRun()
    refused(lambda: _answer(client, "r", "version 1"), "is damaged", 3)


# --- a run of somebody else ------------------------------------------------------------------------------------------


def altered_run(results: Path, change: Callable[[dict[str, Any]], object]) -> RunFolder:
    folder = write_finished_run(results, Config())
    state = json.loads((folder.path / "run.json").read_text(encoding="utf-8"))
    change(state)
    (folder.path / "run.json").write_text(json.dumps(state), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["../../../escaped", "/tmp/escaped", "a/b", "", "..", "a\0b"])
def test_run_of_somebody_else_writes_its_report_nowhere_else(tmp_path: Path, name: str) -> None:
    folder = altered_run(tmp_path / "results", lambda state: state["record"]["model"].update(name=name))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(HcoptError) as caught:
        write_report(Config(), folder, read_record(folder))
    assert caught.value.exit_code == 2
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("literal", [float("nan"), float("inf")])
def test_run_of_somebody_else_without_finite_figures_is_refused(tmp_path: Path, literal: float) -> None:
    folder = altered_run(tmp_path, lambda state: state["record"]["elapsed_s"].update(sweep=literal))
    refused(lambda: read_record(folder), "is no number", 2)


@pytest.mark.parametrize(
    ("key", "value"), [("state", []), ("command", 1), ("started_at", None), ("conditions", [1]), ("record", 7)]
)
def test_run_of_somebody_else_of_another_form_is_refused(tmp_path: Path, key: str, value: object) -> None:
    folder = altered_run(tmp_path, lambda state: state.update({key: value}))
    refused(lambda: read_state(folder), "is damaged", 2)


def test_run_of_somebody_else_that_began_at_no_time_is_refused(tmp_path: Path) -> None:
    folder = altered_run(tmp_path, lambda state: state["record"].update(started_at="yesterday"))
    refused(lambda: read_record(folder), "began at no time", 2)


@pytest.mark.parametrize("values", [{}, {"whose": {"code": "resolution"}}])
def test_note_of_a_record_has_the_values_that_its_words_show(tmp_path: Path, values: dict[str, object]) -> None:
    note = {"code": "another_run_measures", "values": values}
    folder = altered_run(tmp_path, lambda state: state["record"].update(notes=[note]))
    refused(lambda: read_record(folder), "without its values", 2)


def test_advantage_of_a_record_has_the_values_that_its_words_show(tmp_path: Path) -> None:
    note = {"code": "fewer_instances", "values": {}}
    folder = altered_run(tmp_path, lambda state: state["record"]["confirmation"].update(advantage=note))
    refused(lambda: read_record(folder), "without its values", 2)


@pytest.mark.parametrize("version", ["../../outside", "01", "latest", ""])
def test_version_of_a_record_is_a_version(tmp_path: Path, version: str) -> None:
    folder = altered_run(tmp_path, lambda state: state["record"]["model"].update(version_folder=version))
    refused(lambda: read_record(folder), "that is none", 2)


HOSTILE = "x\u2028evil: 1\nevil: 2\r\x85evil: 3 # $(touch /tmp/escaped) `id` {{ 7*7 }} %s {0}"


def test_manifests_of_a_run_of_somebody_else_hold_no_line_of_its_own() -> None:
    record = planned_record(run_id=HOSTILE)
    record = replace(
        record,
        environment=replace(
            record.environment,
            cpu_model=HOSTILE,
            cpuset=HOSTILE,
            backend=Backend(name=HOSTILE, implementation="python"),
        ),
        model=replace(record.model, sha256="0" * 64),
        best_config_pbtxt=f"{record.best_config_pbtxt} parameters {{ key: {json.dumps(HOSTILE, ensure_ascii=False)} "
        f"value {{ string_value: {json.dumps(HOSTILE, ensure_ascii=False)} }} }}",
    )
    plan = plan_deployment(record, options(), command=f"hcopt kubernetes {HOSTILE}")
    for name, text in render(plan, "hpa").items():
        content = yaml.safe_load(text)
        assert not [key for key in content if key.startswith("evil")], name
        assert "7*7" in text or "{{" not in text
    annotations = yaml.safe_load(render(plan, "hpa")["deployment.yaml"])["metadata"]["annotations"]
    assert annotations["hcopt/run-id"] == HOSTILE
    assert len(annotations["hcopt/validity-envelope"].splitlines()) == len(plan.envelope)


# --- clocks ----------------------------------------------------------------------------------------------------------


def test_runs_keep_their_order_where_the_clock_was_set_back(tmp_path: Path) -> None:
    ahead = (datetime.now(timezone.utc) + timedelta(hours=3)).strftime("%Y%m%dT%H%M%SZ")
    (tmp_path / "runs" / f"{ahead}-ffff").mkdir(parents=True)
    made = [new_run(tmp_path).run_id for _ in range(3)]
    assert [f"{ahead}-ffff", *made] == sorted([f"{ahead}-ffff", *made])
    assert len({*made}) == 3


@pytest.mark.parametrize("name", ["99991231T235959Z-ffff", "fooTZ-x", "20261399T999999Z-0000", "T Z-"])
def test_folder_that_is_no_run_is_no_hindrance(tmp_path: Path, name: str) -> None:
    (tmp_path / "runs" / name).mkdir(parents=True)
    assert new_run(tmp_path).path.is_dir()


def test_latest_unfinished_run_is_the_latest_by_the_order_of_their_beginning(tmp_path: Path) -> None:
    ahead = (datetime.now(timezone.utc) + timedelta(hours=3)).strftime("%Y%m%dT%H%M%SZ")
    first = RunFolder(results=tmp_path.absolute(), run_id=f"{ahead}-ffff")
    first.path.mkdir(parents=True)
    second = new_run(tmp_path)
    for run in (first, second):
        run.write_state("interrupted", {"config": Config().model_dump(mode="json")})
    found, _ = latest_unfinished(Config(), results=tmp_path)
    assert found is not None
    assert found.folder.run_id == second.run_id


def test_run_is_found_by_its_folder_whatever_its_name(tmp_path: Path) -> None:
    folder = write_finished_run(tmp_path / "results", Config(), run_record())
    moved = folder.path.rename(folder.path.with_name("it's a; run"))
    assert find_run(str(moved), results=tmp_path).run_id == "it's a; run"


def test_unknown_run_is_refused(tmp_path: Path) -> None:
    for name in ("../../etc", "", "/", "a\0b"):
        with pytest.raises((ConfigError, ModelSourceError)):
            find_run(name, results=tmp_path)
