"""Some blocks of turns, measured by one perf_analyzer of each candidate, and the measurements that they give."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hcopt.analysis.blocks import Candidate
from hcopt.errors import ProfileError
from hcopt.measure.load.perf_analyzer import PerfAnalyzer, closed_loop, cpu_ratio, sample_name
from hcopt.measure.turns import program
from hcopt.records.json import JsonObject
from hcopt.records.measurement import Measurement, Phase, ServerTimes
from hcopt.store import measurements
from hcopt.store.measurements import NO_ANSWER, RequestSamples
from hcopt.system.machine import read_cpu_times, steal_ratio, throttled_ratio
from hcopt.triton.base import Tools

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
class Side:
    """One that takes turns.

    Attributes:
        candidate: Who.
        name: The model's name on the server.
        config: Its configuration, as JSON, that loads it afresh by that name.
        perf_analyzer: Its command line with the side's rows; all sides' have the same tools and folder.
        in_its_place: What takes the turns where that is not perf_analyzer; then name and config are of no use.
    """

    candidate: Candidate
    name: str
    config: str
    perf_analyzer: PerfAnalyzer
    in_its_place: OtherProgram | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherProgram:
    """A program that takes turns and needs no server.

    Attributes:
        name: What measurements have as their profiler.
        command: Its command line, given where its export goes, which is as perf_analyzer's, and which file it makes
            once it has answered.
    """

    name: str
    command: Callable[[Path, Path], list[str]]


OnTurn = Callable[[Candidate, int], None]


def nothing_to_tell(_candidate: Candidate, _block: int) -> None:
    """For those who do not want to know of each turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Some blocks, measured by one process of each side.

    Attributes:
        sides: Who takes turns.
        plan: Block, side and seconds of each turn.
        lead_s: See `Pace`.
        reload: Whether each block begins with a load of each.
        phase: Which stage asks.
        scratch: For what is gone afterwards.
    """

    sides: Sequence[Side]
    plan: Sequence[tuple[int, int, float]]
    lead_s: float
    reload: bool
    phase: Phase
    scratch: Path

    def run(self, on_turn: OnTurn) -> tuple[list[Turn], _Beside]:
        """Takes all turns.

        Raises:
            ProfileError: It did not come to its end.
        """
        taken, said = list[Turn](), deque[str](maxlen=20)
        log = self._folder / "logs" / "perf_analyzer.log"
        log.parent.mkdir(parents=True, exist_ok=True)

        def on_line(line: str) -> None:
            if not line.startswith('{"turn": '):
                said.append(line)
                return
            told = json.loads(line)
            block, side, _ = self.plan[told.pop("turn")]
            taken.append(Turn(**told))
            on_turn(self.sides[side].candidate, block)

        tools, cpu_before, clock = self._tools, read_cpu_times(), self.sides[0].perf_analyzer.clock()
        finished = tools.run(
            "python3",
            [tools.path(file) for file in self._files()],
            folder=self._folder,
            log=log,
            timeout_s=sum(seconds for _, _, seconds in self.plan) * _SLOWNESS + _GRACE_S,
            on_line=on_line,
        )
        if finished.returncode != 0 or len(taken) < len(self.plan):
            raise ProfileError(f"the turns ended with {finished.returncode}: {' '.join(said)[-300:]}", log=log)
        if (set_clock := clock.said()) is not None:
            raise ProfileError(set_clock)
        cpu_after = read_cpu_times()
        # Another program's time is no load generator's.
        alone = any(side.in_its_place for side in self.sides)
        client = None if alone else cpu_ratio(finished, cpu_count=tools.cpu_count)
        return taken, _Beside(steal_ratio(cpu_before, cpu_after), throttled_ratio(cpu_before, cpu_after), client)

    @property
    def _tools(self) -> Tools:
        return self.sides[0].perf_analyzer.tools

    @property
    def _folder(self) -> Path:
        return self.sides[0].perf_analyzer.folder

    def _export(self, side: int) -> Path:
        return self.scratch / f"{side}.json"

    def _files(self) -> tuple[Path, Path]:
        """The program and what it reads, where the tools see them."""
        copy, plan = self.scratch / "turns.py", self.scratch / "plan.json"
        shutil.copyfile(program.__file__, copy)
        what = {
            "http": self._tools.endpoint.http,
            "limit_s": _LIMIT_S,
            "warm_s": _WARM_S,
            "sides": [self._told(side, self._export(number)) for number, side in enumerate(self.sides)],
            "turns": self._loading(),
        }
        plan.write_text(json.dumps(what), encoding="utf-8")
        return copy, plan

    def _told(self, side: Side, export: Path) -> JsonObject:
        """What the program has to know of a side."""
        if side.in_its_place is not None:
            ready = export.with_suffix(".ready")
            return {"ready": self._tools.path(ready), "command": side.in_its_place.command(export, ready)}
        load = side.candidate.load
        options = (*closed_loop(load), "--measurement-interval", "INTERVAL_MS", "--max-trials", "1")
        arguments = side.perf_analyzer.arguments(side.name, load, options, export=export)
        command = [self._tools.program("perf_analyzer"), *arguments]
        return {"name": side.name, "config": side.config, "command": command}

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
        pairs = [measurements.read_pairs(self._export(side)) for side in range(len(self.sides))]
        turns: dict[tuple[int, int], list[Turn]] = {}
        for (block, side, _), turn in zip(self.plan, taken, strict=True):
            turns.setdefault((block, side), []).append(turn)
        return [self._measurement(block, side, own, pairs[side], beside) for (block, side), own in turns.items()]

    def _measurement(
        self, block: int, side: int, turns: Sequence[Turn], pairs: NDArray[np.int64], beside: _Beside
    ) -> Measurement:
        candidate, samples = self.sides[side].candidate, samples_of(turns, pairs, lead_s=self.lead_s)
        other = self.sides[side].in_its_place
        figures = measurements.figures(
            samples,
            client_batch_size=candidate.load.client_batch_size,
            latency_limit_ms=self.sides[side].perf_analyzer.latency_p99_limit_ms,
        )
        name = sample_name(self.phase, candidate.variant, candidate.load, block)
        measurements.write_samples(samples, self._folder / name)
        began = datetime.fromtimestamp(turns[0].began_ns / _NS_PER_S, timezone.utc)
        return Measurement(
            phase=self.phase,
            profiler="perf_analyzer" if other is None else other.name,
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
            throttled_ratio=beside.throttled_ratio,
            client_cpu_ratio=beside.client_cpu_ratio,
            samples_file=name,
        )


class _Beside(NamedTuple):
    """What was seen of the machine during a session."""

    steal_ratio: float | None
    throttled_ratio: float | None
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
