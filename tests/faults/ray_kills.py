"""Runs on a real Ray cluster, each killed once at a random moment: a process on a node, a whole node, or the driver.

    python -m tests.faults.ray_kills --kills 20 --seed 1

Each run has two models on two nodes, or with `--one-model` one whose sweep they share. Afterwards it has to be complete
(after `--resume` where the driver was killed): each point of the plan measured once, no sample without its record, no
process and no folder left. With no other work on the machine.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.support.ray_nodes import RayNodes, ray_nodes
from hcopt.store.measurements import read_measurements
from tests.support.command import SAMPLE_FOLDER, SAMPLE_MODEL, TINY, Workplace, is_driver, workplace

WORKERS = ("w1", "w2")
VICTIMS = ("process", "node", "driver")
ARGUMENTS = ("profile", *TINY, "--set=runtime.kind=embedded", "--set=executor.package=installed", "--executor=ray")
MODELS = [{"model": {"uri": SAMPLE_MODEL, "name": name}} for name in ("First", "Second")]
TWO_MODELS = (f"--set=models={json.dumps(MODELS)}",)
# So many variants that two nodes share them.
ONE_MODEL = (
    f"--model={SAMPLE_MODEL}",
    "--set=sweep.max_batch_size=[4,8,16,32]",
    "--set=sweep.max_queue_delay_us=[0,100]",
)


@dataclass(frozen=True)
class Kill:
    """Whom, and how many seconds after the start of the run."""

    victim: str
    after_s: float


def kills(seed: int, lasts_s: float) -> Iterator[Kill]:
    chance = random.Random(seed)
    while True:
        yield Kill(victim=chance.choice(VICTIMS), after_s=chance.uniform(0.0, lasts_s))


def run(nodes: RayNodes, story: tuple[str, ...], kill: Kill | None) -> tuple[list[str], str]:
    """One run; the faults that it has left, and what was killed."""
    root = Path(tempfile.mkdtemp(prefix="hk"))
    try:
        place = workplace(root)
        shutil.copytree(SAMPLE_FOLDER, place.folder / SAMPLE_MODEL)
        arguments = (*ARGUMENTS, *story, f"--address={nodes.address}")
        said: list[str] = []
        timer = None if kill is None else _killed_later(nodes, place, kill, said)
        answer = place.run(*arguments)
        if timer is not None:
            timer.cancel()
            timer.join()
        faults = [f"left: {answer.left}"] if answer.left else []
        if answer.returncode < 0 or answer.returncode == 1:
            answer = place.run(*arguments, "--resume")
        if answer.returncode != 0:
            faults.append(f"exit code {answer.returncode}: {answer.stderr[-2000:]}")
        faults += _faults(place, nodes)
        return faults, " ".join(said)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _killed_later(nodes: RayNodes, place: Workplace, kill: Kill, said: list[str]) -> threading.Timer:
    def act() -> None:
        with suppress(psutil.NoSuchProcess, IndexError, ValueError):
            if kill.victim == "driver":
                [driver] = [one for one in psutil.process_iter() if is_driver(one, place.folder)]
                driver.kill()
            else:
                working = nodes.tasks()
                target = random.Random(kill.after_s).choice(working) if working else None
                if kill.victim == "process" and target is not None:
                    target.kill()
                else:
                    name = next((one for one in WORKERS if target in nodes.processes(one)), WORKERS[0])
                    nodes.kill_node(name)
                    said.append(name)
            said.append("killed")

    timer = threading.Timer(kill.after_s, act)
    timer.daemon = True
    timer.start()
    return timer


def _faults(place: Workplace, nodes: RayNodes) -> list[str]:
    faults = []
    if left := nodes.left():
        faults.append(f"left on the nodes: {left}")
    if len(place.runs) != 1:
        return [*faults, f"runs: {place.runs}"]
    members = sorted(place.runs[0].glob("runs/*")) or place.runs
    for member in members:
        faults += _faults_of(member)
    summary = json.loads((place.runs[0] / "summary.json").read_text(encoding="utf-8"))
    if summary["measurements"]["done"] != summary["measurements"]["planned"]:
        faults.append(f"summary: {summary['measurements']}")
    if len(summary["models"]) != len(members):
        faults.append(f"{len(members)} runs of {len(summary['models'])} models")
    return faults


def _faults_of(run: Path) -> list[str]:
    faults = []
    found = read_measurements(run)
    keys = Counter((one.phase, one.variant.config_name, one.load, one.block) for one in found)
    if twice := [key for key, count in keys.items() if count > 1]:
        faults.append(f"twice: {twice}")
    swept = [one for one in found if one.phase == "sweep"]
    # The default is measured in each task; there is one where a node was killed before it had been looked at.
    tasks = json.loads((run / "blocks.json").read_text(encoding="utf-8"))["sweep_blocks"]
    variants = len({one.variant.config_name for one in swept}) - 1
    if variants not in (1, 8) or len(swept) != variants + tasks:
        faults.append(f"{len(swept)} measurements of the sweep in {tasks} tasks")
    if failed := [one.error for one in found if one.error]:
        faults.append(f"failed: {failed}")
    samples = {str(path.relative_to(run)) for path in run.glob("samples/*/*")}
    if samples != {one.samples_file for one in found if one.samples_file}:
        faults.append("samples and records differ")
    if len({one.node for one in found if one.phase == "confirmation"}) > 1:
        faults.append("confirmed on more than one node")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one-model", action="store_true")
    asked = parser.parse_args()
    story = ONE_MODEL if asked.one_model else TWO_MODELS
    good = done = 0
    with ray_nodes() as nodes:
        nodes.start_head()
        nodes.start_workers(*WORKERS)
        began = time.monotonic()
        faults, _ = run(nodes, story, None)
        lasts_s = time.monotonic() - began
        print(f"without a kill: {lasts_s:.0f} s, {faults or 'no fault'}", flush=True)
        for kill in kills(asked.seed, lasts_s):
            faults, said = run(nodes, story, kill)
            # A run that had ended before counts for nothing, unless it has a fault.
            done += bool(said or faults)
            good += bool(said and not faults)
            print(f"{done}: {kill.victim} after {kill.after_s:.1f} s ({said}): {faults or 'complete'}", flush=True)
            if done == asked.kills:
                break
            nodes.start_workers(*(name for name in WORKERS if not nodes.processes(name)))
    print(f"{good} of {asked.kills}")
    return 0 if good == asked.kills else 1


if __name__ == "__main__":
    sys.exit(main())
