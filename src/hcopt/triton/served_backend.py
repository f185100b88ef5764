"""Which backend serves a model, as the server itself tells."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from hcopt.records.measurement import Backend
from hcopt.triton.base import Endpoint
from hcopt.triton.carried import CarriedModel
from hcopt.triton.control import ModelControl


def served_backend(
    endpoint: Endpoint,
    model_name: str,
    *,
    log: Path | None = None,
    carried: Mapping[str, CarriedModel] | None = None,
    while_loaded: Callable[[], None] = lambda: None,
) -> Backend:
    """The backend of a model, which is loaded for this, and unloaded again.

    Args:
        endpoint: The server.
        model_name: The model, which has a configuration of its own there, or is carried.
        log: The server's log, where this process can read it.
        carried: See `ModelControl`.
        while_loaded: Called while it is.

    Raises:
        RuntimeStartError: It cannot be loaded. From then on Triton calls itself not ready: no sweep could begin.
    """
    with ModelControl(endpoint, log=log, carried=carried) as control:
        control.load(model_name)
        config = json.loads(control.active_config(model_name))
        while_loaded()
        control.unload(model_name)
    # A Python-based backend is a model.py, a native one a shared library.
    is_python = str(config.get("runtime", "")).endswith(".py")
    return Backend(name=config.get("backend") or "onnxruntime", implementation="python" if is_python else "native")
