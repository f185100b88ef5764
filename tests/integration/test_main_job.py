"""The main job as a user has it: the installed command, the real programs, an empty folder."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pypdf
import pytest
import yaml
from mlflow import MlflowClient

from hcopt.config.sections import Config
from hcopt.errors import OutputError
from hcopt.job.summary import summarize
from hcopt.model.triton_config import parse_text, variant_of
from hcopt.records.measurement import Measurement
from hcopt.records.verdict import Estimate
from hcopt.services.mlflow import mlflow_session
from hcopt.store.measurements import read_measurements
from hcopt.store.run_folder import find_run, read_record, record_json
from tests.support.command import HCOPT, SAMPLE_FOLDER, SAMPLE_MODEL, TINY, Answer, Workplace, workplace
from tests.support.planned_run import capacity
from tests.support.traced import Trace

PROGRESS = re.compile(r"\[ *(\d+)/(\d+)\] \S+, concurrency 8: [\d,.]+ infer/s, p99 [\d.]+ ms( \(about .+ left\))?")


@dataclass(frozen=True)
class Run:
    """A run of the command, and what `results/` showed just after it."""

    answer: Answer
    folder: Path
    shown: dict[str, Path]


def run(place: Workplace, *arguments: str) -> Run:
    answer = place.run("profile", *TINY, *arguments)
    shown = {path.name: path.resolve() for path in place.results.iterdir() if path.is_symlink()}
    assert "latest" in shown, answer.stderr
    return Run(answer, shown["latest"], shown)


# What every run of a user has, and the other runs of the tests leave out for the time it takes.
# Model Analyzer's windows have answers on a very busy machine too.
EVIDENCE = (
    *("--set=noise.gate=warn", "--set=capacity.max_minutes=0.2", "--set=constraints.latency_p99_ms=500"),
    *("--set=profiler.measurement_interval_ms=2500", "--set=confirmation.onnxruntime_alone=true"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Model Analyzer cannot take white space or `=` in a path, so both are in this one."""
    return workplace(tmp_path_factory.mktemp("main_job"), folder="a run's = folder (1)")


@pytest.fixture(scope="module")
def first(place: Workplace) -> Run:
    """With nothing configured: the sample model from the registry under results/."""
    return run(place, *EVIDENCE)


def summary(run: Run) -> Any:
    return json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))


def config_text(run: Run, name: str) -> str:
    return (run.folder / "output_models" / name / "config.pbtxt").read_text(encoding="utf-8")


# --- a run with an answer --------------------------------------------------------------------------------------------


def test_main_job_ends_well_and_leaves_no_process_and_no_temporary_file(first: Run) -> None:
    assert first.answer.returncode == 0, first.answer.stderr
    assert first.answer.left == ()


def test_progress_is_plain_lines_on_stderr_and_the_answer_is_on_stdout(first: Run) -> None:
    shown = [match.groups() for match in map(PROGRESS.search, first.answer.stderr.splitlines()) if match]
    # Whichever of the two is best, both are finalists: twelve blocks of two until the first look, if the time allows.
    confirmed = sum(m.phase == "confirmation" for m in read_measurements(first.folder))
    # Of what was measured in turns there is a line a configuration, else one a window.
    steps = [(int(number), int(of)) for number, of, _ in shown]
    for of, done in ((25, 25), (24, confirmed)):
        numbers = [number for number, whole in steps if whole == of]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == done
    assert [number for number, whole in steps if whole == 2] == [1, 2, 1, 2], "the sweep, and the memory of both"
    assert [bool(left) for _, _, left in shown] == [number < of for number, of in steps]
    assert "\x1b" not in first.answer.stderr + first.answer.stdout, "no terminal, no colours"
    assert "Traceback" not in first.answer.stderr
    assert first.answer.stdout.lstrip().startswith("Verdict: ")


def test_closing_lines_name_what_is_there(place: Workplace, first: Run) -> None:
    named = dict(line.split(":", 1) for line in first.answer.stdout.splitlines() if re.match(r"[a-zA-Z, ]+: +/", line))
    golden = named.keys() - {"report", "page", "summary", "MLflow"}
    assert golden in ({"golden configuration"}, {"candidate, not proven"})
    for label in ("report", "page", "summary", *golden):
        assert Path(named[label].strip()).is_file()
        assert named[label].strip().startswith(f"{place.results}/")
    program, *arguments = shlex.split(named["MLflow"])
    assert Path(program).is_file()
    assert arguments[:3] == ["ui", "--backend-store-uri", f"sqlite:///{place.results}/mlflow/mlflow.db"]


