"""Plans a sweep: the grid over the user's own configuration, named and numbered as Model Analyzer does."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product

from hcopt.config.sections import SweepSection
from hcopt.errors import ConfigError
from hcopt.records.measurement import Environment, LoadPoint, SweepPlan
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


# The one parameter that may be a share of the server's cores, since what fits depends on the instances beside.
THREADS = "intra_op_thread_count"
# Threads of all instances together, as a fraction of those cores. Where a core has two hyperthreads, half as many is
# one for each physical core; beyond twice as many they only get in each other's way.
THREAD_SHARES: dict[str, tuple[int, int]] = {"auto": (1, 1), "auto/2": (1, 2), "auto*2": (2, 1)}


def plan_sweep(
    sweep: SweepSection,
    default: ModelConfigVariant,
    *,
    model_name: str,
    instance_kind: InstanceKind,
    server_cores: int | None = None,
    model_files: tuple[str, ...] = (),
) -> SweepPlan:
    """The grid over a default configuration.

    A grid point keeps the default's own parameters and differs in what is swept. A model that cannot batch
    (`default.max_batch_size` is 0) is swept over instances, threads and parameters only, and the plan's notes say so.

    Args:
        sweep: What to sweep; values given twice count once.
        default: The user's configuration.
        model_name: The model's name on the server.
        instance_kind: Where the instances run.
        server_cores: CPUs that the server may use, for threads as a share of them; None where nobody knows.
        model_files: Of the model's variants, each of which is swept as the model itself is.

    Raises:
        ConfigError: A dimension is empty, so that there is nothing to measure, or threads are listed in two places.
    """
    _refuse_empty(sweep)
    _refuse_two_lists(sweep)
    unshared = _why_unshared(sweep, instance_kind, server_cores)
    swept = _swept_parameters(sweep, shared=unshared is None)
    batches = default.max_batch_size > 0
    sizes = _unique(sweep.max_batch_size) if batches else (0,)
    delays = _unique(sweep.max_queue_delay_us) if batches else (0,)
    client_batches = _unique(sweep.client_batch_size) if batches else (1,)
    accelerators = tuple(dict.fromkeys(sweep.execution_accelerator)) or (default.execution_accelerator,)
    # The files of the model come before all, so that its own configurations have the same numbers without variants.
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
            model_file=model_file,
            execution_accelerator=accelerator,
        )
        for model_file, instances, accelerator, delay, preferred, parameters, size in product(
            (default.model_file, *model_files),
            _unique(sweep.instance_count),
            accelerators,
            delays,
            _preferred_grid(sweep, batches),
            _parameter_grid(swept),
            sizes,
        )
        if (chosen := _preferred(preferred, default, size)) is not None
    )
    # A share of the cores may come to the same as another, or as a number that is listed too.
    distinct = {point.settings: point for point in points}
    variants = tuple(
        replace(point, config_name=f"{model_name}_config_{index}{_suffix(point, default)}")
        for index, point in enumerate(distinct.values())
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
        server_cores=server_cores,
        notes=(
            *_notes(sweep, variants, batches),
            *(() if unshared is None else (unshared,)),
            *_same_as_default(default, variants),
        ),
    )


def plan_on(plan: SweepPlan, environment: Environment) -> SweepPlan:
    """The plan on a server whose environment is known, without what is the default itself there, or no fair match.

    Where ONNX Runtime takes one thread by itself, a variant that asks for one is no other configuration. More than one
    it pins to cores, and those that are asked for not: then the two are alike, not the same.

    Source: onnxruntime.ai, "Thread management", and its Linux threads as seen with 1.32.
    """
    twins = _with_threads_of_default(plan, environment) if environment.onnxruntime_thread_count == 1 else ()
    left_out = {*twins, *with_other_threads_in_openvino(plan, environment)}
    # Model Analyzer has nothing to measure without a grid.
    others = tuple(variant for variant in plan.variants if variant not in left_out)
    return replace(plan, variants=others or plan.variants)


def thread_notes(plan: SweepPlan, environment: Environment) -> Iterator[Note]:
    """What to know of threads that nobody can set: OpenVINO's, and the default's where it leaves them to ONNX Runtime.

    Args:
        plan: As it was before `plan_on`.
        environment: The server's.
    """
    if unequal := with_other_threads_in_openvino(plan, environment):
        yield Note.of("openvino_threads_unequal", count=len(unequal), cpus=environment.cpu_count)
    chosen = environment.onnxruntime_thread_count
    if chosen is None or thread_count(plan.default) is not None:
        return
    if chosen > environment.cpu_count:
        yield Note.of("threads_beyond_cpus", threads=chosen, cpus=environment.cpu_count)
    kept = plan_on(plan, environment).variants
    for variant in _with_threads_of_default(plan, environment):
        if variant not in kept:
            yield Note.of("thread_of_default", config=variant.config_name)
        elif chosen > 1:
            yield Note.of("threads_as_default", config=variant.config_name, threads=chosen)


def _with_threads_of_default(plan: SweepPlan, environment: Environment) -> tuple[ModelConfigVariant, ...]:
    """The variants that differ from the default in asking for what ONNX Runtime takes for it by itself."""
    chosen = environment.onnxruntime_thread_count
    if chosen is None or thread_count(plan.default) is not None:
        return ()
    parameters = tuple(sorted({**dict(plan.default.parameters), THREADS: str(chosen)}.items()))
    as_many = replace(plan.default, parameters=parameters).settings
    return tuple(variant for variant in plan.variants if variant.settings == as_many)


def with_other_threads_in_openvino(plan: SweepPlan, environment: Environment) -> tuple[ModelConfigVariant, ...]:
    """The variants whose threads OpenVINO is not told, and takes one for each CPU instead: no match for ONNX Runtime's.

    Source: `kOpenVINOExecutionAccelerator` in NVIDIA's onnxruntime.cc (June 2026) hands over no option but the device.
    """
    if environment.backend.implementation != "native":
        return ()
    told = (None, environment.cpu_count)
    with_openvino = (variant for variant in plan.variants if variant.execution_accelerator == "openvino")
    return tuple(variant for variant in with_openvino if thread_count(variant) not in told)


def thread_count(variant: ModelConfigVariant) -> int | None:
    """Threads of an instance; None where they are left to ONNX Runtime, or are no number."""
    text = dict(variant.parameters).get(THREADS, "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


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


def _refuse_two_lists(sweep: SweepSection) -> None:
    own = type(sweep).model_fields[THREADS].default
    if THREADS in sweep.parameters and sweep.intra_op_thread_count not in ((), own):
        raise ConfigError(
            f"sweep.{THREADS} and sweep.parameters.{THREADS} both list threads",
            remedy=f"Leave out sweep.parameters.{THREADS}.",
        )


def _thread_texts(sweep: SweepSection) -> tuple[str, ...]:
    """The threads to sweep; `parameters` was once the only place for them, and has precedence where it lists some."""
    listed = sweep.parameters.get(THREADS, sweep.intra_op_thread_count)
    return tuple(parameter_text(value).lower() for value in listed)


def _why_unshared(sweep: SweepSection, instance_kind: InstanceKind, server_cores: int | None) -> Note | None:
    """Why what is listed as a share of the cores is not swept; None where it is, or nothing is listed so."""
    shares = ", ".join(text for text in _thread_texts(sweep) if text in THREAD_SHARES)
    if shares and instance_kind == "KIND_GPU":
        return Note.of("threads_of_gpu", shares=shares)
    return Note.of("threads_elsewhere", shares=shares) if shares and server_cores is None else None


def _swept_parameters(sweep: SweepSection, *, shared: bool) -> dict[str, tuple[str, ...]]:
    """The values of each parameter; threads as shares of the cores are among them where `shared`."""
    swept = {key: tuple(map(parameter_text, values)) for key, values in sweep.parameters.items() if key != THREADS}
    threads = tuple(text for text in _thread_texts(sweep) if shared or text not in THREAD_SHARES)
    return {**swept, THREADS: threads} if threads else swept


def _suffix(point: ModelConfigVariant, default: ModelConfigVariant) -> str:
    """Says of a configuration with another file than the model's own which one that is, wherever it is named."""
    return "" if point.model_file == default.model_file else f"_{point.model_file.removesuffix('.onnx')}"


def _unique(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(values))


def _parameter_grid(swept: Mapping[str, tuple[str, ...]]) -> list[tuple[tuple[str, str], ...]]:
    # Sorted, as a variant keeps them, and so the order in which Model Analyzer gets to know them.
    keys = sorted(swept)
    values = [tuple(dict.fromkeys(swept[key])) for key in keys]
    return [tuple(zip(keys, combination, strict=True)) for combination in product(*values)]


def _parameters(
    default: ModelConfigVariant, swept: dict[str, str], instances: int, server_cores: int | None
) -> tuple[tuple[str, str], ...]:
    """The default's parameters and those that are swept, with a number of threads in the place of a share."""
    share = THREAD_SHARES.get(swept.get(THREADS, ""))
    if share is not None and server_cores is not None:
        times, parts = share
        swept[THREADS] = str(max(1, min(server_cores, server_cores * times // (parts * instances))))
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
