"""Measures servers on disjoint CPUs, alone and all at once, for `hcopt scale-check`."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hcopt.check.baseline import golden_of
from hcopt.config.sections import Config
from hcopt.deploy.scaling import Scaling, scaling_of
from hcopt.errors import ConfigError, ProfileError
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.side_by_side import measure_speed, prepare_side
from hcopt.measure.window import WindowRunner, open_runner
from hcopt.model.inputs.perf_analyzer_json import write_perf_analyzer_json
from hcopt.model.prepare import Prepared
from hcopt.model.repository import write_repository
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.store.run_folder import RunFolder
from hcopt.system.cpu_list import format_cpu_list
from hcopt.system.process import temporary_folder
from hcopt.system.progress import Progress
from hcopt.system.topology import read_cores
from hcopt.tracking.registry import resolve_tracking
from hcopt.triton.choose import choose_runtime
from hcopt.triton.control import ModelControl

BLOCKS = 8
MIN_SERVERS = 2
# Programs start one after another by tenths of a second: long windows overlap nearly all the time.
_WINDOW_INTERVALS = 3


def run_scale_check(
    folder: RunFolder,
    config: Config,
    progress: Progress,
    *,
    servers: int = MIN_SERVERS,
    cpus_per_server: int | None = None,
    blocks: int = BLOCKS,
) -> Scaling:
    """Measures every server alone and all at once, block by block.

    A server shares its CPUs with its own load generator, and with nobody else: alone and together alike.

    Args:
        folder: The run whose golden configuration serves.
        config: The runtime and the windows.
        progress: Told what is measured.
        servers: How many at once.
        cpus_per_server: For a server and its load generator; None: as many as the run measured with.
        blocks: How many.

    Raises:
        ConfigError: The machine is too small, or the run has no golden configuration.
        RuntimeStartError: A server does not serve.
        ProfileError: Too few blocks could be measured.
    """
    record, best, golden = golden_of(folder, remedy="Give a run that has one.")
    cpus = cpus_per_server or record.environment.cpu_count
    sets = disjoint_cpu_sets(core_by_core(os.sched_getaffinity(0)), servers=servers, cpus_per_server=cpus)
    if config.runtime.is_remote:
        raise ConfigError("hcopt scale-check starts servers of its own", remedy="Use another --runtime.")
    with temporary_folder("hcopt-scale-") as scratch:
        progress.phase("fetch")
        tracking_uri = resolve_tracking(config, folder.results).tracking_uri
        prepared = prepare_side(
            config,
            str(golden),
            name=record.model.name,
            label=best.variant.config_name,
            into=scratch,
            tracking_uri=tracking_uri,
        )
        write_repository(scratch / "repository", prepared.artifact, prepared.base.config)
        write_perf_analyzer_json(prepared.load, scratch / "input.json")
        progress.phase("serve")
        with ExitStack() as stack:
            runners = [_start(config, prepared, cpu_set, stack, root=scratch, progress=progress) for cpu_set in sets]
            alone, together = _measure(config, runners, prepared, best.load, blocks=blocks, progress=progress)
    if len(alone) < 2:
        raise ProfileError(f"only {len(alone)} of {blocks} blocks could be measured")
    return scaling_of(alone, together, cpus_per_server=cpus)


def core_by_core(cpus: Collection[int]) -> list[int]:
    """SMT siblings side by side, so that no two servers share a core where they need not."""
    cores = read_cores(cpus)
    return [cpu for core in cores for cpu in sorted(core.cpus)] if cores else sorted(cpus)


def disjoint_cpu_sets(cpus: Sequence[int], *, servers: int, cpus_per_server: int) -> tuple[str, ...]:
    """One CPU list a server, none shared.

    Raises:
        ConfigError: There are too few CPUs, or fewer than two servers.
    """
    needed = servers * cpus_per_server
    if servers < MIN_SERVERS or cpus_per_server < 1:
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


def _start(
    config: Config, prepared: Prepared, cpu_set: str, stack: ExitStack, *, root: Path, progress: Progress
) -> WindowRunner:
    """Starts one more server on CPUs of its own, with the model loaded."""
    folder = root / f"server_{cpu_set.replace(',', '_')}"
    folder.mkdir()
    cpuset = config.runtime.cpuset.model_copy(update={"server": cpu_set, "client": cpu_set})
    runtime = config.runtime.model_copy(update={"cpuset": cpuset})
    choice = choose_runtime(config.model_copy(update={"runtime": runtime}), progress=progress, note=progress.note)
    server = stack.enter_context(choice.runtime.serve(root / "repository", folder))
    control = stack.enter_context(ModelControl(server.endpoint))
    context = RunContext(progress=progress)
    runner = open_runner(prepared, server, control, folder=folder, context=context, rows=root / "input.json")
    runner.served.reload(prepared.plan.default)
    return runner


def _measure(
    config: Config,
    runners: Sequence[WindowRunner],
    prepared: Prepared,
    load: LoadPoint,
    *,
    blocks: int,
    progress: Progress,
) -> tuple[list[list[float]], list[list[float]]]:
    """Throughput of each server alone and together, for each block in which all gave figures."""
    window_s = _WINDOW_INTERVALS * config.profiler.measurement_interval_ms / 1000
    progress.phase("Servers alone, and all at once", steps=(2 * blocks + 1) * len(runners))
    first = measure_speed(
        prepared, load, window_s=window_s, measure=lambda window: _at_once(runners, window, progress)[0]
    )
    alone: list[list[float]] = []
    together: list[list[float]] = []
    for number in range(blocks):
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
