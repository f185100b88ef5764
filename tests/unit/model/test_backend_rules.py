"""What NVIDIA's onnxruntime backend would refuse is refused or corrected before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcopt.config.sections import Config
from hcopt.errors import ConfigError, ModelSourceError
from hcopt.model.backend_rules import check_swept, parameter_notes
from hcopt.model.base_config import BaseConfiguration, base_configuration
from hcopt.model.prepare import prepare
from hcopt.records.model import ModelSignature
from tests.support.notes import said
from tests.support.pbtxt import artifact, signature, spec

TEXT = """
max_batch_size: 8
input { name: "tokens" data_type: TYPE_INT64 dims: [64] }
output { name: "scores" data_type: TYPE_FP32 dims: [64, 5] }
"""
OF = signature(spec("tokens", -1, -1, datatype="INT64"), spec("scores", -1, -1, 5))
WITH_OPTIONAL = ModelSignature(
    inputs=(spec("x", -1, 4),), outputs=(spec("y", -1, 4),), optional_inputs=(spec("scale", 4),)
)
OPTIONAL = """
max_batch_size: 0
input { name: "x" data_type: TYPE_FP32 dims: [-1, 4] }
input { name: "scale" data_type: TYPE_FP32 dims: [4] optional: true }
output { name: "y" data_type: TYPE_FP32 dims: [-1, 4] }
"""


def base(text: str, of: ModelSignature = OF, *, batchable: bool = True) -> BaseConfiguration:
    return base_configuration(artifact(text, of), batchable=batchable)


@pytest.mark.parametrize(
    ("dims", "own"),
    [("[64, 5]", (-1, -1, 5)), ("[-1, 5]", (-1, 64, 5)), ("[-1, -1]", (-1, 64, 5))],
    ids=["fixed here", "fixed in the model", "open here"],
)
def test_output_gets_the_dimensions_of_the_model(dims: str, own: tuple[int, ...]) -> None:
    of = signature(spec("tokens", -1, -1, datatype="INT64"), spec("scores", *own))
    found = base(TEXT.replace("[64, 5]", dims), of)
    assert tuple(found.config.output[0].dims) == own[1:]
    assert list(found.config.input[0].dims) == [64]
    assert f"'scores' the dims {dims}; the model has {list(own[1:])}" in " ".join(map(said, found.notes))


def test_output_gets_its_free_rows_back_without_batching() -> None:
    text = TEXT.replace("max_batch_size: 8", "max_batch_size: 0").replace("[64, 5]", "[2, 64, 5]")
    found = base(text.replace("[64]", "[2, 64]"), batchable=False)
    assert list(found.config.output[0].dims) == [-1, -1, 5]


def test_output_that_is_as_the_model_has_it_is_left_alone() -> None:
    assert not [note for note in base(TEXT.replace("[64, 5]", "[-1, 5]")).notes if "dims" in note.code]


@pytest.mark.parametrize(
    "dims",
    ["[64, 6]", "[5]", "[64, 5, 1]", "[0, 5]", "[320] reshape { shape: [64, 5] }"],
    ids=["other size", "lower rank", "higher rank", "no size", "reshaped to a fixed size"],
)
def test_output_of_another_shape_is_refused(dims: str) -> None:
    with pytest.raises(ModelSourceError, match=r"output 'scores'.*the model has TYPE_FP32 \[-1, -1, 5\]"):
        base(TEXT.replace("[64, 5]", dims))


def test_output_declared_with_fixed_rows_is_refused_with_the_key_that_corrects_it() -> None:
    of = signature(spec("tokens", -1, -1, datatype="INT64"), spec("scores", 1, -1, 5))
    with pytest.raises(ModelSourceError) as caught:
        base(TEXT, of)
    assert "model.correct_outputs: true" in str(caught.value.remedy)


def test_optional_input_is_taken_without_batching_and_not_sent() -> None:
    found = base(OPTIONAL, WITH_OPTIONAL)
    assert found.config.max_batch_size == 0
    assert [(tensor.name, tensor.optional) for tensor in found.config.input] == [("x", False), ("scale", True)]
    sentences = " ".join(map(said, found.notes))
    assert "optional inputs (scale) only so" in sentences
    assert "leaves out the optional inputs (scale)" in sentences


def test_optional_input_that_is_not_named_lets_the_model_batch() -> None:
    text = OPTIONAL.replace('input { name: "scale" data_type: TYPE_FP32 dims: [4] optional: true }\n', "")
    assert base(text, WITH_OPTIONAL).config.max_batch_size == 16


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("optional: true", "", "input 'scale' without `optional: true`"),
        ("[-1, 4] }\ninput", "[-1, 4] optional: true }\ninput", "'x' as an optional input"),
        ('name: "scale"', 'name: "bias"', "input 'bias'; the model has 'x'"),
        ("dims: [4]", "dims: [3]", r"input 'scale' as TYPE_FP32 \[3\]"),
        ("TYPE_FP32 dims: [4]", "TYPE_INT32 dims: [4]", "input 'scale' as TYPE_INT32"),
    ],
)
def test_optional_input_that_the_backend_would_not_take_is_refused(old: str, new: str, message: str) -> None:
    assert old in OPTIONAL
    with pytest.raises(ModelSourceError, match=message):
        base(OPTIONAL.replace(old, new, 1), WITH_OPTIONAL)


def test_optional_input_is_refused_where_rows_are_batched() -> None:
    text = OPTIONAL.replace("max_batch_size: 0", "max_batch_size: 4").replace("[-1, 4]", "[4]")
    with pytest.raises(ModelSourceError, match="optional input 'scale' and max_batch_size 4"):
        base(text, WITH_OPTIONAL)


def test_parameters_that_the_backend_does_not_read_are_named() -> None:
    assert (
        parameter_notes(["intra_op_thread_count", "gpu_mem_limit", "session.use_device_allocator_for_initializers"])
        == []
    )
    ours, nobodys = parameter_notes(["team", "session.intra_op.allow_spinning", "intra_op_threads"])
    assert "ignores the parameters session.intra_op.allow_spinning" in said(ours)
    assert "no parameters intra_op_threads, team" in said(nobodys)


def test_parameters_that_the_backend_takes_may_be_swept() -> None:
    everything = {
        "intra_op_thread_count": ("auto", "auto/2", "auto*2", 1, "2"),
        "inter_op_thread_count": (0, 2),
        "execution_mode": (0, 1),
        "enable_mem_arena": (True, False, 0),
        "enable_mem_pattern": ("true",),
        "memory.enable_memory_arena_shrinkage": ("cpu:0", "cpu:0;gpu:0"),
        "session.use_device_allocator_for_initializers": (1,),
    }
    check_swept(everything, "KIND_CPU")
    check_swept({"gpu_mem_limit": (1_000_000,)}, "KIND_GPU")


@pytest.mark.parametrize(
    ("key", "value", "said", "remedy"),
    [
        ("intra_op_threads", 1, "no such parameter", "Write intra_op_thread_count."),
        ("team", "risk", "no such parameter", "It has: TRITON_BATCH_STRATEGY_PATH, enable_mem_arena, "),
        ("gpu_mem_limit", 1, "it is for GPUs", "It has: "),
        ("session.intra_op.allow_spinning", 0, "could not be deployed", "It has: "),
        ("intra_op_thread_count", "all", "does not take 'all'", "It takes whole numbers, auto, auto/2 and auto*2."),
        ("intra_op_thread_count", -1, "does not take '-1'", "It takes whole numbers, auto, auto/2 and auto*2."),
        ("intra_op_thread_count", "auto*4", r"does not take 'auto\*4'", "It takes whole numbers, auto"),
        ("inter_op_thread_count", "auto", "does not take 'auto'", "It takes whole numbers."),
        ("inter_op_thread_count", 1.5, "does not take '1.5'", "It takes whole numbers."),
        ("execution_mode", "parallel", "does not take 'parallel'", "several at once"),
        ("enable_mem_arena", "off", "does not take 'off'", "It takes 0 and 1."),
        ("memory.enable_memory_arena_shrinkage", "all", "does not take 'all'", "as in cpu:0"),
    ],
)
def test_what_would_be_swept_in_vain_is_refused_before_the_model_is_fetched(
    key: str, value: str | float, said: str, remedy: str, tmp_path: Path
) -> None:
    config = Config.model_validate({"sweep": {"parameters": {key: [value]}}, "model": {"uri": str(tmp_path / "none")}})
    with pytest.raises(ConfigError, match=rf"sweep\.parameters\.{key}: .*{said}") as raised:
        prepare(config, into=tmp_path, tracking_uri="")
    assert remedy in str(raised.value.remedy)
