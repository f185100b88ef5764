"""A model on an embedded server, with a WindowRunner that measures windows of it: what the live benchmarks share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hcopt.config.sections import Config
from hcopt.measure.context import RunContext
from hcopt.measure.window import WindowRunner, open_runner
from hcopt.model.inputs.perf_analyzer_json import write_perf_analyzer_json
from hcopt.model.prepare import Prepared, prepare
from hcopt.model.repository import write_repository
from hcopt.triton.base import Server
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.runtime import EmbeddedRuntime


@dataclass(frozen=True)
class Live:
    """A running server, what it serves, and how to measure it; `arguments` are perf_analyzer's for the rows."""

    server: Server
    control: ModelControl
    prepared: Prepared
    runner: WindowRunner
    repository: Path
    folder: Path
    arguments: Sequence[str]


@contextmanager
def live(config: Config) -> Iterator[Live]:
    """Serves the configuration's model on an embedded server, in a temporary folder, for as long as this lasts."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = config.model_copy(update={"profiler": config.profiler.model_copy(update={"kind": "model-analyzer"})})
        prepared = prepare(config, into=folder / "model", tracking_uri=f"sqlite:///{folder}/mlflow.db")
        repository = folder / "repository"
        write_repository(repository, prepared.artifact, prepared.base.config)
        rows = folder / "input.json"
        write_perf_analyzer_json(prepared.load, rows)
        with (
            EmbeddedRuntime(
                cpuset_server=config.runtime.cpuset.server, cpuset_client=config.runtime.cpuset.client
            ).serve(repository, folder) as server,
            ModelControl(server.endpoint, log=server.log) as control,
        ):
            runner = open_runner(
                prepared, server, control, folder=folder, context=RunContext(), rows=rows, repository=repository
            )
            yield Live(server, control, prepared, runner, repository, folder, runner.perf_analyzer.input_arguments)
