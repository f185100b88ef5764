"""A golden configuration and its baseline measured side by side on this machine, block by block, for `hcopt check`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from hcopt import model_repository
from hcopt.blocks import Arm, measure_block, whole_blocks
from hcopt.config import Config
from hcopt.errors import ConfigError, ProfileError
from hcopt.measurements import is_usable
from hcopt.preparation import Prepared
from hcopt.profiler.perf_analyzer import Window
from hcopt.progress import Progress
from hcopt.registry import resolve_tracking
from hcopt.regression import FEWEST_BLOCKS, Block, RegressionCheck, check_regression
from hcopt.regression_output import CheckedSides
from hcopt.run_folder import find_run, read_record
from hcopt.runtime.base import Server
from hcopt.runtime.choice import choose_runtime
from hcopt.runtime.model_control import ModelControl
from hcopt.schema import Environment, LoadPoint, Measurement, ModelConfigVariant
from hcopt.sides import measure_speed, open_bench, prepare_side

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
        baseline: A run, or a model URI.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Baseline:
    uri: str
    load: LoadPoint
    said: str


def run_check(job: CheckJob, progress: Progress) -> Checked:
    """Measures both on one server, in blocks of changing order; figures from elsewhere play no part.

    Raises:
        ConfigError: There is no such run, or the runtime is somebody else's server.
        ModelSourceError, RuntimeStartError: A model cannot be had or served.
        ProfileError: Too few blocks could be measured.
    """
    if job.config.runtime.kind == "remote":
        raise ConfigError("hcopt check needs a server of its own, with both models", remedy="Use another --runtime.")
    if job.blocks < FEWEST_BLOCKS:
        raise ConfigError(f"{job.blocks} blocks show nothing", remedy=f"Give --blocks {FEWEST_BLOCKS} or more.")
    if not 0 <= job.max_regression_ratio < 1:
        raise ConfigError(f"--max-regression {100 * job.max_regression_ratio:g} is no share", remedy="Give 0 to 99.")
    started = time.monotonic()
    baseline, golden = _baseline(job), model_folder(job.golden)
    with tempfile.TemporaryDirectory(prefix="hcopt-check-") as temporary:
        taken, machine = _measured(job, baseline, golden, folder=Path(temporary), progress=progress)
    if len(taken) < FEWEST_BLOCKS:
        raise ProfileError(f"only {len(taken)} of {job.blocks} blocks could be measured")
    return Checked(
        found=check_regression(taken, max_regression_ratio=job.max_regression_ratio),
        sides=CheckedSides(
            candidate=str(golden),
            baseline=baseline.said,
            load=f"concurrency {baseline.load.concurrency}, rows a request: {baseline.load.client_batch_size}",
            environment=f"{machine.cpu_count} × {machine.cpu_model}, {machine.backend}",
            elapsed_s=time.monotonic() - started,
        ),
    )


def _measured(
    job: CheckJob, baseline: _Baseline, golden: Path, *, folder: Path, progress: Progress
) -> tuple[list[Block], Environment]:
    """Serves both models under names of their own, and measures."""
    progress.phase("fetch")
    tracking_uri = resolve_tracking(job.config, job.results).tracking_uri
    prepared = {
        name: prepare_side(job.config, uri, name=name, into=folder / "models", tracking_uri=tracking_uri)
        for name, uri in ((BASELINE, baseline.uri), (CANDIDATE, str(golden)))
    }
    for side in prepared.values():
        model_repository.write_repository(folder / "repository", side.artifact, side.base.config)
    progress.phase("serve")
    choice = choose_runtime(job.config, progress=progress, note=progress.note)
    with ExitStack() as stack:
        server = stack.enter_context(choice.runtime.serve(folder / "repository", folder))
        control = stack.enter_context(ModelControl(server.endpoint))
        blocks = _Blocks(job=job, load=baseline.load, prepared=prepared, folder=folder, progress=progress)
        return blocks.measure(server, control), server.environment


def model_folder(golden: Path) -> Path:
    """The folder itself where it is a model's, else the only one in it.

    Raises:
        ConfigError: There is none, or more than one.
    """
    config = model_repository.CONFIG_FILE
    if (golden / config).is_file():
        return golden
    found = sorted(path.parent for path in golden.glob(f"*/{config}"))
    if len(found) == 1:
        return found[0]
    many = f"holds {len(found)}: {', '.join(path.name for path in found)}" if found else f"has no {config}"
    raise ConfigError(
        f"--golden {golden} {many}", remedy="Give the model's folder, with config.pbtxt and 1/model.onnx in it."
    )


@dataclass(slots=True, kw_only=True)
class _Blocks:
    """Both sides on one server, one loaded at a time."""

    job: CheckJob
    load: LoadPoint
    prepared: Mapping[str, Prepared]
    folder: Path
    progress: Progress
    taken: list[Measurement] = field(default_factory=list)

    def measure(self, server: Server, control: ModelControl) -> list[Block]:
        """All blocks in which both gave figures."""
        benches = {
            name: open_bench(
                side, server, control, folder=self.folder, record=self.taken.append, progress=self.progress
            )
            for name, side in self.prepared.items()
        }

        def window_of(name: str, window: Window) -> Measurement:
            # An idle model's threads may spin: it is not to be there.
            for other in benches:
                if other != name:
                    control.unload(other)
            return benches[name].measure(window)

        self.progress.phase("Baseline and candidate, block by block", steps=len(benches) * (self.job.blocks + 1))
        window_s = _WINDOW_INTERVALS * self.job.config.profiler.measurement_interval_ms / 1000
        windows = {
            name: measure_speed(side, self.load, window_s=window_s, measure=partial(window_of, name))
            for name, side in self.prepared.items()
        }
        arms = {name: Arm(variant=window.variant, load=self.load) for name, window in windows.items()}
        names = {arm.variant: name for name, arm in arms.items()}

        def measure_arm(variant: ModelConfigVariant, _load: LoadPoint, block: int) -> Measurement:
            return window_of(names[variant], replace(windows[names[variant]], block=block))

        for number in range(self.job.blocks):
            measure_block(tuple(arms.values()), measure_arm, number)
        pairs = whole_blocks(arms.values(), self.taken)
        both = zip(pairs[arms[BASELINE]], pairs[arms[CANDIDATE]], strict=True)
        return [block for pair in both if (block := _block(*pair)) is not None]


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


def _baseline(job: CheckJob) -> _Baseline:
    """A run's golden configuration at its best load, or a model with its own at the highest load of the sweep."""
    sweep = job.config.sweep
    load = LoadPoint(concurrency=max(sweep.concurrency), client_batch_size=max(sweep.client_batch_size))
    if ":/" in job.baseline and not Path(job.baseline).exists():
        return _Baseline(uri=job.baseline, load=load, said=job.baseline)
    folder = find_run(job.baseline, results=job.results)
    record = read_record(folder)
    best = record.confirmation.best
    golden = folder.golden / record.model.name
    if best is None or not golden.is_dir():
        raise ConfigError(
            f"run {folder.run_id} has no golden configuration: {record.confirmation.reason}",
            remedy="Give a run that has one, or a model as models:/NAME@alias.",
        )
    return _Baseline(uri=str(golden), load=best.load, said=f"run {folder.run_id}, {best.variant.config_name}")
