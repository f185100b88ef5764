"""Plans a sweep: the grid over the user's own configuration, named and numbered as Model Analyzer does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from hcopt.config.sections import SweepSection
from hcopt.errors import ConfigError
from hcopt.records.measurement import LoadPoint, SweepPlan
from hcopt.records.model import InstanceKind, ModelConfigVariant
from hcopt.records.note import Note
from hcopt.words.digits import whole_throughput

# Seconds that Model Analyzer 1.58 was seen to need beside its windows (see benchmarks/README.md).
_START_S = 18.0
_SWITCH_S = 1.0
_WINDOWS_A_MEASUREMENT = 3
_MEASUREMENT_OVERHEAD_S = 1.3
# Of the default's answers. Each of a point's three windows needs one, or perf_analyzer refuses the point, and other
# variants may be a third as fast.
_ROUNDS_A_WINDOW = 2
# Longer than asked by less is not worth a word.
_WORTH_SAYING_S = 60.0


# The one parameter whose value may be `auto`, since what fits depends on the variant.
THREADS = "intra_op_thread_count"
AUTO = "auto"


def plan_sweep(
    sweep: SweepSection,
    default: ModelConfigVariant,
    *,
    model_name: str,
    instance_kind: InstanceKind,
    server_cores: int | None = None,
) -> SweepPlan:
    """The grid over a default configuration.

    A grid point keeps the default's own parameters and differs in what is swept. A model that cannot batch
    (`default.max_batch_size` is 0) is swept over instances and parameters only, and the plan's notes say so.

    Args:
        sweep: What to sweep; values given twice count once.
        default: The user's configuration.
        model_name: The model's name on the server.
        instance_kind: Where the instances run.
        server_cores: CPUs that the server may use, for `intra_op_thread_count: [auto]`; None where nobody knows.

    Raises:
        ConfigError: A dimension is empty, so that there is nothing to measure, or `auto` needs the server's cores.
    """
    _refuse_empty(sweep)
    batches = default.max_batch_size > 0
    sizes = _unique(sweep.max_batch_size) if batches else (0,)
    delays = _unique(sweep.max_queue_delay_us) if batches else (0,)
    client_batches = _unique(sweep.client_batch_size) if batches else (1,)
    # Model Analyzer's brute mode has instances outermost and the batch size innermost
    # (ManualModelConfigGenerator); later keys of its `model_config_parameters` vary faster than earlier ones.
    points = (
        ModelConfigVariant(
            config_name="",
            max_batch_size=size,
            instance_count=instances,
            max_queue_delay_us=delay,
            parameters=_parameters(default, dict(parameters), instances, server_cores),
            preferred_batch_sizes=chosen,
        )
        for instances, delay, preferred, parameters, size in product(
            _unique(sweep.instance_count), delays, _preferred_grid(sweep, batches), _parameter_grid(sweep), sizes
        )
        if (chosen := _preferred(preferred, default, size)) is not None
    )
    # `auto` may come to the same as a number that is listed too.
    distinct = {point.settings: point for point in points}
    variants = tuple(
        replace(point, config_name=f"{model_name}_config_{index}") for index, point in enumerate(distinct.values())
    )
    if not variants:
        raise ConfigError(
            "every list of sweep.preferred_batch_size is above every max_batch_size: the sweep has no points",
            remedy="List smaller sizes, or [] for none.",
        )
    loads = tuple(
        LoadPoint(concurrency=concurrency, client_batch_size=rows)
        for rows, concurrency in product(client_batches, _unique(sweep.concurrency))
    )
    return SweepPlan(
        model_name=model_name,
        default=default,
        variants=variants,
        loads=loads,
        instance_kind=instance_kind,
        notes=(*_notes(sweep, variants, batches), *_same_as_default(default, variants)),
    )


def expected_sweep_s(plan: SweepPlan, *, interval_ms: int) -> float:
    """Roughly how long Model Analyzer takes for a plan, in seconds, on a machine that is not much disturbed."""
    window_s = interval_ms / 1000
    each_s = _WINDOWS_A_MEASUREMENT * window_s + _MEASUREMENT_OVERHEAD_S
    return _START_S + len(plan.all_variants) * _SWITCH_S + plan.measurement_count * each_s


def sweep_interval_ms(asked_ms: int, round_s: float | None) -> int:
    """How long Model Analyzer's windows last, in ms: as asked, but for a slow model as long as answers take.

    Args:
        asked_ms: What the configuration asks for.
        round_s: How long each of the requests under way at once waits for its answer; None where nobody knows.
    """
    return asked_ms if round_s is None else max(asked_ms, math.ceil(1000 * _ROUNDS_A_WINDOW * round_s))


def slow_sweep_note(plan: SweepPlan, *, asked_ms: int, infer_per_s: float) -> Note | None:
    """What to know before a sweep that takes longer than it was asked to, and which key makes it short again."""

    def seconds(concurrency: int, points: SweepPlan) -> tuple[int, float]:
        round_s = concurrency * rows / infer_per_s
        interval_ms = sweep_interval_ms(asked_ms, round_s)
        # perf_analyzer waits for what is under way at the end.
        return interval_ms, expected_sweep_s(points, interval_ms=interval_ms) + points.measurement_count * round_s

    rows = max(load.client_batch_size for load in plan.loads)
    most = max(load.concurrency for load in plan.loads)
    interval_ms, takes_s = seconds(most, plan)
    if interval_ms == asked_ms or takes_s - expected_sweep_s(plan, interval_ms=asked_ms) < _WORTH_SAYING_S:
        return None
    fewer = max(1, min(most, int(most * asked_ms / interval_ms)))
    one_load = replace(plan, loads=(LoadPoint(concurrency=fewer, client_batch_size=rows),))
    return Note.of(
        "slow_sweep",
        rate=whole_throughput(infer_per_s),
        concurrency=most,
        window_s=interval_ms / 1000,
        asked_s=asked_ms / 1000,
        minutes=math.ceil(takes_s / 60),
        fewer=fewer,
        less=math.ceil(seconds(fewer, one_load)[1] / 60),
    )


def _refuse_empty(sweep: SweepSection) -> None:
    for name in ("max_batch_size", "instance_count", "max_queue_delay_us", "concurrency", "client_batch_size"):
        if not getattr(sweep, name):
            raise ConfigError(
                f"sweep.{name} is empty: the sweep has no points", remedy=f"List at least one value in sweep.{name}."
            )
    for key, values in sweep.parameters.items():
        if not values:
            raise ConfigError(
                f"sweep.parameters.{key} is empty: the sweep has no points",
                remedy=f"List at least one value in sweep.parameters.{key}, or leave the key out.",
            )


def _unique(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(values))


def _parameter_grid(sweep: SweepSection) -> list[tuple[tuple[str, str], ...]]:
    # Sorted, as a variant keeps them, and so the order in which Model Analyzer gets to know them.
    keys = sorted(sweep.parameters)
    values = [tuple(dict.fromkeys(parameter_text(value) for value in sweep.parameters[key])) for key in keys]
    return [tuple(zip(keys, combination, strict=True)) for combination in product(*values)]


def _parameters(
    default: ModelConfigVariant, swept: dict[str, str], instances: int, server_cores: int | None
) -> tuple[tuple[str, str], ...]:
    """The default's parameters and those that are swept, with a number of threads in the place of `auto`."""
    if swept.get(THREADS) == AUTO:
        if server_cores is None:
            raise ConfigError(
                f"sweep.parameters.{THREADS} is {AUTO}, but nobody knows the cores of a server that runs elsewhere",
                remedy="List numbers of threads.",
            )
        swept[THREADS] = str(max(1, server_cores // instances))
    return tuple(sorted({**dict(default.parameters), **swept}.items()))


def _preferred_grid(sweep: SweepSection, batches: bool) -> tuple[tuple[int, ...] | None, ...]:
    """Each list once and in ascending order; None stands for the default's own."""
    if not batches or not sweep.preferred_batch_size:
        return (None,)
    return tuple(dict.fromkeys(tuple(sorted(set(sizes))) for sizes in sweep.preferred_batch_size))


def _preferred(listed: tuple[int, ...] | None, default: ModelConfigVariant, size: int) -> tuple[int, ...] | None:
    """The preferred sizes at a largest batch; None where a listed one is above it, which Triton refuses."""
    if listed is None:
        return tuple(preferred for preferred in default.preferred_batch_sizes if preferred <= size)
    return None if max(listed, default=0) > size else listed


def parameter_text(value: str | int | float | bool) -> str:
    """A parameter as config.pbtxt's `string_value` holds it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _notes(sweep: SweepSection, variants: tuple[ModelConfigVariant, ...], batches: bool) -> tuple[Note, ...]:
    dropped = len(sweep.max_batch_size) * len(sweep.max_queue_delay_us) > 1 or sweep.client_batch_size != (1,)
    if batches or not dropped:
        return ()
    return (Note.of("batch_not_swept", variants=len(variants)),)


def _same_as_default(default: ModelConfigVariant, variants: tuple[ModelConfigVariant, ...]) -> Iterator[Note]:
    """Model Analyzer measures its whole grid, and the default beside it."""
    for variant in variants:
        if variant.settings == default.settings:
            yield Note.of("same_as_default", config=variant.config_name)
