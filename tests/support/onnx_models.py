"""Small ONNX models, one for each behaviour that a test needs; nothing here is trained or downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

# By hand and not from the package, so that a wrong table there cannot hide.
ONNX_TYPES: dict[str, int] = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}


def tensor(name: str, datatype: str = "FP32", shape: Sequence[int | str] = (-1, 4)) -> onnx.ValueInfoProto:
    """A model's input or output; -1 is a dynamic dimension, and so is a name."""
    dims = [f"{name}_{axis}" if dim == -1 else dim for axis, dim in enumerate(shape)]
    return helper.make_tensor_value_info(name, ONNX_TYPES[datatype], dims)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    opsets: dict[str, int] | None = None,
) -> onnx.ModelProto:
    """A whole model in an opset and IR version that every runtime of the last years reads."""
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(initializers))
    imports = [helper.make_opsetid(domain, version) for domain, version in (opsets or {"": OPSET}).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSION)


def save(proto: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Writes a model into a folder, which it makes."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes(proto.SerializeToString())
    return file


def identity_model(datatype: str = "FP32", shape: Sequence[int] = (-1, 4)) -> onnx.ModelProto:
    """`output` is `input`, for any type."""
    node = helper.make_node("Identity", ["input"], ["output"])
    return model([node], [tensor("input", datatype, shape)], [tensor("output", datatype, shape)])


def linear_model(
    features: int = 10, *, outputs: int = 1, initializer_is_input: bool = False, fixed_batch: int | None = None
) -> onnx.ModelProto:
    """`output` [batch, outputs] = `input` [batch, features] @ `weight` + `bias`: the sample model's shapes."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((features, outputs)).astype(np.float32)
    bias = random.standard_normal(outputs).astype(np.float32)
    batch = -1 if fixed_batch is None else fixed_batch
    inputs = [tensor("input", "FP32", (batch, features))]
    if initializer_is_input:
        inputs.append(tensor("weight", "FP32", (features, outputs)))
    nodes = [helper.make_node("MatMul", ["input", "weight"], ["product"]), _add("product", "bias", "output")]
    initializers = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
    return model(nodes, inputs, [tensor("output", "FP32", (batch, outputs))], initializers)


def two_inputs_model() -> onnx.ModelProto:
    """`values` FP32 [batch, 3] gives `scaled`, and `ids` INT64 [batch, 2] gives `next_ids`, of the same shapes."""
    nodes = [_add("values", "values", "scaled"), _add("ids", "one", "next_ids")]
    return model(
        nodes,
        [tensor("values", "FP32", (-1, 3)), tensor("ids", "INT64", (-1, 2))],
        [tensor("scaled", "FP32", (-1, 3)), tensor("next_ids", "INT64", (-1, 2))],
        [numpy_helper.from_array(np.array(1, np.int64), "one")],
    )


def image_model() -> onnx.ModelProto:
    """`image` FP32 [batch, 3, height, width], both dynamic, gives `means` FP32 [batch, 3, 1, 1]."""
    node = helper.make_node("GlobalAveragePool", ["image"], ["means"])
    return model([node], [tensor("image", "FP32", (-1, 3, -1, -1))], [tensor("means", "FP32", (-1, 3, 1, 1))])


def embedding_model(vocabulary: int = 8) -> onnx.ModelProto:
    """`ids` INT64 [batch, tokens] looked up in a small table, so that ids out of range are an error."""
    table = np.arange(vocabulary * 2, dtype=np.float32).reshape(vocabulary, 2)
    node = helper.make_node("Gather", ["table", "ids"], ["vectors"])
    return model(
        [node],
        [tensor("ids", "INT64", (-1, -1))],
        [tensor("vectors", "FP32", (-1, -1, 2))],
        [numpy_helper.from_array(table, "table")],
    )


def per_row_scalar_model() -> onnx.ModelProto:
    """`input` FP32 [batch] gives `output` FP32 [batch]: each row is a scalar."""
    return model(
        [_add("input", "input", "output")], [tensor("input", "FP32", (-1,))], [tensor("output", "FP32", (-1,))]
    )


def scalar_model() -> onnx.ModelProto:
    """`input` and `output` are FP32 scalars: no dimension, and so no batch either."""
    return model([_add("input", "input", "output")], [tensor("input", "FP32", ())], [tensor("output", "FP32", ())])


def centering_model() -> onnx.ModelProto:
    """Subtracts the mean over axis 0: its shapes look batchable, but each row changes its neighbours."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["input", "mean"], ["output"]),
    ]
    return model(nodes, [tensor("input")], [tensor("output")])


def reducing_model() -> onnx.ModelProto:
    """Averages over axis 0 and declares the one row that is left as dynamic; the runtime knows better."""
    node = helper.make_node("ReduceMean", ["input"], ["output"], axes=[0], keepdims=1)
    return model([node], [tensor("input")], [tensor("output")])


def doubling_model() -> onnx.ModelProto:
    """Gives every row twice: the output's first dimension is dynamic, but not the number of rows."""
    node = helper.make_node("Concat", ["input", "input"], ["output"], axis=0)
    return model([node], [tensor("input")], [tensor("output")])


def one_row_only_model() -> onnx.ModelProto:
    """Declares a dynamic first dimension, but reshapes to one row, which shows only when it runs."""
    nodes = [
        helper.make_node("CastLike", ["shape", "integer"], ["integer_shape"]),
        helper.make_node("Reshape", ["input", "integer_shape"], ["output"]),
    ]
    shape = numpy_helper.from_array(np.array([1, 4], np.float32), "shape")
    integer = numpy_helper.from_array(np.array(0, np.int64), "integer")
    return model(nodes, [tensor("input")], [tensor("output")], [shape, integer])


def unregistered_operator_model() -> onnx.ModelProto:
    """Uses an operator that no runtime has: `Frobnicate` of the domain com.example."""
    node = helper.make_node("Frobnicate", ["input"], ["output"], domain="com.example")
    return model([node], [tensor("input")], [tensor("output")], opsets={"": OPSET, "com.example": 1})


def future_opset_model() -> onnx.ModelProto:
    """An identity in an opset that is not there yet."""
    node = helper.make_node("Identity", ["input"], ["output"])
    return model([node], [tensor("input")], [tensor("output")], opsets={"": 999})


def save_with_external_data(folder: Path, location: str = "weights.data", *, write_data: bool = True) -> Path:
    """The linear model with its weight in a file of its own.

    `location` goes into the model as it is, even where it leaves the folder; nothing is written out of the folder
    unless the test did so.
    """
    proto = linear_model()
    weight = proto.graph.initializer[0]
    data = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(data)))):
        weight.external_data.add(key=key, value=value)
    file = save(proto, folder)
    if write_data:
        target = folder / location
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return file


def _add(left: str, right: str, result: str) -> onnx.NodeProto:
    return helper.make_node("Add", [left, right], [result])
