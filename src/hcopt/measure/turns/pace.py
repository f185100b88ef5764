"""How long and how many the turns of a block are, and in which order they come.

In a block each candidate has its turns forth and back (A B C C B A), so that a drift within cancels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from hcopt.analysis.blocks import Candidate, balanced_orders
from hcopt.measure.turns import program

# benchmarks/decisions/designs.py chose them: the pace of a shared machine changes within some tenths of a second.
TURN_S, _MAX_TURN_S, _LOAD_S = 0.1, 1.0, 0.4
# Answers to each of the requests that are under way at once, in a turn and in its beginning, which does not count.
_ROUNDS, _LEAD_ROUNDS, _MIN_LEAD_S = 30, 3, 0.01
# A request that takes longer than the limit has to be seen to do so before its turn ends.
_LIMITS = 2
_BLOCKS = 12
# perf_analyzer keeps every request in memory, some with their rows, and writes all of them at the end of a session.
_MAX_EXPORT_BYTES, _REQUEST_BYTES = 100e6, 100
# A session's beginning and end, and that of each side (benchmarks/decisions/designs.py).
_SESSION_S, _SIDE_S = 0.8, 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long and how many the turns of a block are.

    Attributes:
        turn_s: Length of a turn in seconds.
        passes: How often all candidates have their turns forth and back.
        lead_s: What of the beginning of each turn does not count.
        blocks: Blocks of a session: then the processes begin anew, and with them whatever differs from start to start.
    """

    turn_s: float
    passes: int
    lead_s: float
    blocks: int = _BLOCKS

    def with_load_s(self, load_s: float) -> Pace:
        """The same turns in longer blocks: each candidate has about so many seconds of load in one."""
        passes = max(self.passes, round(load_s / 2 / self.turn_s))
        return replace(self, passes=passes, blocks=max(1, self.blocks * self.passes // passes))

    def block_s(self, count: int) -> float:
        """About how many seconds a block of so many takes, with its part of what begins and ends a session."""
        turns = self.passes * (2 * count - 1)
        session_s = _SESSION_S + count * _SIDE_S
        return self.passes * 2 * count * self.turn_s + turns * program.BETWEEN_S + session_s / self.blocks


# Of a quick model.
QUICK = Pace(turn_s=TURN_S, passes=round(_LOAD_S / 2 / TURN_S), lead_s=_MIN_LEAD_S)


def pace_of(
    candidates: Iterable[Candidate],
    rates: Mapping[str, float],
    *,
    latency_p99_limit_ms: float | None,
    row_bytes: float,
    stall_s: float = 0.0,
) -> Pace | None:
    """Turns that are long enough for many answers to each request slot; None where windows are the better way.

    Args:
        candidates: Who takes turns.
        rates: About how many inferences a second each gives, by its configuration's name.
        latency_p99_limit_ms: The limit, or None.
        row_bytes: What a row takes in perf_analyzer's export.
        stall_s: How long the server itself may leave requests, see `queue_stall_s`.
    """
    own = [(one.load, rates[one.variant.config_name]) for one in candidates]
    slot_s = max(stall_s, *(load.concurrency * load.client_batch_size / rate for load, rate in own))
    bytes_per_s = max(rate * (row_bytes + _REQUEST_BYTES / load.client_batch_size) for load, rate in own)
    limit_s = (latency_p99_limit_ms or 0) / 1000
    turn_s = max(TURN_S, _ROUNDS * slot_s, _LIMITS * limit_s)
    passes = max(1, round(_LOAD_S / 2 / turn_s))
    block_bytes = bytes_per_s * 2 * passes * turn_s
    if turn_s > _MAX_TURN_S or block_bytes > _MAX_EXPORT_BYTES:
        return None
    return Pace(
        turn_s=turn_s,
        passes=passes,
        lead_s=max(_MIN_LEAD_S, _LEAD_ROUNDS * slot_s),
        blocks=min(_BLOCKS, int(_MAX_EXPORT_BYTES / block_bytes)),
    )


def planned_turns(count: int, block: int, pace: Pace) -> list[tuple[int, float]]:
    """Side and seconds of each turn of a block; two turns of one side in a row are one of twice the length."""
    orders = balanced_orders(count)
    passes = (orders[(block * pace.passes + number) % len(orders)] for number in range(pace.passes))
    turns = groupby(side for order in passes for side in (*order, *reversed(order)))
    return [(side, pace.turn_s * len(list(same))) for side, same in turns]
