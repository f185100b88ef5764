"""Which backend serves a model, as the server itself tells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hcopt.triton.base import Endpoint
from hcopt.triton.carried import CarriedModel
from hcopt.triton.control import ModelControl


def served_backend(
    endpoint: Endpoint,
    model_name: str,
    *,
    log: Path | None = None,
    carried: Mapping[str, CarriedModel] | None = None,
) -> str:
    """The backend with its kind, such as `onnxruntime (native)`; the model is loaded for this, and unloaded again.

    Args:
        endpoint: The server.
        model_name: The model, which has a configuration of its own there, or is carried.
        log: The server's log, where this process can read it.
        carried: See `ModelControl`.

    Raises:
        RuntimeStartError: It cannot be loaded. From then on Triton calls itself not ready: no sweep could begin.
    """
    with ModelControl(endpoint, log=log, carried=carried) as control:
        control.load(model_name)
        config = json.loads(control.active_config(model_name))
        control.unload(model_name)
    # A Python-based backend is a model.py, a native one a shared library.
    kind = "Python-based" if str(config.get("runtime", "")).endswith(".py") else "native"
    return f"{config.get('backend') or 'onnxruntime'} ({kind})"
