"""The default configuration of a model: derived, or the one that came along."""

from __future__ import annotations

import pytest
from tritonclient.grpc import model_config_pb2

from hcopt.errors import ModelSourceError
from hcopt.model import base_config
from hcopt.model.base_config import base_configuration
from hcopt.model.triton_config import to_text
from hcopt.records.model import ModelSignature
from tests.support import onnx_models as models
from tests.support.notes import said
from tests.support.pbtxt import (
    DEFAULT_TEXT,
    SAMPLE_SIGNATURE,
    UNBATCHED_TEXT,
    artifact,
    signature,
    spec,
)

TENSORS_TEXT = """
input { name: "input" data_type: TYPE_FP32 dims: 10 }
output { name: "output" data_type: TYPE_FP32 dims: 1 }
"""


# Without a config.pbtxt


def test_derived_configuration_is_the_documents_default() -> None:
    base = base_configuration(artifact(), batchable=True)
    assert to_text(base.config) == DEFAULT_TEXT
    assert any("derived" in said(note) for note in base.notes)


@pytest.mark.parametrize("datatype", models.ONNX_TYPES)
def test_derived_configuration_has_every_datatype(datatype: str) -> None:
    of = signature(spec("a", -1, 3, datatype=datatype), spec("b", -1, 3, datatype=datatype))
    config = base_configuration(artifact(of=of), batchable=True).config
    expected = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
    assert model_config_pb2.DataType.Name(config.input[0].data_type) == expected
    assert model_config_pb2.DataType.Name(config.output[0].data_type) == expected


def test_derived_configuration_keeps_dynamic_dimensions_and_the_order_of_tensors() -> None:
    of = signature(
        (spec("image", -1, 3, -1, -1), spec("ids", -1, 2, datatype="INT64")), (spec("b", -1, 4), spec("a", -1, -1))
    )
    config = base_configuration(artifact(of=of), batchable=True).config
    assert [(tensor.name, list(tensor.dims)) for tensor in (*config.input, *config.output)] == [
        ("image", [3, -1, -1]),
        ("ids", [2]),
        ("b", [4]),
        ("a", [-1]),
    ]


def test_derived_configuration_has_whole_shapes_when_model_cannot_batch() -> None:
    of = signature(spec("input", 1, 10), spec("output", 1, 1))
    config = base_configuration(artifact(of=of), batchable=False).config
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [1, 10]
    assert not config.HasField("dynamic_batching")


def test_derived_configuration_reshapes_when_a_row_is_a_scalar() -> None:
    config = base_configuration(artifact(of=signature(spec("a", -1), spec("b", -1))), batchable=True).config
    assert list(config.input[0].dims) == [1]
    assert config.input[0].HasField("reshape")
    assert list(config.input[0].reshape.shape) == []


def test_derived_configuration_gives_scalars_one_element_when_model_cannot_batch() -> None:
    """An empty reshape is refused by Triton there."""
    config = base_configuration(artifact(of=signature(spec("a"), spec("b"))), batchable=False).config
    assert list(config.input[0].dims) == [1]
    assert not config.input[0].HasField("reshape")


def test_derived_configuration_uses_instance_kind() -> None:
    config = base_configuration(artifact(), batchable=True, instance_kind="KIND_GPU").config
    assert "kind: KIND_GPU" in to_text(config)


# With a config.pbtxt


def test_configuration_that_came_along_is_left_untouched() -> None:
    text = DEFAULT_TEXT.replace(
        "dynamic_batching {\n}\n",
        'dynamic_batching {\n  preferred_batch_size: 4\n  preferred_batch_size: 8\n}\nparameters {\n  key: "x"\n'
        '  value {\n    string_value: "1"\n  }\n}\n',
    )
    base = base_configuration(artifact(text), batchable=True)
    assert to_text(base.config) == text
    assert base.notes == ()


def test_comments_of_the_document_are_read() -> None:
    config = base_configuration(artifact("# Default 환경설정 \n" + DEFAULT_TEXT), batchable=True).config
    assert to_text(config) == DEFAULT_TEXT


