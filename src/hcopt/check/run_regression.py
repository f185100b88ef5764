"""Measures a golden configuration and its baseline in turn on this machine, for `hcopt check`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hcopt.analysis.blocks import Candidate, in_windows
from hcopt.check.baseline import Baseline, find_baseline, model_folder
from hcopt.check.regression import (
    MIN_BLOCKS,
    Compared,
    RegressionCheck,
    check_failures,
    check_regression,
    paired_figures,
)
from hcopt.config.sections import Config
from hcopt.errors import ConfigError, ProfileError, RuntimeStartError
from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.side_by_side import measure_speed, prepare_side
from hcopt.measure.turns.pace import pace_of
from hcopt.measure.turns.session import OnTurn, Side
from hcopt.measure.turns.taker import MAX_LOAD_S, take_turns
from hcopt.measure.window import WindowRunner, exported_row_bytes, open_runner, recorded_turns
from hcopt.model.inputs.perf_analyzer_json import write_perf_analyzer_json
from hcopt.model.prepare import Prepared
from hcopt.model.repository import write_repository
from hcopt.records.measurement import Environment, LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.system.process import temporary_folder
from hcopt.system.progress import Progress
from hcopt.tracking.registry import resolve_tracking
from hcopt.triton.base import Runtime, Server
from hcopt.triton.carried import read_carried
from hcopt.triton.choose import choose_runtime
from hcopt.triton.control import ModelControl

# Enough for 15 % at 5 % block noise in nine checks of ten, with both metrics' intervals at 97.5 %.
BLOCKS = 12
BASELINE, CANDIDATE = "baseline", "candidate"
# Longer than a sweep's window: there are few of them.
_WINDOW_INTERVALS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckJob:
    """What is to be checked.

    Attributes:
        config: Runtime, MLflow, S3, windows; the model's input shapes and example.
        golden: The configuration to check: a model folder with config.pbtxt and `1/model.onnx`, or a folder that holds
            one such folder.
        baseline: A run, or a model URI; see `find_baseline`.
        results: Where runs are.
        max_regression_ratio: What is still allowed.
        blocks: How many.
    """

    config: Config
    golden: Path
    baseline: str
    results: Path
    max_regression_ratio: float
    blocks: int = BLOCKS


def run_check(job: CheckJob, progress: Progress) -> tuple[RegressionCheck, Compared]:
    """Measures both on one server, in blocks of changing order; figures from elsewhere play no part.

    Returns:
        The answer, and what was compared.

    Raises:
        ConfigError: There is no such run, or nothing can be measured like this.
        ModelSourceError, RuntimeStartError: A model cannot be had or served.
        ProfileError: Too few blocks could be measured.
    """
    if job.blocks < MIN_BLOCKS:
        raise ConfigError(f"{job.blocks} blocks show nothing", remedy=f"Give --blocks {MIN_BLOCKS} or more.")
    if not 0 <= job.max_regression_ratio < 1:
        raise ConfigError(f"--max-regression {100 * job.max_regression_ratio:g} is no share", remedy="Give 0 to 99.")
    started = time.monotonic()
    golden = model_folder(job.golden)
    runtime = choose_runtime(
        job.config, progress=progress, note=progress.note, carries_models=job.config.runtime.is_remote
    ).runtime
    with temporary_folder("hcopt-check-") as folder:
        progress.phase("fetch")
        baseline, prepared = _prepared(job, golden, folder)
        taken, machine = _measured(job, baseline.load, prepared, runtime, folder=folder, progress=progress)
    windows = [[one for one in taken if one.variant.config_name == name] for name in (BASELINE, CANDIDATE)]
    pairs, failures = paired_figures(*windows), check_failures(*windows)
    if len(pairs) < MIN_BLOCKS and (failures is None or failures.outcome != "regression"):
        reason = next((one.error for one in (*windows[0], *windows[1]) if one.error), None)
        raise ProfileError(
            f"only {len(pairs)} of {job.blocks} blocks could be measured" + (f": {reason}" if reason else "")
        )
    found = check_regression(pairs, max_regression_ratio=job.max_regression_ratio, failures=failures)
    return found, Compared(
        candidate=str(golden),
        baseline=baseline.said,
        load=f"concurrency {baseline.load.concurrency}, rows a request: {baseline.load.client_batch_size}",
        environment=_machine(machine, job.config),
        elapsed_s=time.monotonic() - started,
    )


def _prepared(job: CheckJob, golden: Path, folder: Path) -> tuple[Baseline, dict[str, Prepared]]:
    """Both models under names of their own, in one repository."""
    tracking_uri = resolve_tracking(job.config, job.results).tracking_uri
    baseline = find_baseline(
        job.baseline,
        job.config,
        results=job.results,
        tracking_uri=tracking_uri,
        scratch=folder / "registered",
    )
    # Somebody else's server may have models with any name.
    prefix = f"hcopt_check_{secrets.token_hex(4)}_" if job.config.runtime.is_remote else ""
    prepared = {
        name: prepare_side(
            job.config, uri, name=prefix + name, label=name, into=folder / "models", tracking_uri=tracking_uri
        )
        for name, uri in ((BASELINE, baseline.uri), (CANDIDATE, str(golden)))
    }
    for name, one in prepared.items():
        write_repository(folder / "repository", one.artifact, one.base.config)
        write_perf_analyzer_json(one.load, folder / f"input_{name}.json")
    return baseline, prepared


def _measured(
    job: CheckJob,
    load: LoadPoint,
    prepared: Mapping[str, Prepared],
    runtime: Runtime,
    *,
    folder: Path,
    progress: Progress,
) -> tuple[list[Measurement], Environment]:
    """Every measurement in blocks of both models on one server, in turns or in windows with one loaded at a time."""
    progress.phase("serve")
    repository = folder / "repository"
    carried = read_carried(repository) if job.config.runtime.is_remote else None
    taken: list[Measurement] = []
    with ExitStack() as stack:
        server = stack.enter_context(runtime.serve(repository, folder))
        control = stack.enter_context(ModelControl(server.endpoint, carried=carried))
        context = RunContext(record=taken.append, note=progress.note, progress=progress)
        runners = {
            name: open_runner(one, server, control, folder=folder, context=context, rows=folder / f"input_{name}.json")
            for name, one in prepared.items()
        }

        def measure(window: Window) -> Measurement:
            name = window.variant.config_name
            # An idle model's threads may spin: it is not to be there.
            for other in prepared.keys() - {name}:
                control.unload(prepared[other].artifact.name)
            return runners[name].measure(window)

        progress.phase("Baseline and candidate, block by block", steps=len(runners) * (job.blocks + 1))
        window_s = _WINDOW_INTERVALS * job.config.profiler.measurement_interval_ms / 1000
        windows = {name: measure_speed(one, load, window_s=window_s, measure=measure) for name, one in prepared.items()}
        compared = tuple(Candidate(variant=window.variant, load=load) for window in windows.values())

        def measure_side(variant: ModelConfigVariant, _load: LoadPoint, block: int) -> Measurement:
            return measure(replace(windows[variant.config_name], block=block))

        row_bytes = max(
            exported_row_bytes(server.tools, folder / f"input_{name}.json", prepared[name].load) for name in windows
        )
        done = _measured_in_turns(
            compared, windows, runners, server, context, blocks=range(job.blocks), row_bytes=row_bytes
        )
        in_windows(measure_side)(compared, range(done, job.blocks))
    return [one for one in taken if one.block is not None], server.environment


def _measured_in_turns(
    compared: Sequence[Candidate],
    windows: Mapping[str, Window],
    runners: Mapping[str, WindowRunner],
    server: Server,
    context: RunContext,
    *,
    blocks: range,
    row_bytes: float,
) -> int:
    """Measures blocks in turns, of as much load as windows have, where both models may be loaded; how many it did."""
    rates = {name: window.expected_infer_per_s for name, window in windows.items()}
    stall_s = max(runner.perf_analyzer.stall_s for runner in runners.values())
    pace = pace_of(compared, rates, latency_p99_limit_ms=None, row_bytes=row_bytes, stall_s=stall_s)
    if pace is None or not all(one.rate_is_known for one in windows.values()):
        return 0
    sides = _loaded_beside(compared, runners, server)
    if sides is None:
        return 0
    pace = pace.with_load_s(max(one.window_s for one in windows.values()))
    reload = all(runner.served.load_s <= MAX_LOAD_S for runner in runners.values())

    def take(chosen: Sequence[int], on_turn: OnTurn) -> list[Measurement]:
        return take_turns(sides, chosen, pace=pace, phase="confirmation", reload=reload, on_turn=on_turn)

    for first in range(0, len(blocks), pace.blocks):
        taken = recorded_turns(
            partial(take, blocks[first : first + pace.blocks]),
            phase="confirmation",
            context=context,
            restart_server_if_dead=server.restart_if_dead,
            on_restart=lambda: None,
        )
        if taken is None:
            return first
    return len(blocks)


def _loaded_beside(
    compared: Sequence[Candidate], runners: Mapping[str, WindowRunner], server: Server
) -> list[Side] | None:
    """Both models, loaded at once; None where there is no room, or one does not load: its windows say why."""
    if server.max_instances is None:
        return None
    sides, loaded = list[Side](), 0
    with suppress(RuntimeStartError):
        for one in compared:
            if loaded and loaded + one.variant.instance_count > server.max_instances(loaded):
                return None
            runner = runners[one.variant.config_name]
            name, config = runner.served.load_alone(one.variant)
            loaded += one.variant.instance_count
            sides.append(Side(candidate=one, name=name, config=config, perf_analyzer=runner.perf_analyzer))
        return sides
    return None


def _machine(found: Environment, config: Config) -> str:
    """The machine and the server in a few words; the CPUs of a server elsewhere are not known here."""
    cpus = f"{found.cpu_count} × {found.cpu_model}"
    if config.runtime.is_remote:
        cpus = f"Triton {found.triton_version} at {config.runtime.remote.grpc}"
    return f"{cpus}, {found.backend}"
