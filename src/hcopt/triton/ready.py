"""What a Triton answers over HTTP whatever is loaded: whether it lives, its version, its metrics, its settings."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from hcopt.triton.base import Endpoint

_ANSWER_TIMEOUT_S = 2.0
# A server has these with --cache-config alone.
_CACHE_METRICS = b"nv_cache_"
RESPONSE_CACHE = "response_cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A Triton that lives.

    Attributes:
        version: Such as 2.51.0.
        ready: Whether it takes requests; False from a model's failed load until that model is loaded.
    """

    version: str
    ready: bool


def health(address: str) -> Health | None:
    """How the Triton at host:port is; None where none answers."""
    connection = http.client.HTTPConnection(address, timeout=_ANSWER_TIMEOUT_S)
    try:
        about = json.loads(_get(connection, "/v2")[1])
        ready, _ = _get(connection, "/v2/health/ready")
        return Health(version=str(about["version"]), ready=ready == http.client.OK)
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return None
    finally:
        connection.close()


def _get(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def shows_metrics(url: str) -> bool:
    """Whether Triton's metrics are at this URL."""
    return b"nv_" in _metrics(url)


def _metrics(url: str) -> bytes:
    """Empty where there are none."""
    try:
        # Triton is reached without a proxy everywhere else too.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=_ANSWER_TIMEOUT_S) as answer:
            return bytes(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return b""


def server_settings(endpoint: Endpoint, model_name: str) -> tuple[str, ...]:
    """What the server says it has on for a loaded model that costs time or answers by itself, by Triton's own names.

    A model may have traces of its own, which stay while it is unloaded, and of which Triton then does not tell.
    Of most options of its command line (`--rate-limit`, `--backend-config`) a server tells nothing.
    """
    traces = _setting(endpoint, f"/v2/models/{quote(model_name, safe='')}/trace/setting")
    found = [*_tracing(traces), *_logging(_setting(endpoint, "/v2/logging"))]
    return (*found, *((RESPONSE_CACHE,) if _CACHE_METRICS in _metrics(endpoint.metrics_url) else ()))


def _tracing(setting: dict[str, Any]) -> Iterator[str]:
    levels = [level for level in setting.get("trace_level", ()) if level != "OFF"]
    # A count of 0 is what is left of a limited number of traces.
    if levels and setting.get("trace_count") != "0":
        yield f"trace_level={'+'.join(levels)}"
        yield f"trace_rate={setting.get('trace_rate')}"


def _logging(setting: dict[str, Any]) -> Iterator[str]:
    if level := setting.get("log_verbose_level"):
        yield f"log_verbose_level={level}"


def _setting(endpoint: Endpoint, path: str) -> dict[str, Any]:
    """Empty where the server has no such setting, or does not tell."""
    connection = http.client.HTTPConnection(endpoint.http, timeout=_ANSWER_TIMEOUT_S)
    try:
        status, answer = _get(connection, path)
        found = json.loads(answer) if status == http.client.OK else {}
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return found if isinstance(found, dict) else {}
