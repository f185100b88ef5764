"""What a Triton answers over HTTP whatever is loaded: whether it lives and is ready, its version, its metrics."""

from __future__ import annotations

import http.client
import json
import urllib.request
from dataclasses import dataclass

_ANSWER_TIMEOUT_S = 2.0


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
    try:
        # Triton is reached without a proxy everywhere else too.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=_ANSWER_TIMEOUT_S) as answer:
            return b"nv_" in answer.read()
    except (OSError, http.client.HTTPException, ValueError):
        return False
