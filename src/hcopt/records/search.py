"""The decisions of an adaptive search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["left_out", "start", "race", "drop", "fail", "unvisited", "stop", "winner"]
DropCause = Literal["slow", "late", "failing"]
StopCause = Literal["gain", "windows", "time", "nothing_left", "nothing_measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision of an adaptive search, with what it rests on; a line of decisions.jsonl.

    Attributes:
        action: left_out (cannot be measured), start (a block of the first windows), race (a block of what may be
            best; its variant and load are the best so far), drop (a variant of which no load can be best any more),
            fail (could not be measured), unvisited (a variant that was never measured, and what its neighbours say of
            it), stop, winner.
        reason: In a sentence, with its figures.
        block: Blocks that had been measured.
        window_count: Windows that had been measured.
        elapsed_s: Since the search began.
        cause: The reason in a word. Of a drop: too slow at every load that keeps the limit, or too late at every load.
            Of a stop: going on would gain too little, the windows that the grid is worth are taken, or the time is up.
        config_name: The variant; None where the decision is about all of them.
        concurrency: Of the load; None where it is about all loads.
        client_batch_size: Of the load.
        throughput_ratio: Against the best point so far, estimated.
        ratio_low: Lower bound of that, at 95 %.
        ratio_high: Upper bound of that.
        feasible_probability: That the point keeps the limit.
        latency_p99_ms: Of the point, estimated.
        gain_ratio: Of a stop: what going on would gain on average; None where it cannot be said.
        budget_s: Of a stop: the longest that the search might have taken; None where it had no such limit.
    """

    action: Action
    reason: str
    block: int
    window_count: int
    elapsed_s: float
    cause: DropCause | StopCause | None = None
    config_name: str | None = None
    concurrency: int | None = None
    client_batch_size: int | None = None
    throughput_ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    feasible_probability: float | None = None
    latency_p99_ms: float | None = None
    gain_ratio: float | None = None
    budget_s: float | None = None

    def __post_init__(self) -> None:
        if self.action in ("drop", "stop") and self.cause is None:
            raise ValueError(f"a {self.action} has a cause")