def test_name_follows_the_model_and_the_user_is_told() -> None:
    base = base_configuration(artifact(DEFAULT_TEXT, name="other"), batchable=True)
    assert base.config.name == "other"
    assert "'HomeCreditDefaultModel'" in said(base.notes[0])


def test_missing_name_is_filled_in_silently() -> None:
    text = DEFAULT_TEXT.replace('name: "HomeCreditDefaultModel"\n', "", 1)
    base = base_configuration(artifact(text), batchable=True)
    assert (to_text(base.config), base.notes) == (DEFAULT_TEXT, ())


def test_unbatched_configuration_is_converted_when_the_model_batches() -> None:
    base = base_configuration(artifact(UNBATCHED_TEXT), batchable=True)
    assert to_text(base.config) == DEFAULT_TEXT
    assert len(base.notes) == 1
    assert "max_batch_size 16" in said(base.notes[0])


def test_unbatched_configuration_with_scalar_output_is_converted_to_a_reshape() -> None:
    text = UNBATCHED_TEXT.replace("dims: [ -1, 1 ]", "dims: [ -1 ]")
    of = signature(spec("input", -1, 10), spec("output", -1))
    config = base_configuration(artifact(text, of), batchable=True).config
    assert list(config.output[0].dims) == [1]
    assert config.output[0].HasField("reshape")


def test_unbatched_configuration_is_left_alone_when_the_model_does_not_batch() -> None:
    base = base_configuration(artifact(UNBATCHED_TEXT), batchable=False)
    assert base.config.max_batch_size == 0
    assert list(base.config.input[0].dims) == [-1, 10]
    assert base.notes == ()


@pytest.mark.parametrize("dims", ["dims: [ 4, 10 ]", "dims: [ 10 ] reshape { shape: [ 1, 10 ] }"])
def test_unbatched_configuration_is_left_alone_when_its_dims_have_no_free_row_dimension(dims: str) -> None:
    base = base_configuration(artifact(UNBATCHED_TEXT.replace("dims: [ -1, 10 ]", dims)), batchable=True)
    assert base.config.max_batch_size == 0
    assert "left as it is" in said(base.notes[0])


def test_batched_configuration_is_unbatched_when_rows_change_each_other() -> None:
    base = base_configuration(artifact(DEFAULT_TEXT), batchable=False)
    assert base.config.max_batch_size == 0
    assert not base.config.HasField("dynamic_batching")
    assert [list(tensor.dims) for tensor in (*base.config.input, *base.config.output)] == [[-1, 10], [-1, 1]]
    assert "max_batch_size 16" in said(base.notes[0])


def test_minimal_configuration_is_completed_as_triton_would() -> None:
    base = base_configuration(artifact("max_batch_size: 4"), batchable=True)
    assert base.config.platform == "onnxruntime_onnx"
    assert (base.config.input[0].name, list(base.config.input[0].dims)) == ("input", [10])
    assert (base.config.output[0].name, list(base.config.output[0].dims)) == ("output", [1])
    assert base.config.max_batch_size == 4
    assert "platform, input, output" in said(base.notes[0])


def test_empty_configuration_becomes_batchable() -> None:
    base = base_configuration(artifact(""), batchable=True)
    assert base.config.max_batch_size == 16
    assert list(base.config.input[0].dims) == [10]


def test_backend_alone_is_enough() -> None:
    text = DEFAULT_TEXT.replace('platform: "onnxruntime_onnx"', 'backend: "onnxruntime"')
    assert base_configuration(artifact(text), batchable=True).notes == ()


def test_configuration_may_leave_out_an_output() -> None:
    of = signature(spec("input", -1, 10), (spec("output", -1, 1), spec("more", -1, 2)))
    config = base_configuration(artifact(DEFAULT_TEXT, of), batchable=True).config
    assert [output.name for output in config.output] == ["output"]


def test_fixed_dims_are_fine_where_the_model_is_dynamic() -> None:
    of = signature(spec("input", -1, -1), spec("output", -1, 1))
    assert base_configuration(artifact(DEFAULT_TEXT, of), batchable=True).notes == ()


