"""Writes an ONNX model that is heavier than the sample: a wide MLP, 12 million multiplications a row, as a repository.

.venv/bin/python -m benchmarks.recordings.heavy_model /tmp/heavy
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save_model

NAME = "WideModel"
FEATURES = 10
WIDTHS = (2048, 2048, 2048, 2048, 1)
OPSET, IR_VERSION = 17, 8


def main() -> None:
    folder = Path(sys.argv[1]) / NAME / "1"
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    nodes, weights, before, size = [], [], "features", FEATURES
    for layer, width in enumerate(WIDTHS):
        # Such weights keep the signal's size from layer to layer (He et al. 2015).
        weight = random.normal(0, (2 / size) ** 0.5, (size, width)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"weight_{layer}"))
        nodes.append(helper.make_node("MatMul", [before, f"weight_{layer}"], [f"product_{layer}"]))
        last = layer == len(WIDTHS) - 1
        before, size = "score" if last else f"hidden_{layer}", width
        nodes.append(helper.make_node("Sigmoid" if last else "Relu", [f"product_{layer}"], [before]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", columns])
        for name, columns in (("features", FEATURES), ("score", 1))
    ]
    graph = helper.make_graph(nodes, NAME, ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", OPSET)]
    save_model(helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION), folder / "model.onnx")


if __name__ == "__main__":
    main()
