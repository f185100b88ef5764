"""Options of the commands, and which keys of config.yaml they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

# Who has not installed what one needs for several machines has no use for it, and is told so when it is asked for.
WITHOUT_CLUSTERS = find_spec("ray") is None

# The groups of commands in `hcopt --help`, in order of the commands' modules.
MEASURE, RESULTS, DEPLOY, SERVICE = "Measure", "Results", "Deploy", "Service"
# The groups of options in a command's `--help`, after those that matter first.
TRITON, MEASURING, OUTPUT = "Where Triton runs", "How it measures", "Output"

Run = Annotated[str, typer.Argument(help="A run's folder, its id, or `results` for the latest.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=OUTPUT)]
Growth = Annotated[str, typer.Option("--growth", help="Steepest rise of the load to keep up with.")]
Scrape = Annotated[int, typer.Option("--scrape-interval", min=1, help="Prometheus's, in seconds.")]
Window = Annotated[int, typer.Option("--rate-window", min=1, help="Window of rate(), in seconds.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value, as in config.yaml; may be given several times.")
]
Runtime = Annotated[str | None, typer.Option("--runtime", help="auto, embedded or docker.", rich_help_panel=TRITON)]
AnyRuntime = Annotated[
    str | None, typer.Option("--runtime", help="auto, embedded, docker or remote.", rich_help_panel=TRITON)
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="A Triton that runs already, grpc://host:port; means --runtime remote.",
        rich_help_panel=TRITON,
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Measure although another hcopt measures on this machine.", rich_help_panel=MEASURING),
]
PodStart = Annotated[
    int | None,
    typer.Option("--pod-start", min=0, help="Seconds from the autoscaler's decision to a new pod's first answer."),
]

Namespace = Annotated[str, typer.Option("--namespace")]
NodeSelector = Annotated[
    list[str] | None,
    typer.Option("--node-selector", help="LABEL=VALUE of the nodes; may be given several times."),
]
Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="config.yaml; without it ./config.yaml, else the defaults.")
]
Model = Annotated[
    str | None, typer.Option("--model", help="models:/NAME@alias, runs:/ID/path, s3://bucket/key, a folder or a file.")
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="models:/NAME@alias, runs:/ID/path, s3://bucket/key, a folder or a file; several models: several times.",
    ),
]
Executor = Annotated[
    str | None,
    typer.Option(
        "--executor",
        hidden=WITHOUT_CLUSTERS,
        help="local, or ray: on the nodes of a Ray cluster.",
        rich_help_panel=TRITON,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        hidden=WITHOUT_CLUSTERS,
        help="With --executor ray: the head, host:port; auto: that of this machine.",
        rich_help_panel=TRITON,
    ),
]
Profiler = Annotated[
    str | None, typer.Option("--profiler", help="model-analyzer or adaptive.", rich_help_panel=MEASURING)
]
MaxMinutes = Annotated[
    float | None,
    typer.Option("--max-minutes", help="Budget of an adaptive search, in minutes.", rich_help_panel=MEASURING),
]
Promote = Annotated[
    str | None, typer.Option("--promote", help="Alias that the model version gets if the best is proven better.")
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse to compare on a machine that is noisier than `noise` allows.",
        rich_help_panel=MEASURING,
    ),
]


def runtime_options(kind: str | None, endpoint: str | None = None) -> dict[str, object]:
    """Which Triton, by the keys of config.yaml."""
    return given({"runtime.kind": kind or (None if endpoint is None else "remote"), "runtime.remote.grpc": endpoint})


def given(options: Mapping[str, object]) -> dict[str, object]:
    """Those that were given."""
    return {key: value for key, value in options.items() if value is not None}


def model_options(uris: Sequence[str]) -> dict[str, object]:
    """Models that are named on the command line stand for those of config.yaml."""
    if not uris:
        return {}
    if len(uris) == 1:
        return {"model.uri": uris[0], "models": []}
    return {"models": [{"model": {"uri": uri}} for uri in uris]}
