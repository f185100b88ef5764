"""The program that runs a model by ONNX Runtime alone, as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from hcopt.measure.turns import onnxruntime_program
from hcopt.measure.turns.onnxruntime_program import session_options
from hcopt.store.measurements import read_pairs
from tests.support import onnx_models as models

_PATIENCE_S = 120.0


def started(folder: Path, **changes: Any) -> subprocess.Popen[bytes]:
    plan = folder / "plan.json"
    what = {
        "model": str(models.save(models.linear_model(), folder)),
        "inputs": ["input"],
        "rows": str(folder / "rows.npz"),
        "parameters": {"intra_op_thread_count": "1", "memory.enable_memory_arena_shrinkage": "cpu:0"},
        "graph_level": "0",
        "ready": str(folder / "ready"),
        "export": str(folder / "export.json"),
    }
    np.savez(folder / "rows.npz", np.ones((3, 2, 10), dtype=np.float32))
    plan.write_text(json.dumps({**what, **changes}))
    return subprocess.Popen([sys.executable, "-m", onnxruntime_program.__name__, str(plan)])


def wait_for(file: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not file.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_runs_one_request_after_the_other_until_it_is_interrupted_and_writes_their_times(tmp_path: Path) -> None:
    process = started(tmp_path)
    try:
        wait_for(tmp_path / "ready", process)
        # As the turns do it: what is pending comes as soon as it goes on.
        time.sleep(0.2)
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGCONT):
            process.send_signal(number)
        assert process.wait(_PATIENCE_S) == 0
    finally:
        process.kill()
    pairs = read_pairs(tmp_path / "export.json")
    assert len(pairs) > 1
    assert abs(pairs[0, 0] - time.time_ns()) < _PATIENCE_S * 1e9, "by the clock that perf_analyzer has"
    assert all(one[0] <= one[1] <= after[0] for one, after in pairwise(pairs.tolist()))


def test_rows_that_the_model_does_not_take_end_it_with_an_error_before_it_is_ready(tmp_path: Path) -> None:
    process = started(tmp_path, inputs=["nobody"])
    try:
        assert process.wait(_PATIENCE_S) != 0
    finally:
        process.kill()
    assert not (tmp_path / "ready").exists()


def test_session_gets_what_the_backend_would_take_of_config_pbtxt() -> None:
    options = session_options(
        {
            "intra_op_thread_count": "3",
            "inter_op_thread_count": "2",
            "execution_mode": "1",
            "enable_mem_arena": "false",
            "enable_mem_pattern": "0",
            "session.use_device_allocator_for_initializers": "1",
            "unknown": "ignored",
        },
        "1",
    )
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    assert (options.enable_cpu_mem_arena, options.enable_mem_pattern) == (False, False)
    assert options.get_session_config_entry("session.use_device_allocator_for_initializers") == "1"
    assert options.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED


@pytest.mark.parametrize("level", ["0", ""])
def test_session_is_onnxruntime_s_own_where_nothing_is_said(level: str) -> None:
    options, plain = session_options({}, level), onnxruntime.SessionOptions()
    for name in (
        *("intra_op_num_threads", "inter_op_num_threads", "execution_mode"),
        *("enable_cpu_mem_arena", "enable_mem_pattern", "graph_optimization_level"),
    ):
        assert getattr(options, name) == getattr(plain, name), name


def test_process_imports_little_before_it_begins() -> None:
    """Its start is waited for."""
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {onnxruntime_program.__name__}"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ},
    ).stderr
    assert "mlflow" not in said and "pydantic" not in said
