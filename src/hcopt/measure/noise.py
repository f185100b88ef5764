"""The default measured against itself on a running server (A/A), before anything is compared with it."""

from __future__ import annotations

from hcopt.analysis import noise
from hcopt.config.sections import Config
from hcopt.errors import ProfileError
from hcopt.measure.perf_analyzer import Window
from hcopt.measure.unknown_speed import LONGER_S, UNKNOWN_RATE_INFER_PER_S, first_with_figures
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import SweepPlan
from hcopt.records.verdict import Noise
from hcopt.words.notes import sentence

BLOCKS = 6
# Beside a window of the confirmation: the switch, and perf_analyzer, which looks at the clock in steps of a second.
SECONDS_BESIDE_A_WINDOW = 1.5
FINALISTS = 3
# The first window tells how fast the model is.
_FIRST_WINDOW_S = 1.0


def measure_noise(runner: WindowRunner, plan: SweepPlan, config: Config) -> Noise | None:
    """How far one and the same configuration varies, at the heaviest load of the plan.

    Args:
        runner: Measures the windows; its `note` gets what the user has to know of windows in which the default failed.
        plan: What is going to be swept.
        config: Its `noise`, `confirmation` and window length count.

    Returns:
        None where that is switched off, or where the default could not be measured often enough.

    Raises:
        ProfileError: The machine is noisier than `noise` allows, and `noise.gate` is strict.
        RuntimeStartError: The server died.
    """
    if config.noise.gate == "off":
        return None
    found = _measured(runner, plan, config)
    if config.noise.gate == "strict":
        _refuse(found, config)
    if found is not None:
        runner.context.progress.note(noise.resolution_note(found))
        if (beyond := noise.gate_note(found, config.noise)) is not None:
            runner.context.note(beyond)
    return found


def _measured(runner: WindowRunner, plan: SweepPlan, config: Config) -> Noise | None:
    runner.context.progress.phase("noise", steps=2 * BLOCKS + 1)
    load = max(plan.loads, key=lambda load: (load.concurrency, load.client_batch_size))
    window_s = config.profiler.measurement_interval_ms / 1000

    def window(length_s: float, rate: float, block: int | None = None) -> Window:
        return Window(
            variant=plan.default,
            load=load,
            expected_infer_per_s=rate,
            window_s=length_s,
            phase="noise",
            block=block,
            rate_is_known=block is not None,
        )

    # The first window also warms everything up.
    first = (window(max(s, window_s), UNKNOWN_RATE_INFER_PER_S) for s in (_FIRST_WINDOW_S, *LONGER_S))
    rate = first_with_figures(first, runner.measure)[1].throughput_infer_per_s
    if rate is None:
        return None
    pairs = [[runner.measure(window(window_s, rate, block)) for _ in range(2)] for block in range(BLOCKS)]
    for said in noise.failure_notes(one for pair in pairs for one in pair):
        runner.context.note(said)
    return noise.assess(
        [(one, other) for one, other in pairs if one.error is None and other.error is None],
        load=load,
        window_s=window_s,
        planned_blocks=planned_blocks(config, window_s),
        settings=config.noise,
        confirmation=config.confirmation,
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
