"""What every profiler does: it measures a plan on a running server and hands over each Measurement at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from hcopt.measure.context import RunContext
from hcopt.measure.load.perf_analyzer import Window
from hcopt.records.measurement import LoadPoint, Measurement, ServerTimes, SweepPlan
from hcopt.records.model import ModelConfigVariant
from hcopt.records.verdict import Ranking
from hcopt.triton.base import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileJob:
    """One sweep on one server.

    Attributes:
        plan: What to measure.
        server: Serves the repository; no variant is loaded yet.
        repository: The model repository that the server serves, on this machine.
        folder: The run's folder.
        input_arguments: perf_analyzer's options for the rows to send.
        context: Takes each measurement as soon as there is one, failed ones too; those of its replay are not measured
            or recorded again.
        measure_window: Measures one window of a variant on this server and records it (`WindowRunner.measure`), or
            gives a known one; for profilers that choose windows one by one.
        config_of: A variant's configuration as all stages load it, in JSON; for a profiler that writes its own.
        refused_share: Says which share of a load a variant rejects, for a profiler that does not count it; None where
            nothing is rejected by a policy. It loads the variant: only to be asked when nothing else is measured.
        stall_s: How long the server itself may leave requests, see `queue_stall_s`.
        watch: Starts to watch a loaded model by its name; what it returns gives the server's own times of what was
            answered since, None where nothing was. None where nobody can tell.
    """

    plan: SweepPlan
    server: Server
    repository: Path
    folder: Path
    input_arguments: Sequence[str]
    context: RunContext
    measure_window: Callable[[Window], Measurement] | None = None
    config_of: Callable[[ModelConfigVariant], str] | None = None
    refused_share: Callable[[ModelConfigVariant, LoadPoint], str | None] | None = None
    stall_s: float = 0.0
    watch: Callable[[str], Callable[[], ServerTimes | None]] | None = None

    @property
    def known(self) -> tuple[Measurement, ...]:
        """What an interrupted run has measured of this sweep, in order."""
        return self.context.replay.of("sweep")


class Profiler(Protocol):
    """A way to measure a plan.

    Attributes:
        measures_whole_plan: Whether it measures every point, so that a plan may be cut into parts; else it decides on
            its way which, and how many windows it takes.
    """

    measures_whole_plan: ClassVar[bool]

    def profile(self, job: ProfileJob) -> None:
        """Measures the plan and records it, as figures or as failures with their reasons.

        Raises:
            ProfileError: The profiler itself could not do its work.
            RuntimeStartError: The server died.
        """

    def rank(self, plan: SweepPlan, swept: Iterable[Measurement]) -> Ranking:
        """The variants of a plan by what it has measured of them."""
