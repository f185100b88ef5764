"""Models that are compared as they are: each with a configuration, a name and rows of its own on some server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hcopt.config.sections import Config
from hcopt.errors import ProfileError
from hcopt.measure.load.perf_analyzer import Window
from hcopt.measure.unknown_speed import first_with_figures
from hcopt.model.prepare import Prepared, prepare
from hcopt.records.measurement import LoadPoint, Measurement

# What windows of a model of unknown speed expect in turn: an answer within 0.1 s, 1 s, 10 s.
_UNKNOWN_ROUNDS_PER_S = (10.0, 1.0, 0.1)


def prepare_side(config: Config, uri: str, *, name: str, label: str, into: Path, tracking_uri: str) -> Prepared:
    """A model with the configuration that lies beside it, to be served under `name`, and called `label` to the user.

    Raises:
        ModelSourceError: The model cannot be had or served.
        ConfigError: An input's shape is open.
    """
    # The file is the one that is meant, whatever variants of another one the configuration asks for.
    model = config.model.model_copy(update={"uri": uri, "name": name, "variants": {}})
    mlflow = config.mlflow.model_copy(update={"promote_alias": None})
    given = config.model_copy(update={"model": model, "mlflow": mlflow})
    prepared = prepare(given, into=into / name, tracking_uri=tracking_uri)
    default = replace(prepared.plan.default, config_name=label)
    return replace(prepared, plan=replace(prepared.plan, default=default))


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
