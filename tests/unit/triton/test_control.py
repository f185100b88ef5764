from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc.service_pb2 import RepositoryModelUnloadResponse
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from hcopt.errors import RuntimeStartError
from hcopt.records.measurement import ServerTimes
from hcopt.triton.base import Endpoint
from hcopt.triton.control import ModelControl, ModelStatistics, last_error, server_times
from hcopt.triton.ports import free_ports

NOTHING = ModelStatistics(
    success_count=0,
    fail_count=0,
    inference_count=0,
    execution_count=0,
    success_ns=0,
    queue_ns=0,
    compute_input_ns=0,
    compute_infer_ns=0,
    compute_output_ns=0,
)
SOME = replace(
    NOTHING,
    success_count=10,
    success_ns=900_000,
    queue_ns=100_000,
    compute_input_ns=20_000,
    compute_infer_ns=300_000,
    compute_output_ns=40_000,
)


def test_server_times_are_means_per_request_in_us() -> None:
    after = replace(
        SOME,
        success_count=14,
        queue_ns=140_000,
        compute_input_ns=24_000,
        compute_infer_ns=500_000,
        compute_output_ns=42_000,
    )
    assert server_times(SOME, after) == ServerTimes(
        queue_us=10.0, compute_input_us=1.0, compute_infer_us=50.0, compute_output_us=0.5
    )


def test_server_times_are_unknown_without_requests() -> None:
    assert server_times(SOME, SOME) is None


def test_server_times_are_unknown_when_the_model_was_loaded_again_in_between() -> None:
    assert server_times(SOME, NOTHING) is None


def test_server_that_was_away_is_reached_at_once_when_it_is_there_again() -> None:
    class Unloads(GRPCInferenceServiceServicer):  # type: ignore[misc]
        def RepositoryModelUnload(self, *_: object) -> RepositoryModelUnloadResponse:  # noqa: N802
            return RepositoryModelUnloadResponse()

    address = f"127.0.0.1:{free_ports().grpc}"
    with ModelControl(Endpoint(grpc=address, http="", metrics_url=""), call_timeout_s=30.0) as control:
        for _ in range(3):
            with pytest.raises(RuntimeStartError, match="cannot unload"):
                control.unload("model")
        server = grpc.server(ThreadPoolExecutor(1))
        add_GRPCInferenceServiceServicer_to_server(Unloads(), server)
        server.add_insecure_port(address)
        server.start()
        control.unload("model")
        server.stop(None).wait()


def test_server_that_is_not_there_is_an_error_in_time() -> None:
    port = free_ports().grpc
    endpoint = Endpoint(grpc=f"127.0.0.1:{port}", http="", metrics_url="")
    with ModelControl(endpoint, call_timeout_s=2) as control, pytest.raises(RuntimeStartError, match="version"):
        control.server_version()


def test_last_error_is_the_text_of_the_last_error_line(tmp_path: Path) -> None:
    log = tmp_path / "tritonserver.log"
    log.write_text(
        'E1123 01:33:03.406498 15395 a.cc:1415] "first"\n'
        """E1123 01:33:03.789801 15395 b.cc:1460] "Poll failed for model directory 'M': [1] is wrong"\n"""
        'I1123 01:33:03.789801 15395 c.cc:1] "all is well"\nSignal (15) received.\n'
    )
    assert last_error(log) == "Poll failed for model directory 'M': [1] is wrong"
    assert last_error(tmp_path / "missing") == ""
