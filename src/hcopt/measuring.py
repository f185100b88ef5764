"""All that needs a running server: noise, sweep, ranking, confirmation, capacity; values in, values out."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hcopt import model_repository, noise
from hcopt.bench import Bench
from hcopt.capacity_check import CapacityCheck, capacity_failed, capacity_notes
from hcopt.config import Config
from hcopt.earlier import Earlier
from hcopt.errors import ProfileError, RuntimeStartError
from hcopt.files import check_room
from hcopt.load_data import write_perf_analyzer_json
from hcopt.measurements import MeasurementLog
from hcopt.noise_gate import NoiseGate
from hcopt.preparation import Prepared, config_json
from hcopt.profiler.adaptive import Adaptive
from hcopt.profiler.base import ProfileJob, Profiler
from hcopt.profiler.model_analyzer import ModelAnalyzer
from hcopt.profiler.open_loop import OpenLoop, shortest_check_s
from hcopt.profiler.perf_analyzer import PerfAnalyzer
from hcopt.progress import Progress
from hcopt.proof import Proof
from hcopt.ranking import rank, unmeasured
from hcopt.runtime.base import Server
from hcopt.runtime.choice import choose_runtime
from hcopt.runtime.model_control import ModelControl
from hcopt.schema import Capacity, Confirmation, Environment, Measurement, Noise, Note, Phase, Ranking
from hcopt.search.order import rank_windows
from hcopt.serving import Beside, ServedModel
from hcopt.sustainable_rate import Limits

# Of the measurement interval: at 0.5 s perf_analyzer's processes are load for 83 % of their lives over a search.
_SEARCH_WINDOW_RATIO = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the server was needed for."""

    environment: Environment
    noise: Noise | None
    ranking: Ranking
    confirmation: Confirmation
    capacity: Capacity | None


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


