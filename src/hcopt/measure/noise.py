"""The default measured against itself on a running server (A/A), before anything is compared with it."""

from __future__ import annotations

from hcopt.analysis import noise
from hcopt.analysis.blocks import Candidate
from hcopt.analysis.plan import slow_sweep_note
from hcopt.config.sections import Config
from hcopt.errors import ProfileError
from hcopt.measure.load.perf_analyzer import Window, load_s
from hcopt.measure.unknown_speed import LONGER_S, UNKNOWN_RATE_INFER_PER_S, first_with_figures
from hcopt.measure.window import WindowRunner
from hcopt.records.measurement import Measurement, SweepPlan
from hcopt.records.note import Note
from hcopt.records.verdict import Noise
from hcopt.words.notes import sentence

BLOCKS = 12
# Beside a window of the confirmation: the switch, and perf_analyzer, which looks at the clock in steps of a second.
SECONDS_BESIDE_A_WINDOW = 1.5
FINALISTS = 3
# The first window tells how fast the model is.
_FIRST_WINDOW_S = 1.0
# Fewer blocks of a slow model, so that there is time left for what they are for.
_LONGEST_S = 120.0


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
        if (slow := _slow_sweep(found, plan, config)) is not None:
            runner.context.note(slow)
        runner.context.progress.note(noise.resolution_note(found, config.confirmation))
        if (beyond := noise.gate_note(found, config.noise)) is not None:
            runner.context.note(beyond)
    return found


def _measured(runner: WindowRunner, plan: SweepPlan, config: Config) -> Noise | None:
    runner.context.progress.phase("noise", steps=2 * BLOCKS + 1)
    context = runner.context
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
    longest, found = first_with_figures(first, runner.measure)
    rate = found.throughput_infer_per_s
    if rate is None:
        context.note(_unmeasured(longest, found))
        return None
    candidate = Candidate(variant=plan.default, load=load)
    pace = None
    if runner.turns is not None:
        rates = {plan.default.config_name: rate}
        pace = runner.turns.pace_of([candidate], rates, latency_p99_limit_ms=config.constraints.latency_p99_ms)
    taken, known_count = None, len(context.replay.of("noise")) - 1
    lasts_s = load_s(window(window_s, rate, 0), stall_s=runner.perf_analyzer.stall_s)
    if pace is not None and known_count <= 0:
        taken = runner.measure_turns([candidate, candidate], range(BLOCKS), pace=pace, phase="noise")
    if taken is None:
        taken = [runner.measure(window(window_s, rate, block)) for block in range(_blocks(lasts_s)) for _ in range(2)]
        # What an interrupted run has measured whole, it has measured in turns.
        pace = pace if known_count >= 2 * BLOCKS else None
    expected_s = window_block_s(lasts_s) if pace is None else pace.block_s(FINALISTS)
    for said in noise.failure_notes(taken):
        context.note(said)
    return noise.assess(
        [(one, other) for one, other in zip(taken[::2], taken[1::2], strict=True) if one.error is other.error is None],
        load=load,
        window_s=window_s if pace is None else None,
        planned_blocks=max(2, int(60 * config.confirmation.max_minutes / expected_s)),
        block_s=expected_s,
        settings=config.noise,
        confirmation=config.confirmation,
    )


def window_block_s(window_s: float) -> float:
    """About how long a block of three finalists takes in windows that last so long, in seconds."""
    return FINALISTS * (window_s + SECONDS_BESIDE_A_WINDOW)


def _blocks(window_s: float) -> int:
    """As many blocks as there is time for: a slow model's windows are long."""
    return max(noise.MIN_BLOCKS, min(BLOCKS, int(_LONGEST_S / (2 * (window_s + SECONDS_BESIDE_A_WINDOW)))))


def _slow_sweep(found: Noise, plan: SweepPlan, config: Config) -> Note | None:
    """Of the adaptive search each window is as long as it has to be."""
    if config.profiler.kind != "model-analyzer" or not found.throughput_infer_per_s:
        return None
    asked_ms = config.profiler.measurement_interval_ms
    return slow_sweep_note(plan, asked_ms=asked_ms, infer_per_s=found.throughput_infer_per_s)


def _unmeasured(window: Window, measured: Measurement) -> Note:
    reason = (measured.error or "").rstrip(".")
    if measured.failed_by_variant:
        return Note.of("default_unmeasured_before_sweep", reason=reason)
    return Note.of(
        "default_without_figures", seconds=window.window_s, concurrency=window.load.concurrency, reason=reason
    )


def _refuse(found: Noise | None, config: Config) -> None:
    if found is None:
        raise ProfileError("the noise of this machine could not be measured, and noise.gate is strict")
    if (note := noise.gate_note(found, config.noise)) is not None:
        raise ProfileError(
            f"{sentence(note)} noise.gate is strict, so nothing is compared.",
            remedy="Measure on a quieter machine, raise the limits of `noise` in config.yaml, or leave out --strict.",
        )
