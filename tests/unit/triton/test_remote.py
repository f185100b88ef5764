"""The addresses of a remote Triton."""

from __future__ import annotations

import pytest

from hcopt.errors import ConfigError
from hcopt.triton.base import Endpoint
from hcopt.triton.remote import remote_endpoint


@pytest.mark.parametrize("grpc", ["grpc://triton.example:8001", "triton.example:8001", "grpc://triton.example:8001/"])
def test_http_and_metrics_lie_beside_the_grpc_port(grpc: str) -> None:
    assert remote_endpoint(grpc) == Endpoint(
        grpc="triton.example:8001", http="triton.example:8000", metrics_url="http://triton.example:8002/metrics"
    )


def test_given_addresses_are_taken() -> None:
    endpoint = remote_endpoint("triton:31001", "http://gateway:80", "https://metrics.example/triton")
    assert endpoint == Endpoint(grpc="triton:31001", http="gateway:80", metrics_url="https://metrics.example/triton")


def test_ipv6_address_keeps_its_brackets() -> None:
    assert remote_endpoint("grpc://[::1]:9001").http == "[::1]:9000"


@pytest.mark.parametrize("grpc", ["triton", "https://triton:8001", "grpc://user:secret@triton:8001", "a b:1", ""])
def test_address_that_is_none_is_refused(grpc: str) -> None:
    with pytest.raises(ConfigError, match=r"runtime\.remote\.grpc is .*: expected HOST:PORT"):
        remote_endpoint(grpc)


def test_missing_address_is_refused_with_what_to_give() -> None:
    with pytest.raises(ConfigError) as caught:
        remote_endpoint(None)
    assert caught.value.remedy is not None and "--endpoint grpc://" in caught.value.remedy