def test_results_show_the_run_at_the_paths_of_the_document(place: Workplace, first: Run) -> None:
    assert first.folder.parent == place.results / "runs"
    assert first.shown == {
        "latest": first.folder,
        **{
            name: first.folder / name
            for name in ("reports", "output_models", "golden", "summary.json", "measurements.jsonl")
        },
    }


def test_report_opens_and_is_about_the_model(first: Run) -> None:
    reports = first.folder / "reports" / "summaries" / SAMPLE_MODEL
    text = "".join(page.extract_text() for page in pypdf.PdfReader(reports / "result_summary.pdf").pages)
    assert SAMPLE_MODEL in text
    kept = {path.name for path in (reports / "model_analyzer").iterdir()}
    assert {"metrics-model-inference.csv"} < kept, "Model Analyzer's own report"
    assert kept & {"result_summary.html", "result_summary.pdf"}


def test_every_variant_has_its_configuration(first: Run) -> None:
    default, variant = (config_text(first, f"{SAMPLE_MODEL}_config_{which}") for which in ("default", "0"))
    assert sorted(path.name for path in (first.folder / "output_models").iterdir()) == [
        f"{SAMPLE_MODEL}_config_0",
        f"{SAMPLE_MODEL}_config_default",
    ]
    assert parse_text(default) == parse_text((SAMPLE_FOLDER / "config.pbtxt").read_text(encoding="utf-8"))
    expected = parse_text(default)
    expected.dynamic_batching.max_queue_delay_microseconds = 500
    assert parse_text(variant) == expected


def test_golden_is_a_model_repository_with_the_best_configuration(first: Run) -> None:
    golden = first.folder / "golden" / SAMPLE_MODEL
    assert sorted(path.relative_to(golden).as_posix() for path in golden.rglob("*") if path.is_file()) == [
        "1/model.onnx",
        "config.pbtxt",
    ]
    found = summary(first)["models"][0]
    assert hashlib.sha256((golden / "1" / "model.onnx").read_bytes()).hexdigest() == found["model"]["sha256"]
    text = (golden / "config.pbtxt").read_text(encoding="utf-8")
    assert text == config_text(first, found["best"]["config_name"])
    served = variant_of(parse_text(text), "golden")
    assert {
        "max_batch_size": served.max_batch_size,
        "instance_count": served.instance_count,
        "max_queue_delay_us": served.max_queue_delay_us,
        "execution_accelerator": served.execution_accelerator,
    }.items() <= found["best"].items()


def test_summary_keeps_its_schema_and_its_figures_hang_together(first: Run) -> None:
    found = summary(first)
    assert_valid(found)
    assert found["run_id"] == first.folder.name
    (model,) = found["models"]
    assert (model["model"]["name"], model["model"]["version"]) == (SAMPLE_MODEL, "1")
    assert model["model"]["source_uri"] == f"models:/{SAMPLE_MODEL}@prod"
    assert model["verdict"] in ("better", "tied", "undecided")
    assert model["best"]["feasible"] in (True, None), "a few short blocks may leave it open"
    for figure in (model[side][key] for side in ("default", "best") for key in FIGURES):
        if model["blocks"] > 1:
            assert figure["ci_low"] < figure["estimate"] < figure["ci_high"]
        else:
            assert figure["ci_low"] is None
            assert figure["ci_high"] is None, "one block has no interval"
    assert found["environment"]["backend"] == {"name": "onnxruntime", "implementation": "hcopt-native"}
    assert found["measurements"]["planned"] == measured(first)


FIGURES = ("throughput_infer_per_s", "latency_p99_ms")


