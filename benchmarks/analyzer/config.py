"""A recorded grid as `model-analyzer profile` reads it: a model repository, and YAML as hcopt writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import yaml
from tritonclient.grpc.model_config_pb2 import ModelConfig

from hcopt.measure.context import RunContext
from hcopt.measure.model_analyzer.config import analyzer_config
from hcopt.measure.profiler import ProfileJob
from hcopt.model.triton_config import CONFIG_FILE, apply_variant, to_text
from hcopt.records.json import JsonObject
from hcopt.records.measurement import SweepPlan
from hcopt.triton.base import Endpoint, Server

Mode = Literal["brute", "quick", "optuna"]
MODES: tuple[Mode, ...] = ("brute", "quick", "optuna")
INTERVAL_MS = 1000


class _Here:
    """Both `Server` and `Tools`, as far as a configuration needs them: paths are those of this machine."""

    def __init__(self, grpc: str) -> None:
        self.endpoint = Endpoint(grpc=grpc, http=grpc, metrics_url=f"http://{grpc}/metrics")
        self.tools = self

    def path(self, host_path: Path) -> str:
        return str(host_path)


def write_files(
    plan: SweepPlan,
    mode: Mode,
    *,
    folder: Path,
    perf_analyzer: Path,
    grpc: str = "127.0.0.1:1",
    limit_ms: float | None,
    extra: JsonObject | None = None,
) -> Path:
    """Writes repository and YAML into a folder, and says where the YAML is.

    hcopt drives brute mode only, so that the other modes differ from its YAML in the search mode, and in this:

    - optuna: the bounds of its last sweep of concurrencies are those of the plan.
    - quick: it refuses lists (of batch sizes, instances, delays, loads), so that it gets the plan's bounds of batch
      size, instances and concurrency, and goes through powers of two and whole numbers between them, each at a
      concurrency of 2 × batch size × instances; then it sweeps the concurrencies of its best three. The queue delay
      stays the default's, and so do further parameters; a request has one row.

    Further parameters have no dimension in optuna mode either: they stay the default's.
    """
    repository = folder / "repository"
    (repository / plan.model_name).mkdir(parents=True)
    base = apply_variant(ModelConfig(name=plan.model_name), plan.default, plan.instance_kind)
    (repository / plan.model_name / CONFIG_FILE).write_text(to_text(base), encoding="utf-8")
    job = ProfileJob(
        plan=plan,
        server=cast(Server, _Here(grpc)),
        repository=repository,
        folder=folder,
        input_arguments=(),
        context=RunContext(),
    )
    brute = analyzer_config(
        job, interval_ms=INTERVAL_MS, latency_p99_limit_ms=limit_ms, work=folder, perf_analyzer=perf_analyzer
    )
    config = _in_mode(mode, plan, brute)
    file = folder / "analyzer.yaml"
    file.write_text(yaml.safe_dump({**config, **(extra or {})}, sort_keys=False), encoding="utf-8")
    return file


def _in_mode(mode: Mode, plan: SweepPlan, config: JsonObject) -> JsonObject:
    if mode == "brute":
        return config
    loads = [load.concurrency for load in plan.loads]
    config |= {
        "run_config_search_mode": mode,
        "run_config_search_min_concurrency": min(loads),
        "run_config_search_max_concurrency": max(loads),
    }
    return config | _quick(plan, config) if mode == "quick" else config


def _quick(plan: SweepPlan, config: JsonObject) -> JsonObject:
    section = dict(config["profile_models"][plan.model_name])
    del section["parameters"], section["model_config_parameters"]
    if plan.default.max_queue_delay_us:
        delay = {"max_queue_delay_microseconds": [plan.default.max_queue_delay_us]}
        section["model_config_parameters"] = {"dynamic_batching": delay}
    instances = [variant.instance_count for variant in plan.variants]
    sizes = [variant.max_batch_size for variant in plan.variants]
    return {
        "run_config_search_min_instance_count": min(instances),
        "run_config_search_max_instance_count": max(instances),
        "run_config_search_min_model_batch_size": min(sizes),
        "run_config_search_max_model_batch_size": max(sizes),
        "profile_models": {plan.model_name: section},
    }
