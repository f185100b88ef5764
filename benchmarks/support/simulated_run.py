"""hcopt's whole job on a simulated machine: only the server, the measuring programs and MLflow are stand-ins."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.support.simulated_machine import SimulatedMachine, simulated
from hcopt.config.sections import Config
from hcopt.job import run as pipeline
from hcopt.job.run import FinishedRun, Job
from hcopt.records.measurement import Measurement
from hcopt.store.unfinished import Unfinished
from hcopt.system.progress import Progress
from hcopt.tracking.log import TrackedRun

MODEL = Path(__file__).parents[2] / "model_repository" / "HomeCreditDefaultModel"
_ROOM_BYTES = 200_000_000
_NOWHERE = TrackedRun(tracking_uri="", experiment_id="", run_id="", page_command="")


def memory_folder() -> str | None:
    """Where files are kept in memory: that disks are slow is not what is looked at. None: wherever others go."""
    folder = Path("/dev/shm")
    roomy = folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > _ROOM_BYTES
    return str(folder) if roomy else None


class CountingProgress(Progress):
    """Counts what was measured, and tells each."""

    def __init__(self, told: Callable[[Measurement], None] = lambda _: None) -> None:
        self.count = 0
        self._told = told

    def measured(self, measurement: Measurement) -> None:
        self.count += 1
        self._told(measurement)


def simulated_config(
    *, variants: int, concurrency: tuple[int, ...], seed: int = 0, minutes: float = 2.0, **sections: Any
) -> Config:
    """A grid of so many variants at least, in whole queue delays, each at each concurrency, beside the default."""
    sizes, instances = (1, 2, 4, 8, 16, 32, 64), (1, 2, 3, 4, 5)
    delays = range(0, 100 * math.ceil(variants / (len(sizes) * len(instances))), 100)
    return Config.model_validate(
        {
            "model": {"uri": str(MODEL)},
            "sweep": {
                "max_batch_size": sizes,
                "instance_count": instances,
                "intra_op_thread_count": (),
                "max_queue_delay_us": tuple(delays),
                "concurrency": concurrency,
            },
            "constraints": {"latency_p99_ms": 500},
            "profiler": {"seed": seed},
            "confirmation": {"max_minutes": minutes},
            "capacity": {"max_minutes": minutes},
            "report": {"language": "en"},
            **sections,
        }
    )


def run(
    machine: SimulatedMachine,
    config: Config,
    *,
    results: Path,
    progress: CountingProgress,
    unfinished: Unfinished | None = None,
    report: bool = True,
) -> FinishedRun:
    """The job from the model to the report; MLflow is left out, which is a server of its own."""
    job = Job(config=config, results=results, command="hcopt profile", tracking_uri="", unfinished=unfinished)
    with simulated(machine), _left_out(report=report):
        return pipeline.profile(job, progress)


@contextmanager
def _left_out(*, report: bool) -> Iterator[None]:
    ends: dict[str, Callable[..., object]] = {"log_finished_run": lambda *_, **__: _NOWHERE}
    if not report:
        ends["write_report"] = lambda *_, **__: {}
    before = {name: getattr(pipeline, name) for name in ends}
    try:
        for name, end in ends.items():
            setattr(pipeline, name, end)
        yield
    finally:
        for name, end in before.items():
            setattr(pipeline, name, end)