def assert_valid(found: Any) -> None:
    schema = json.loads(resources.files("hcopt").joinpath("schemas/summary.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, schema, cls=jsonschema.Draft202012Validator)


def measured(run: Run) -> int:
    return len((run.folder / "measurements.jsonl").read_text(encoding="utf-8").splitlines())


# --- and what becomes of it in a cluster -----------------------------------------------------------------------------

DEPLOYED = {"--base": 60_000, "--peak": 500_000, "--memory": 4096, "--scrape-interval": 30, "--rate-window": 120}
DEFAULTS = {"--horizontal-pod-autoscaler-sync-period": 15, "--horizontal-pod-autoscaler-tolerance": 0.1}


@pytest.fixture(scope="module")
def deployable(first: Run, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The run in a folder of its own; where it shows no rate in the little time, one that was tried counts."""
    place = workplace(tmp_path_factory.mktemp("deployed"))
    shutil.copytree(first.folder, place.results / "runs" / first.folder.name)
    folder = find_run(first.folder.name, results=place.results)
    record = read_record(folder)
    found = record.capacity or capacity()
    if found.sustainable_rate_infer_per_s.ci_low is None or record.capacity is None:
        rate = found.points[0].rate_infer_per_s
        record = replace(
            record, capacity=replace(found, sustainable_rate_infer_per_s=Estimate(estimate=rate, ci_low=rate))
        )
        folder.write_state("finished", {"config": Config().model_dump(mode="json"), "record": record_json(record)})
        folder.write_summary(summarize(record, tracking=None))
    return place


@pytest.mark.parametrize("autoscaler", ["hpa", "keda"])
def test_manifests_of_the_run_fit_the_schemas_and_every_number_is_in_its_summary(
    deployable: Workplace, first: Run, autoscaler: str
) -> None:
    options = [f"{option}={value}" for option, value in DEPLOYED.items()]
    answer = deployable.run("kubernetes", first.folder.name, *options, f"--{autoscaler}", "--out", autoscaler)
    assert answer.returncode == 0, answer.stderr
    (run_folder,) = deployable.runs
    trace = Trace(
        summary=json.loads((run_folder / "summary.json").read_text(encoding="utf-8")), options={**DEPLOYED, **DEFAULTS}
    )
    kinds = set()
    for path in sorted((deployable.folder / autoscaler).iterdir()):
        text = path.read_text(encoding="utf-8")
        trace.check(text)
        document = yaml.safe_load(text)
        if document.get("apiVersion") in ("v1", "apps/v1", "policy/v1", "autoscaling/v2"):
            kinds.add(document["kind"])
            kubernetes_validate.validate(document, "1.37", strict=True)
    assert kinds == {
        *("ConfigMap", "Deployment", "PodDisruptionBudget", "Service"),
        *(["HorizontalPodAutoscaler"] if autoscaler == "hpa" else []),
    }
    assert {"C", "T", "τ", "start"} <= set(trace.facts)
    assert len(trace.traced) >= 10


def test_measurements_are_read_back_with_their_samples(first: Run) -> None:
    taken = read_measurements(first.folder)
    sweep = [m for m in taken if m.phase == "sweep"]
    assert [m.variant.config_name for m in sweep] == [f"{SAMPLE_MODEL}_config_default", f"{SAMPLE_MODEL}_config_0"]
    assert {m.error for m in taken if m.phase != "open_loop"} == {None}, "but for a load generator that lags"
    confirmation = [m for m in taken if m.phase == "confirmation"]
    blocks = {m.block for m in confirmation}
    assert blocks == set(range(len(blocks)))
    assert len(confirmation) == 2 * len(blocks)
    assert all((first.folder / str(m.samples_file)).is_file() for m in confirmation)


def test_run_has_the_noise_of_the_machine_before_and_the_sustainable_rate_after(first: Run) -> None:
    answer, folder = first.answer, first.folder
    assert answer.returncode == 0, answer.stderr
    phases = list(dict.fromkeys(m.phase for m in read_measurements(folder)))
    assert [one for one in phases if one != "onnxruntime_alone"] == [
        *("noise", "sweep", "memory", "confirmation", "open_loop"),
    ]
    found = summary(first)
    assert list(found["elapsed_phases_s"])[:8] == [
        *("fetch", "serve", "load", "noise", "sweep", "confirmation", "onnxruntime_alone", "open_loop"),
    ]
    noise = found["models"][0]["noise"]
    assert noise["block_count"] >= 4
    assert "can be shown on this machine in the" in answer.stderr
    # On a machine this busy the load generator may lag in every window; then the run says so.
    assert found["models"][0]["capacity"] or "No rate of requests is promised" in answer.stderr


def test_run_says_what_of_a_request_s_time_the_model_takes(first: Run) -> None:
    found = summary(first)["models"][0]
    alone, best = found["onnxruntime_alone"], found["best"]
    if alone is None:
        # The turns need a machine that starts a program within two seconds.
        assert "What Triton costs, beside ONNX Runtime alone, is not measured" in first.answer.stderr
        return
    taken = [m for m in read_measurements(first.folder) if m.phase == "onnxruntime_alone"]
    assert {(m.variant.config_name, m.load.concurrency) for m in taken} == {(best["config_name"], 1)}
    assert sorted(m.profiler for m in taken) == 6 * ["onnxruntime"] + 6 * ["perf_analyzer"]
    assert all((first.folder / str(m.samples_file)).is_file() for m in taken)
    # The sample is a MatMul of some microseconds: what Triton and gRPC do takes longer on any machine.
    assert 0 < alone["model_ms"]["estimate"] < alone["request_ms"]["estimate"]
    ratio = alone["model_ratio"]
    assert 0 < ratio["ci_low"] <= ratio["estimate"] <= ratio["ci_high"]
    assert "are the model's (ONNX Runtime alone, in turns with it)" in first.answer.stdout


def test_run_is_read_back_whole(first: Run) -> None:
    record = read_record(find_run(str(first.folder), results=Path("elsewhere")))
    assert record.run_id == first.folder.name
    assert record.command == shlex.join(["hcopt", "profile", *TINY, *EVIDENCE])
    assert list(record.measurements) == list(read_measurements(first.folder))


def test_run_keeps_its_logs_and_nothing_that_only_the_work_needed(first: Run) -> None:
    assert {path.name for path in (first.folder / "logs").iterdir()} == {
        "tritonserver.log",
        "model_analyzer.log",
        "perf_analyzer.log",
    }
    assert {path.name for path in first.folder.iterdir()} == {
        "analyzer.yaml",
        "golden",
        "input.json",
        "logs",
        "measurements.jsonl",
        "output_models",
        "reports",
        "run.json",
        "samples",
        "summary.json",
    }


@pytest.fixture
def client(first: Run) -> Iterator[MlflowClient]:
    with mlflow_session(summary(first)["mlflow"]["tracking_uri"], error=OutputError) as opened:
        yield opened


def test_mlflow_has_the_run_with_a_child_a_variant_and_the_artifacts(client: MlflowClient, first: Run) -> None:
    parent = client.get_run(summary(first)["mlflow"]["run_id"])
    assert parent.info.status == "FINISHED"
    assert client.get_experiment(parent.info.experiment_id).name == "hcopt"
    best = summary(first)["models"][0]["best"]
    assert parent.data.params["best.config_name"] == best["config_name"]
    assert parent.data.metrics["best.throughput_infer_per_s"] == best["throughput_infer_per_s"]["estimate"]
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert sorted(str(child.info.run_name) for child in children) == [
        f"{SAMPLE_MODEL}_config_0",
        f"{SAMPLE_MODEL}_config_default",
    ]
    assert set(artifacts(client, parent.info.run_id)) >= {
        "report/result_summary.pdf",
        "golden/config.pbtxt",
        "summary.json",
        "measurements.jsonl",
    }


def artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from artifacts(client, run_id, entry.path)
        else:
            yield entry.path


def test_model_version_carries_the_answer(client: MlflowClient, first: Run) -> None:
    version = client.get_model_version_by_alias(SAMPLE_MODEL, "prod")
    found = summary(first)
    assert version.tags["hcopt.verdict"] == found["models"][0]["verdict"]
    assert version.tags["hcopt.run_id"] == first.folder.name
    assert version.tags["hcopt.max_queue_delay_us"] == str(found["models"][0]["best"]["max_queue_delay_us"])


# --- more runs, at the same time, since they mostly wait --------------------------------------------------------------


@dataclass(frozen=True)
class Interruption:
    """The line of stderr that it follows, and what the message has to say."""

    aim: str
    number: int
    said: str
    measured: bool


INTERRUPTIONS = {
    "fetch": Interruption("Fetching the model", signal.SIGHUP, "SIGHUP", measured=False),
    "start-up": Interruption("Starting Triton", signal.SIGTERM, "SIGTERM", measured=False),
    "sweep": Interruption("[1/2] ", signal.SIGINT, "interrupted", measured=True),
    "confirmation": Interruption("Confirmation: ", signal.SIGTERM, "SIGTERM", measured=True),
}


@dataclass(frozen=True)
class Interrupted:
    answer: Answer
    place: Workplace
    latest_before: Path


@dataclass(frozen=True)
class Later:
    """What came after the first run: one in the same folder, the interrupted ones in copies of it."""

    infeasible: Run
    interrupted: dict[str, Interrupted]


@pytest.fixture(scope="module")
def later(first: Run, place: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Later:
    copies = {name: workplace(tmp_path_factory.mktemp("interrupted")) for name in INTERRUPTIONS}
    for copy in copies.values():
        shutil.copytree(place.results, copy.results, symlinks=True)

    def interrupt(name: str) -> Interrupted:
        copy, what = copies[name], INTERRUPTIONS[name]
        latest = (copy.results / "latest").resolve()
        answer = copy.run("profile", *TINY, "--set=confirmation.max_minutes=4", aim=what.aim, number=what.number)
        return Interrupted(answer, copy, latest)

    with ThreadPoolExecutor(1 + len(INTERRUPTIONS)) as pool:
        infeasible = pool.submit(run, place, "--json", "--set=constraints.latency_p99_ms=0.001")
        interrupted = dict(zip(INTERRUPTIONS, pool.map(interrupt, INTERRUPTIONS), strict=True))
        return Later(infeasible.result(), interrupted)


@pytest.fixture
def infeasible(later: Later) -> Run:
    """With a limit that nothing meets."""
    return later.infeasible


@pytest.fixture
def interrupted(later: Later) -> dict[str, Interrupted]:
    return later.interrupted


# --- a limit that nothing meets --------------------------------------------------------------------------------------


def test_limit_that_nothing_meets_ends_with_6_and_a_complete_run(infeasible: Run) -> None:
    assert infeasible.answer.returncode == 6, infeasible.answer.stderr
    assert infeasible.answer.left == ()
    found = summary(infeasible)
    assert_valid(found)
    model = found["models"][0]
    assert (model["best"], model["improvement"], model["verdict"]) == (None, None, "no_feasible_config")
    assert model["default"]["feasible"] is False
    assert not (infeasible.folder / "golden").exists()
    report = infeasible.folder / "reports" / "summaries" / SAMPLE_MODEL / "result_summary.pdf"
    text = "".join(page.extract_text() for page in pypdf.PdfReader(report).pages)
    assert "0.001" in text


def test_limit_that_nothing_meets_is_told_with_how_far_off(infeasible: Run) -> None:
    assert "error: " in infeasible.answer.stderr
    assert "0.001 ms" in infeasible.answer.stderr
    assert "what to do: Raise constraints.latency_p99_ms" in infeasible.answer.stderr
    assert "Traceback" not in infeasible.answer.stderr


def test_json_is_the_summary_and_nothing_else(infeasible: Run) -> None:
    assert infeasible.answer.stdout == (infeasible.folder / "summary.json").read_text(encoding="utf-8")


def test_results_switch_to_the_latest_run_and_keep_the_first(place: Workplace, first: Run, infeasible: Run) -> None:
    assert infeasible.folder != first.folder
    assert infeasible.shown["summary.json"] == infeasible.folder / "summary.json"
    assert not (place.results / "golden").exists(), "no golden configuration of an older run under the latest report"
    assert (first.folder / "golden" / SAMPLE_MODEL / "config.pbtxt").is_file()
    assert summary(first)["run_id"] == first.folder.name


# --- interrupted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_interruption_ends_everything_and_says_so(interrupted: dict[str, Interrupted], name: str) -> None:
    answer = interrupted[name].answer
    assert answer.returncode == 130, answer.stderr
    assert answer.left == ()
    assert re.search(rf"^error: .*{INTERRUPTIONS[name].said}", answer.stderr, re.MULTILINE)
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""
    folders = [path for path in interrupted[name].place.runs if not (path / "summary.json").exists()]
    said = re.findall(r"what to do: `(.*) --resume (\S+)` goes on", answer.stderr)
    command = shlex.join([str(HCOPT), "profile", *TINY, "--set=confirmation.max_minutes=4"])
    assert said == [(command, folder.name) for folder in folders], "its folder is not on the PATH of these tests"


@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_interruption_keeps_what_was_measured_and_shows_the_run_before(
    interrupted: dict[str, Interrupted], name: str
) -> None:
    there = interrupted[name]
    assert (there.place.results / "latest").resolve() == there.latest_before
    folders = [folder for folder in there.place.runs if not (folder / "summary.json").exists()]
    kept = [measurement for folder in folders for measurement in read_measurements(folder)]
    assert bool(kept) == INTERRUPTIONS[name].measured
    assert all(isinstance(measurement, Measurement) and measurement.error is None for measurement in kept)
    assert [json.loads((folder / "run.json").read_text())["state"] for folder in folders] == ["interrupted"] * bool(
        kept
    )


# --- before a run ----------------------------------------------------------------------------------------------------


def test_dry_run_says_how_many_measurements_and_how_long_and_writes_nothing(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    answer = place.run("profile", *TINY, "--dry-run")
    assert answer.returncode == 0, answer.stderr
    assert re.search(r"2 measurements in the sweep and up to \d+ in the confirmation: about \d+ (s|min)", answer.stdout)
    assert list(place.folder.iterdir()) == []
    assert answer.left == ()


def test_dry_run_for_machines_is_json_alone(tmp_path: Path) -> None:
    answer = workplace(tmp_path).run("profile", *TINY, "--dry-run", "--json")
    planned = json.loads(answer.stdout)
    assert planned["measurements"]["sweep"] == 2
    assert planned["expected_s"] > 0
    assert [variant["config_name"] for variant in planned["plan"]["variants"]] == [f"{SAMPLE_MODEL}_config_0"]
