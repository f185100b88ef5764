"""Texts of config.pbtxt, and models that they may lie beside."""

from __future__ import annotations

from pathlib import Path

from hcopt.records.model import ModelArtifact, ModelSignature, TensorSpec

# The user's document, word for word.
DEFAULT_TEXT = """\
name: "HomeCreditDefaultModel"
platform: "onnxruntime_onnx"
max_batch_size: 16
input {
  name: "input"
  data_type: TYPE_FP32
  dims: 10
}
output {
  name: "output"
  data_type: TYPE_FP32
  dims: 1
}
instance_group {
  count: 1
  kind: KIND_CPU
}
dynamic_batching {
}
"""
CONFIG_12_TEXT = """\
name: "HomeCreditDefaultModel"
platform: "onnxruntime_onnx"
max_batch_size: 8
input {
  name: "input"
  data_type: TYPE_FP32
  dims: 10
}
output {
  name: "output"
  data_type: TYPE_FP32
  dims: 1
}
instance_group {
  count: 2
  kind: KIND_CPU
}
dynamic_batching {
  max_queue_delay_microseconds: 500
}
"""
# What the user's training job logs beside the model.
UNBATCHED_TEXT = """
name: "HomeCreditDefaultModel"
platform: "onnxruntime_onnx"
max_batch_size: 0
input [ { name: "input" data_type: TYPE_FP32 dims: [ -1, 10 ] } ]
output [ { name: "output" data_type: TYPE_FP32 dims: [ -1, 1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
dynamic_batching { }
"""


def spec(name: str, *shape: int, datatype: str = "FP32") -> TensorSpec:
    return TensorSpec(name=name, datatype=datatype, shape=shape)


def signature(
    inputs: TensorSpec | tuple[TensorSpec, ...], outputs: TensorSpec | tuple[TensorSpec, ...]
) -> ModelSignature:
    return ModelSignature(
        inputs=inputs if isinstance(inputs, tuple) else (inputs,),
        outputs=outputs if isinstance(outputs, tuple) else (outputs,),
    )


SAMPLE_SIGNATURE = signature(spec("input", -1, 10), spec("output", -1, 1))


def artifact(
    config_pbtxt: str | None = None,
    of: ModelSignature = SAMPLE_SIGNATURE,
    *,
    name: str = "HomeCreditDefaultModel",
    folder: Path = Path("unused"),
    files: tuple[str, ...] = ("model.onnx",),
) -> ModelArtifact:
    return ModelArtifact(
        name=name,
        source_uri="file",
        version=None,
        sha256="0" * 64,
        folder=folder,
        onnx_file=files[0],
        files=files,
        signature=of,
        config_pbtxt=config_pbtxt,
    )
