from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from hcopt.errors import ConfigError, ModelSourceError, OutputError
from hcopt.model import base_config
from hcopt.model.base_config import base_configuration
from hcopt.model.onnx_file import inspect_onnx, sha256_of
from hcopt.model.repository import check_model_name, write_repository
from hcopt.model.triton_config import apply_variant, parse_text, to_json, to_text, variant_of
from hcopt.records.model import ModelArtifact, ModelConfigVariant, ModelSignature, TensorSpec
from tests.support import onnx_models as models
from tests.support.notes import said

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
TENSORS_TEXT = """
input { name: "input" data_type: TYPE_FP32 dims: 10 }
output { name: "output" data_type: TYPE_FP32 dims: 1 }
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


def variant(
    max_batch_size: int = 16, instance_count: int = 1, max_queue_delay_us: int = 0, **parameters: str
) -> ModelConfigVariant:
    return ModelConfigVariant(
        config_name="HomeCreditDefaultModel_config_3",
        max_batch_size=max_batch_size,
        instance_count=instance_count,
        max_queue_delay_us=max_queue_delay_us,
        parameters=tuple(sorted(parameters.items())),
    )


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


# Variants


def test_documents_config_12_is_the_default_with_8_2_500() -> None:
    config = apply_variant(parse_text(DEFAULT_TEXT), variant(8, 2, 500), "KIND_CPU")
    assert to_text(config) == CONFIG_12_TEXT
    assert variant_of(parse_text(CONFIG_12_TEXT), "c") == replace(variant(8, 2, 500), config_name="c")


def test_apply_leaves_its_base_alone() -> None:
    base = parse_text(DEFAULT_TEXT)
    apply_variant(base, variant(8, 2, 500, intra_op_thread_count="1"), "KIND_CPU")
    assert to_text(base) == DEFAULT_TEXT


def test_apply_leaves_out_a_delay_of_zero() -> None:
    assert to_text(apply_variant(parse_text(CONFIG_12_TEXT), variant(16, 1, 0), "KIND_CPU")) == DEFAULT_TEXT


def test_apply_writes_parameters_as_strings() -> None:
    config = apply_variant(parse_text(DEFAULT_TEXT), variant(intra_op_thread_count="2"), "KIND_CPU")
    assert config.parameters["intra_op_thread_count"].string_value == "2"


def test_apply_sets_the_preferred_batch_sizes_of_the_variant() -> None:
    base = parse_text(DEFAULT_TEXT.replace("batching {\n", "batching {\n preferred_batch_size: [16, 4, 8]\n"))
    assert variant_of(base, "M").preferred_batch_sizes == (4, 8, 16)
    config = apply_variant(base, replace(variant(8), preferred_batch_sizes=(4, 8)), "KIND_CPU")
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    assert variant_of(config, "M").preferred_batch_sizes == (4, 8)
    assert not apply_variant(base, variant(8), "KIND_CPU").dynamic_batching.preferred_batch_size


def test_apply_keeps_what_the_sweep_does_not_know() -> None:
    text = (
        DEFAULT_TEXT.replace("batching {\n", "batching {\n  preserve_ordering: true\n")
        + 'model_warmup {\n  name: "w"\n  batch_size: 1\n}\nresponse_cache {\n  enable: true\n}\n'
    )
    config = apply_variant(parse_text(text), variant(8, 2, 500), "KIND_CPU")
    assert config.dynamic_batching.preserve_ordering
    assert config.model_warmup[0].name == "w"
    assert config.response_cache.enable


def test_apply_keeps_instance_groups_when_the_count_is_the_same() -> None:
    text = DEFAULT_TEXT.replace("count: 1\n", 'count: 2\n  host_policy: "numa0"\n')
    assert "numa0" in to_text(apply_variant(parse_text(text), variant(8, 2), "KIND_CPU"))
    assert "numa0" not in to_text(apply_variant(parse_text(text), variant(8, 1), "KIND_CPU"))


def test_apply_sets_instance_kind() -> None:
    config = apply_variant(parse_text(DEFAULT_TEXT), variant(16, 1), "KIND_GPU")
    assert "KIND_GPU" in to_text(config)


def test_apply_switches_dynamic_batching_on_when_the_base_has_none() -> None:
    base = parse_text(DEFAULT_TEXT.replace("dynamic_batching {\n}\n", ""))
    assert to_text(apply_variant(base, variant(16), "KIND_CPU")) == DEFAULT_TEXT


def test_default_without_dynamic_batching_is_another_variant_than_a_delay_of_zero() -> None:
    base = parse_text(DEFAULT_TEXT.replace("dynamic_batching {\n}\n", ""))
    default = variant_of(base, "d")
    assert default.settings != variant(16).settings
    assert apply_variant(base, default, "KIND_CPU") == base


def test_apply_leaves_dynamic_batching_alone_when_the_model_cannot_batch() -> None:
    base = parse_text(UNBATCHED_TEXT)
    plain = parse_text(UNBATCHED_TEXT.replace("dynamic_batching { }", ""))
    assert apply_variant(base, variant(0, 1), "KIND_CPU") == base
    assert apply_variant(plain, variant(0, 1), "KIND_CPU") == plain


@pytest.mark.parametrize(
    ("groups", "count"),
    [
        ("", 2),
        ("instance_group { kind: KIND_CPU }", 2),
        ("instance_group { }", 2),
        ("instance_group { kind: KIND_GPU }", 1),
        ("instance_group { count: 3 kind: KIND_CPU }", 3),
        ("instance_group [ { count: 3 kind: KIND_CPU }, { count: 1 kind: KIND_CPU } ]", 4),
    ],
)
def test_variant_counts_instances_as_triton_starts_them(groups: str, count: int) -> None:
    assert variant_of(parse_text(f"max_batch_size: 1 {groups}"), "v").instance_count == count


names = st.text("abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1, max_size=8)
parameters = st.dictionaries(names, st.text(max_size=8), max_size=3)
variants = st.builds(
    lambda size, count, delay, given: ModelConfigVariant(
        config_name="v",
        max_batch_size=size,
        instance_count=count,
        max_queue_delay_us=delay,
        parameters=tuple(sorted(given.items())),
    ),
    st.integers(1, 2**31 - 1),
    st.integers(1, 1000),
    st.integers(0, 2**63),
    parameters,
)
tensors = st.builds(
    lambda name, kind, dims, reshape: model_config_pb2.ModelInput(
        name=name, data_type=kind, dims=dims, reshape=None if reshape is None else {"shape": reshape}
    ),
    names,
    st.sampled_from(sorted(set(model_config_pb2.DataType.values()) - {0})),
    st.lists(st.integers(-1, 2**40).filter(bool), min_size=1, max_size=4),
    st.none() | st.lists(st.integers(1, 9), max_size=3),
)


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    config = ModelConfig(name=draw(st.text(max_size=12)), platform="onnxruntime_onnx")
    config.max_batch_size = draw(st.integers(0, 64))
    config.input.extend(draw(st.lists(tensors, max_size=3)))
    for count in draw(st.lists(st.integers(0, 8), max_size=3)):
        config.instance_group.add(count=count, kind="KIND_CPU")
    if draw(st.booleans()):
        config.dynamic_batching.preferred_batch_size.extend(draw(st.lists(st.integers(1, 64), max_size=3)))
        config.dynamic_batching.max_queue_delay_microseconds = draw(st.integers(0, 2**63))
    for key, value in draw(parameters).items():
        config.parameters[key].string_value = value
    return config


@given(configs())
def test_text_and_json_give_the_same_configuration_back(config: ModelConfig) -> None:
    from google.protobuf import json_format

    assert parse_text(to_text(config)) == config
    assert json_format.Parse(to_json(config), ModelConfig()) == config


@given(configs(), variants)
def test_variant_is_read_back_as_it_was_applied(config: ModelConfig, wanted: ModelConfigVariant) -> None:
    own = variant_of(config, "own")
    wanted = replace(wanted, parameters=tuple(sorted({**dict(own.parameters), **dict(wanted.parameters)}.items())))
    applied = apply_variant(config, wanted, "KIND_CPU")
    assert variant_of(parse_text(to_text(applied)), "v") == wanted
    assert all(size <= wanted.max_batch_size for size in applied.dynamic_batching.preferred_batch_size)


@given(configs(), variants)
def test_variant_changes_nothing_but_what_it_sets(config: ModelConfig, wanted: ModelConfigVariant) -> None:
    applied = apply_variant(config, wanted, "KIND_CPU")
    for one in (applied, config):
        for name in ("max_batch_size", "instance_group", "dynamic_batching", "parameters"):
            one.ClearField(name)
    assert applied == config


@given(configs())
def test_own_variant_changes_nothing(config: ModelConfig) -> None:
    # Preferred batch sizes above max_batch_size are an error of the configuration's own.
    config.dynamic_batching.ClearField("preferred_batch_size")
    assert apply_variant(config, variant_of(config, "own"), "KIND_CPU") == config


def test_json_has_the_field_names_that_triton_reads() -> None:
    override = json.loads(to_json(parse_text(CONFIG_12_TEXT)))
    assert override["max_batch_size"] == 8
    assert override["dynamic_batching"] == {"max_queue_delay_microseconds": "500"}


# The repository on disk


def saved(folder: Path, file: Path) -> ModelArtifact:
    found = inspect_onnx(file)
    files = (file.name, *found.external_files)
    return replace(
        artifact(of=found.signature, folder=folder, files=files),
        sha256=sha256_of(folder, files),
        signature=found.signature,
    )


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_repository_holds_configuration_and_model(tmp_path: Path) -> None:
    file = models.save(models.linear_model(), tmp_path / "model", "network.onnx")
    folder = write_repository(tmp_path / "repository", saved(file.parent, file), parse_text(DEFAULT_TEXT))
    assert folder == tmp_path / "repository" / "HomeCreditDefaultModel"
    assert tree(tmp_path / "repository") == {
        "HomeCreditDefaultModel/config.pbtxt": DEFAULT_TEXT.encode(),
        "HomeCreditDefaultModel/1/model.onnx": file.read_bytes(),
    }


def test_repository_names_the_model_as_the_configuration_does(tmp_path: Path) -> None:
    file = models.save(models.linear_model(), tmp_path / "model")
    config = parse_text(DEFAULT_TEXT + 'default_model_filename: "net.onnx"')
    folder = write_repository(tmp_path / "repository", saved(file.parent, file), config)
    assert sorted(path.name for path in (folder / "1").iterdir()) == ["net.onnx"]


def test_repository_holds_external_data_under_its_own_name(tmp_path: Path) -> None:
    file = models.save_with_external_data(tmp_path / "model", "deep/weights.data")
    folder = write_repository(tmp_path / "repository", saved(file.parent, file), parse_text(DEFAULT_TEXT))
    assert inspect_onnx(folder / "1" / "model.onnx").external_files == ("deep/weights.data",)
    assert (folder / "1/deep/weights.data").read_bytes() == (tmp_path / "model/deep/weights.data").read_bytes()


def test_repository_keeps_external_data_relative_to_a_model_in_a_subfolder(tmp_path: Path) -> None:
    models.save_with_external_data(tmp_path / "model" / "data", "weights.data")
    one = artifact(folder=tmp_path / "model", files=("data/model.onnx", "data/weights.data"))
    folder = write_repository(tmp_path / "repository", one, parse_text(DEFAULT_TEXT))
    assert inspect_onnx(folder / "1" / "model.onnx").external_files == ("weights.data",)


def test_repository_replaces_an_older_one_whole(tmp_path: Path) -> None:
    one = saved(tmp_path / "one", models.save_with_external_data(tmp_path / "one"))
    other = saved(tmp_path / "other", models.save(models.linear_model(), tmp_path / "other"))
    write_repository(tmp_path / "repository", one, parse_text(DEFAULT_TEXT))
    write_repository(tmp_path / "repository", other, parse_text(CONFIG_12_TEXT))
    assert sorted(tree(tmp_path / "repository")) == [
        "HomeCreditDefaultModel/1/model.onnx",
        "HomeCreditDefaultModel/config.pbtxt",
    ]
    assert (tmp_path / "repository/HomeCreditDefaultModel/config.pbtxt").read_text() == CONFIG_12_TEXT


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link", "data/../../secret"])
def test_repository_takes_nothing_from_outside_the_models_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    file = models.save(models.linear_model(), tmp_path / "model")
    (file.parent / "link").symlink_to(tmp_path / "secret")
    one = replace(saved(file.parent, file), files=("model.onnx", name))
    with pytest.raises(ModelSourceError, match="outside"):
        write_repository(tmp_path / "repository", one, parse_text(DEFAULT_TEXT))
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("filename", ["../model.onnx", "/tmp/model.onnx", "..", "a/b.onnx"])
def test_repository_refuses_a_model_filename_that_is_a_path(tmp_path: Path, filename: str) -> None:
    file = models.save(models.linear_model(), tmp_path / "model")
    config = parse_text(DEFAULT_TEXT + f'default_model_filename: "{filename}"')
    with pytest.raises(ModelSourceError, match="default_model_filename"):
        write_repository(tmp_path / "repository", saved(file.parent, file), config)


def test_repository_refuses_external_data_with_the_models_own_name(tmp_path: Path) -> None:
    file = models.save_with_external_data(tmp_path / "model", "model.onnx.data").rename(tmp_path / "model/net.onnx")
    config = parse_text(DEFAULT_TEXT + 'default_model_filename: "model.onnx.data"')
    with pytest.raises(ModelSourceError, match=r"model\.onnx\.data"):
        write_repository(tmp_path / "repository", saved(file.parent, file), config)


def test_repository_leaves_nothing_behind_when_it_cannot_be_written(tmp_path: Path) -> None:
    file = models.save(models.linear_model(), tmp_path / "model")
    one = saved(file.parent, file)
    write_repository(tmp_path / "repository", one, parse_text(DEFAULT_TEXT))
    before = tree(tmp_path / "repository")
    (tmp_path / "model" / "model.onnx").unlink()
    with pytest.raises(OutputError, match="cannot write the model repository"):
        write_repository(tmp_path / "repository", one, parse_text(CONFIG_12_TEXT))
    assert tree(tmp_path / "repository") == before
    assert [path.name for path in (tmp_path / "repository").iterdir()] == ["HomeCreditDefaultModel"]


# Names


@pytest.mark.parametrize("name", ["HomeCreditDefaultModel", "a", "model-2.1_b", "_x", "config", "1model", "a" * 128])
def test_name_of_letters_digits_and_marks_is_accepted(name: str) -> None:
    check_model_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/a", "-a", ".a", "a b", "a=b", "a\n", "a\0", "모델", "a" * 129, "m_config_default"],
)
def test_name_that_is_no_folder_or_breaks_model_analyzer_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_model_name(name)
    assert "model.name" in str(caught.value.remedy)
    with pytest.raises(ConfigError):
        write_repository(tmp_path, artifact(name=name), parse_text(DEFAULT_TEXT))


def test_default_size_is_the_documents() -> None:
    assert base_config.DEFAULT_MAX_BATCH_SIZE == 16
