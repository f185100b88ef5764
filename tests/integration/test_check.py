"""`hcopt check` and `hcopt scale-check` with real servers."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hcopt.store.run_folder import RunFolder
from tests.support.command import SAMPLE_FOLDER, SAMPLE_MODEL, Workplace, workplace
from tests.support.examples import hcopt_arguments
from tests.support.planned_run import write_planned_run
from tests.support.stores import with_store

QUICK = ("--runtime", "embedded", "--set", "profiler.measurement_interval_ms=300")
FEW_BLOCKS = ("--blocks", "4")
# Few short windows on a busy machine could show anything: what is allowed here no noise reaches.
SURE = (*QUICK, *FEW_BLOCKS, "--max-regression", "99")
# A full batch never comes at concurrency 8, so that every request waits for the delay: no machine makes up for that.
SLOW = "dynamic_batching { max_queue_delay_microseconds: 200000 }"

# Of the requests that wait for a batch only one may: the others are answered with an error.
REJECTING = "dynamic_batching { max_queue_delay_microseconds: 200000 default_queue_policy { max_queue_size: 1 } }"


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return workplace(tmp_path)


def finished_run(place: Workplace) -> RunFolder:
    """A run whose golden configuration is the sample model's own."""
    folder = write_planned_run(place.results)
    shutil.copytree(SAMPLE_FOLDER, folder.golden / SAMPLE_MODEL)
    return folder


def candidate(place: Workplace, *, batching: str | None = None) -> Path:
    """A golden folder as it is committed, with another `dynamic_batching` where that is given."""
    folder = place.folder / "golden"
    shutil.copytree(SAMPLE_FOLDER, folder)
    if batching is not None:
        config = folder / "config.pbtxt"
        text = config.read_text(encoding="utf-8")
        config.write_text(text[: text.index("dynamic_batching")] + batching, encoding="utf-8")
    return folder


def test_same_configuration_passes_and_both_files_say_so(place: Workplace) -> None:
    run = finished_run(place)
    (place.folder / "summary.md").write_text("# Other steps\n", encoding="utf-8")
    outputs = ("--markdown", "summary.md", "--junit", "reports/hcopt.xml")
    answer = place.run("check", "--baseline", run.run_id, "--golden", str(candidate(place)), *SURE, *outputs)
    assert answer.returncode == 0, answer.stderr
    assert "take turns" not in answer.stderr
    assert "medians of 4 blocks" in answer.stderr, "in turns, of which one session has all"
    text = (place.folder / "summary.md").read_text(encoding="utf-8")
    assert text.startswith("# Other steps\n## hcopt check: no regression")
    assert f"run {run.run_id}" in text
    suites = ElementTree.parse(place.folder / "reports" / "hcopt.xml").getroot()
    assert suites.find("testsuite").get("failures") == "0"  # type: ignore[union-attr]
    assert answer.left == ()


def test_candidate_that_rejects_requests_is_a_regression_and_not_judged_by_the_others(place: Workplace) -> None:
    run = finished_run(place)
    golden = candidate(place, batching=REJECTING)
    answer = place.run("check", "--baseline", run.run_id, "--golden", str(golden), *SURE, "--markdown", "summary.md")
    assert answer.returncode == 8, answer.stderr
    assert "100.0 % of the requests failed" in answer.stdout
    assert "| failed requests |" in (place.folder / "summary.md").read_text(encoding="utf-8")
    assert answer.left == ()


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_commands_of_the_example_workflows_run(place: Workplace, name: str) -> None:
    """Where the golden configuration is committed and MLflow has the model, as the workflows want it."""
    assert with_store(place).run("seed").returncode == 0
    shutil.copytree(SAMPLE_FOLDER, place.folder / "golden" / SAMPLE_MODEL)
    for arguments in hcopt_arguments(name):
        checks = arguments[0] == "check"
        answer = place.run(
            *(word.replace("$GITHUB_STEP_SUMMARY", "step.md") for word in arguments), *(SURE if checks else ())
        )
        # The workflow goes on where `hcopt doctor` finds an error.
        assert answer.returncode in ((0,) if checks else (0, 1)), answer.stderr
    assert (place.folder / "hcopt.xml").is_file()


def test_real_regression_against_a_registered_model_ends_with_8(place: Workplace) -> None:
    assert with_store(place).run("seed").returncode == 0
    answer = place.run(
        "check",
        "--baseline",
        f"models:/{SAMPLE_MODEL}@prod",
        "--golden",
        str(candidate(place, batching=SLOW)),
        *QUICK,
        *FEW_BLOCKS,
        "--set",
        "sweep.concurrency=[8]",
        "--junit",
        "hcopt.xml",
    )
    assert answer.returncode == 8, answer.stderr
    assert "hcopt check: regression\n  throughput is" in answer.stdout
    # The model was registered, and nothing more.
    assert "(version 1): the config.pbtxt beside the model, since no run of hcopt has left an answer" in answer.stdout
    assert "is worse than models:/" in answer.stderr
    suite = ElementTree.parse(place.folder / "hcopt.xml").getroot().find("testsuite")
    assert suite is not None
    failed = {case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None}
    # p99 too, unless the machine was so busy that its interval is wide.
    assert {"throughput"} <= failed <= {"throughput", "p99 latency"}
    assert suite.get("failures") == str(len(failed))


@pytest.mark.parametrize(
    ("arguments", "returncode", "said"),
    [
        (("--baseline", "nowhere"), 2, "no run nowhere"),
        (("--baseline", "results", "--blocks", "2"), 2, "show nothing"),
        (("--baseline", "results", "--runtime", "remote"), 2, "needs the address of the server"),
        (("--baseline", "results", "--endpoint", "grpc://127.0.0.1:9"), 4, "no Triton answers at"),
        (("--baseline", "results", "--max-regression", "100"), 2, "--max-regression"),
    ],
)
def test_check_that_cannot_be_is_refused(
    place: Workplace, arguments: tuple[str, ...], returncode: int, said: str
) -> None:
    finished_run(place)
    answer = place.run("check", "--golden", str(candidate(place)), *arguments)
    assert answer.returncode == returncode
    assert said in answer.stderr


def test_scale_check_measures_servers_of_one_cpu_and_keeps_it_with_the_run(place: Workplace) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two isolated servers need two CPUs")
    run = finished_run(place)
    answer = place.run("scale-check", "results", *QUICK, "--cpus", "1", "--blocks", "2")
    assert answer.returncode == 0, answer.stderr
    found = json.loads((run.path / "scale_check.json").read_text(encoding="utf-8"))
    assert (found["servers"], found["cpus_per_server"], found["block_count"]) == (2, 1, 2)
    assert 0 < found["ci_low"] <= found["ratio"] <= found["ci_high"]
    assert answer.left == ()


def test_scale_check_on_a_small_machine_says_so(place: Workplace) -> None:
    run = finished_run(place)
    cpus = len(os.sched_getaffinity(0))
    answer = place.run("scale-check", "results", *QUICK, "--cpus", str(cpus))
    assert answer.returncode == 2
    assert "this machine is too small" in answer.stderr
    assert not (run.path / "scale_check.json").exists()
