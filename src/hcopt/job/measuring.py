"""One model measured: noise, sweep, ranking, confirmation and capacity, in this order, wherever the servers are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hcopt.analysis.node_effects import without_node_effects
from hcopt.analysis.ranking import rank, unmeasured
from hcopt.config.sections import Config
from hcopt.errors import ProfileError
from hcopt.job.stages import Executor, LocalExecutor, Request, Stopwatch
from hcopt.measure.search.order import rank_windows
from hcopt.model.prepare import Prepared
from hcopt.records.measurement import Environment, Measurement
from hcopt.records.note import Note
from hcopt.records.verdict import Capacity, Confirmation, Noise, Ranking
from hcopt.store.measurements import MeasurementLog
from hcopt.store.replay import Earlier
from hcopt.system.files import check_room
from hcopt.system.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the server was needed for."""

    environment: Environment
    noise: Noise | None
    ranking: Ranking
    confirmation: Confirmation
    capacity: Capacity | None


@dataclass(slots=True, kw_only=True)
class Measuring:
    """One model, measured.

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
        executor: Who does the stages.
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
    executor: Executor = field(default_factory=LocalExecutor)

    def run(self) -> Found:
        """Starts the server, measures, and ends the server, whatever happens.

        Raises:
            RuntimeStartError: Triton does not serve.
            ProfileError: Nothing could be measured, or the machine is noisier than allowed.
        """
        request = Request(
            config=self.config,
            folder=self.folder,
            prepared=self.prepared,
            record=self._record,
            stopwatch=self.stopwatch,
            note=self.note,
            progress=self.progress,
            earlier=self.earlier,
        )
        with self.executor.stages(request) as stages:
            self.served(stages.environment)
            found_noise = stages.noise()
            stages.sweep(found_noise)
            ranking = self._rank(None if found_noise is None else found_noise.window_sd_ratio)
            proved = stages.prove(ranking, found_noise)
            return Found(
                environment=stages.environment,
                noise=found_noise,
                ranking=ranking,
                confirmation=proved.confirmation,
                capacity=proved.capacity,
            )

    def _record(self, measurement: Measurement) -> None:
        if measurement.error is not None:
            # A program that finds the disk full says so in its own words, or leaves a file that is cut: no fault of the
            # configuration, which is to be measured when there is room.
            check_room(self.folder)
        MeasurementLog(self.folder).append(measurement)
        self.taken.append(measurement)

    def _rank(self, noise_ratio: float | None) -> Ranking:
        plan, limit_ms = self.prepared.plan, self.config.constraints.latency_p99_ms
        swept = [m for m in self.taken if m.phase == "sweep"]
        if self.config.profiler.kind == "model-analyzer":
            ranking = rank(plan, without_node_effects(swept, noise_ratio=noise_ratio), latency_p99_limit_ms=limit_ms)
        else:
            # A search measures some points often and others once: the plain order would reward a single lucky window.
            ranking = rank_windows(plan, swept, latency_p99_limit_ms=limit_ms)
        if not ranking.ranked:
            reason = next((m.error for m in swept if m.error), "no reason is known")
            raise ProfileError(f"no measurement succeeded: {reason}", log=self.folder / "logs")
        if (missing := unmeasured(self.prepared.plan, ranking)) is not None:
            self.note(missing)
        return ranking