@dataclass(slots=True, kw_only=True)
class Measuring:
    """One model measured on one machine.

    Attributes:
        config: The configuration.
        folder: The run's folder.
        prepared: The model, its load and the plan.
        taken: Every measurement so far; grows while this runs.
        stopwatch: Takes the time of each stage.
        note: Takes what the user has to know.
        progress: Told what is under way.
        earlier: What an interrupted run had measured; `taken` holds it already.
        served: Told what the server is, before anything is measured.
    """

    config: Config
    folder: Path
    prepared: Prepared
    taken: list[Measurement]
    stopwatch: Stopwatch
    note: Callable[[Note], None]
    progress: Progress
    earlier: Earlier = field(default_factory=Earlier)
    served: Callable[[Environment], None] = lambda _: None

    def run(self) -> Found:
        """Starts the server, measures, and ends the server, whatever happens.

        Raises:
            RuntimeStartError: Triton does not serve.
            ProfileError: Nothing could be measured, or the machine is noisier than allowed.
        """
        repository = self.folder / "repository"
        model_repository.write_repository(repository, self.prepared.artifact, self.prepared.base.config)
        rows = self.folder / "input.json"
        write_perf_analyzer_json(self.prepared.load, rows)
        try:
            with ExitStack() as stack:
                server = stack.enter_context(self._served(repository))
                self.served(server.environment)
                arguments = ("--input-data", server.tools.path(rows))
                control = stack.enter_context(ModelControl(server.endpoint))
                return self._measure(server, control, repository, arguments)
        finally:
            shutil.rmtree(repository, ignore_errors=True)

    @contextmanager
    def _served(self, repository: Path) -> Iterator[Server]:
        self.progress.phase("serve")
        with ExitStack() as stack:
            with self.stopwatch.phase("serve"):
                choice = choose_runtime(self.config, progress=self.progress, note=self.note)
                if choice.note is not None:
                    self.note(choice.note)
                server = stack.enter_context(choice.runtime.serve(repository, self.folder))
            yield server

    def _measure(self, server: Server, control: ModelControl, repository: Path, arguments: tuple[str, ...]) -> Found:
        bench = self._bench(server, control, repository, arguments)
        # How long a pod would take; a default that cannot be loaded shows in its measurements.
        with self.stopwatch.phase("load"), suppress(RuntimeStartError):
            bench.served.switch_to(self.prepared.plan.default)
        with self._phase("noise"):
            found_noise = self._noise(bench)
        bench.served.unload()
        with self._phase("sweep"):
            self._sweep(server, bench, repository, found_noise)
        ranking = self._rank()
        with self._phase("confirmation"):
            # Nothing that a search has kept loaded may be there beside what is measured now.
            bench.served.unload()
            confirmation = self._confirm(bench, ranking, found_noise)
        with self._phase("open_loop"):
            capacity = self._capacity(bench, confirmation)
        return Found(
            environment=server.environment,
            noise=found_noise,
            ranking=ranking,
            confirmation=confirmation,
            capacity=capacity,
        )

    def _phase(self, phase: Phase) -> AbstractContextManager[None]:
        return self.stopwatch.phase(phase, before_s=self.earlier.spent_s(phase))

    def _bench(self, server: Server, control: ModelControl, repository: Path, arguments: tuple[str, ...]) -> Bench:
        name, most = self.prepared.artifact.name, server.most_instances
        served = ServedModel(
            control,
            name,
            lambda variant: config_json(self.prepared, variant),
            None if most is None else Beside(repository=repository, most_instances=most),
        )
        perf_analyzer = PerfAnalyzer(
            tools=server.tools,
            model_name=lambda: served.name,
            input_arguments=arguments,
            folder=self.folder,
            server_times=served.watch,
            latency_p99_limit_ms=self.config.constraints.latency_p99_ms,
            unanswered=server.suspect,
        )
        return Bench(
            served=served,
            perf_analyzer=perf_analyzer,
            revive_server=server.revive,
            record=self._record,
            progress=self.progress,
            earlier=self.earlier,
        )

    def _record(self, measurement: Measurement) -> None:
        if measurement.error is not None:
            # A program that finds the disk full says so in its own words, or leaves a file that is cut: no fault of the
            # configuration, which is to be measured when there is room.
            check_room(self.folder)
        MeasurementLog(self.folder).append(measurement)
        self.taken.append(measurement)

    def _noise(self, bench: Bench) -> Noise | None:
        if self.config.noise.gate == "off":
            return None
        found = NoiseGate(config=self.config, plan=self.prepared.plan, bench=bench).run()
        if found is not None:
            self.progress.note(noise.resolution_note(found))
            if (beyond := noise.gate_note(found, self.config.noise)) is not None:
                self.note(beyond)
        return found

    def _sweep(self, server: Server, bench: Bench, repository: Path, found_noise: Noise | None) -> None:
        adaptive = self.config.profiler.kind == "adaptive"
        # An adaptive search decides on its way how many it takes.
        self.progress.phase("sweep", steps=None if adaptive else self.prepared.plan.measurement_count)
        self._profiler(found_noise).profile(
            ProfileJob(
                plan=self.prepared.plan,
                server=server,
                repository=repository,
                folder=self.folder,
                input_arguments=bench.perf_analyzer.input_arguments,
                record=self._record,
                progress=self.progress,
                known=self.earlier.of("sweep"),
                clock=self.earlier.clock,
                measure_window=bench.measure,
            )
        )

    def _profiler(self, found_noise: Noise | None) -> Profiler:
        settings, limit_ms = self.config.profiler, self.config.constraints.latency_p99_ms
        if settings.kind == "model-analyzer":
            return ModelAnalyzer(interval_ms=settings.measurement_interval_ms, latency_p99_limit_ms=limit_ms)
        return Adaptive(
            latency_p99_limit_ms=limit_ms,
            window_s=_SEARCH_WINDOW_RATIO * settings.measurement_interval_ms / 1000,
            budget_s=None if settings.max_minutes is None else 60 * settings.max_minutes,
            seed=settings.seed,
            # Of one window: a pair has that of two.
            noise_ratio=None if found_noise is None else found_noise.pair_sd_ratio / math.sqrt(2),
        )

    def _rank(self) -> Ranking:
        swept = [m for m in self.taken if m.phase == "sweep"]
        # A search measures some points often and others once: the plain order would reward a single lucky window.
        order = rank if self.config.profiler.kind == "model-analyzer" else rank_windows
        ranking = order(self.prepared.plan, swept, latency_p99_limit_ms=self.config.constraints.latency_p99_ms)
        if not ranking.ranked:
            reason = next((m.error for m in swept if m.error), "no reason is known")
            raise ProfileError(f"no measurement succeeded: {reason}", log=self.folder / "logs")
        if (missing := unmeasured(self.prepared.plan, ranking)) is not None:
            self.note(missing)
        return ranking

    def _confirm(self, bench: Bench, ranking: Ranking, found_noise: Noise | None) -> Confirmation:
        proof = Proof(
            config=self.config,
            plan=self.prepared.plan,
            ranking=ranking,
            bench=bench,
            note=self.note,
            window_s=None if found_noise is None else found_noise.window_s,
            clock=self.earlier.clock,
        )
        return proof.run()

    def _capacity(self, bench: Bench, confirmation: Confirmation) -> Capacity | None:
        """The rate that the best sustains; None where there is no best, no limit, no time, or no answer."""
        best, limit_ms = confirmation.best, self.config.constraints.latency_p99_ms
        max_s = 60 * self.config.capacity.max_minutes
        if best is None or limit_ms is None or max_s == 0:
            return None
        if shortest_check_s(limit_ms) > max_s:
            self.note(capacity_failed(f"a limit of {limit_ms:g} ms needs a longer capacity.max_minutes"))
            return None
        check = CapacityCheck(
            bench=bench,
            open_loop=OpenLoop(
                perf_analyzer=bench.perf_analyzer,
                variant=best.variant,
                client_batch_size=best.load.client_batch_size,
                latency_p99_limit_ms=limit_ms,
                seed=self.config.profiler.seed,
            ),
            limits=Limits(max_s=max_s, alpha=self.config.confirmation.alpha),
            clock=self.earlier.clock,
        )
        try:
            found = check.run(best.throughput_infer_per_s.estimate)
        except RuntimeStartError as error:
            # All that was confirmed stands without it.
            self.note(capacity_failed(error.message))
            return None
        for note in capacity_notes(found):
            self.note(note)
        return check.capacity(found)
