"""What a run's figures mean, as lines: never more than the confirmed comparison supports. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from hcopt.analysis.plan import thread_count
from hcopt.analysis.view import (
    ACCELERATOR,
    Pairing,
    Row,
    SweepPoint,
    Value,
    default_misses_limit,
    setting_value,
    sweep_points,
    why_default_is_out,
)
from hcopt.records.model import MODEL_FILE, ModelConfigVariant
from hcopt.records.run import RunRecord
from hcopt.records.verdict import Comparison, Estimate, Noise
from hcopt.report import figures
from hcopt.report.facts.limit import miss_lines
from hcopt.report.facts.names import load_value, side_name
from hcopt.words import Language, Text
from hcopt.words.notes import sentence

_NORMAL_95 = 1.96
# "More instances are slower" is said when the median pair loses this much and three quarters of the pairs lose at all.
_TRAP_MEDIAN_RATIO = 0.95
_TRAP_PAIRS = 3
_TRAP_SLOWER_RATIO = 0.75


def row_lines(run: RunRecord, pair: Pairing, row: Row, text: Text) -> tuple[str, ...]:
    """What a row of the first page's table means."""
    meanings = {
        "load": load_lines,
        "throughput_infer_per_s": throughput_lines,
        "latency_p99_ms": latency_lines,
        "miss_ratio": miss_lines,
        "memory_mb": memory_lines,
    }
    if row.what in meanings:
        return meanings[row.what](run, pair, text)
    return setting_lines(run, pair, row.what, text)


def is_unclear(ratio: Estimate) -> bool:
    """Whether no change is shown; an estimate without an interval shows none either."""
    return ratio.ci_low is None or ratio.ci_high is None or ratio.ci_low <= 1 <= ratio.ci_high


def equal_load(run: RunRecord, pair: Pairing) -> Comparison | None:
    """Best against default at the load of the best, where the page sets these two side by side at different loads."""
    found, left, right = run.confirmation.equal_load, pair.left, pair.right
    if found is None or left is None or right is None or left.load == right.load:
        return None
    return found if (found.candidate, left.role) == (right.variant.config_name, "default") else None


def setting_lines(run: RunRecord, pair: Pairing, setting: str, text: Text) -> tuple[str, ...]:
    """What one setting's change means, and what the sweep saw of it alone where the gain is confirmed."""
    if pair.right is None:
        return ()
    right = setting_value(pair.right.variant, setting)
    if setting == "max_batch_size" and right == 0:
        return (text["unbatched"],)
    if pair.left is None:
        return ()
    left = setting_value(pair.left.variant, setting)
    if left == right:
        return (text["same"],)
    evidence = _evidence(run, pair, setting, text)
    return (_setting_phrase(setting, left, right, text), *((evidence,) if evidence else ()))


def load_lines(run: RunRecord, pair: Pairing, text: Text) -> tuple[str, ...]:
    """Whether the two were measured under the same load, and if not, how they compare where they were."""
    if pair.left is None or pair.right is None:
        return (text["load_single"],)
    if pair.left.load == pair.right.load:
        return (text["load_same"],)
    equal = equal_load(run, pair)
    if equal is None:
        return (text["load_differs"],)
    line = equal_load_line(equal, text)
    return (text["load_differs"], text["load_equal"].format(load=load_value(pair.right.load, text), line=line))


def equal_load_line(equal: Comparison, text: Text) -> str:
    """Both at the load of the best: how much throughput and p99 differ, as far as that is shown."""
    return text["equal_load"].format(
        throughput=_shown_change(equal.throughput_ratio, text), latency=_shown_change(equal.latency_p99_ratio, text)
    )


def _shown_change(ratio: Estimate, text: Text) -> str:
    return _with_range("change_unclear" if is_unclear(ratio) else "change_shown", ratio, text)


def throughput_lines(run: RunRecord, pair: Pairing, text: Text) -> tuple[str, ...]:
    """What the comparison of the throughputs shows."""
    if default_misses_limit(run.confirmation):
        return (text["uncompared_limit"],)
    if pair.comparison is None:
        confirmed = all(side.confirmed for side in pair.sides)
        return (text["uncompared" if confirmed else "uncompared_sweep"],)
    ratio = pair.comparison.throughput_ratio
    return (_with_range(f"throughput_{pair.comparison.verdict}", ratio, text),)


