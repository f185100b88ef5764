"""Runs on a real Ray cluster: a head and two workers with real embedded servers; with kills in the middle of tasks."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.support.ray_nodes import RayNodes, ray_nodes
from hcopt.model.triton_config import parse_text, variant_of
from hcopt.records.measurement import Measurement
from hcopt.store.measurements import read_measurements
from tests.support.command import SAMPLE_FOLDER, SAMPLE_MODEL, TINY, Answer, Workplace, is_driver, workplace

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
    place = workplace(folder)
    model = place.folder / SAMPLE_MODEL
    shutil.copytree(SAMPLE_FOLDER, model)
    text = (model / "config.pbtxt").read_text(encoding="utf-8")
    (model / "config.pbtxt").write_text(re.sub(r"dynamic_batching \{\s*\}", SLOW, text), encoding="utf-8")
    assert SLOW in (model / "config.pbtxt").read_text(encoding="utf-8")
    return place


def on_ray(nodes: RayNodes) -> tuple[str, ...]:
    return ("--executor", "ray", "--address", nodes.address, "--set=executor.package=installed")


QUICK = (*TINY, "--set=sweep.max_queue_delay_us=[0]", "--set=runtime.kind=embedded")


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
    place: Workplace
    shared: Answer
    alone: Answer

    def summary(self, results: str) -> Any:
        return json.loads((self.place.folder / results / "summary.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def story(nodes: RayNodes, tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = place_with_model(tmp_path_factory.mktemp("ray"))
    models = json.dumps([{"model": {"uri": SAMPLE_MODEL, "name": name}} for name in NAMES])
    arguments = ("profile", *QUICK, f"--set=models={models}")
    shared = place.run(*arguments, *on_ray(nodes), "--output", "shared")
    alone = place.run(*arguments, "--output", "alone")
    return Story(place, shared, alone)


def test_three_models_end_well_on_both(story: Story, nodes: RayNodes) -> None:
    assert story.shared.returncode == 0, story.shared.stderr
    assert story.alone.returncode == 0, story.alone.stderr
    assert story.shared.left == () == nodes.left()


def test_golden_configurations_are_those_of_one_after_the_other(story: Story) -> None:
    for name in NAMES:
        golden = [
            variant_of(parse_text((story.place.folder / results / "golden" / name / "config.pbtxt").read_text()), "x")
            for results in ("shared", "alone")
        ]
        assert golden[0] == golden[1]
        assert golden[0].max_queue_delay_us == 0


def test_sum_of_measurements_is_the_plans(story: Story) -> None:
    for model in story.summary("shared")["models"]:
        run = story.place.folder / "shared" / "latest" / "runs" / model["run_id"]
        found = measured(run)
        assert sum(1 for one in found if one.phase == "sweep") == 2, "the default and one variant at one load"
        assert set(keys(found).values()) == {1}
    counts = story.summary("shared")["measurements"]
    assert counts["done"] == counts["planned"]
    assert counts["failed"] == 0


def test_both_workers_measured_each_for_itself_and_every_measurement_says_where(story: Story) -> None:
    runs = (story.place.folder / "shared" / "latest" / "runs").iterdir()
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


def test_task_of_a_killed_process_and_of_a_killed_node_runs_elsewhere(nodes: RayNodes, tmp_path: Path) -> None:
    place = place_with_model(tmp_path)

    def kill_process() -> None:
        nodes.working().kill()

    def kill_node() -> None:
        worker = nodes.working()
        [name] = [name for name in WORKERS if worker.pid in {one.pid for one in nodes.processes(name)}]
        nodes.kill_node(name)

    acts = (("sweep begins on", kill_process), ("confirmation and capacity begins on", kill_node))
    answer = place.run("profile", *QUICK, "--model", SAMPLE_MODEL, *on_ray(nodes), acts=acts)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("A task was lost on ") == 2, answer.stderr
    [run] = place.runs
    assert set(keys(measured(run)).values()) == {1}
    assert sum(1 for one in measured(run) if one.phase == "sweep") == 2
    assert answer.left == () == nodes.left()
    missing = [name for name in WORKERS if not nodes.processes(name)]
    assert len(missing) == 1
    nodes.start_workers(*missing)


def test_task_of_a_process_that_hangs_runs_elsewhere(nodes: RayNodes, tmp_path: Path) -> None:
    place = place_with_model(tmp_path)
    hanging: list[psutil.Process] = []

    def hang() -> None:
        hanging.append(nodes.working())
        hanging[0].suspend()

    acts = (("sweep begins on", hang),)
    arguments = ("profile", *QUICK, "--model", SAMPLE_MODEL, *on_ray(nodes), "--set=executor.silence_s=15")
    answer = place.run(*arguments, acts=acts)
    assert answer.returncode == 0, answer.stderr
    assert "no sign of life for 15 s" in answer.stderr
    [run] = place.runs
    assert set(keys(measured(run)).values()) == {1}
    with suppress(psutil.NoSuchProcess):
        hanging[0].resume()
    assert answer.left == () == nodes.left()


def test_drained_node_gets_no_further_task(nodes: RayNodes, tmp_path: Path) -> None:
    place = place_with_model(tmp_path)
    drained: list[str] = []

    def drain() -> None:
        worker = nodes.working()
        [name] = [name for name in WORKERS if worker.pid in {one.pid for one in nodes.processes(name)}]
        nodes.drain(name)
        drained.append(name)

    answer = place.run("profile", *QUICK, "--model", SAMPLE_MODEL, *on_ray(nodes), acts=(("sweep begins on", drain),))
    assert answer.returncode == 0, answer.stderr
    found = measured(place.runs[0])
    where = {phase: {one.node for one in found if one.phase == phase} for phase in ("sweep", "confirmation")}
    assert len(where["sweep"]) == len(where["confirmation"]) == 1
    assert where["sweep"] != where["confirmation"]
    assert "was lost" not in answer.stderr
    assert answer.left == () == nodes.left()
    nodes.kill_node(drained[0])
    nodes.start_workers(*drained)


def test_killed_driver_is_resumed_from_its_files(nodes: RayNodes, tmp_path: Path) -> None:
    place = place_with_model(tmp_path)
    arguments = ("profile", *QUICK, "--model", SAMPLE_MODEL, *on_ray(nodes))

    def kill_driver() -> None:
        nodes.wait_for_program("perf_analyzer")
        [driver] = [one for one in psutil.process_iter() if is_driver(one, place.folder)]
        driver.kill()

    killed = place.run(*arguments, acts=(("confirmation and capacity begins on", kill_driver),))
    assert killed.returncode == -signal.SIGKILL
    assert killed.left == () == nodes.left()
    [run] = place.runs
    before = measured(run)
    assert Counter(one.phase for one in before) == {"sweep": 2}
    resumed = place.run(*arguments, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert measured(run)[: len(before)] == before
    assert set(keys(measured(run)).values()) == {1}
    assert resumed.left == () == nodes.left()


def test_interruption_ends_what_runs_on_the_nodes(nodes: RayNodes, tmp_path: Path) -> None:
    place = place_with_model(tmp_path)
    arguments = ("profile", *QUICK, "--model", SAMPLE_MODEL, *on_ray(nodes))
    answer = place.run(*arguments, aim="confirmation and capacity begins on", number=signal.SIGINT)
    assert answer.returncode == 130, answer.stderr
    assert "goes on where it stopped" in answer.stderr
    assert answer.left == () == nodes.left()
