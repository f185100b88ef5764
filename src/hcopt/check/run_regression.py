"""A golden configuration and its baseline measured side by side on this machine, block by block, for `hcopt check`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hcopt.analysis.blocks import Candidate, measure_block, paired, windows_of
from hcopt.check.baseline import Baseline, BaselineSource, model_folder
from hcopt.check.regression import (
    FEWEST_BLOCKS,
    Block,
    CheckedSides,
    RegressionCheck,
    check_failures,
    check_regression,
)
from hcopt.config.sections import Config
from hcopt.errors import ConfigError, ProfileError
from hcopt.measure.context import RunContext
from hcopt.measure.perf_analyzer import Window
from hcopt.measure.side_by_side import measure_speed, prepare_side
from hcopt.measure.window import open_runner
from hcopt.model.prepare import Prepared
from hcopt.model.repository import write_repository
from hcopt.records.measurement import Environment, LoadPoint, Measurement
from hcopt.records.model import ModelConfigVariant
from hcopt.store.measurements import is_usable
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
        baseline: A run, or a model URI; see `BaselineSource`.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The answer, and what was compared."""

    found: RegressionCheck
    sides: CheckedSides


def run_check(job: CheckJob, progress: Progress) -> Checked:
    """Measures both on one server, in blocks of changing order; figures from elsewhere play no part.

    Raises:
        ConfigError: There is no such run, or nothing can be measured like this.
        ModelSourceError, RuntimeStartError: A model cannot be had or served.
        ProfileError: Too few blocks could be measured.
    """
    if job.blocks < FEWEST_BLOCKS:
        raise ConfigError(f"{job.blocks} blocks show nothing", remedy=f"Give --blocks {FEWEST_BLOCKS} or more.")
    if not 0 <= job.max_regression_ratio < 1:
        raise ConfigError(f"--max-regression {100 * job.max_regression_ratio:g} is no share", remedy="Give 0 to 99.")
    started = time.monotonic()
    golden = model_folder(job.golden)
    runtime = choose_runtime(
        job.config, progress=progress, note=progress.note, carries_models=_is_remote(job.config)
    ).runtime
    with temporary_folder("hcopt-check-") as folder:
        progress.phase("fetch")
        baseline, prepared = _prepared(job, golden, folder)
        taken, machine = _measured(job, _Sides(load=baseline.load, prepared=prepared), runtime, folder, progress)
    failures = check_failures(taken.windows[BASELINE], taken.windows[CANDIDATE])
    if len(taken.blocks) < FEWEST_BLOCKS and (failures is None or failures.outcome != "regression"):
        reason = next((one.error for side in taken.windows.values() for one in side if one.error), None)
        raise ProfileError(
            f"only {len(taken.blocks)} of {job.blocks} blocks could be measured" + (f": {reason}" if reason else "")
        )
    return Checked(
        found=check_regression(taken.blocks, max_regression_ratio=job.max_regression_ratio, failures=failures),
        sides=CheckedSides(
            candidate=str(golden),
            baseline=baseline.said,
            load=f"concurrency {baseline.load.concurrency}, rows a request: {baseline.load.client_batch_size}",
            environment=_machine(machine, job.config),
            elapsed_s=time.monotonic() - started,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sides:
    """Both models as they are to be served, and the load."""

    load: LoadPoint
    prepared: Mapping[str, Prepared]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """What was measured: the blocks in which both gave figures, and every window in blocks of each side."""

    blocks: Sequence[Block]
    windows: Mapping[str, Sequence[Measurement]]


def _prepared(job: CheckJob, golden: Path, folder: Path) -> tuple[Baseline, dict[str, Prepared]]:
    """Both models under names of their own, in one repository."""
    tracking_uri = resolve_tracking(job.config, job.results).tracking_uri
    source = BaselineSource(
        config=job.config, results=job.results, tracking_uri=tracking_uri, scratch=folder / "registered"
    )
    baseline = source.find(job.baseline)
    # Somebody else's server may have models with any name.
    prefix = f"hcopt_check_{secrets.token_hex(4)}_" if _is_remote(job.config) else ""
    prepared = {
        side: prepare_side(
            job.config, uri, name=prefix + side, label=side, into=folder / "models", tracking_uri=tracking_uri
        )
        for side, uri in ((BASELINE, baseline.uri), (CANDIDATE, str(golden)))
    }
    for one in prepared.values():
        write_repository(folder / "repository", one.artifact, one.base.config)
    return baseline, prepared


def _measured(
    job: CheckJob, sides: _Sides, runtime: Runtime, folder: Path, progress: Progress
) -> tuple[_Taken, Environment]:
    """Serves both models, and measures."""
    progress.phase("serve")
    repository = folder / "repository"
    carried = read_carried(repository) if _is_remote(job.config) else None
    with ExitStack() as stack:
        server = stack.enter_context(runtime.serve(repository, folder))
        control = stack.enter_context(ModelControl(server.endpoint, carried=carried))
        blocks = _Blocks(job=job, load=sides.load, prepared=sides.prepared, folder=folder, progress=progress)
        return blocks.measure(server, control), server.environment


def _is_remote(config: Config) -> bool:
    return config.runtime.kind == "remote"


def _machine(found: Environment, config: Config) -> str:
    """The machine and the server in a few words; the CPUs of a server elsewhere are not known here."""
    cpus = f"{found.cpu_count} × {found.cpu_model}"
    if _is_remote(config):
        cpus = f"Triton {found.triton_version} at {config.runtime.remote.grpc}"
    return f"{cpus}, {found.backend}"


@dataclass(slots=True, kw_only=True)
class _Blocks:
    """Both sides on one server, one loaded at a time."""

    job: CheckJob
    load: LoadPoint
    prepared: Mapping[str, Prepared]
    folder: Path
    progress: Progress
    taken: list[Measurement] = field(default_factory=list)

    def measure(self, server: Server, control: ModelControl) -> _Taken:
        """All blocks."""
        context = RunContext(record=self.taken.append, progress=self.progress)
        runners = {
            name: open_runner(
                side,
                server,
                control,
                folder=self.folder,
                context=context,
                input_file=f"input_{side.artifact.name}.json",
            )
            for name, side in self.prepared.items()
        }

        def window_of(name: str, window: Window) -> Measurement:
            # An idle model's threads may spin: it is not to be there.
            for other in runners:
                if other != name:
                    control.unload(self.prepared[other].artifact.name)
            return runners[name].measure(window)

        self.progress.phase("Baseline and candidate, block by block", steps=len(runners) * (self.job.blocks + 1))
        window_s = _WINDOW_INTERVALS * self.job.config.profiler.measurement_interval_ms / 1000
        windows = {
            name: measure_speed(side, self.load, window_s=window_s, measure=partial(window_of, name))
            for name, side in self.prepared.items()
        }
        compared = {name: Candidate(variant=window.variant, load=self.load) for name, window in windows.items()}
        names = {one.variant: name for name, one in compared.items()}

        def measure_side(variant: ModelConfigVariant, _load: LoadPoint, block: int) -> Measurement:
            return window_of(names[variant], replace(windows[names[variant]], block=block))

        for number in range(self.job.blocks):
            measure_block(tuple(compared.values()), measure_side, number)
        taken = windows_of(compared.values(), self.taken)
        both = zip(*paired(taken[compared[BASELINE]], taken[compared[CANDIDATE]]), strict=True)
        return _Taken(
            blocks=[block for pair in both if (block := _block(*pair)) is not None],
            windows={
                name: [one for one in self.taken if one.block is not None and one.variant == side.variant]
                for name, side in compared.items()
            },
        )


def _block(baseline: Measurement, candidate: Measurement) -> Block | None:
    """One block, where its figures are numbers to reckon with."""
    old, new = _figures(baseline), _figures(candidate)
    if old is None or new is None:
        return None
    return Block(
        baseline_infer_per_s=old[0],
        candidate_infer_per_s=new[0],
        baseline_p99_ms=old[1],
        candidate_p99_ms=new[1],
    )


def _figures(measurement: Measurement) -> tuple[float, float] | None:
    rate, latency = measurement.throughput_infer_per_s, measurement.latency
    if rate is None or latency is None or not is_usable(rate, latency.p99_ms):
        return None
    return rate, latency.p99_ms
