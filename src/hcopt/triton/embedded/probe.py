"""Whether the native backend serves here: only a model that is loaded tells."""

from __future__ import annotations

import json
from pathlib import Path

from hcopt.errors import RuntimeStartError
from hcopt.triton.base import Endpoint
from hcopt.triton.carried import CarriedModel
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.backends import NativeBackendError

_NAME = "hcopt_asks_whether_the_native_backend_serves"
_TENSORS = ("asked", "answered")
_ELEMENT_TYPE_FLOAT = 1
# Of ONNX 1.10: each ONNX Runtime that the backend takes reads it.
_IR_VERSION, _OPSET = 8, 15


def check_backend(endpoint: Endpoint, log: Path) -> None:
    """Does nothing where a server's `onnxruntime` is hcopt's native backend, and serves; nothing stays loaded.

    Args:
        endpoint: The server.
        log: Its log.

    Raises:
        NativeBackendError: It cannot be loaded, or another backend answers in its place. The server is then of no use:
            it calls itself not ready.
    """
    with ModelControl(endpoint, log=log, carried={_NAME: _identity()}) as control:
        try:
            control.load(_NAME)
        except RuntimeStartError as error:
            # The reason alone: without the name of a model that nobody knows, and Triton's words around it.
            reason = error.message.rpartition(f"{_NAME}: ")[2].rpartition(" state: ")[2]
            raise NativeBackendError(reason.strip(" ;\n")) from error
        runtime = json.loads(control.active_config(_NAME)).get("runtime")
        control.unload(_NAME)
        control.wait_for_unloads([_NAME])
    # A model.py, also where a library lies beside it; of a library Triton says nothing.
    if runtime is not None:
        raise NativeBackendError(f"Triton serves onnxruntime with {runtime}")


def identity_model() -> bytes:
    """An ONNX file that answers with what it is asked."""
    from onnx import helper

    tensors = [helper.make_tensor_value_info(name, _ELEMENT_TYPE_FLOAT, ["rows"]) for name in _TENSORS]
    node = helper.make_node("Identity", [_TENSORS[0]], [_TENSORS[1]])
    graph = helper.make_graph([node], "probe", tensors[:1], tensors[1:])
    model = helper.make_model(graph, ir_version=_IR_VERSION, opset_imports=[helper.make_opsetid("", _OPSET)])
    return bytes(model.SerializeToString())


def _identity() -> CarriedModel:
    sides = {
        kind: [{"name": name, "data_type": "TYPE_FP32", "dims": [-1]}]
        for kind, name in zip(("input", "output"), _TENSORS, strict=True)
    }
    config = {
        "name": _NAME,
        "platform": "onnxruntime_onnx",
        "instance_group": [{"kind": "KIND_CPU", "count": 1}],
        **sides,
    }
    return CarriedModel(config_json=json.dumps(config), files={"1/model.onnx": identity_model()})
