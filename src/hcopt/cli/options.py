"""Options that several commands have in common, and what stands around each command."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Protocol

import typer

# Who has not installed what one needs for several machines has no use for it, and is told so when it is asked for.
WITHOUT_CLUSTERS = find_spec("ray") is None

RunArgument = Annotated[str, typer.Argument(help="A run's folder, its id, or `results` for the latest.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder with the results.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
GrowthOption = Annotated[str, typer.Option("--growth", help="Steepest rise of the load to keep up with.")]
ScrapeOption = Annotated[int, typer.Option("--scrape-interval", min=1, help="Prometheus's, in seconds.")]
WindowOption = Annotated[int, typer.Option("--rate-window", min=1, help="Window of rate(), in seconds.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value, as in config.yaml; may be given several times.")
]
RuntimeOption = Annotated[str | None, typer.Option("--runtime", help="auto, embedded or docker.")]
AnyRuntimeOption = Annotated[str | None, typer.Option("--runtime", help="auto, embedded, docker or remote.")]
EndpointOption = Annotated[
    str | None, typer.Option("--endpoint", help="A Triton that runs already, grpc://host:port; means --runtime remote.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Measure although another hcopt measures on this machine.")]
PodStartOption = Annotated[
    int | None,
    typer.Option("--pod-start", min=0, help="Seconds from the autoscaler's decision to a new pod's first answer."),
]


class Boundary(Protocol):
    """Turns errors into messages and exit codes."""

    def __call__(self, *, debug: bool) -> AbstractContextManager[None]:
        """For one command."""