def test_gpu_instances_are_moved_to_the_cpu_and_the_user_is_told() -> None:
    text = DEFAULT_TEXT.replace("count: 1\n  kind: KIND_CPU", "count: 3\n  gpus: 0\n  kind: KIND_GPU")
    base = base_configuration(artifact(text), batchable=True)
    assert to_text(base.config) == DEFAULT_TEXT.replace("count: 1", "count: 3")
    assert "GPU" in said(base.notes[0])
    assert to_text(base_configuration(artifact(text), batchable=True, instance_kind="KIND_GPU").config) == text


@pytest.mark.parametrize(
    ("text", "of", "said"),
    [
        (DEFAULT_TEXT.replace('"input"', '"x"'), SAMPLE_SIGNATURE, r"input 'x'; the model has 'input'"),
        (DEFAULT_TEXT.replace('"output"', '"y"'), SAMPLE_SIGNATURE, r"output 'y'; the model has 'output'"),
        (
            DEFAULT_TEXT.replace("dims: 10", "dims: 12"),
            SAMPLE_SIGNATURE,
            r"\[-1, 12\].*the model has TYPE_FP32 \[-1, 10\]",
        ),
        (DEFAULT_TEXT.replace("dims: 10", "dims: -1"), SAMPLE_SIGNATURE, r"\[-1, -1\].*\[-1, 10\]"),
        (DEFAULT_TEXT.replace("dims: 10", "dims: -1\n  dims: 10"), SAMPLE_SIGNATURE, r"\[-1, -1, 10\].*\[-1, 10\]"),
        (
            DEFAULT_TEXT.replace("TYPE_FP32\n  dims: 10", "TYPE_INT64\n  dims: 10"),
            SAMPLE_SIGNATURE,
            "TYPE_INT64.*TYPE_FP32",
        ),
        (DEFAULT_TEXT, signature(spec("input", 1, 10), spec("output", 1, 1)), r"\[-1, 10\].*\[1, 10\]"),
        (UNBATCHED_TEXT, signature(spec("input", 1, 10), spec("output", 1, 1)), r"max_batch_size is 0.*\[1, 10\]"),
        (
            DEFAULT_TEXT,
            signature((spec("input", -1, 10), spec("mask", -1, 10)), spec("output", -1, 1)),
            "has the input 'input'; the model needs 'mask' too",
        ),
    ],
    ids=["input", "output", "size", "free size", "rank", "type", "no batch", "fixed", "missing"],
)
def test_configuration_that_contradicts_the_model_is_refused_naming_both(
    text: str, of: ModelSignature, said: str
) -> None:
    with pytest.raises(ModelSourceError, match=said):
        base_configuration(artifact(text, of), batchable=True)


def test_scalar_of_the_model_may_be_ones_in_the_configuration() -> None:
    text = 'input { name: "a" data_type: TYPE_FP32 dims: [1] } output { name: "b" data_type: TYPE_FP32 dims: [1] }'
    of = signature(spec("a"), spec("b"))
    assert list(base_configuration(artifact(text, of), batchable=False).config.input[0].dims) == [1]
    with pytest.raises(ModelSourceError, match=r"\[2\].*\[\]"):
        base_configuration(artifact(text.replace("dims: [1]", "dims: [2]"), of), batchable=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('platform: "tensorrt_plan"', "tensorrt_plan"),
        ('backend: "python"', "python"),
        ("sequence_batching { }" + TENSORS_TEXT, "sequence_batching"),
        ('platform: "ensemble" ensemble_scheduling { }', "ensemble"),
    ],
)
def test_configuration_that_hcopt_cannot_measure_is_refused(text: str, said: str) -> None:
    with pytest.raises(ModelSourceError, match=said):
        base_configuration(artifact(text), batchable=True)


@pytest.mark.parametrize(
    ("text", "line"),
    [("name: 'a'\nmax_batch: 3\n", "line 2.*max_batch"), ("name: 'a'\n\ninput {", "line 3"), ("\x00", "line 1")],
)
def test_unparsable_configuration_names_the_line(text: str, line: str) -> None:
    with pytest.raises(ModelSourceError, match=line) as caught:
        base_configuration(artifact(text), batchable=True)
    assert caught.value.remedy


def test_default_size_is_the_documents() -> None:
    assert base_config.DEFAULT_MAX_BATCH_SIZE == 16
