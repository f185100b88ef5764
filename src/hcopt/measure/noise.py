"""The default measured against itself on a running server (A/A), before anything is compared with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hcopt.analysis import noise
from hcopt.config.sections import Config
from hcopt.errors import ProfileError
from hcopt.measure.perf_analyzer import Window
from hcopt.measure.unknown_speed import LONGER_S, UNKNOWN_RATE_INFER_PER_S, first_with_figures
from hcopt.measure.window import Bench
from hcopt.records.measurement import LoadPoint, SweepPlan
from hcopt.records.note import Note
from hcopt.records.verdict import Noise
from hcopt.words.notes import sentence

BLOCKS = 6
# Beside a window of the confirmation: the switch, and perf_analyzer, which looks at the clock in steps of a second.
SECONDS_BESIDE_A_WINDOW = 1.5
FINALISTS = 3
# The first window tells how fast the model is.
_FIRST_WINDOW_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseGate:
    """Measures how far one and the same configuration varies, at the heaviest load of the plan.

    Attributes:
        config: Its `noise`, `confirmation` and window length count.
        plan: What is going to be swept.
        bench: Measures the windows.
        note: Takes what the user has to know of windows in which the default failed.
    """

    config: Config
    plan: SweepPlan
    bench: Bench
    note: Callable[[Note], None]

    def run(self) -> Noise | None:
        """The noise of this machine; None where the default could not be measured often enough.

        Raises:
            ProfileError: The machine is noisier than `noise` allows, and `noise.gate` is strict.
            RuntimeStartError: The server died.
        """
        self.bench.progress.phase("noise", steps=2 * BLOCKS + 1)
        load = max(self.plan.loads, key=lambda load: (load.concurrency, load.client_batch_size))
        found = None
        if (rate := self._first_rate(load)) is not None:
            windows = [
                [self.bench.measure(self._window(load, self._window_s, rate, block)) for _ in range(2)]
                for block in range(BLOCKS)
            ]
            for said in noise.failure_notes(one for pair in windows for one in pair):
                self.note(said)
            found = noise.assess(
                [(first, second) for first, second in windows if first.error is None and second.error is None],
                load=load,
                window_s=self._window_s,
                planned_blocks=planned_blocks(self.config, self._window_s),
                settings=self.config.noise,
                confirmation=self.config.confirmation,
            )
        if self.config.noise.gate == "strict":
            _refuse(found, self.config)
        return found

    @property
    def _window_s(self) -> float:
        return self.config.profiler.measurement_interval_ms / 1000

    def _first_rate(self, load: LoadPoint) -> float | None:
        """The default's throughput in infer/s, from a first window that also warms everything up."""
        windows = (
            self._window(load, max(window_s, self._window_s), UNKNOWN_RATE_INFER_PER_S)
            for window_s in (_FIRST_WINDOW_S, *LONGER_S)
        )
        return first_with_figures(windows, self.bench.measure)[1].throughput_infer_per_s

    def _window(self, load: LoadPoint, window_s: float, rate: float, block: int | None = None) -> Window:
        return Window(
            variant=self.plan.default,
            load=load,
            expected_infer_per_s=rate,
            window_s=window_s,
            phase="noise",
            block=block,
            rate_is_known=block is not None,
        )


def planned_blocks(config: Config, window_s: float) -> int:
    """How many blocks of three finalists the confirmation has time for."""
    block_s = FINALISTS * (window_s + SECONDS_BESIDE_A_WINDOW)
    return max(2, int(60 * config.confirmation.max_minutes / block_s))


def _refuse(found: Noise | None, config: Config) -> None:
    if found is None:
        raise ProfileError("the noise of this machine could not be measured, and noise.gate is strict")
    if (note := noise.gate_note(found, config.noise)) is not None:
        raise ProfileError(
            f"{sentence(note)} noise.gate is strict, so nothing is compared.",
            remedy="Measure on a quieter machine, raise the limits of `noise` in config.yaml, or leave out --strict.",
        )
