"""Runs on a real Ray cluster: a head and two workers with real embedded servers; with kills in the middle of tasks."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.support.ray_nodes import RayNodes, ray_nodes
from hcopt.model.triton_config import parse_text, variant_of
from hcopt.records.measurement import Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.store.measurements import read_measurements
from tests.support.command import SAMPLE_FOLDER, SAMPLE_MODEL, TINY, Answer, Workplace, is_driver, workplace
from tests.support.stores import with_store

WORKERS = ("w1", "w2")
NAMES = ("First", "Second", "Third")
# So slow that no noise hides which configuration is best: it waits for a batch that never fills.
SLOW = "dynamic_batching { max_queue_delay_microseconds: 100000 }"


@pytest.fixture(scope="module")
def head() -> Iterator[RayNodes]:
    with ray_nodes() as nodes:
        nodes.start_head()
        yield nodes


@pytest.fixture(scope="module")
def nodes(head: RayNodes) -> RayNodes:
    head.start_workers(*WORKERS)
    return head


def place_with_model(folder: Path) -> Workplace:
    place = with_store(workplace(folder))
    model = place.folder / SAMPLE_MODEL
    shutil.copytree(SAMPLE_FOLDER, model)
    text = (model / "config.pbtxt").read_text(encoding="utf-8")
    (model / "config.pbtxt").write_text(re.sub(r"dynamic_batching \{\s*\}", SLOW, text), encoding="utf-8")
    assert SLOW in (model / "config.pbtxt").read_text(encoding="utf-8")
    return place


def on_ray(nodes: RayNodes) -> tuple[str, ...]:
    return ("--executor", "ray", "--address", nodes.address, "--set=executor.package=installed")


QUICK = (*TINY, "--set=sweep.max_queue_delay_us=[0]", "--set=runtime.kind=embedded")
# A node that measures gives a sign of life every five seconds, on a busy machine later.
SILENCE_S = 20


def measured(run: Path) -> list[Measurement]:
    return list(read_measurements(run))


def keys(found: list[Measurement]) -> Counter[object]:
    return Counter((one.phase, one.variant.config_name, one.load, one.block) for one in found)


# --- before there are workers ----------------------------------------------------------------------------------------


def test_cluster_without_a_fitting_node_is_told_with_what_there_is(head: RayNodes, tmp_path: Path) -> None:
    place = place_with_model(tmp_path)
    answer = place.run("profile", *QUICK, "--model", SAMPLE_MODEL, *on_ray(head))
    assert answer.returncode == 4, answer.stderr
    assert "each needs the resource hcopt and CPUs. There are: " in answer.stderr
    assert "(0 CPUs, hcopt: 0)" in answer.stderr
    assert "--resources='{\"hcopt\": 1}'" in answer.stderr
    assert answer.left == ()


def test_no_cluster_at_the_address_is_told(tmp_path: Path) -> None:
    place = place_with_model(tmp_path)
    answer = place.run("profile", *QUICK, "--model", SAMPLE_MODEL, "--executor", "ray", "--address", "127.0.0.1:9")
    assert answer.returncode == 4, answer.stderr
    assert "no Ray cluster at 127.0.0.1:9" in answer.stderr
    assert not place.runs


# --- three models over two workers -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """Three models that the workers share, and one of them by itself on this machine: they are the same file."""

    shared: Answer
    alone: Answer
    place: Workplace
    elsewhere: Workplace

    @property
    def summary(self) -> Any:
        return json.loads((self.place.results / "summary.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def story(nodes: RayNodes, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Both at the same time: no noise hides which configuration is best."""
    place, elsewhere = (place_with_model(tmp_path_factory.mktemp(name)) for name in ("ray", "alone"))
    models = json.dumps([{"model": {"uri": SAMPLE_MODEL, "name": name}} for name in NAMES])
    with ThreadPoolExecutor(2) as pool:
        alone = pool.submit(elsewhere.run, "profile", *QUICK, "--model", SAMPLE_MODEL)
        shared = place.run("profile", *QUICK, f"--set=models={models}", *on_ray(nodes))
    return Story(shared, alone.result(), place, elsewhere)


def test_three_models_end_well_on_both(story: Story, nodes: RayNodes) -> None:
    assert story.shared.returncode == 0, story.shared.stderr
    assert story.alone.returncode == 0, story.alone.stderr
    assert story.shared.left == () == nodes.left()


def test_golden_configurations_are_those_of_one_after_the_other(story: Story) -> None:
    alone = golden(story.elsewhere, SAMPLE_MODEL)
    for name in NAMES:
        assert golden(story.place, name) == alone
    assert alone.max_queue_delay_us == 0


def golden(place: Workplace, name: str) -> ModelConfigVariant:
    return variant_of(parse_text((place.results / "golden" / name / "config.pbtxt").read_text()), "golden")


def test_sum_of_measurements_is_the_plans(story: Story) -> None:
    for model in story.summary["models"]:
        run = story.place.results / "latest" / "runs" / model["run_id"]
        found = measured(run)
        assert sum(1 for one in found if one.phase == "sweep") == 2, "the default and one variant at one load"
        assert set(keys(found).values()) == {1}
    counts = story.summary["measurements"]
    assert counts["done"] == counts["planned"]
    assert counts["failed"] == 0


def test_both_workers_measured_each_for_itself_and_every_measurement_says_where(story: Story) -> None:
    runs = (story.place.results / "latest" / "runs").iterdir()
    per_run = [measured(run) for run in runs]
    assert len({one.node for found in per_run for one in found}) == 2
    for found in per_run:
        proof = {one.node for one in found if one.phase == "confirmation"}
        assert len(proof) == 1, "finalists and default are confirmed on one node"
        assert None not in {one.node for one in found}


