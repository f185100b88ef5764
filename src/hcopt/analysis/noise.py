"""How noisy the machine is: from the default measured against itself (A/A), and from the run's own windows. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean, median

from hcopt.analysis import sequential
from hcopt.analysis.comparison import COMPARISONS
from hcopt.analysis.stats import resolvable_ratio, standard_deviation
from hcopt.config.sections import ConfirmationSection, NoiseSection
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.note import Note
from hcopt.records.verdict import Noise, NoiseLimit

# Below so many blocks a spread says nothing.
MIN_BLOCKS = 4
# Windows grow at most so many times: what remains after that is drift, which longer windows do not average out.
_MAX_WINDOW_FACTOR = 4
# Some hours.
_MAX_BLOCKS = 5_000
# Of the CPU time of its CPUs; what is left is little where answers come in bursts.
_MAX_CLIENT_RATIO = 0.9
_DIFFERENCES = (0.10, 0.05, 0.02)


def assess(
    pairs: Sequence[tuple[Measurement, Measurement]],
    *,
    load: LoadPoint,
    window_s: float | None,
    planned_blocks: int,
    block_s: float,
    settings: NoiseSection,
    confirmation: ConfirmationSection,
) -> Noise | None:
    """What pairs of windows of one and the same configuration say; None where there are too few.

    Args:
        pairs: A block each: the configuration twice, in turns or in windows one after the other, both with figures.
        load: Their load.
        window_s: Length of a window in seconds; None where they are turns.
        planned_blocks: Blocks that the confirmation has time for.
        block_s: About how long one of those takes, in seconds.
        settings: The limits.
        confirmation: The error rate that a difference has to be told apart at.

    Source: A/A tests as in Kohavi, Tang, Xu (2020), Trustworthy Online Controlled Experiments, chapter 19.
    """
    if len(pairs) < MIN_BLOCKS:
        return None
    logs = [tuple(math.log(m.throughput_infer_per_s or math.nan) for m in pair) for pair in pairs]
    # The two are the same, so their mean difference is known to be zero and every block counts in full.
    pair_sd = math.sqrt(fmean((first - second) ** 2 for first, second in logs))
    block_sd = math.sqrt(fmean(standard_deviation(column) ** 2 for column in zip(*logs, strict=True)))
    windows = [m for pair in pairs for m in pair]
    steal = max((m.steal_ratio for m in windows if m.steal_ratio is not None), default=None)
    throttled = max((m.throttled_ratio for m in windows if m.throttled_ratio is not None), default=None)
    limits: tuple[tuple[NoiseLimit, float | None, float], ...] = (
        ("steal", steal, settings.max_steal_ratio),
        ("throttling", throttled, settings.max_throttled_ratio),
        ("variation", block_sd, settings.max_block_cv_ratio),
    )
    return Noise(
        load=load,
        block_count=len(pairs),
        window_s=None if window_s is None else window_s * _lengthened(block_sd, settings.max_block_cv_ratio),
        block_sd_ratio=block_sd,
        pair_sd_ratio=pair_sd,
        resolvable_ratio=_resolvable(pair_sd, planned_blocks, confirmation),
        planned_blocks=planned_blocks,
        block_s=block_s,
        max_steal_ratio=steal,
        max_throttled_ratio=throttled,
        exceeded=tuple(name for name, value, limit in limits if value is not None and value > limit),
        throughput_infer_per_s=median(m.throughput_infer_per_s or 0.0 for m in windows),
    )


def _resolvable(pair_sd_ratio: float, blocks: int, confirmation: ConfirmationSection) -> float:
    """At a look that may spend half of the error rate, by Holm's first step, in one of two directions."""
    return resolvable_ratio(pair_sd_ratio, blocks, alpha=confirmation.alpha / (4 * COMPARISONS))


def minutes_to_decide(noise: Noise, difference_ratio: float, confirmation: ConfirmationSection) -> int | None:
    """About how long a difference takes to be shown in nine runs of ten, on a machine that stays as it was.

    None where it takes `_MAX_BLOCKS` blocks or more, or where nobody knows how long one takes.
    """
    if noise.block_s is None:
        return None
    for look in sequential.planned_within(_MAX_BLOCKS, confirmation.alpha, COMPARISONS):
        if _resolvable(noise.pair_sd_ratio, look.block_count, confirmation) <= difference_ratio:
            return max(1, math.ceil(look.block_count * noise.block_s / 60))
    return None


