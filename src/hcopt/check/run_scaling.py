"""Isolated servers on disjoint CPUs, alone and all at once, for `hcopt scale-check`: how far capacity grows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from hcopt.config.load import load_config
from hcopt.config.sections import Config
from hcopt.deploy.scaling import Scaling, scaling_of
from hcopt.errors import ConfigError, ProfileError
from hcopt.measure.context import RunContext
from hcopt.measure.perf_analyzer import Window
from hcopt.measure.side_by_side import measure_speed, prepare_side
from hcopt.measure.window import WindowRunner, open_runner
from hcopt.model.prepare import Prepared
from hcopt.model.repository import write_repository
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.store.run_folder import RunFolder, read_record, recorded_config
from hcopt.system.machine import format_cpu_list
from hcopt.system.process import temporary_folder
from hcopt.system.progress import Progress
from hcopt.tracking.registry import resolve_tracking
from hcopt.triton.choose import choose_runtime
from hcopt.triton.control import ModelControl
from hcopt.words.notes import sentence

BLOCKS = 8
FEWEST_SERVERS = 2
# Programs start one after another by tenths of a second: long windows overlap nearly all the time.
_WINDOW_INTERVALS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleJob:
    """What is to be measured.

    Attributes:
        folder: The run whose golden configuration serves.
        config: The runtime and the windows.
        servers: How many at once.
        cpus_per_server: For a server and its load generator; None: as many as the run measured with.
        blocks: How many.
    """

    folder: RunFolder
    config: Config
    servers: int = FEWEST_SERVERS
    cpus_per_server: int | None = None
    blocks: int = BLOCKS


def run_scale_check(job: ScaleJob, progress: Progress) -> Scaling:
    """Measures every server alone and all at once, block by block.

    A server shares its CPUs with its own load generator, and with nobody else: alone and together alike.

    Raises:
        ConfigError: The machine is too small, or the run has no golden configuration.
        RuntimeStartError: A server does not serve.
        ProfileError: Too few blocks could be measured.
    """
    record = read_record(job.folder)
    best, golden = record.confirmation.best, job.folder.golden / record.model.name
    if best is None or not golden.is_dir():
        raise ConfigError(
            f"run {record.run_id} has no golden configuration: {sentence(record.confirmation.reason)}",
            remedy="Give a run that has one.",
        )
    cpus = job.cpus_per_server or record.environment.cpu_count
    sets = disjoint_cpu_sets(sorted(os.sched_getaffinity(0)), servers=job.servers, cpus_per_server=cpus)
    if job.config.runtime.kind == "remote":
        raise ConfigError("hcopt scale-check starts servers of its own", remedy="Use another --runtime.")
    with temporary_folder("hcopt-scale-") as folder:
        progress.phase("fetch")
        tracking_uri = resolve_tracking(job.config, job.folder.results).tracking_uri
        prepared = prepare_side(
            job.config,
            str(golden),
            name=record.model.name,
            label=best.variant.config_name,
            into=folder,
            tracking_uri=tracking_uri,
        )
        write_repository(folder / "repository", prepared.artifact, prepared.base.config)
        progress.phase("serve")
        with ExitStack() as stack:
            servers = _Servers(stack=stack, config=job.config, prepared=prepared, root=folder, progress=progress)
            runners = [servers.start(cpu_set) for cpu_set in sets]
            alone, together = _measure(job, runners, prepared, best.load, progress)
    if len(alone) < 2:
        raise ProfileError(f"only {len(alone)} of {job.blocks} blocks could be measured")
    return scaling_of(alone, together, cpus_per_server=cpus)


def disjoint_cpu_sets(cpus: Sequence[int], *, servers: int, cpus_per_server: int) -> tuple[str, ...]:
    """One CPU list a server, none shared.

    Raises:
        ConfigError: There are too few CPUs, or fewer than two servers.
    """
    needed = servers * cpus_per_server
    if servers < FEWEST_SERVERS or cpus_per_server < 1:
        raise ConfigError(f"{servers} servers of {cpus_per_server} CPUs scale nowhere", remedy="Give at least 2 and 1.")
    if len(cpus) < needed:
        raise ConfigError(
            f"this machine is too small: {servers} isolated servers of {cpus_per_server} CPUs each need {needed} CPUs, "
            f"and this process has {len(cpus)}; linearity stays assumed",
            remedy=f"Run it on a machine with {needed} CPUs; --cpus 1 measures smaller servers than the pods.",
        )
    return tuple(
        format_cpu_list(cpus[number * cpus_per_server : (number + 1) * cpus_per_server]) for number in range(servers)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Servers:
    """Starts servers that serve the same model, each on CPUs of its own."""

    stack: ExitStack
    config: Config
    prepared: Prepared
    root: Path
    progress: Progress

    def start(self, cpu_set: str) -> WindowRunner:
        """One more, with the model loaded."""
        folder = self.root / f"server_{cpu_set.replace(',', '_')}"
        folder.mkdir()
        cpuset = self.config.runtime.cpuset.model_copy(update={"server": cpu_set, "client": cpu_set})
        runtime = self.config.runtime.model_copy(update={"cpuset": cpuset})
        config = self.config.model_copy(update={"runtime": runtime})
        choice = choose_runtime(config, progress=self.progress, note=self.progress.note)
        server = self.stack.enter_context(choice.runtime.serve(self.root / "repository", folder))
        control = self.stack.enter_context(ModelControl(server.endpoint))
        context = RunContext(progress=self.progress)
        runner = open_runner(self.prepared, server, control, folder=folder, context=context)
        runner.served.reload(self.prepared.plan.default)
        return runner


def _measure(
    job: ScaleJob, runners: Sequence[WindowRunner], prepared: Prepared, load: LoadPoint, progress: Progress
) -> tuple[list[list[float]], list[list[float]]]:
    """Throughput of each server alone and together, for each block in which all gave figures."""
    window_s = _WINDOW_INTERVALS * job.config.profiler.measurement_interval_ms / 1000
    progress.phase("Servers alone, and all at once", steps=(2 * job.blocks + 1) * len(runners))
    first = measure_speed(
        prepared, load, window_s=window_s, measure=lambda window: _at_once(runners, window, progress)[0]
    )
    alone: list[list[float]] = []
    together: list[list[float]] = []
    for number in range(job.blocks):
        window = replace(first, block=number)
        singles = [rate for runner in runners for rate in _rates(_at_once([runner], window, progress))]
        all_at_once = _rates(_at_once(runners, window, progress))
        if len(singles) == len(all_at_once) == len(runners):
            alone.append(singles)
            together.append(all_at_once)
    return alone, together


def _at_once(runners: Sequence[WindowRunner], window: Window, progress: Progress) -> list[Measurement]:
    """One window on each of some servers, at the same time; the model is loaded already."""
    with ThreadPoolExecutor(max_workers=len(runners)) as pool:
        taken = list(pool.map(lambda runner: runner.perf_analyzer.measure(window), runners))
    for measurement in taken:
        progress.measured(measurement)
    return taken


def _rates(taken: Sequence[Measurement]) -> list[float]:
    """Of those that gave figures.

    Raises:
        ProfileError: A server failed on the model's own account: what is left would say nothing of how it scales.
    """
    failed = next((one for one in taken if one.failed_by_variant), None)
    if failed is not None:
        raise ProfileError(f"{failed.variant.config_name} failed on its own account: {failed.error}")
    return [m.throughput_infer_per_s for m in taken if m.throughput_infer_per_s is not None]


def config_of(folder: RunFolder, options: Mapping[str, object], overrides: Sequence[str]) -> Config:
    """The run's own configuration with some changes.

    Raises:
        ConfigError: The run's files are damaged, or a change makes no sense.
    """
    return load_config(options=options, overrides=overrides, recorded=recorded_config(folder))
