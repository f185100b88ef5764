"""What is refused in a config.pbtxt that came with a model: invalid numbers, and settings that run other code."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

# What makes Triton load or run other files than the model: libraries, and archives that its Python backend unpacks.
# Source: model_config.proto of triton-inference-server/common; "Creating Custom Execution Environments" in the README
# of triton-inference-server/python_backend; TritonModel::Create in core/src/backend_model.cc.
_CODE_FIELDS = ("runtime", "cc_model_filenames", "model_operations", "model_repository_agents")
# hcopt's own backend gives ONNX Runtime the parameters `session.…`, and with some of them that writes files or reads
# others than the model. Source: onnxruntime_session_options_config_keys.h.
_CODE_PARAMETER = re.compile(r"EXECUTION_ENV_PATH|TRITON_BATCH_STRATEGY_PATH|session\..*(file|path|folder|dir|root).*")
# Triton takes such files for its backend (libtriton_onnxruntime.so, model.py) or its batching strategy
# (batchstrategy.so) before all others. Source: TritonModel::Create in core/src/backend_model.cc.
CODE_FILE = re.compile(r"[^/]*\.(so|py)")


def check_enums(message: Any) -> None:
    """Protobuf takes any number for an enumeration, and fails when it is to be named.

    Raises:
        ValueError: One has no name.
    """
    for field, value in message.ListFields():
        items = _items(field, value)
        if field.enum_type is not None:
            unknown = [number for number in items if number not in field.enum_type.values_by_number]
            if unknown:
                raise ValueError(f"{field.name} has no value {unknown[0]}")
        elif field.message_type is not None:
            for item in items:
                check_enums(item)


def _items(field: Any, value: Any) -> Iterable[Any]:
    if field.label != field.LABEL_REPEATED:
        return (value,)
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    if not is_map:
        return value  # type: ignore[no-any-return]
    # A map of plain values has no messages.
    return value.values() if field.message_type.fields_by_name["value"].message_type is not None else ()


def refused(config: ModelConfig) -> str | None:
    """Why Triton is not started with this configuration; None where it may be."""
    fields = [field.name for field, _ in config.ListFields() if field.name in _CODE_FIELDS]
    parameters = [f"the parameter {key}" for key in config.parameters if _CODE_PARAMETER.fullmatch(key)]
    if named := [*fields, *parameters]:
        return f"has {named[0]}, which makes Triton use other files than the model"
    if config.max_batch_size < 0 or any(group.count < 0 for group in config.instance_group):
        return "has a negative max_batch_size or instance count"
    return None


def is_dim(dim: int) -> bool:
    """Whether a dimension is a size, or -1 for any."""
    return dim == -1 or dim > 0
