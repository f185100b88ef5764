"""The rows that the load sends: those of the model's input example, or synthetic ones where it has none.

Never perf_analyzer's own random bits, which are values of 1e31 and the like. perf_analyzer is started elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hcopt.errors import ConfigError, ModelSourceError
from hcopt.model.inputs.example import from_example
from hcopt.model.inputs.synthetic import synthetic_rows
from hcopt.model.inputs.values import Input, LoadData, MisfitError, fits
from hcopt.records.model import ModelArtifact
from hcopt.records.note import Note

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig


def build_load(
    artifact: ModelArtifact,
    base_config: ModelConfig,
    *,
    input_shapes: Mapping[str, tuple[int, ...]],
    input_example: str = "auto",
    seed: int = 0,
) -> LoadData:
    """The rows to send to a model: those of its input example, else synthetic ones.

    Synthetic floats are standard normal; integers are 0 and 1, so that indices stay in range.

    Args:
        artifact: The model.
        base_config: Its default configuration, which says what a client sends.
        input_shapes: Shape of one row, without the batch dimension, for inputs with dynamic dimensions.
        input_example: `auto` (the example that came with the model), `none`, or the path of a JSON or .npz file.
        seed: Of the synthetic rows.

    Raises:
        ConfigError: `input_shapes` does not fit the model, or nothing says how large a dynamic dimension is.
        ModelSourceError: The file given as `input_example` is no example of this model's inputs.
    """
    inputs = _inputs(artifact, base_config, input_shapes)
    given = input_example not in {"auto", "none"}
    file = Path(input_example) if given else artifact.input_example if input_example == "auto" else None
    notes: list[Note] = []
    if file is not None:
        try:
            return from_example(file, inputs)
        except MisfitError as error:
            if given:
                raise ModelSourceError(
                    f"model.input_example: {file} {error}", remedy="Give rows of this model's inputs, or `none`."
                ) from error
            notes.append(Note.of("example_not_used", reason=error.note))
    notes.append(Note.of("synthetic_rows"))
    if any(tensor.has_row_dimension and tensor.dims[0] == -1 for tensor in inputs):
        notes.append(Note.of("dynamic_rows"))
    return LoadData(tensors=synthetic_rows(inputs, seed), origin="synthetic", notes=tuple(notes))


def _inputs(
    artifact: ModelArtifact, config: ModelConfig, input_shapes: Mapping[str, tuple[int, ...]]
) -> tuple[Input, ...]:
    from tritonclient.grpc.model_config_pb2 import DataType

    has_row_dimension = config.max_batch_size == 0 and all(
        spec.shape[:1] == (-1,) for spec in artifact.signature.inputs
    )
    inputs = []
    # The model has a value of its own for an optional one.
    for tensor in (one for one in config.input if not one.optional):
        datatype = DataType.Name(tensor.data_type).removeprefix("TYPE_")
        found = Input(
            name=tensor.name,
            datatype="BYTES" if datatype == "STRING" else datatype,
            dims=tuple(tensor.dims),
            has_row_dimension=has_row_dimension and tensor.dims[0] in (-1, 1),
        )
        inputs.append(_shaped(found, input_shapes.get(tensor.name)))
    if unknown := sorted(set(input_shapes) - {tensor.name for tensor in inputs}):
        names = ", ".join(tensor.name for tensor in inputs)
        raise ConfigError(f"model.input_shapes: the model has no input {unknown[0]!r}; its inputs are {names}")
    return tuple(inputs)


def _shaped(tensor: Input, shape: tuple[int, ...] | None) -> Input:
    if shape is None:
        return tensor
    is_one_row = tensor.has_row_dimension and len(shape) + 1 == len(tensor.dims)
    dims = (1, *shape) if is_one_row else tuple(shape)
    if not fits(dims, tensor.dims):
        raise ConfigError(
            f"model.input_shapes.{tensor.name}: a row of shape {list(shape)} does not fit, the model takes "
            f"{list(tensor.dims)}"
        )
    return replace(tensor, dims=dims, has_row_dimension=is_one_row)
