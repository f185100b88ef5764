"""What a Triton answers over HTTP before anything is loaded: whether it is ready, its version, its metrics."""

from __future__ import annotations

import http.client
import json
import urllib.request

_ANSWER_TIMEOUT_S = 2.0


def version_if_ready(address: str) -> str | None:
    """The version of the Triton at host:port, or None where none answers or it is not ready yet."""
    connection = http.client.HTTPConnection(address, timeout=_ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", "/v2/health/ready")
        answer = connection.getresponse()
        answer.read()
        connection.request("GET", "/v2")
        about = json.loads(connection.getresponse().read())
        return str(about["version"]) if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return None
    finally:
        connection.close()


def shows_metrics(url: str) -> bool:
    """Whether Triton's metrics are at this URL."""
    try:
        # Triton is reached without a proxy everywhere else too.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=_ANSWER_TIMEOUT_S) as answer:
            return b"nv_" in answer.read()
    except (OSError, http.client.HTTPException, ValueError):
        return False