def latency_lines(run: RunRecord, pair: Pairing, text: Text) -> tuple[str, ...]:
    """What the comparison of the p99 latencies shows, and how both stand to the limit."""
    lines = []
    if pair.comparison is not None:
        lines.append(
            _with_range(_latency_key(pair.comparison.latency_p99_ratio), pair.comparison.latency_p99_ratio, text)
        )
    limit_line = _limit_line(run, pair, text)
    return (*lines, *((limit_line,) if limit_line else ()))


def memory_lines(run: RunRecord, _: Pairing, text: Text) -> tuple[str, ...]:
    """What the figure is, and the limit where there is one."""
    limit_mb = run.memory_limit_mb
    limit = () if limit_mb is None else (text["memory_limit"].format(limit=f"{limit_mb:,.12g}"),)
    return (text["memory_alone"], *limit)


def caveats(run: RunRecord, pair: Pairing, text: Text, language: Language) -> tuple[str, ...]:
    """What a reader of the first page must know before believing or deploying."""
    outputs = None if pair.right is None else run.model.outputs_note(pair.right.variant.model_file)
    lines = [] if outputs is None else [sentence(outputs, language)]
    if run.environment.backend.implementation == "python":
        lines.append(text["python_backend"])
    trap = pool_trap(run, text)
    if trap is not None:
        lines.append(trap)
    right = pair.right
    if right is not None and right.confirmed and not right.feasible and run.confirmation.best is not None:
        key = f"{right.feasibility}_best" + ("" if run.ranking.latency_p99_limit_ms else "_answers")
        lines.append(text[key].format(name=side_name(right, run, text)))
    noisy = exceeded_line(run, text)
    if noisy is not None:
        lines.append(noisy)
    return tuple(lines)


