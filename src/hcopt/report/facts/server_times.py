"""Where a request of one configuration spends its time, by Triton's own statistics. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from hcopt.analysis.view import Side
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.run import RunRecord

SERVER_PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Mean times of one configuration's requests at one load, in ms.

    Attributes:
        windows: By block; those of the sweep where no block has Triton's statistics.
        confirmed: Whether they come from the confirmation's blocks.
    """

    side: Side
    load: LoadPoint
    windows: Mapping[int, Mapping[str, float]]
    confirmed: bool

    def mean_ms(self, part: str) -> float:
        """Mean of a part over the windows: each window counts once, as everywhere in the confirmation."""
        return fmean(window[part] for window in self.windows.values())

    @property
    def server_ms(self) -> float:
        """All parts in the server together."""
        return sum(map(self.mean_ms, SERVER_PARTS))


def server_times(run: RunRecord, side: Side, load: LoadPoint) -> Times | None:
    """From the confirmation's blocks, else from the sweep; None where neither has Triton's statistics."""
    taken = [m for m in run.measurements if m.variant.settings == side.variant.settings and m.load == load]
    blocks = [(m.block, _window(m)) for m in taken if m.phase == "confirmation" and m.block is not None]
    swept = [_window(m) for m in taken if m.phase == "sweep"]
    confirmed = {block: window for block, window in blocks if window is not None}
    single = {number: window for number, window in enumerate(swept) if window is not None}
    if not confirmed and not single:
        return None
    return Times(side=side, load=load, windows=confirmed or single, confirmed=bool(confirmed))


def _window(m: Measurement) -> Mapping[str, float] | None:
    """The parts of one window's mean latency, in ms; what the server does not account for is `outside`."""
    if m.server is None or m.latency is None:
        return None
    server = {part: getattr(m.server, f"{part}_us") / 1000 for part in SERVER_PARTS}
    outside = max(0.0, m.latency.avg_ms - sum(server.values()))
    return {**server, "outside": outside, "total": m.latency.avg_ms}
