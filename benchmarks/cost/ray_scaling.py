"""What a task costs beyond its measurement, on 1, 2, 4 and 8 nodes of a real Ray cluster on this machine.

A stand-in takes the place of the measurement: it sleeps for 5 s, so that eight nodes need no eight machines. All else
is real: the pool, the cluster, the tasks, their events and outcomes. Command: see README.md.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.ray_nodes import ray_nodes
from hcopt.config.sections import Config
from hcopt.job.cluster.pool import Pool
from hcopt.job.cluster.ray_cluster import connected
from hcopt.job.cluster.values import Files, Node, Outcome
from hcopt.records.measurement import Environment
from hcopt.words.notes import sentence

_SAMPLES_BYTES = 200_000
_MODEL_BYTES = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A task that measures nothing, for so many seconds; it brings back about as much as a real one."""

    seconds: float

    def perform(self, files: Files) -> Outcome:  # noqa: ARG002 - as Task
        time.sleep(self.seconds)
        return Outcome(files={"samples/one.npz": os.urandom(_SAMPLES_BYTES)})


def _elapsed_s(pool: Pool, kind: Environment, *, tasks: int, seconds: float) -> float:
    shared = pool.cluster.share({"model.onnx": os.urandom(_MODEL_BYTES)})

    def one(_: int) -> None:
        pool.run(_pause, shared, kind, begun=lambda _: None, note=print)

    def _pause(_: Node) -> Pause:
        return Pause(seconds=seconds)

    began = time.monotonic()
    with ThreadPoolExecutor(tasks) as threads:
        list(threads.map(one, range(tasks)))
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--tasks-a-worker", type=int, default=6)
    asked = parser.parse_args()
    # The nodes have to find this module.
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
    print("workers  tasks  seconds  efficiency  beyond the measurement, s a task")
    with ray_nodes() as nodes:
        nodes.start_head()
        started = 0
        for workers in sorted(asked.workers):
            nodes.start_workers(*(f"w{number}" for number in range(started, workers)), cpus=1)
            started = workers
            with connected(nodes.address, bring_package=False) as cluster:
                config = Config().model_dump(mode="json")
                pool = Pool(cluster=cluster, config=config, note=lambda note: print(sentence(note)))
                [kind] = pool.classes()
                # Every node has a process for tasks then.
                _elapsed_s(pool, kind.environment, tasks=2 * workers, seconds=0.0)
                tasks = asked.tasks_a_worker * workers
                took_s = _elapsed_s(pool, kind.environment, tasks=tasks, seconds=asked.seconds)
            a_task_s = took_s * workers / tasks
            print(
                f"{workers:>7}  {tasks:>6}  {took_s:>7.1f}  {asked.seconds / a_task_s:>10.3f}  "
                f"{a_task_s - asked.seconds:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
