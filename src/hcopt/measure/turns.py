"""Variants that take turns of a fraction of a second, each under a perf_analyzer of its own that is stopped in between.

Near in time they meet the same machine, and nothing is started between two turns but the variant, which is loaded
afresh where that is quick. In a block each has its turns forth and back (A B C C B A), so that a drift within cancels.
"""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hcopt.analysis.blocks import Candidate, balanced_orders
from hcopt.errors import ProfileError
from hcopt.measure import turns_program
from hcopt.measure.perf_analyzer import PerfAnalyzer, closed_loop, cpu_ratio, sample_name
from hcopt.measure.served_model import ServedModel
from hcopt.records.measurement import Measurement, Phase, ServerTimes
from hcopt.store import measurements
from hcopt.store.measurements import NO_ANSWER, RequestSamples
from hcopt.system.machine import read_cpu_times, steal_ratio
from hcopt.system.process import temporary_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# benchmarks/decisions/designs.py chose them: the pace of a shared machine changes within some tenths of a second.
TURN_S, _MAX_TURN_S, _LOAD_S = 0.1, 1.0, 0.4
# Answers to each of the requests that are under way at once, in a turn and in its beginning, which does not count.
_ROUNDS, _LEAD_ROUNDS, _MIN_LEAD_S = 30, 3, 0.01
# A request that takes longer than the limit has to be seen to do so before its turn ends.
_LIMITS = 2
_BLOCKS = 12
# perf_analyzer keeps every request with its rows in memory, and writes all of them at the end of a session.
_MAX_EXPORT_BYTES = 100e6
# A session's beginning and end, and that of each side (benchmarks/decisions/designs.py).
_SESSION_S, _SIDE_S = 0.8, 0.6
# A load that takes longer is made once in a session in the place of once a block.
_MAX_LOAD_S = 0.1
# A load lasts this long before a side's first stop: its connections are there then, and the model has answered.
_WARM_S = 0.2
# For the server's answers, and for what begins and ends the processes.
_LIMIT_S, _GRACE_S = 30.0, 60.0
# On a machine with much other work everything takes longer than the turns.
_SLOWNESS = 3.0
_NS_PER_US, _NS_PER_S = 1_000, 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One stretch of one side, as the program tells it.

    Attributes:
        began_ns: When it was, by the system's clock.
        ended_ns: Until then.
        before: What Triton had counted of the side's model when it began.
        after: The same when all was answered.
    """

    began_ns: int
    ended_ns: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]

    def counted(self, part: str, what: str) -> int:
        """How much a counter of Triton's inference statistics has grown."""
        before, after = (int(one["inference_stats"][part].get(what, 0)) for one in (self.before, self.after))
        return after - before


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

    def block_s(self, count: int) -> float:
        """About how many seconds a block of so many takes, with its part of what begins and ends a session."""
        turns = self.passes * (2 * count - 1)
        session_s = _SESSION_S + count * _SIDE_S
        return self.passes * 2 * count * self.turn_s + turns * turns_program.BETWEEN_S + session_s / self.blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTaker:
    """Measures blocks of candidates that take turns.

    Attributes:
        served: Loads the variants, each under a name of its own.
        perf_analyzer: Its command line, and where samples and logs go.
        row_bytes: What a row takes in perf_analyzer's JSON.
    """

    served: ServedModel
    perf_analyzer: PerfAnalyzer
    row_bytes: float

    def pace_of(
        self, candidates: Iterable[Candidate], rates: Mapping[str, float], *, latency_p99_limit_ms: float | None
    ) -> Pace | None:
        """See the function of that name."""
        return pace_of(candidates, rates, latency_p99_limit_ms=latency_p99_limit_ms, row_bytes=self.row_bytes)

    def measure(
        self,
        candidates: Sequence[Candidate],
        blocks: Sequence[int],
        *,
        pace: Pace,
        phase: Phase,
        reload: bool | None = None,
        on_turn: Callable[[Candidate, int], None] = lambda *_: None,
    ) -> list[Measurement]:
        """A measurement of each candidate in each block, block by block; all or none.

        Args:
            candidates: Who takes turns.
            blocks: The blocks' numbers, which their orders go by.
            pace: How long and how many the turns are.
            phase: Which stage asks.
            reload: Whether each block begins with a load of each; None: where that is quick.
            on_turn: Told of each turn that has ended, with its block.

        Raises:
            ProfileError: They cannot be loaded beside one another, or something went wrong: nothing was measured.
            RuntimeStartError: The server does not answer, or cannot load one.
        """
        loaded = self.served.load_beside(one.variant for one in candidates)
        if loaded is None:
            raise ProfileError("the server has no room for all variants")
        parent = self.perf_analyzer.folder / "samples" / phase
        parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder("turns_", parent=parent) as scratch:
            session = _Session(
                perf_analyzer=self.perf_analyzer,
                candidates=candidates,
                models=[loaded[one.variant] for one in candidates],
                plan=[(block, *turn) for block in blocks for turn in planned_turns(len(candidates), block, pace)],
                lead_s=pace.lead_s,
                reload=self.served.load_s <= _MAX_LOAD_S if reload is None else reload,
                phase=phase,
                scratch=scratch,
            )
            return session.measurements(*session.run(on_turn))


