"""Model Analyzer's own `profile` in this process, on a virtual clock: a search on a replay.

Its command line, generators, managers, client and constraints run as they are. Replaced are only the ends:
perf_analyzer's process and the gRPC channel (by a `StandIn`), `time.sleep` and the poll of the process (they move the
clock), the thread that would watch the server's memory, the random seed of optuna mode, and checkpoints and reports
(left out). `benchmarks.analyzer.validation` shows that the real program visits the same points.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from model_analyzer import entrypoint
from model_analyzer.analyzer import Analyzer
from model_analyzer.cli.cli import CLI
from model_analyzer.config.generate import optuna_run_config_generator
from model_analyzer.config.input.config_command_profile import ConfigCommandProfile
from model_analyzer.constants import LOGGER_NAME
from model_analyzer.perf_analyzer import perf_analyzer
from model_analyzer.record import metrics_manager
from model_analyzer.state.analyzer_state_manager import AnalyzerStateManager
from model_analyzer.triton.client import client, grpc_client
from model_analyzer.triton.model.model_config import ModelConfig as AnalyzerModelConfig

from benchmarks.analyzer.config import Mode, write_files
from benchmarks.analyzer.stand_in import PROCESS_S, StandIn, Visit
from benchmarks.analyzer.stand_in_perf_analyzer import asked
from benchmarks.recordings.replay import Replay
from hcopt.model.triton_config import parse_text, variant_of
from hcopt.records.measurement import Measurement, SweepPlan

# Proposals in a row that were measured before, after which quick mode is taken not to end; it may pass a few.
MOST_REPEATS = 200


@dataclass(frozen=True)
class AnalyzerRun:
    """What one run of Model Analyzer did.

    Attributes:
        winner: Its best measurement's point within the limit; None where it has none.
        visits: Points that perf_analyzer was started for, in order.
        measurements: What was answered there.
        loads: Models that the server was told to load.
        died: Whether quick mode did not come to an end. Its coordinates have no bounds of their own: where the largest
            values allowed stay the best, it walks on past them, for ever or until 2 to the power of a coordinate
            overflows. Nothing is measured on the way, and what was measured is in its checkpoint: the best of that is
            the winner.
        clock_s: Seconds on the virtual clock: server-only metrics, waits, perf_analyzer and the polls of it.
    """

    winner: Visit | None
    visits: tuple[Visit, ...]
    measurements: tuple[Measurement, ...]
    loads: int
    died: bool
    clock_s: float


class VirtualClock:
    """In the place of the module `time`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def time(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def profile(
    plan: SweepPlan,
    replay: Replay,
    mode: Mode,
    *,
    limit_ms: float | None,
    seed: int,
    process_s: float = PROCESS_S,
) -> AnalyzerRun:
    """Runs `model-analyzer profile` on a replay.

    Args:
        plan: What was recorded.
        replay: Answers.
        mode: Its search mode.
        limit_ms: Constraint on the p99 latency.
        seed: Of optuna mode. Model Analyzer 1.58 has no flag for it and draws one from 0 to 10,000.
        process_s: How long one perf_analyzer lives.
    """
    stand_in, clock = StandIn(plan, replay, limit_ms=limit_ms), VirtualClock()
    with (
        tempfile.TemporaryDirectory() as temporary,
        _inside(Path(temporary)),
        _replaced(stand_in, clock, seed=seed, process_s=process_s),
    ):
        file = write_files(
            plan,
            mode,
            folder=Path(temporary),
            # It has to be a program; no process starts.
            perf_analyzer=Path(sys.executable),
            limit_ms=stand_in.whole_limit_ms,
            extra={"skip_summary_reports": True},
        )
        analyzer, died = _profiled(file)
        winner = _winner(analyzer, stand_in)
    return AnalyzerRun(
        winner=winner,
        visits=tuple(stand_in.visits),
        measurements=tuple(stand_in.measurements),
        loads=stand_in.loads,
        died=died,
        clock_s=clock.now_s,
    )


def _profiled(file: Path) -> tuple[Analyzer, bool]:
    """What `model_analyzer.entrypoint.main` does, keeping the Analyzer; and whether that ended with an error."""
    config, command_line = ConfigCommandProfile(), CLI()
    command_line.add_subcommand(cmd="profile", help="", config=config)
    arguments, config = command_line.parse(["profile", "--config-file", str(file)])
    entrypoint.create_output_model_repository(config)
    triton, server = entrypoint.get_triton_handles(config, [])
    state = AnalyzerStateManager(config=config, server=server)
    analyzer = Analyzer(config, server, state, checkpoint_required=False)
    try:
        analyzer.profile(client=triton, gpus=[], mode=arguments.mode, verbose=False)
    except (OverflowError, _EndlessError):
        return analyzer, True
    return analyzer, False


def _winner(analyzer: Analyzer, stand_in: StandIn) -> Visit | None:
    """The first of what its report ranks."""
    results = analyzer._result_manager
    (name,) = results.get_model_names()
    best = results.top_n_results(model_name=name, n=1)
    if not best or best[0].failing():
        return None
    (measurement,) = best[0].top_n_measurements(1)
    (load,) = measurement.model_specific_pa_params()
    config = best[0].run_config().model_run_configs()[0].model_config_variant().model_config
    wanted = variant_of(parse_text(str(config._model_config)), "asked")
    return stand_in.nearest(wanted, int(load["batch-size"]), int(load["concurrency-range"]))


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Model Analyzer has perf_analyzer's reports written into the working directory."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _replaced(stand_in: StandIn, clock: VirtualClock, *, seed: int, process_s: float) -> Iterator[None]:
    """Model Analyzer's ends, for as long as this lasts."""
    processes = SimpleNamespace(Process=partial(_Watched, clock))
    channel = SimpleNamespace(InferenceServerClient=partial(_Channel, stand_in))
    ends: Sequence[tuple[Any, str, Any]] = (
        (metrics_manager, "time", clock),
        (metrics_manager, "CPUMonitor", _NoMonitor),
        (client, "time", clock),
        (grpc_client, "grpcclient", channel),
        (perf_analyzer, "Popen", partial(_PerfAnalyzer, stand_in, clock, process_s)),
        (perf_analyzer, "psutil", processes),
        (optuna_run_config_generator, "randint", lambda _low, _high: seed),
        (AnalyzerStateManager, "save_checkpoint", _Checkpoints(stand_in)),
        # What it knows of a model outlasts a run.
        (AnalyzerModelConfig, "_default_config_dict", {}),
    )
    logger, verbosity, interrupt = logging.getLogger(LOGGER_NAME), optuna.logging.get_verbosity(), signal.SIGINT
    with ExitStack() as after:
        after.callback(logger.setLevel, logger.level)
        after.callback(optuna.logging.set_verbosity, verbosity)
        after.callback(signal.signal, interrupt, signal.getsignal(interrupt))
        logger.setLevel(logging.CRITICAL)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        for owner, name, end in ends:
            after.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, end)
        yield


