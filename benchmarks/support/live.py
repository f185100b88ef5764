"""A model on an embedded server, with a Bench that measures windows of it: what the live benchmarks share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hcopt.config.sections import Config
from hcopt.measure.perf_analyzer import PerfAnalyzer
from hcopt.measure.served_model import ServedModel
from hcopt.measure.window import Bench
from hcopt.model.inputs.perf_analyzer_json import write_perf_analyzer_json
from hcopt.model.prepare import Prepared, config_json, prepare
from hcopt.model.repository import write_repository
from hcopt.system.progress import SilentProgress
from hcopt.triton.base import Server
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.runtime import EmbeddedRuntime


@dataclass(frozen=True)
class Live:
    """A running server, what it serves, and how to measure it; `arguments` are perf_analyzer's for the rows."""

    server: Server
    control: ModelControl
    prepared: Prepared
    bench: Bench
    repository: Path
    folder: Path
    arguments: tuple[str, ...]


@contextmanager
def live(config: Config) -> Iterator[Live]:
    """Serves the configuration's model on an embedded server, in a temporary folder, for as long as this lasts."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = config.model_copy(update={"profiler": config.profiler.model_copy(update={"kind": "model-analyzer"})})
        prepared = prepare(config, into=folder / "model", tracking_uri=f"sqlite:///{folder}/mlflow.db")
        repository = folder / "repository"
        write_repository(repository, prepared.artifact, prepared.base.config)
        write_perf_analyzer_json(prepared.load, folder / "input.json")
        with (
            EmbeddedRuntime(
                cpuset_server=config.runtime.cpuset.server, cpuset_client=config.runtime.cpuset.client
            ).serve(repository, folder) as server,
            ModelControl(server.endpoint, log=server.log) as control,
        ):
            arguments = ("--input-data", server.tools.path(folder / "input.json"))
            yield Live(
                server,
                control,
                prepared,
                _bench(server, control, prepared, folder, arguments),
                repository,
                folder,
                arguments,
            )


def _bench(
    server: Server, control: ModelControl, prepared: Prepared, folder: Path, arguments: tuple[str, ...]
) -> Bench:
    name = prepared.artifact.name
    served = ServedModel(control, name, lambda variant: config_json(prepared, variant))
    return Bench(
        served=served,
        perf_analyzer=PerfAnalyzer(
            tools=server.tools,
            model_name=lambda: served.name,
            input_arguments=arguments,
            folder=folder,
            server_times=served.watch,
        ),
        restart_server_if_dead=server.restart_if_dead,
        record=SilentProgress().measured,
        progress=SilentProgress(),
    )
