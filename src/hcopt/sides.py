"""Models that are measured as they are, beside each other: each a `Prepared` of its own and a bench on some server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hcopt.bench import Bench
from hcopt.config import Config
from hcopt.errors import ProfileError
from hcopt.load_data import write_perf_analyzer_json
from hcopt.preparation import Prepared, config_json, prepare
from hcopt.profiler.perf_analyzer import PerfAnalyzer, Window
from hcopt.progress import Progress
from hcopt.runtime.base import Server
from hcopt.runtime.model_control import ModelControl
from hcopt.schema import LoadPoint, Measurement
from hcopt.serving import ServedModel

# What a first window of unknown speed expects: an answer to each request within 100 ms.
_UNKNOWN_ROUNDS_PER_S = 10


def prepare_side(config: Config, uri: str, *, name: str, into: Path, tracking_uri: str) -> Prepared:
    """A model with the configuration that lies beside it, to be served under `name`.

    Raises:
        ModelSourceError: The model cannot be had or served.
        ConfigError: An input's shape is open.
    """
    model = config.model.model_copy(update={"uri": uri, "name": name})
    mlflow = config.mlflow.model_copy(update={"promote_alias": None})
    given = config.model_copy(update={"model": model, "mlflow": mlflow})
    return prepare(given, into=into / name, tracking_uri=tracking_uri)


def open_bench(
    prepared: Prepared,
    server: Server,
    control: ModelControl,
    *,
    folder: Path,
    record: Callable[[Measurement], None],
    progress: Progress,
) -> Bench:
    """A bench for one model on a server that has it in its repository."""
    name = prepared.artifact.name
    rows = folder / f"input_{name}.json"
    write_perf_analyzer_json(prepared.load, rows)
    served = ServedModel(control, name, lambda variant: config_json(prepared, variant))
    perf_analyzer = PerfAnalyzer(
        tools=server.tools,
        model_name=name,
        input_arguments=("--input-data", server.tools.path(rows)),
        folder=folder,
        server_times=served.watch,
    )
    return Bench(
        served=served,
        perf_analyzer=perf_analyzer,
        revive_server=server.revive,
        record=record,
        progress=progress,
    )


def first_window(prepared: Prepared, load: LoadPoint, *, window_s: float) -> Window:
    """A window that shows how fast a model is; its figures count for nothing else."""
    return Window(
        variant=prepared.plan.default,
        load=load,
        expected_infer_per_s=_UNKNOWN_ROUNDS_PER_S * load.concurrency * load.client_batch_size,
        window_s=window_s,
        phase="confirmation",
    )


def next_window(first: Window, measured: Measurement, block: int) -> Window:
    """A window of a block, as long as what the first one showed asks for.

    Raises:
        ProfileError: The first one has no figures.
    """
    if measured.throughput_infer_per_s is None:
        raise ProfileError(f"{first.variant.config_name} cannot be measured: {measured.error}")
    return replace(first, expected_infer_per_s=measured.throughput_infer_per_s, block=block)
