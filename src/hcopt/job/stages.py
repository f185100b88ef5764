"""The stages of one model that need a running server, each on its own: noise, sweep, proof; values in, values out.

`run` puts them in their order; who offers them may have the server here, or on other machines.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from hcopt.analysis.plan import plan_on
from hcopt.config.sections import Config
from hcopt.errors import RuntimeStartError
from hcopt.measure.accelerator_check import check_accelerators
from hcopt.measure.capacity import find_capacity
from hcopt.measure.choose import choose_profiler
from hcopt.measure.confirmation import confirm_finalists
from hcopt.measure.context import RunContext
from hcopt.measure.noise import measure_noise
from hcopt.measure.onnxruntime_alone import measure_alone
from hcopt.measure.profiler import ProfileJob
from hcopt.measure.window import WindowRunner, open_runner
from hcopt.model.inputs.perf_analyzer_json import write_perf_analyzer_json
from hcopt.model.prepare import Prepared, config_json
from hcopt.model.repository import write_repository
from hcopt.records.measurement import Environment
from hcopt.records.note import Note
from hcopt.records.verdict import Capacity, Confirmation, ModelAlone, Noise, Ranking
from hcopt.system.cpu_list import format_cpu_list, parse_cpu_list
from hcopt.system.topology import read_cores, shared_cores
from hcopt.triton.base import Server
from hcopt.triton.choose import choose_runtime
from hcopt.triton.control import ModelControl


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRun:
    """One model that is to be measured.

    Attributes:
        config: The configuration.
        folder: The run's folder.
        prepared: The model, its load and the plan.
        context: See `RunContext`.
    """

    config: Config
    folder: Path
    prepared: Prepared
    context: RunContext

    def on(self, environment: Environment) -> ModelRun:
        """The run on a server whose environment is known; see `plan_on`."""
        plan = plan_on(self.prepared.plan, environment)
        return replace(self, prepared=replace(self.prepared, plan=plan))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the finalists have shown on fresh data, all on one machine."""

    confirmation: Confirmation
    capacity: Capacity | None
    alone: ModelAlone | None = None


class Stages(Protocol):
    """The stages, to be called in this order. A stage may raise RuntimeStartError or ProfileError."""

    @property
    def environment(self) -> Environment:
        """The conditions of all figures; those of other ones are never ranked with them."""

    def noise(self) -> Noise | None:
        """The default against itself; None where that is switched off or cannot be measured."""

    def sweep(self, found_noise: Noise | None) -> None:
        """Measures the plan; records what it finds."""

    def prove(self, ranking: Ranking, found_noise: Noise | None) -> Proof:
        """Finalists and default against each other; what the best costs a request, and the rate that it sustains."""


def machine_notes(found: Environment, *, planned: bool) -> Iterator[Note]:
    """Which CPUs are whose where hcopt has planned that, and what disturbs a server on this machine all the time."""
    if found.runtime == "remote" or found.client_cpuset is None:
        return
    server, client = parse_cpu_list(found.cpuset), parse_cpu_list(found.client_cpuset)
    if found.cpu_quota is not None and found.cpu_quota < len(server):
        yield Note.of("cpu_quota", quota=found.cpu_quota, cpus=len(server), counted=found.cpu_count)
    if found.governor not in (None, "performance"):
        yield Note.of("governor", governor=found.governor)
    if server & client:
        return
    if planned:
        yield Note.of("cores_divided", server=found.cpuset, client=found.client_cpuset)
    if shared := shared_cores(read_cores(server | client), server, client):
        yield Note.of("siblings_shared", cpus=format_cpu_list(shared))


@contextmanager
def served_stages(run: ModelRun) -> Iterator[ServedStages]:
    """The stages on a server on this machine, which ends with the context.

    Raises:
        RuntimeStartError: Triton does not serve.
    """
    repository, rows, context = run.folder / "repository", run.folder / "input.json", run.context
    write_repository(repository, run.prepared.artifact, run.prepared.base.config)
    write_perf_analyzer_json(run.prepared.load, rows)
    try:
        with ExitStack() as stack:
            context.progress.phase("serve")
            with context.stopwatch.phase("serve"):
                choice = choose_runtime(run.config, progress=context.progress, note=context.note)
                if choice.note is not None:
                    context.note(choice.note)
                server = stack.enter_context(choice.runtime.serve(repository, run.folder))
            run = run.on(server.environment)
            for note in machine_notes(server.environment, planned=run.config.runtime.cpuset.is_auto):
                context.note(note)
            runner = open_runner(
                run.prepared,
                server,
                stack.enter_context(ModelControl(server.endpoint)),
                folder=run.folder,
                context=context,
                rows=rows,
                latency_p99_limit_ms=run.config.constraints.latency_p99_ms,
                repository=repository,
            )
            yield ServedStages(run=run, server=server, repository=repository, runner=runner)
    finally:
        shutil.rmtree(repository, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedStages:
    """The stages on a server of this machine; see `Stages`."""

    run: ModelRun
    server: Server
    repository: Path
    runner: WindowRunner

    @property
    def environment(self) -> Environment:
        """See `Stages.environment`."""
        return self.server.environment

    def noise(self) -> Noise | None:
        """See `Stages.noise`; compares accelerators before, loads the default, and notes how long that takes."""
        plan, context = self.run.prepared.plan, self.run.context
        tolerance = self.run.config.model.tolerance
        for note in check_accelerators(self.runner.served, self.run.prepared, self.environment, tolerance):
            context.note(note)
        # How long a pod would take; a default that cannot be loaded shows in its measurements.
        with context.stopwatch.phase("load"), suppress(RuntimeStartError):
            self.runner.served.reload(plan.default)
        with context.stage("noise"):
            found = measure_noise(self.runner, plan, self.run.config)
        self.runner.served.unload()
        return found

    def sweep(self, found_noise: Noise | None) -> None:
        """See `Stages.sweep`."""
        plan, context = self.run.prepared.plan, self.run.context
        profiler, stall_s = choose_profiler(self.run.config, found_noise), self.runner.perf_analyzer.stall_s
        with context.stage("sweep"):
            steps = plan.measurement_count if profiler.measures_whole_plan else None
            context.progress.phase("sweep", steps=steps)
            profiler.profile(
                ProfileJob(
                    plan=plan,
                    server=self.server,
                    repository=self.repository,
                    folder=self.run.folder,
                    input_arguments=self.runner.perf_analyzer.input_arguments,
                    context=context,
                    measure_window=self.runner.measure,
                    config_of=lambda variant: config_json(self.run.prepared, variant),
                    refused_share=self.runner.refused_share if stall_s else None,
                    stall_s=stall_s,
                    watch=self.runner.served.watch,
                )
            )

    def prove(self, ranking: Ranking, found_noise: Noise | None) -> Proof:
        """See `Stages.prove`."""
        plan, config, context = self.run.prepared.plan, self.run.config, self.run.context
        window_s = None if found_noise is None else found_noise.window_s
        if self.server.memory_mb() is None:
            context.note(Note.of("memory_not_read"))
        with context.stage("confirmation", "memory"):
            # Nothing that a search has kept loaded may be there beside what is measured now.
            self.runner.served.unload()
            confirmation = confirm_finalists(self.runner, plan, ranking, config, window_s=window_s)
        with context.stage("onnxruntime_alone"):
            alone = measure_alone(self.runner, confirmation.best, self.run.prepared, config, self.environment)
        with context.stage("open_loop"):
            capacity = find_capacity(self.runner, confirmation.best, config)
        return Proof(confirmation=confirmation, capacity=capacity, alone=alone)
