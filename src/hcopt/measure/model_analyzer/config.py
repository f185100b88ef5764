"""The YAML configuration with which hcopt starts Model Analyzer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hcopt.measure.profiler import ProfileJob
from hcopt.records.json import JsonObject
from hcopt.records.measurement import SweepPlan

# perf_analyzer compares three windows; with this it takes them as they are. The same conditions for every point, and
# no point dropped because the machine was noisy: judging noise is the confirmation's work.
WINDOWS = 3
_ANY_STABILITY_PERCENT = 999
# Without a GPU there are none that count, and perf_analyzer fails where a busy server is slow to answer with them.
_NO_METRICS = {"collect-metrics": "False", "metrics-url": "", "metrics-interval": ""}


def analyzer_config(
    job: ProfileJob, *, interval_ms: int, latency_p99_limit_ms: float | None, work: Path, perf_analyzer: Path
) -> JsonObject:
    """Model Analyzer's configuration, with paths as it will see them.

    Args:
        job: The sweep.
        interval_ms: Length of one measurement window, the same for every point.
        latency_p99_limit_ms: Goes into Model Analyzer's own report as a constraint, in whole ms.
        work: A folder for what it leaves.
        perf_analyzer: The program that it starts for each point.

    Source: Model Analyzer 1.58, docs/config.md.
    """
    tools = job.server.tools
    return {
        "model_repository": tools.path(job.repository),
        "output_model_repository_path": tools.path(work / "output_models"),
        "override_output_model_repository": True,
        "checkpoint_directory": tools.path(work / "checkpoints"),
        "export_path": tools.path(work / "export"),
        "triton_launch_mode": "remote",
        "triton_grpc_endpoint": tools.endpoint.grpc,
        "triton_http_endpoint": tools.endpoint.http,
        "triton_metrics_url": tools.endpoint.metrics_url,
        "client_max_retries": 30,
        # What it gathers of the idle server is not shown for a CPU, and after each point it waits for its monitor.
        "duration_seconds": 1,
        "monitoring_interval": 0.1,
        "perf_analyzer_path": tools.path(perf_analyzer),
        # Its own default is ten minutes, so that one hanging perf_analyzer stalls the sweep.
        "perf_analyzer_timeout": math.ceil(3 * WINDOWS * interval_ms / 1000) + 10,
        "perf_analyzer_max_auto_adjusts": 1,
        # The default kills a perf_analyzer that uses 80 % of the cores, which a saturating one does.
        "perf_analyzer_cpu_util": 1_000_000,
        "gpus": "[]",
        "run_config_search_mode": "brute",
        "profile_models": {job.plan.model_name: _model_section(job, interval_ms, latency_p99_limit_ms)},
    }


def _model_section(job: ProfileJob, interval_ms: int, latency_p99_limit_ms: float | None) -> JsonObject:
    plan = job.plan
    section: JsonObject = {
        "cpu_only": plan.instance_kind == "KIND_CPU",
        "perf_analyzer_flags": {
            "measurement-mode": "time_windows",
            "measurement-interval": interval_ms,
            "stability-percentage": _ANY_STABILITY_PERCENT,
            "max-trials": WINDOWS + 1,
            **({} if plan.instance_kind == "KIND_GPU" else _NO_METRICS),
            **_flags(job.input_arguments),
        },
        "objectives": ["perf_throughput"],
        "parameters": {
            "batch_sizes": sorted({load.client_batch_size for load in plan.loads}),
            "concurrency": sorted({load.concurrency for load in plan.loads}),
        },
        "model_config_parameters": _model_config_parameters(plan, _more_of_a_group(job), _accelerators(job)),
    }
    if latency_p99_limit_ms is not None:
        limit_ms = max(1, math.floor(latency_p99_limit_ms))
        section["constraints"] = {"perf_latency_p99": {"max": limit_ms}}
    return section


def _flags(arguments: Sequence[str]) -> Mapping[str, str | list[str]]:
    """`--input-data F --shape a:1 --shape b:2` as Model Analyzer's mapping; an option given twice becomes a list."""
    flags: dict[str, str | list[str]] = {}
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        name = option.removeprefix("--")
        given = flags.get(name)
        flags[name] = value if given is None else [*([given] if isinstance(given, str) else given), value]
    return flags


def _model_config_parameters(
    plan: SweepPlan, more_of_a_group: JsonObject | None = None, accelerators: list[Any] | None = None
) -> JsonObject:
    """The grid. Keys that stand earlier vary slower, which is what gives the plan's numbers.

    Model Analyzer writes it over the default's configuration: groups as a whole, what is in braces key by key.
    """
    group = {**(more_of_a_group or {}), "kind": plan.instance_kind}
    files = list(dict.fromkeys(v.model_file for v in plan.variants))
    parameters: JsonObject = {} if files == [plan.default.model_file] else {"default_model_filename": files}
    parameters |= {"instance_group": [{**group, "count": _values(v.instance_count for v in plan.variants)}]}
    if accelerators is not None:
        parameters["optimization"] = {"execution_accelerators": {"cpu_execution_accelerator": accelerators}}
    if plan.default.max_batch_size > 0:
        parameters["max_batch_size"] = _values(v.max_batch_size for v in plan.variants)
        delays = _values(v.max_queue_delay_us for v in plan.variants)
        batching: JsonObject = {"max_queue_delay_microseconds": delays}
        preferred = list(dict.fromkeys(v.preferred_batch_sizes for v in plan.variants))
        # Where they are not named, the default's own stay, which may be above a variant's max_batch_size.
        if preferred != [()] or plan.default.preferred_batch_sizes:
            batching["preferred_batch_size"] = [list(sizes) for sizes in preferred]
        parameters["dynamic_batching"] = batching
    swept: dict[str, list[str]] = {}
    for variant in plan.variants:
        for key, value in variant.parameters:
            if value not in swept.setdefault(key, []):
                swept[key].append(value)
    if swept:
        parameters["parameters"] = {key: {"string_value": values} for key, values in swept.items()}
    return parameters


def _more_of_a_group(job: ProfileJob) -> JsonObject:
    """What else the instance group of every variant says, in the shape of a grid of one value each."""
    if job.config_of is None:
        return {}
    [group] = json.loads(job.config_of(job.plan.variants[0]))["instance_group"]
    return {key: _single(value) for key, value in group.items()}


def _accelerators(job: ProfileJob) -> list[Any] | None:
    """The `cpu_execution_accelerator` of each that is swept, as a variant has it; None where all have the default's.

    Each is a list, and Model Analyzer's alternatives are a list of them.
    """
    first_of = {variant.execution_accelerator: variant for variant in reversed(job.plan.variants)}
    if job.config_of is None or first_of.keys() == {job.plan.default.execution_accelerator}:
        return None
    swept = dict.fromkeys(variant.execution_accelerator for variant in job.plan.variants)
    configs = (json.loads(job.config_of(first_of[accelerator])) for accelerator in swept)
    optimizations = (config.get("optimization", {}) for config in configs)
    return [one.get("execution_accelerators", {}).get("cpu_execution_accelerator", []) for one in optimizations]


def _single(value: object) -> Any:
    """A list stands for alternatives, and a list in it for the value."""
    if isinstance(value, dict):
        return {key: _single(part) for key, part in value.items()}
    return [[_single(part) for part in value]] if isinstance(value, list) else value


def _values(values: Iterator[int]) -> list[int]:
    return list(dict.fromkeys(values))
