"""The stages of one model that need a running server, each on its own: noise, sweep, proof; values in, values out.

`measuring` puts them in their order; who offers them may have the server here, or on other machines.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hcopt.analysis import noise
from hcopt.analysis.rate_search import Limits
from hcopt.config.sections import Config
from hcopt.errors import RuntimeStartError
from hcopt.measure.adaptive import Adaptive
from hcopt.measure.capacity import CapacityCheck, capacity_failed, capacity_notes
from hcopt.measure.confirmation import Proof
from hcopt.measure.model_analyzer.profiler import ModelAnalyzer
from hcopt.measure.noise import NoiseGate
from hcopt.measure.open_loop import OpenLoop, shortest_check_s
from hcopt.measure.perf_analyzer import PerfAnalyzer
from hcopt.measure.profiler import ProfileJob, Profiler
from hcopt.measure.served_model import Beside, ServedModel
from hcopt.measure.window import Bench
from hcopt.model.inputs.perf_analyzer_json import write_perf_analyzer_json
from hcopt.model.prepare import Prepared, config_json
from hcopt.model.repository import write_repository
from hcopt.records.measurement import Environment, Measurement, Phase
from hcopt.records.note import Note
from hcopt.records.verdict import Capacity, Confirmation, Noise, Ranking
from hcopt.store.replay import Earlier
from hcopt.system.progress import Progress
from hcopt.triton.base import Server
from hcopt.triton.choose import choose_runtime
from hcopt.triton.control import ModelControl

# Of the measurement interval: at 0.5 s perf_analyzer's processes are load for 83 % of their lives over a search.
_SEARCH_WINDOW_RATIO = 0.5


class Stopwatch:
    """Seconds a phase, in the order in which they began."""

    def __init__(self) -> None:
        self.elapsed_s: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str, *, before_s: float = 0.0) -> Iterator[None]:
        """Adds what the context takes to a phase, and what an interrupted run had taken for it."""
        started = time.monotonic() - before_s
        try:
            yield
        finally:
            self.elapsed_s[name] = self.elapsed_s.get(name, 0.0) + time.monotonic() - started


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be measured, and who is told of it.

    Attributes:
        config: The configuration.
        folder: The run's folder.
        prepared: The model, its load and the plan.
        record: Takes each measurement, and has it on disk when it returns.
        stopwatch: Takes the time of each stage.
        note: Takes what the user has to know.
        progress: Told what is under way.
        earlier: What an interrupted run had measured.
    """

    config: Config
    folder: Path
    prepared: Prepared
    record: Callable[[Measurement], None]
    stopwatch: Stopwatch
    note: Callable[[Note], None]
    progress: Progress
    earlier: Earlier = field(default_factory=Earlier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """What the finalists have shown on fresh data, all on one machine."""

    confirmation: Confirmation
    capacity: Capacity | None


class Stages(Protocol):
    """The stages, to be called in this order. A stage may raise RuntimeStartError or ProfileError."""

    @property
    def environment(self) -> Environment:
        """The conditions of all figures; those of other ones are never ranked with them."""

    def noise(self) -> Noise | None:
        """The default against itself; None where that is switched off or cannot be measured."""

    def sweep(self, found_noise: Noise | None) -> None:
        """Measures the plan; records what it finds."""

    def prove(self, ranking: Ranking, found_noise: Noise | None) -> Proved:
        """Finalists and default against each other, and the rate that the best sustains."""


class Executor(Protocol):
    """A way to have the stages done."""

    def stages(self, request: Request) -> AbstractContextManager[Stages]:
        """Makes ready what the stages need, and takes it down with the context, whatever ended that.

        Raises:
            RuntimeStartError: Triton does not serve.
        """


class LocalExecutor:
    """On this machine, with one server for all stages."""

    @contextmanager
    def stages(self, request: Request) -> Iterator[Stages]:
        """See `Executor.stages`."""
        with served(request) as stages:
            yield stages


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run is measured.

    Attributes:
        executor: Has its stages done there.
        name: The kind of machine, where that is a choice.
        server_cores: CPUs there; None: those of this machine.
    """

    executor: Executor = field(default_factory=LocalExecutor)
    name: str | None = None
    server_cores: int | None = None


@contextmanager
def served(request: Request) -> Iterator[ServedStages]:
    """A server on this machine that has the model, ended with the context.

    Raises:
        RuntimeStartError: Triton does not serve.
    """
    prepared = request.prepared
    repository = request.folder / "repository"
    write_repository(repository, prepared.artifact, prepared.base.config)
    rows = request.folder / "input.json"
    write_perf_analyzer_json(prepared.load, rows)
    try:
        with ExitStack() as stack:
            server = stack.enter_context(_running(request, repository))
            arguments = ("--input-data", server.tools.path(rows))
            control = stack.enter_context(ModelControl(server.endpoint))
            bench = _bench(request, server, control, repository, arguments)
            yield ServedStages(request=request, server=server, repository=repository, bench=bench)
    finally:
        shutil.rmtree(repository, ignore_errors=True)


@contextmanager
def _running(request: Request, repository: Path) -> Iterator[Server]:
    request.progress.phase("serve")
    with ExitStack() as stack:
        with request.stopwatch.phase("serve"):
            choice = choose_runtime(request.config, progress=request.progress, note=request.note)
            if choice.note is not None:
                request.note(choice.note)
            server = stack.enter_context(choice.runtime.serve(repository, request.folder))
        yield server


def _bench(
    request: Request, server: Server, control: ModelControl, repository: Path, arguments: tuple[str, ...]
) -> Bench:
    prepared, most = request.prepared, server.max_instances
    served_model = ServedModel(
        control,
        prepared.artifact.name,
        lambda variant: config_json(prepared, variant),
        None if most is None else Beside(repository=repository, max_instances=most),
    )
    perf_analyzer = PerfAnalyzer(
        tools=server.tools,
        model_name=lambda: served_model.name,
        input_arguments=arguments,
        folder=request.folder,
        server_times=served_model.watch,
        latency_p99_limit_ms=request.config.constraints.latency_p99_ms,
        unanswered=server.mark_unhealthy,
    )
    return Bench(
        served=served_model,
        perf_analyzer=perf_analyzer,
        restart_server_if_dead=server.restart_if_dead,
        record=request.record,
        progress=request.progress,
        earlier=request.earlier,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedStages:
    """The stages on a server of this machine; see `Stages`."""

    request: Request
    server: Server
    repository: Path
    bench: Bench

    @property
    def environment(self) -> Environment:
        """See `Stages.environment`."""
        return self.server.environment

    def noise(self) -> Noise | None:
        """See `Stages.noise`; loads the default before, and notes how long that takes."""
        request, served_model = self.request, self.bench.served
        # How long a pod would take; a default that cannot be loaded shows in its measurements.
        with request.stopwatch.phase("load"), suppress(RuntimeStartError):
            served_model.reload(request.prepared.plan.default)
        with self._phase("noise"):
            found = self._noise()
        served_model.unload()
        return found

    def _noise(self) -> Noise | None:
        config = self.request.config
        if config.noise.gate == "off":
            return None
        found = NoiseGate(
            config=config, plan=self.request.prepared.plan, bench=self.bench, note=self.request.note
        ).run()
        if found is not None:
            self.request.progress.note(noise.resolution_note(found))
            if (beyond := noise.gate_note(found, config.noise)) is not None:
                self.request.note(beyond)
        return found

    def _phase(self, phase: Phase) -> AbstractContextManager[None]:
        return self.request.stopwatch.phase(phase, before_s=self.request.earlier.spent_s(phase))

    def sweep(self, found_noise: Noise | None) -> None:
        """See `Stages.sweep`."""
        request = self.request
        adaptive = request.config.profiler.kind == "adaptive"
        with self._phase("sweep"):
            # An adaptive search decides on its way how many it takes.
            request.progress.phase("sweep", steps=None if adaptive else request.prepared.plan.measurement_count)
            self._profiler(found_noise).profile(
                ProfileJob(
                    plan=request.prepared.plan,
                    server=self.server,
                    repository=self.repository,
                    folder=request.folder,
                    input_arguments=self.bench.perf_analyzer.input_arguments,
                    record=request.record,
                    progress=request.progress,
                    known=request.earlier.of("sweep"),
                    clock=request.earlier.clock,
                    measure_window=self.bench.measure,
                )
            )

    def _profiler(self, found_noise: Noise | None) -> Profiler:
        config = self.request.config
        settings, limit_ms = config.profiler, config.constraints.latency_p99_ms
        if settings.kind == "model-analyzer":
            return ModelAnalyzer(interval_ms=settings.measurement_interval_ms, latency_p99_limit_ms=limit_ms)
        return Adaptive(
            latency_p99_limit_ms=limit_ms,
            window_s=_SEARCH_WINDOW_RATIO * settings.measurement_interval_ms / 1000,
            budget_s=None if settings.max_minutes is None else 60 * settings.max_minutes,
            seed=settings.seed,
            noise_ratio=None if found_noise is None else found_noise.window_sd_ratio,
        )

    def prove(self, ranking: Ranking, found_noise: Noise | None) -> Proved:
        """See `Stages.prove`."""
        with self._phase("confirmation"):
            # Nothing that a search has kept loaded may be there beside what is measured now.
            self.bench.served.unload()
            confirmation = self._confirm(ranking, found_noise)
        with self._phase("open_loop"):
            capacity = self._capacity(confirmation)
        return Proved(confirmation=confirmation, capacity=capacity)

    def _confirm(self, ranking: Ranking, found_noise: Noise | None) -> Confirmation:
        proof = Proof(
            config=self.request.config,
            plan=self.request.prepared.plan,
            ranking=ranking,
            bench=self.bench,
            note=self.request.note,
            window_s=None if found_noise is None else found_noise.window_s,
            clock=self.request.earlier.clock,
        )
        return proof.run()

    def _capacity(self, confirmation: Confirmation) -> Capacity | None:
        """The rate that the best sustains; None where there is no best, no limit, no time, or no answer."""
        config, note = self.request.config, self.request.note
        best, limit_ms = confirmation.best, config.constraints.latency_p99_ms
        max_s = 60 * config.capacity.max_minutes
        if best is None or limit_ms is None or max_s == 0:
            return None
        if shortest_check_s(limit_ms) > max_s:
            note(capacity_failed(f"a limit of {limit_ms:g} ms needs a longer capacity.max_minutes"))
            return None
        check = CapacityCheck(
            bench=self.bench,
            open_loop=OpenLoop(
                perf_analyzer=self.bench.perf_analyzer,
                variant=best.variant,
                client_batch_size=best.load.client_batch_size,
                latency_p99_limit_ms=limit_ms,
                seed=config.profiler.seed,
            ),
            limits=Limits(max_s=max_s, alpha=config.confirmation.alpha),
            clock=self.request.earlier.clock,
        )
        try:
            found = check.run(best.throughput_infer_per_s.estimate)
        except RuntimeStartError as error:
            # All that was confirmed stands without it.
            note(capacity_failed(error.message))
            return None
        for said in capacity_notes(found):
            note(said)
        return check.capacity(found)
