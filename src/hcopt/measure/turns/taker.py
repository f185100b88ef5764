"""Variants that take turns of a fraction of a second, each under a perf_analyzer of its own that is stopped in between.

Near in time they meet the same machine, and nothing is started between two turns but the variant, which is loaded
afresh where that is quick.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hcopt.analysis.blocks import Candidate
from hcopt.errors import ProfileError
from hcopt.measure.load.perf_analyzer import PerfAnalyzer
from hcopt.measure.served_model import ServedModel
from hcopt.measure.turns.pace import Pace, pace_of, planned_turns
from hcopt.measure.turns.session import OnTurn, Session, Side, nothing_to_tell
from hcopt.records.measurement import Measurement, Phase
from hcopt.system.process import temporary_folder

# A load that takes longer is made once in a session in the place of once a block.
MAX_LOAD_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTaker:
    """Measures blocks of one model's variants that take turns.

    Attributes:
        served: Loads the variants, each under a name of its own.
        perf_analyzer: Its command line, and where samples and logs go.
        row_bytes: What a row takes in perf_analyzer's export.
    """

    served: ServedModel
    perf_analyzer: PerfAnalyzer
    row_bytes: float

    def pace_of(
        self, candidates: Iterable[Candidate], rates: Mapping[str, float], *, latency_p99_limit_ms: float | None
    ) -> Pace | None:
        """See the function of that name."""
        return pace_of(
            candidates,
            rates,
            latency_p99_limit_ms=latency_p99_limit_ms,
            row_bytes=self.row_bytes,
            stall_s=self.perf_analyzer.stall_s,
        )

    def measure(
        self,
        candidates: Sequence[Candidate],
        blocks: Sequence[int],
        *,
        pace: Pace,
        phase: Phase,
        reload: bool | None = None,
        on_turn: OnTurn = nothing_to_tell,
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
        sides = []
        for one in candidates:
            name, config = loaded[one.variant]
            sides.append(Side(candidate=one, name=name, config=config, perf_analyzer=self.perf_analyzer))
        quick = self.served.load_s <= MAX_LOAD_S
        return take_turns(
            sides, blocks, pace=pace, phase=phase, reload=quick if reload is None else reload, on_turn=on_turn
        )


def take_turns(
    sides: Sequence[Side],
    blocks: Sequence[int],
    *,
    pace: Pace,
    phase: Phase,
    reload: bool,
    on_turn: OnTurn = nothing_to_tell,
) -> list[Measurement]:
    """A measurement of each side in each block, block by block; all or none. See `TurnTaker.measure`.

    Raises:
        ProfileError: Something went wrong: nothing was measured.
    """
    parent = sides[0].perf_analyzer.folder / "samples" / phase
    parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder("turns_", parent=parent) as scratch:
        session = Session(
            sides=sides,
            plan=[(block, *turn) for block in blocks for turn in planned_turns(len(sides), block, pace)],
            lead_s=pace.lead_s,
            reload=reload,
            phase=phase,
            scratch=scratch,
        )
        return session.measurements(*session.run(on_turn))
