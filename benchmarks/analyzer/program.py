"""The real `model-analyzer profile`, as a process and in real time, before a gRPC server that stands in for Triton.

The stand-in holds the recorded answers; the perf_analyzer that Model Analyzer starts is `stand_in_perf_analyzer.py`,
which asks it over a socket.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Listener
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.analyzer import stand_in_perf_analyzer
from benchmarks.analyzer.config import Mode, write_files
from benchmarks.analyzer.stand_in import StandIn, Visit
from benchmarks.recordings.replay import Replay
from hcopt.model.triton_config import CONFIG_FILE, parse_text, variant_of
from hcopt.records.measurement import SweepPlan


@dataclass(frozen=True)
class ProgramRun:
    """What the program did.

    Attributes:
        winner: The first row within the limit of its table; None where there is none, or no table.
        visits: Points that perf_analyzer was started for, in order.
        loads: Models that the server was told to load.
        died: Whether it ended with the error of quick mode (see `AnalyzerRun`).
        wall_s: From its start to its end.
        seed: What optuna mode drew; None in the other modes.
    """

    winner: Visit | None
    visits: tuple[Visit, ...]
    loads: int
    died: bool
    wall_s: float
    seed: int | None


def run_program(
    plan: SweepPlan, replay: Replay, mode: Mode, *, limit_ms: float | None, process_s: float, timeout_s: float = 1800.0
) -> ProgramRun:
    """Runs Model Analyzer to its end, reports included.

    Args:
        plan: What was recorded.
        replay: Answers.
        mode: Its search mode.
        limit_ms: Constraint on the p99 latency.
        process_s: How long each perf_analyzer lives.
        timeout_s: After which it is ended.

    Raises:
        RuntimeError: It failed; carries the end of its output.
    """
    stand_in = StandIn(plan, replay, limit_ms=limit_ms)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with _server(stand_in) as endpoint, _answers(stand_in, folder / "socket", process_s) as address:
            file = write_files(
                plan,
                mode,
                folder=folder,
                perf_analyzer=_perf_analyzer(folder),
                grpc=endpoint,
                limit_ms=stand_in.whole_limit_ms,
            )
            started = time.monotonic()
            ended = subprocess.run(
                [Path(sys.executable).with_name("model-analyzer"), "profile", "--config-file", file],
                cwd=folder,
                env={**os.environ, stand_in_perf_analyzer.ADDRESS: address},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout_s,
                check=False,
            )
            wall_s = time.monotonic() - started
        died = "OverflowError: math range error" in ended.stdout
        if ended.returncode and not died:
            raise RuntimeError(f"model-analyzer ended with {ended.returncode}:\n{ended.stdout[-2000:]}")
        return ProgramRun(
            winner=None if died else _winner(folder, stand_in),
            visits=tuple(stand_in.visits),
            loads=stand_in.loads,
            died=died,
            wall_s=wall_s,
            seed=_seed(folder / "checkpoints"),
        )


def _perf_analyzer(folder: Path) -> Path:
    """A file that starts the stand-in; isolated, so that nothing of the environment slows its start."""
    path = folder / "perf_analyzer"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{stand_in_perf_analyzer.__file__}" "$@"\n')
    path.chmod(0o755)
    return path


def _winner(folder: Path, stand_in: StandIn) -> Visit | None:
    with (folder / "export" / "results" / "metrics-model-inference.csv").open(newline="", encoding="utf-8") as file:
        row = next((row for row in csv.DictReader(file) if row["Satisfies Constraints"] == "Yes"), None)
    if row is None:
        return None
    text = (folder / "output_models" / row["Model Config Path"] / CONFIG_FILE).read_text(encoding="utf-8")
    return stand_in.nearest(variant_of(parse_text(text), "asked"), int(row["Batch"]), int(row["Concurrency"]))


def _seed(checkpoints: Path) -> int | None:
    """The checkpoint holds it."""
    (file,) = checkpoints.glob("*.ckpt")
    seed = json.loads(file.read_text(encoding="utf-8")).get("OptunaRunConfigGenerator.seed")
    return None if seed is None else int(seed)


class _Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Triton in explicit mode, as far as Model Analyzer asks."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in

    def ServerReady(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=True)

    def RepositoryIndex(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        answer = service_pb2.RepositoryIndexResponse()
        # An empty one ends Model Analyzer with a KeyError.
        answer.models.add(name="stand_in")
        return answer

    def RepositoryModelLoad(self, request: Any, _context: Any) -> Any:  # noqa: N802
        self._stand_in.load(request.parameters["config"].string_param)
        return service_pb2.RepositoryModelLoadResponse()


@contextmanager
def _server(stand_in: StandIn) -> Iterator[str]:
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Servicer(stand_in), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(grace=None).wait()


@contextmanager
def _answers(stand_in: StandIn, socket: Path, process_s: float) -> Iterator[str]:
    """Answers each perf_analyzer that connects with its report and how long it has to live."""
    listener = Listener(str(socket), family="AF_UNIX")

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()
            except OSError:
                return
            with connection:
                connection.send((stand_in.report(*connection.recv()), process_s))

    # It ends with this process where accept() outlasts the listener's end.
    Thread(target=serve, daemon=True).start()
    try:
        yield str(socket)
    finally:
        listener.close()
