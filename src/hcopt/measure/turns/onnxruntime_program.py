"""One model by ONNX Runtime alone, request after request, as a side that takes turns with one of Triton's.

    python -m hcopt.measure.turns.onnxruntime_program PLAN

It is stopped and goes on as the perf_analyzers are (see `program`), until it is interrupted, upon which it writes when
each request began and ended as perf_analyzer would. `PLAN` is a JSON file:

    model       the ONNX file
    inputs      their names
    rows        an .npz file: of each input what the requests carry in turn, along the first axis
    parameters  of config.pbtxt
    graph_level its optimization.graph.level
    ready       a file that is there from the first answer on
    export      where the times go
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime

_ARENA_SHRINKAGE = "memory.enable_memory_arena_shrinkage"


def session_options(parameters: Mapping[str, str], graph_level: str) -> onnxruntime.SessionOptions:
    """The options that Triton's onnxruntime backend takes from a config.pbtxt, which it has checked.

    Source: ModelState in src/onnxruntime.cc of triton-inference-server/onnxruntime_backend.
    """
    import onnxruntime

    level = onnxruntime.GraphOptimizationLevel
    levels = {"-1": level.ORT_ENABLE_BASIC, "1": level.ORT_ENABLE_EXTENDED, "2": level.ORT_DISABLE_ALL}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = levels.get(graph_level, level.ORT_ENABLE_ALL)
    options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 0))
    options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 0))
    if parameters.get("execution_mode") == "1":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    options.enable_cpu_mem_arena = _is_on(parameters, "enable_mem_arena")
    options.enable_mem_pattern = _is_on(parameters, "enable_mem_pattern")
    for key, value in parameters.items():
        if key.startswith("session."):
            options.add_session_config_entry(key, value)
    return options


def _is_on(parameters: Mapping[str, str], key: str) -> bool:
    return parameters.get(key, "1").lower() in ("1", "true")


def main(path: Path) -> None:
    """Runs the model until SIGINT, and writes its times."""
    # Before anything else: one that is interrupted at once ends as well as any.
    over: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: over.append(number))
    plan = json.loads(path.read_text(encoding="utf-8"))
    times_ns = _run(plan, over)
    requests = [{"timestamp": began, "response_timestamps": [ended]} for began, ended in times_ns]
    Path(plan["export"]).write_text(json.dumps({"experiments": [{"requests": requests}]}), encoding="utf-8")


def _run(plan: Mapping[str, Any], over: list[int]) -> list[tuple[int, int]]:
    import numpy as np
    import onnxruntime

    options = session_options(plan["parameters"], plan["graph_level"])
    session = onnxruntime.InferenceSession(plan["model"], options, providers=["CPUExecutionProvider"])
    run_options = onnxruntime.RunOptions()
    if _ARENA_SHRINKAGE in plan["parameters"]:
        run_options.add_run_config_entry(_ARENA_SHRINKAGE, plan["parameters"][_ARENA_SHRINKAGE])
    # Strings are objects; the file is hcopt's own, of this moment.
    with np.load(plan["rows"], allow_pickle=True) as rows:
        inputs = {name: rows[file] for name, file in zip(plan["inputs"], rows.files, strict=True)}
    count = len(next(iter(inputs.values())))
    feeds = [{name: values[number, ...] for name, values in inputs.items()} for number in range(count)]
    outputs, run, now_ns = [output.name for output in session.get_outputs()], session.run, time.time_ns
    run(outputs, feeds[0], run_options)
    Path(plan["ready"]).touch()
    times_ns: list[tuple[int, int]] = []
    while not over:
        feed = feeds[len(times_ns) % count]
        began = now_ns()
        run(outputs, feed, run_options)
        times_ns.append((began, now_ns()))
    return times_ns


if __name__ == "__main__":
    main(Path(sys.argv[1]))
