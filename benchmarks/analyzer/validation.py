"""Shows that Model Analyzer on the virtual clock does what the real program does, and how its time compares.

.venv/bin/python -m benchmarks.analyzer.validation benchmarks/recordings/sample.npz --runs 3

Each run of the program is repeated on the virtual clock with the same answers and, in optuna mode, the seed that the
program drew. `beside` is the wall time of the real program that the virtual clock does not know: imports, reports, CPU
time for each point. `--process-s` is how long a perf_analyzer lives; shorter than a real one's 3.7 s it saves polls of
a second and changes nothing else. Exits with 1 where a visit or the winner differs.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from benchmarks.analyzer.config import MODES, Mode
from benchmarks.analyzer.in_process import AnalyzerRun, profile
from benchmarks.analyzer.program import ProgramRun, run_program
from benchmarks.analyzer.stand_in import PROCESS_S
from benchmarks.recordings.recording import Recording, read
from benchmarks.recordings.replay import Replay, Truth
from benchmarks.recordings.synthetic import synthetic


@dataclass(frozen=True)
class Pair:
    """One run of the program, and the same on the virtual clock."""

    mode: Mode
    number: int
    program: ProgramRun
    virtual: AnalyzerRun

    @property
    def same(self) -> bool:
        """The same points in the same order, as many loads, the same end, and winner where the program says one."""
        program, virtual = self.program, self.virtual
        winner = virtual.winner if not program.died else None
        return (program.visits, program.loads, program.died, program.winner) == (
            virtual.visits,
            virtual.loads,
            virtual.died,
            winner,
        )

    def row(self) -> str:
        program, virtual = self.program, self.virtual
        beside_s = program.wall_s - virtual.clock_s
        cells = (
            self.mode,
            str(self.number),
            "" if program.seed is None else str(program.seed),
            str(len(program.visits)),
            str(program.loads),
            "yes" if self.same else "NO",
            f"{program.wall_s:.1f}",
            f"{virtual.clock_s:.1f}",
            f"{beside_s:.1f}",
        )
        return f"| {' | '.join(cells)} |"


def main() -> None:
    options = _options()
    print("| mode | run | seed | visits | loads | the same | program, s | virtual clock, s | beside, s |")
    print("| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: |")
    pairs = []
    for mode in options.modes:
        for number in range(options.runs):
            pairs.append(compared(_recording(options.recording), mode, number, options.process_s))
            print(pairs[-1].row(), flush=True)
    if not all(pair.same for pair in pairs):
        raise SystemExit(1)


def compared(recording: Recording, mode: Mode, number: int, process_s: float) -> Pair:
    """The program, then the same on the virtual clock."""
    truth = Truth(recording)

    def replay() -> Replay:
        return Replay(truth, seed=number, noise_ratio=None)

    limit_ms = recording.limit_ms
    program = run_program(recording.plan, replay(), mode, limit_ms=limit_ms, process_s=process_s)
    virtual = profile(recording.plan, replay(), mode, limit_ms=limit_ms, seed=program.seed or 0, process_s=process_s)
    return Pair(mode, number, program, virtual)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", help="a file, or a number of variants of a synthetic recording")
    parser.add_argument("--modes", nargs="*", default=MODES, choices=MODES)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--process-s", type=float, default=PROCESS_S)
    return parser.parse_args()


def _recording(source: str) -> Recording:
    return synthetic(int(source)) if source.isdecimal() else read(Path(source))


if __name__ == "__main__":
    main()
