"""What every profiler does: it measures a plan on a running server and hands over each Measurement at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hcopt.records.measurement import FailureCause, Measurement, SweepPlan
from hcopt.system.progress import Progress
from hcopt.triton.base import Server

if TYPE_CHECKING:
    from hcopt.measure.perf_analyzer import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileJob:
    """One sweep on one server.

    Attributes:
        plan: What to measure.
        server: Serves the repository; no variant is loaded yet.
        repository: The model repository that the server serves, on this machine.
        folder: The run's folder.
        input_arguments: perf_analyzer's options for the rows to send.
        record: Takes each measurement as soon as there is one, failed ones too.
        progress: Told what is under way.
        known: What an interrupted run has measured of this sweep, in order; not to be measured or recorded again.
        clock: Seconds that only grow, the interrupted run's included.
        measure_window: Measures one window of a variant on this server and records it (`Bench.measure`), or
            gives a known one; for profilers that choose windows one by one.
    """

    plan: SweepPlan
    server: Server
    repository: Path
    folder: Path
    input_arguments: Sequence[str]
    record: Callable[[Measurement], None]
    progress: Progress
    known: Sequence[Measurement] = ()
    clock: Callable[[], float] = time.monotonic
    measure_window: Callable[[Window], Measurement] | None = None


def with_reason(measurement: Measurement, died: str | None) -> Measurement:
    """The measurement; where it failed as something had died (see `Server.restart_if_dead`), with that as its reason.

    Why a server has died nobody can tell, so that this counts against no variant. One that left requests unanswered
    was ended by hcopt for that, which does.
    """
    if measurement.error is None or died is None:
        return measurement
    cause: FailureCause = "unanswered" if measurement.failure_cause == "unanswered" else "other"
    return replace(measurement, error=f"{died}: {measurement.error}", failure_cause=cause)


class Profiler(Protocol):
    """A way to measure a plan."""

    def profile(self, job: ProfileJob) -> None:
        """Measures every point of the plan and records it, as figures or as a failure with its reason.

        Raises:
            ProfileError: The profiler itself could not do its work.
            RuntimeStartError: The server died.
        """