def pool_trap(run: RunRecord, text: Text) -> str | None:
    """The line on instances that got in each other's way, where the sweep shows it.

    Source: Triton server issues 7213 and 3796, onnxruntime_backend issues 245 and 265.
    """
    steps = tuple(_instance_steps(run))
    threads_are_swept = len({thread_count(variant) for variant in run.plan.variants}) > 1
    if len(steps) < _TRAP_PAIRS or threads_are_swept:
        return None
    ratio = median(step.ratio for step in steps)
    slower = sum(step.ratio < 1 for step in steps) / len(steps)
    worst = max(steps, key=lambda step: step.instances * step.threads)
    cores = run.environment.cpu_count
    if ratio > _TRAP_MEDIAN_RATIO or slower < _TRAP_SLOWER_RATIO or worst.instances * worst.threads <= cores:
        return None
    return text["pool_trap"].format(
        change=figures.change(ratio), pairs=len(steps), instances=worst.instances, threads=worst.threads, cores=cores
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _InstanceStep:
    """From one number of instances to the next larger one of the sweep, all else equal."""

    instances: int
    threads: int
    ratio: float


def _instance_steps(run: RunRecord) -> Iterator[_InstanceStep]:
    groups: dict[Hashable, list[SweepPoint]] = defaultdict(list)
    for point in sweep_points(run):
        groups[replace(point.variant, instance_count=1).settings, point.load].append(point)
    for group in groups.values():
        for fewer, more in pairwise(sorted(group, key=lambda point: point.variant.instance_count)):
            yield _InstanceStep(
                instances=more.variant.instance_count,
                threads=_threads(more.variant, run),
                ratio=more.throughput_infer_per_s / fewer.throughput_infer_per_s,
            )


def _threads(variant: ModelConfigVariant, run: RunRecord) -> int:
    """Threads of one instance; where it is not known what ONNX Runtime takes by itself, one for each core."""
    left = run.environment.onnxruntime_thread_count or run.environment.cpu_count
    return thread_count(variant) or left


def _evidence(run: RunRecord, pair: Pairing, setting: str, text: Text) -> str | None:
    """What the sweep saw of this setting alone; nothing unless the whole change is confirmed to be better."""
    left, right = pair.left, pair.right
    if (
        left is None
        or right is None
        or run.confirmation.verdict != "better"
        or why_default_is_out(run.confirmation) is not None
    ):
        return None
    without = _with_setting(right.variant, setting, setting_value(left.variant, setting))
    if without.settings == left.variant.settings:
        return text["only_difference"]
    at_load = {p.variant.settings: p.throughput_infer_per_s for p in sweep_points(run) if p.load == right.load}
    ours, theirs = at_load.get(right.variant.settings), at_load.get(without.settings)
    if ours is None or theirs is None:
        return None
    key = "effect" if _beyond_noise(run, ours / theirs) else "effect_unclear"
    return text[key].format(change=figures.change(ours / theirs))


def _beyond_noise(run: RunRecord, ratio: float) -> bool:
    """Whether two single windows differ by more than two of one configuration do in 95 of 100 cases, where known."""
    return run.noise is None or abs(math.log(ratio)) > _NORMAL_95 * run.noise.pair_sd_ratio


def _with_setting(variant: ModelConfigVariant, setting: str, value: Value) -> ModelConfigVariant:
    if setting == "max_batch_size" and isinstance(value, int):
        return replace(variant, max_batch_size=value)
    if setting == "instance_count" and isinstance(value, int):
        return replace(variant, instance_count=value)
    if setting == "max_queue_delay_us":
        delay = value if isinstance(value, int) else 0
        return replace(variant, max_queue_delay_us=delay, dynamic_batching=value is not None)
    if setting == "model_file":
        return replace(variant, model_file="" if value == MODEL_FILE else str(value))
    if setting == ACCELERATOR:
        return replace(variant, execution_accelerator="openvino" if value == "openvino" else "none")
    others = {key: old for key, old in variant.parameters if key != setting}
    parameters = others if value is None else {**others, setting: str(value)}
    return replace(variant, parameters=tuple(sorted(parameters.items())))


def _setting_phrase(setting: str, left: Value, right: Value, text: Text) -> str:
    if isinstance(left, int) and isinstance(right, int):
        return text[_size_key(setting, left, right)].format(left=f"{left:,}", right=f"{right:,}")
    if setting == "max_queue_delay_us":
        return text[_batching_key(right)].format(right=right)
    key = "parameter_unset" if right is None else "parameter_set" if left is None else "parameter_changed"
    return text[key].format(left=left, right=right)


def _size_key(setting: str, left: int, right: int) -> str:
    if setting == "max_batch_size":
        return "batch_larger" if right > left else "batch_smaller"
    if setting == "instance_count":
        return "instances_more" if right > left else "instances_fewer"
    if left == 0:
        return "delay_on"
    if right == 0:
        return "delay_off"
    return "delay_longer" if right > left else "delay_shorter"


def _batching_key(right: Value) -> str:
    """Where one of the two does without dynamic batching."""
    if right is None:
        return "batching_off"
    return "batching_on_waiting" if right else "batching_on"


def _latency_key(ratio: Estimate) -> str:
    if ratio.ci_high is not None and ratio.ci_high < 1:
        return "latency_lower"
    if ratio.ci_low is not None and ratio.ci_low > 1:
        return "latency_higher"
    return "latency_same"


def _with_range(key: str, ratio: Estimate, text: Text) -> str:
    bounds = figures.change_bounds(ratio, text) or text["no_interval"]
    return text[key].format(change=figures.change(ratio.estimate), range=bounds)


def _limit_line(run: RunRecord, pair: Pairing, text: Text) -> str | None:
    limit_ms = run.ranking.latency_p99_limit_ms
    if limit_ms is None or pair.right is None:
        return None
    limit = figures.limit(limit_ms)
    if any(side.miss_ratio is not None for side in pair.sides):
        return None  # a row of its own says what is shown
    if run.confirmation.verdict == "no_feasible_config":
        over = pair.right.latency_p99_ms.estimate / limit_ms
        return text["latency_over"].format(over=figures.excess(over), limit=limit) if over > 1 else None
    missing = [side for side in pair.sides if not side.feasible]
    if not missing:
        return text["limit_both" if len(pair.sides) == 2 else "limit_one"].format(limit=limit)
    names = ", ".join(side_name(side, run, text) for side in missing)
    return text["limit_missed_by"].format(name=names, limit=limit)


def exceeded_line(run: RunRecord, text: Text) -> str | None:
    """Which limits of `noise` were exceeded, and what was done about it; None where none was."""
    found = run.noise
    if found is None or not found.exceeded:
        return None
    reasons = ", ".join(_exceeded(found, name, text) for name in found.exceeded)
    if found.window_s is None:
        return text["noise_exceeded_in_turns"].format(reasons=reasons)
    # Only what varies is helped by longer windows.
    window = text["noise_lengthened" if "variation" in found.exceeded else "noise_window"].format(
        seconds=f"{found.window_s:g}"
    )
    return text["noise_exceeded"].format(reasons=reasons, window=window)


def _exceeded(found: Noise, name: str, text: Text) -> str:
    value = {"steal": found.max_steal_ratio, "throttling": found.max_throttled_ratio, "variation": found.block_sd_ratio}
    ratio = value[name]
    return text[f"exceeded_{name}"].format(value=text["unknown"] if ratio is None else figures.rough(ratio))
