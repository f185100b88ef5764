"""What the measurements themselves say about the machine. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

from hcopt.config import NoiseSection
from hcopt.schema import Measurement, Note
from hcopt.statistics import standard_deviation

# Below so many blocks a spread says nothing.
_FEWEST_BLOCKS = 4


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
        if measurement.block is not None and measurement.throughput_infer_per_s:
            by_name[measurement.variant.config_name].append(math.log(measurement.throughput_infer_per_s))
    spreads = [standard_deviation(values) for values in by_name.values() if len(values) >= _FEWEST_BLOCKS]
    if spreads and fmean(spreads) > settings.max_block_cv_ratio:
        yield Note(
            en=f"Throughput of one configuration varied by {fmean(spreads):.0%} on average between blocks "
            f"(limit {settings.max_block_cv_ratio:.0%}): measure on a quieter machine for a sharper answer.",
            ko=f"같은 설정의 처리량이 블록 간에 평균 {fmean(spreads):.0%} 변동"
            f"(한도 {settings.max_block_cv_ratio:.0%}): 더 명확한 판정을 위해 다른 부하가 적은 장비에서 재측정 권장.",
        )