def _lengthened(block_sd_ratio: float, limit_ratio: float) -> int:
    """How many times longer a window has to be for its independent part of the variation to come under the limit."""
    if block_sd_ratio <= limit_ratio:
        return 1
    return min(_MAX_WINDOW_FACTOR, math.ceil((block_sd_ratio / limit_ratio) ** 2))


def gate_note(noise: Noise, settings: NoiseSection) -> Note | None:
    """What the user has to know where a limit was exceeded; None where none was, or the gate is off."""
    if not noise.exceeded or settings.gate == "off":
        return None
    causes = tuple(cause for name, cause in _causes(noise, settings) if name in noise.exceeded)
    if "variation" in noise.exceeded and noise.window_s is not None:
        return Note.of("noisy_machine_longer_windows", causes=causes, window_s=noise.window_s)
    return Note.of("noisy_machine", causes=causes)


def _causes(noise: Noise, settings: NoiseSection) -> Iterator[tuple[str, Note]]:
    steal, throttled = noise.max_steal_ratio or 0, noise.max_throttled_ratio or 0
    yield "steal", Note.of("noise_steal", share=steal, limit=settings.max_steal_ratio)
    yield "throttling", Note.of("noise_throttling", share=throttled, limit=settings.max_throttled_ratio)
    yield "variation", Note.of("noise_variation", share=noise.block_sd_ratio, limit=settings.max_block_cv_ratio)


def failure_notes(windows: Iterable[Measurement]) -> Iterator[Note]:
    """What the user has to know where the default itself failed: its variation is that of the windows that are left."""
    taken = tuple(windows)
    failed = [one for one in taken if one.failed_by_variant]
    if failed:
        yield Note.of("default_fails_before_sweep", failed=len(failed), windows=len(taken), reason=str(failed[0].error))


def resolution_note(noise: Noise, confirmation: ConfirmationSection) -> Note:
    """Which differences this machine can show in the time there is, and how long others would take."""
    return Note.of(
        "resolution",
        smallest=noise.resolvable_ratio,
        minutes=confirmation.max_minutes,
        variation=noise.pair_sd_ratio,
        times=tuple(_time_to_decide(noise, ratio, confirmation) for ratio in _DIFFERENCES),
    )


def _time_to_decide(noise: Noise, ratio: float, confirmation: ConfirmationSection) -> Note:
    minutes = minutes_to_decide(noise, ratio, confirmation)
    if minutes is None:
        return Note.of("decides_in_hours", difference=ratio)
    return Note.of("decides_in", difference=ratio, minutes=minutes)


def noise_notes(measurements: Iterable[Measurement], settings: NoiseSection) -> tuple[Note, ...]:
    """Where CPU steal or the spread between blocks went beyond what `noise` in config.yaml allows."""
    if settings.gate == "off":
        return ()
    taken = tuple(m for m in measurements if m.error is None)
    return (*_steal(taken, settings), *_spread(taken, settings))


def client_notes(measurements: Iterable[Measurement]) -> Iterator[Note]:
    """That the load generator had hardly any CPU time left, so that it may have held the server back."""
    known = [m.client_cpu_ratio for m in measurements if m.error is None and m.client_cpu_ratio is not None]
    busy = [ratio for ratio in known if ratio > _MAX_CLIENT_RATIO]
    if busy:
        yield Note.of("client_saturated", limit=_MAX_CLIENT_RATIO, count=len(busy), windows=len(known))


def _steal(taken: tuple[Measurement, ...], settings: NoiseSection) -> Iterable[Note]:
    known = [m.steal_ratio for m in taken if m.steal_ratio is not None]
    beyond = [ratio for ratio in known if ratio > settings.max_steal_ratio]
    if beyond:
        yield Note.of(
            "steal_seen", limit=settings.max_steal_ratio, count=len(beyond), windows=len(known), most=max(beyond)
        )


def _spread(taken: tuple[Measurement, ...], settings: NoiseSection) -> Iterable[Note]:
    by_name: dict[str, list[float]] = defaultdict(list)
    for measurement in taken:
        if measurement.phase == "confirmation" and measurement.throughput_infer_per_s:
            by_name[measurement.variant.config_name].append(math.log(measurement.throughput_infer_per_s))
    spreads = [standard_deviation(values) for values in by_name.values() if len(values) >= MIN_BLOCKS]
    if spreads and fmean(spreads) > settings.max_block_cv_ratio:
        yield Note.of("variation_seen", share=fmean(spreads), limit=settings.max_block_cv_ratio)
