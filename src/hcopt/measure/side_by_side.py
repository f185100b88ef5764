"""Models that are measured as they are, beside each other: each a `Prepared` of its own and a bench on some server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hcopt.config.sections import Config
from hcopt.errors import ProfileError
from hcopt.measure.perf_analyzer import PerfAnalyzer, Window
from hcopt.measure.served_model import ServedModel
from hcopt.measure.unknown_speed import first_with_figures
from hcopt.measure.window import Bench
from hcopt.model.inputs.perf_analyzer_json import write_perf_analyzer_json
from hcopt.model.prepare import Prepared, config_json, prepare
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.system.progress import Progress
from hcopt.triton.base import Server
from hcopt.triton.control import ModelControl

# What windows of a model of unknown speed expect in turn: an answer within 0.1 s, 1 s, 10 s.
_UNKNOWN_ROUNDS_PER_S = (10.0, 1.0, 0.1)


def prepare_side(config: Config, uri: str, *, name: str, label: str, into: Path, tracking_uri: str) -> Prepared:
    """A model with the configuration that lies beside it, to be served under `name`, and called `label` to the user.

    Raises:
        ModelSourceError: The model cannot be had or served.
        ConfigError: An input's shape is open.
    """
    model = config.model.model_copy(update={"uri": uri, "name": name})
    mlflow = config.mlflow.model_copy(update={"promote_alias": None})
    given = config.model_copy(update={"model": model, "mlflow": mlflow})
    prepared = prepare(given, into=into / name, tracking_uri=tracking_uri)
    default = replace(prepared.plan.default, config_name=label)
    return replace(prepared, plan=replace(prepared.plan, default=default))


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
        model_name=lambda: served.name,
        input_arguments=("--input-data", server.tools.path(rows)),
        folder=folder,
        server_times=served.watch,
        unanswered=server.mark_unhealthy,
    )
    return Bench(
        served=served,
        perf_analyzer=perf_analyzer,
        restart_server_if_dead=server.restart_if_dead,
        record=record,
        progress=progress,
    )


def measure_speed(
    prepared: Prepared, load: LoadPoint, *, window_s: float, measure: Callable[[Window], Measurement]
) -> Window:
    """The window for a model's blocks, as long as its speed asks for; what shows that speed counts for nothing else.

    A model that answers with errors needs no longer window: that it does is what its blocks are to show.

    Raises:
        ProfileError: It gives no figures, however long it is asked.
    """
    windows = (
        Window(
            variant=prepared.plan.default,
            load=load,
            expected_infer_per_s=rounds_per_s * load.concurrency * load.client_batch_size,
            window_s=window_s,
            phase="confirmation",
            rate_is_known=False,
        )
        for rounds_per_s in _UNKNOWN_ROUNDS_PER_S
    )
    window, measured = first_with_figures(windows, measure, refusal_ends=True)
    if measured.throughput_infer_per_s is not None:
        return replace(window, expected_infer_per_s=measured.throughput_infer_per_s, rate_is_known=True)
    if measured.failed_by_variant:
        return window
    raise ProfileError(f"{prepared.plan.default.config_name} cannot be measured: {measured.error}")
