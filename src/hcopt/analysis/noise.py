"""What the measurements themselves say about the machine, above all the default's against itself (A/A). Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean

from hcopt.analysis.comparison import COMPARISONS
from hcopt.analysis.stats import resolvable_ratio, standard_deviation
from hcopt.config.sections import ConfirmationSection, NoiseSection
from hcopt.records.measurement import LoadPoint, Measurement
from hcopt.records.note import Note
from hcopt.records.verdict import Noise, NoiseLimit

# Below so many blocks a spread says nothing.
_FEWEST_BLOCKS = 4
# Windows grow at most so many times: what remains after that is drift, which longer windows do not average out.
_LONGEST_WINDOWS = 4


def assess(
    pairs: Sequence[tuple[Measurement, Measurement]],
    *,
    load: LoadPoint,
    window_s: float,
    planned_blocks: int,
    settings: NoiseSection,
    confirmation: ConfirmationSection,
) -> Noise | None:
    """What pairs of windows of one and the same configuration say; None where there are too few.

    Args:
        pairs: A block each: two windows, one after the other, both with figures.
        load: Their load.
        window_s: Their length in seconds.
        planned_blocks: Blocks that the confirmation has time for.
        settings: The limits.
        confirmation: The error rate that a difference has to be told apart at.

    Source: A/A tests as in Kohavi, Tang, Xu (2020), Trustworthy Online Controlled Experiments, chapter 19.
    """
    if len(pairs) < _FEWEST_BLOCKS:
        return None
    logs = [tuple(math.log(m.throughput_infer_per_s or math.nan) for m in pair) for pair in pairs]
    # The two are the same, so their mean difference is known to be zero and every block counts in full.
    pair_sd = math.sqrt(fmean((first - second) ** 2 for first, second in logs))
    block_sd = math.sqrt(fmean(standard_deviation(column) ** 2 for column in zip(*logs, strict=True)))
    windows = [m for pair in pairs for m in pair]
    steal, throttled = (_largest(windows, name) for name in ("steal_ratio", "throttled_ratio"))
    limits: tuple[tuple[NoiseLimit, float | None, float], ...] = (
        ("steal", steal, settings.max_steal_ratio),
        ("throttling", throttled, settings.max_throttled_ratio),
        ("variation", block_sd, settings.max_block_cv_ratio),
    )
    return Noise(
        load=load,
        block_count=len(pairs),
        window_s=window_s * _lengthened(block_sd, settings.max_block_cv_ratio),
        block_sd_ratio=block_sd,
        pair_sd_ratio=pair_sd,
        # At the last look, which has about half of the error rate left, by Holm's first step, in one of two directions.
        resolvable_ratio=resolvable_ratio(pair_sd, planned_blocks, alpha=confirmation.alpha / (4 * COMPARISONS)),
        planned_blocks=planned_blocks,
        max_steal_ratio=steal,
        max_throttled_ratio=throttled,
        exceeded=tuple(name for name, value, limit in limits if value is not None and value > limit),
    )


def _largest(windows: Sequence[Measurement], name: str) -> float | None:
    known = [value for m in windows if (value := getattr(m, name)) is not None]
    return max(known, default=None)


def _lengthened(block_sd_ratio: float, limit_ratio: float) -> int:
    """How many times longer a window has to be for its independent part of the variation to come under the limit."""
    if block_sd_ratio <= limit_ratio:
        return 1
    return min(_LONGEST_WINDOWS, math.ceil((block_sd_ratio / limit_ratio) ** 2))


def gate_note(noise: Noise, settings: NoiseSection) -> Note | None:
    """What the user has to know where a limit was exceeded; None where none was, or the gate is off."""
    if not noise.exceeded or settings.gate == "off":
        return None
    values = {
        "steal": (noise.max_steal_ratio, settings.max_steal_ratio),
        "throttling": (noise.max_throttled_ratio, settings.max_throttled_ratio),
        "variation": (noise.block_sd_ratio, settings.max_block_cv_ratio),
    }
    words = {
        "steal": ("CPU time taken by the hypervisor", "CPU steal"),
        "throttling": ("time held back by the CPU quota", "CPU 쿼터 throttling"),
        "variation": ("variation between blocks", "블록 간 변동"),
    }
    shown = [(words[name], values[name]) for name in noise.exceeded]
    longer = "variation" in noise.exceeded
    return Note(
        en="The machine is noisy: "
        + ", ".join(f"{en} {value or 0:.0%} (limit {limit:.0%})" for (en, _), (value, limit) in shown)
        + (f"; the confirmation measures windows of {noise.window_s:g} s." if longer else "."),
        ko="측정 장비의 노이즈가 큼: "
        + ", ".join(f"{ko} {value or 0:.0%}(한도 {limit:.0%})" for (_, ko), (value, limit) in shown)
        + (f". 검증 측정 구간을 {noise.window_s:g}초로 연장." if longer else "."),
    )


def failure_notes(windows: Iterable[Measurement]) -> Iterator[Note]:
    """What the user has to know where the default itself failed: its variation is that of the windows that are left."""
    taken = tuple(windows)
    failed = [one for one in taken if one.failed_by_variant]
    if failed:
        yield Note(
            en=f"The default failed on its own account in {len(failed)} of {len(taken)} windows before the sweep; the "
            f"noise of this machine is that of the others: {failed[0].error}",
            ko=f"스윕 전 측정 {len(taken)}구간 중 {len(failed)}구간에서 기본 설정이 자체 원인으로 실패(노이즈 수치에는 "
            f"미반영): {failed[0].error}",
        )


def resolution_note(noise: Noise) -> Note:
    """Which differences this machine can show at all."""
    return Note(
        en=f"On this machine differences in throughput below {noise.resolvable_ratio:.0%} cannot be told apart "
        f"({noise.planned_blocks} blocks; one configuration varies by {noise.block_sd_ratio:.1%}).",
        ko=f"이 장비에서는 {noise.resolvable_ratio:.0%} 미만의 처리량 차이를 구분할 수 없음"
        f"(블록 {noise.planned_blocks}개 기준, 같은 설정의 변동 {noise.block_sd_ratio:.1%}).",
    )


def noise_notes(measurements: Iterable[Measurement], settings: NoiseSection) -> tuple[Note, ...]:
    """Where CPU steal or the spread between blocks went beyond what `noise` in config.yaml allows."""
    if settings.gate == "off":
        return ()
    taken = tuple(m for m in measurements if m.error is None)
    return (*_steal(taken, settings), *_spread(taken, settings))


def _steal(taken: tuple[Measurement, ...], settings: NoiseSection) -> Iterable[Note]:
    known = [m.steal_ratio for m in taken if m.steal_ratio is not None]
    beyond = [ratio for ratio in known if ratio > settings.max_steal_ratio]
    if beyond:
        yield Note(
            en=f"The hypervisor took more than {settings.max_steal_ratio:.0%} of the CPU time in {len(beyond)} of "
            f"{len(known)} windows (at most {max(beyond):.0%}): other guests share this machine.",
            ko=f"측정 구간 {len(known)}개 중 {len(beyond)}개에서 CPU steal {settings.max_steal_ratio:.0%} 초과"
            f"(최대 {max(beyond):.0%}): 같은 호스트의 다른 VM과 CPU 공유.",
        )


def _spread(taken: tuple[Measurement, ...], settings: NoiseSection) -> Iterable[Note]:
    by_name: dict[str, list[float]] = defaultdict(list)
    for measurement in taken:
        if measurement.phase == "confirmation" and measurement.throughput_infer_per_s:
            by_name[measurement.variant.config_name].append(math.log(measurement.throughput_infer_per_s))
    spreads = [standard_deviation(values) for values in by_name.values() if len(values) >= _FEWEST_BLOCKS]
    if spreads and fmean(spreads) > settings.max_block_cv_ratio:
        yield Note(
            en=f"Throughput of one configuration varied by {fmean(spreads):.0%} on average between blocks "
            f"(limit {settings.max_block_cv_ratio:.0%}): measure on a quieter machine for a sharper answer.",
            ko=f"같은 설정의 처리량이 블록 간에 평균 {fmean(spreads):.0%} 변동"
            f"(한도 {settings.max_block_cv_ratio:.0%}): 더 명확한 판정을 위해 다른 부하가 적은 장비에서 재측정 권장.",
        )