# Of a quick model.
QUICK = Pace(turn_s=TURN_S, passes=round(_LOAD_S / 2 / TURN_S), lead_s=_MIN_LEAD_S)


def pace_of(
    candidates: Iterable[Candidate],
    rates: Mapping[str, float],
    *,
    latency_p99_limit_ms: float | None,
    row_bytes: float,
) -> Pace | None:
    """Turns that are long enough for many answers to each request slot; None where windows are the better way.

    Args:
        candidates: Who takes turns.
        rates: About how many inferences a second each gives, by its configuration's name.
        latency_p99_limit_ms: The limit, or None.
        row_bytes: What a row takes in perf_analyzer's JSON.
    """
    own = [(one.load.concurrency * one.load.client_batch_size, rates[one.variant.config_name]) for one in candidates]
    slot_s, limit_s = max(rows / rate for rows, rate in own), (latency_p99_limit_ms or 0) / 1000
    turn_s = max(TURN_S, _ROUNDS * slot_s, _LIMITS * limit_s)
    passes = max(1, round(_LOAD_S / 2 / turn_s))
    block_bytes = row_bytes * max(rate for _, rate in own) * 2 * passes * turn_s
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    """Some blocks, measured by one process of each side.

    Attributes:
        perf_analyzer: See `TurnTaker`.
        candidates: The sides.
        models: Of each its name on the server, and the configuration that loads it.
        plan: Block, side and seconds of each turn.
        lead_s: See `Pace`.
        reload: Whether each block begins with a load of each.
        phase: Which stage asks.
        scratch: For what is gone afterwards.
    """

    perf_analyzer: PerfAnalyzer
    candidates: Sequence[Candidate]
    models: Sequence[tuple[str, str]]
    plan: Sequence[tuple[int, int, float]]
    lead_s: float
    reload: bool
    phase: Phase
    scratch: Path

    def run(self, on_turn: Callable[[Candidate, int], None]) -> tuple[list[Turn], _Beside]:
        """Takes all turns.

        Raises:
            ProfileError: It did not come to its end.
        """
        taken, said = list[Turn](), deque[str](maxlen=20)
        log = self.perf_analyzer.folder / "logs" / "perf_analyzer.log"
        log.parent.mkdir(parents=True, exist_ok=True)

        def on_line(line: str) -> None:
            if not line.startswith('{"turn": '):
                said.append(line)
                return
            told = json.loads(line)
            block, side, _ = self.plan[told.pop("turn")]
            taken.append(Turn(**told))
            on_turn(self.candidates[side], block)

        tools, cpu_before, clock = self.perf_analyzer.tools, read_cpu_times(), self.perf_analyzer.clock()
        finished = tools.run(
            "python3",
            [tools.path(file) for file in self._files()],
            folder=self.perf_analyzer.folder,
            log=log,
            timeout_s=sum(seconds for _, _, seconds in self.plan) * _SLOWNESS + _GRACE_S,
            on_line=on_line,
        )
        if finished.returncode != 0 or len(taken) < len(self.plan):
            raise ProfileError(f"the turns ended with {finished.returncode}: {' '.join(said)[-300:]}", log=log)
        if (set_clock := clock.said()) is not None:
            raise ProfileError(set_clock)
        return taken, _Beside(steal_ratio(cpu_before, read_cpu_times()), cpu_ratio(finished))

    def _export(self, side: int) -> Path:
        return self.scratch / f"{side}.json"

    def _files(self) -> tuple[Path, Path]:
        """The program and what it reads, where the tools see them."""
        tools, program, plan = self.perf_analyzer.tools, self.scratch / "turns_program.py", self.scratch / "plan.json"
        shutil.copyfile(turns_program.__file__, program)
        sides = []
        for side, (candidate, (name, config)) in enumerate(zip(self.candidates, self.models, strict=True)):
            options = (*closed_loop(candidate.load), "--measurement-interval", "INTERVAL_MS", "--max-trials", "1")
            arguments = self.perf_analyzer.arguments(name, candidate.load, options, export=self._export(side))
            sides.append({"name": name, "config": config, "command": [tools.program("perf_analyzer"), *arguments]})
        what = {
            "http": tools.endpoint.http,
            "limit_s": _LIMIT_S,
            "warm_s": _WARM_S,
            "sides": sides,
            "turns": self._loading(),
        }
        plan.write_text(json.dumps(what), encoding="utf-8")
        return program, plan

    def _loading(self) -> list[tuple[int, float, bool]]:
        """Side and seconds of each turn, and whether it begins with a load: the first of a side in a block does."""
        seen: set[tuple[int, int]] = set()
        found = []
        for block, side, seconds in self.plan:
            found.append((side, seconds, self.reload and (block, side) not in seen))
            seen.add((block, side))
        return found

    def measurements(self, taken: Sequence[Turn], beside: _Beside) -> list[Measurement]:
        """What the turns show, a measurement a block and side.

        Raises:
            ProfileError: A side has no figures in a block.
        """
        pairs = [measurements.read_pairs(self._export(side)) for side in range(len(self.candidates))]
        turns: dict[tuple[int, int], list[Turn]] = {}
        for (block, side, _), turn in zip(self.plan, taken, strict=True):
            turns.setdefault((block, side), []).append(turn)
        return [self._measurement(block, side, own, pairs[side], beside) for (block, side), own in turns.items()]

    def _measurement(
        self, block: int, side: int, turns: Sequence[Turn], pairs: NDArray[np.int64], beside: _Beside
    ) -> Measurement:
        candidate, samples = self.candidates[side], samples_of(turns, pairs, lead_s=self.lead_s)
        figures = measurements.figures(
            samples,
            client_batch_size=candidate.load.client_batch_size,
            latency_limit_ms=self.perf_analyzer.latency_p99_limit_ms,
        )
        name = sample_name(self.phase, candidate.variant, candidate.load, block)
        measurements.write_samples(samples, self.perf_analyzer.folder / name)
        began = datetime.fromtimestamp(turns[0].began_ns / _NS_PER_S, timezone.utc)
        return Measurement(
            phase=self.phase,
            profiler="perf_analyzer",
            variant=candidate.variant,
            load=candidate.load,
            block=block,
            started_at=began.isoformat(timespec="milliseconds"),
            duration_s=figures.duration_s,
            throughput_infer_per_s=figures.throughput_infer_per_s,
            latency=figures.latency,
            request_count=figures.request_count,
            error_count=samples.failed_count,
            miss_count=figures.miss_count,
            server=_server_times(turns),
            steal_ratio=beside.steal_ratio,
            client_cpu_ratio=beside.client_cpu_ratio,
            samples_file=name,
        )