def test_progress_shows_nodes_and_tasks(story: Story) -> None:
    said = story.shared.stderr
    assert "2 × " in said, "the kind of node, and how many there are"
    for name in NAMES:
        assert f"{SAMPLE_MODEL}" in said
        assert name in NAMES
    assert "[9/9] " in said, "three models of three tasks"
    assert "confirmation and capacity begins on " in said


# --- kills -----------------------------------------------------------------------------------------------------------

CONFIRMING = "confirmation and capacity begins on"


def test_task_of_a_killed_process_runs_elsewhere_and_a_drained_node_gets_no_further_task(
    nodes: RayNodes, tmp_path: Path
) -> None:
    place = place_with_model(tmp_path)
    drained: list[str] = []

    def kill_process() -> None:
        nodes.working().kill()

    def drain() -> None:
        drained.append(node_of(nodes, nodes.working()))
        nodes.drain(drained[0])

    acts = (("sweep begins on", kill_process), ("sweep begins on", drain))
    answer = place.run("profile", *QUICK, "--model", SAMPLE_MODEL, *on_ray(nodes), acts=acts)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("A task was lost on ") == 1, answer.stderr
    found = measured(place.runs[0])
    assert set(keys(found).values()) == {1}
    assert sum(1 for one in found if one.phase == "sweep") == 2
    where = {phase: {one.node for one in found if one.phase == phase} for phase in ("sweep", "confirmation")}
    assert len(where["sweep"]) == len(where["confirmation"]) == 1
    assert where["sweep"] != where["confirmation"]
    assert answer.left == () == nodes.left()
    nodes.kill_node(drained[0])
    nodes.start_workers(*drained)


def node_of(nodes: RayNodes, process: psutil.Process) -> str:
    [name] = [name for name in WORKERS if process.pid in {one.pid for one in nodes.processes(name)}]
    return name


@dataclass(frozen=True)
class Disturbed:
    """A run that is interrupted after one of its tasks hung, then killed, and completed after one of its nodes died.

    Attributes:
        answers: Of the three commands, the second and third of which go on.
        left: What each has left on the nodes.
        measured: What was on disk after each.
    """

    answers: list[Answer] = field(default_factory=list)
    left: list[tuple[str, ...]] = field(default_factory=list)
    measured: list[list[Measurement]] = field(default_factory=list)


@pytest.fixture(scope="module")
def disturbed(nodes: RayNodes, tmp_path_factory: pytest.TempPathFactory) -> Disturbed:
    place, found = place_with_model(tmp_path_factory.mktemp("disturbed")), Disturbed()
    # So long a confirmation that whoever is to die in it does.
    options = (f"--set=executor.silence_s={SILENCE_S}", "--set=confirmation.max_minutes=0.2")
    arguments = ("profile", *QUICK, "--model", SAMPLE_MODEL, *on_ray(nodes), *options)
    hanging: list[psutil.Process] = []

    def hang() -> None:
        hanging.append(nodes.working())
        hanging[0].suspend()

    def kill_driver() -> None:
        nodes.wait_for_program("perf_analyzer")
        [driver] = [one for one in psutil.process_iter() if is_driver(one, place.folder)]
        driver.kill()

    def kill_node() -> None:
        nodes.kill_node(node_of(nodes, nodes.working()))

    def run(*more: str, **how: Any) -> None:
        found.answers.append(place.run(*arguments, *more, **how))
        for one in hanging:
            with suppress(psutil.NoSuchProcess):
                one.resume()
        found.left.append(nodes.left())
        found.measured.append(measured(place.runs[0]))

    run(acts=(("sweep begins on", hang),), aim=CONFIRMING, number=signal.SIGINT)
    run("--resume", acts=((CONFIRMING, kill_driver),))
    run("--resume", acts=((CONFIRMING, kill_node),))
    missing = [name for name in WORKERS if not nodes.processes(name)]
    assert len(missing) == 1
    nodes.start_workers(*missing)
    return found


def test_task_of_a_process_that_hangs_runs_elsewhere(disturbed: Disturbed) -> None:
    assert f"no sign of life for {SILENCE_S} s" in disturbed.answers[0].stderr
    assert Counter(one.phase for one in disturbed.measured[0]) == {"sweep": 2}


def test_interruption_ends_what_runs_on_the_nodes(disturbed: Disturbed) -> None:
    answer = disturbed.answers[0]
    assert answer.returncode == 130, answer.stderr
    assert "goes on where it stopped" in answer.stderr
    assert answer.left == () == disturbed.left[0]


def test_killed_driver_leaves_nothing_and_is_resumed_from_its_files(disturbed: Disturbed) -> None:
    killed = disturbed.answers[1]
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.left == () == disturbed.left[1]
    before, last = disturbed.measured[1:]
    assert Counter(one.phase for one in before) == {"sweep": 2}
    assert last[: len(before)] == before


def test_task_of_a_killed_node_runs_elsewhere_and_the_run_is_complete(disturbed: Disturbed) -> None:
    resumed = disturbed.answers[2]
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.count("A task was lost on ") == 1, resumed.stderr
    assert set(keys(disturbed.measured[2]).values()) == {1}
    assert sum(1 for one in disturbed.measured[2] if one.phase == "sweep") == 2
    assert resumed.left == () == disturbed.left[2]