class _EndlessError(Exception):
    """Quick mode goes on without measuring."""


class _Checkpoints:
    """Not written; Model Analyzer would after each proposal, so that this is where they are counted."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._visits = self._repeats = 0

    def __call__(self) -> None:
        visits = len(self._stand_in.visits)
        self._repeats = self._repeats + 1 if visits == self._visits else 0
        self._visits = visits
        # Once: Model Analyzer saves again on its way out.
        if self._repeats == MOST_REPEATS:
            raise _EndlessError


class _PerfAnalyzer:
    """A process that has asked, and lives on for a while."""

    pid = 0

    def __init__(
        self, stand_in: StandIn, clock: VirtualClock, process_s: float, command: Sequence[str], **_options: Any
    ) -> None:
        wanted = asked(command)
        wanted.report.write_text(stand_in.report(wanted.client_batch_size, wanted.concurrency), encoding="utf-8")
        self._clock, self._end_s = clock, clock.now_s + process_s

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return 0 if self._clock.now_s >= self._end_s else None


class _Watched:
    """psutil's view of the process: Model Analyzer waits by asking for its share of CPU time."""

    def __init__(self, clock: VirtualClock, _pid: int) -> None:
        self._clock = clock

    def cpu_percent(self, interval: float) -> float:
        self._clock.sleep(interval)
        return 0.0


class _Channel:
    """tritonclient's gRPC client, as far as Model Analyzer uses it here."""

    def __init__(self, stand_in: StandIn, **_options: Any) -> None:
        self._stand_in = stand_in

    def is_server_ready(self) -> bool:
        return True

    def is_model_ready(self, _name: str) -> bool:
        return True

    def load_model(self, _name: str, *, config: str) -> None:
        self._stand_in.load(config)

    def get_model_repository_index(self, *, as_json: bool) -> dict[str, list[Any]]:
        del as_json
        return {"models": []}


class _NoMonitor:
    """It would read the memory of a server that Model Analyzer did not start: nothing, in a thread."""

    cpu_metrics: frozenset[Any] = frozenset()

    def __init__(self, *_arguments: Any) -> None:
        pass

    def start_recording_metrics(self) -> None:
        pass

    def stop_recording_metrics(self) -> list[Any]:
        return []

    def destroy(self) -> None:
        pass