class _Beside(NamedTuple):
    """What was seen of the machine during a session."""

    steal_ratio: float | None
    client_cpu_ratio: float | None


def samples_of(turns: Sequence[Turn], pairs: NDArray[np.int64], *, lead_s: float) -> RequestSamples:
    """The requests of some turns of one side, out of all pairs of times (see `read_pairs`).

    One that was under way when its side was stopped was answered while nobody listened: it counts with the time up to
    the stop, which is less than it took.

    Raises:
        ProfileError: There was none.
    """
    import numpy as np

    sent, received, answered = pairs[:, 0].copy(), pairs[:, 1].copy(), pairs[:, 1] != NO_ANSWER
    inside = np.zeros(len(pairs), dtype=bool)
    for turn in turns:
        own = (sent >= turn.began_ns) & (sent <= turn.ended_ns)
        received[own] = np.minimum(received[own], turn.ended_ns + 1)
        inside |= own
    kept = inside & answered
    if not kept.any():
        raise ProfileError("a turn without an answered request")
    first = int(sent[kept][0])
    stretches_ns = np.array([(turn.began_ns + int(lead_s * _NS_PER_S), turn.ended_ns) for turn in turns]) - first
    return RequestSamples(
        sent_ns=sent[kept] - first,
        latency_ns=received[kept] - sent[kept],
        warm_up_ns=int(stretches_ns[0, 0]),
        end_ns=int(stretches_ns[-1, 1]),
        failed_count=int(np.count_nonzero(inside & ~answered)),
        turns_ns=stretches_ns,
    )


def _server_times(turns: Sequence[Turn]) -> ServerTimes | None:
    """Means a request over the turns."""
    requests = sum(turn.counted("success", "count") for turn in turns)
    if requests <= 0:
        return None
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    means = (sum(turn.counted(part, "ns") for turn in turns) / requests / _NS_PER_US for part in parts)
    return ServerTimes(**{f"{part}_us": mean for part, mean in zip(parts, means, strict=True)})
