"""config.pbtxt: variants of a configuration, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

from hcopt.model.triton_config import (
    apply_variant,
    parse_text,
    to_json,
    to_text,
    variant_of,
    without_empty_optimization,
)
from hcopt.records.model import ModelConfigVariant
from tests.support.pbtxt import (
    CONFIG_12_TEXT,
    DEFAULT_TEXT,
    UNBATCHED_TEXT,
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


@pytest.mark.parametrize(
    ("groups", "kept"),
    [
        ('[{ name: "a" count: 2 kind: KIND_CPU host_policy: "n" }]', 'host_policy: "n"'),
        (
            '[{ count: 1 kind: KIND_CPU host_policy: "n" }, { count: 1 kind: KIND_CPU host_policy: "n" }]',
            'host_policy: "n"',
        ),
        ('[{ count: 1 kind: KIND_CPU host_policy: "n" }, { count: 1 kind: KIND_CPU host_policy: "m" }]', ""),
        ("[{ count: 2 kind: KIND_GPU gpus: 0 }]", ""),
        ("[{ count: 2 }]", ""),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_variant_has_one_instance_group_whatever_its_count(groups: str, kept: str, count: int) -> None:
    base = parse_text(f"max_batch_size: 8 instance_group {groups}")
    [found] = apply_variant(base, variant(8, count), "KIND_CPU").instance_group
    assert found == parse_text(f"instance_group {{ count: {count} kind: KIND_CPU {kept} }}").instance_group[0]


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
def test_own_variant_changes_nothing_but_how_instances_are_written(config: ModelConfig) -> None:
    # Preferred batch sizes above max_batch_size are an error of the configuration's own.
    config.dynamic_batching.ClearField("preferred_batch_size")
    applied = apply_variant(config, variant_of(config, "own"), "KIND_CPU")
    assert variant_of(applied, "own") == variant_of(config, "own")
    for one in (applied, config):
        one.ClearField("instance_group")
    assert applied == config


def test_json_has_the_field_names_that_triton_reads() -> None:
    override = json.loads(to_json(parse_text(CONFIG_12_TEXT)))
    assert override["max_batch_size"] == 8
    assert override["dynamic_batching"] == {"max_queue_delay_microseconds": "500"}


# Accelerators

OPENVINO = 'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }'
OTHER = 'optimization { graph { level: 1 } execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }'


def test_openvino_is_written_as_nvidia_documents_it_and_read_again() -> None:
    with_openvino = replace(variant(), execution_accelerator="openvino")
    config = apply_variant(parse_text(DEFAULT_TEXT), with_openvino, "KIND_CPU")
    assert config.optimization == parse_text(OPENVINO).optimization
    assert variant_of(config, with_openvino.config_name) == with_openvino


def test_configuration_without_openvino_is_as_if_it_never_had_it() -> None:
    config = apply_variant(parse_text(DEFAULT_TEXT + OPENVINO), variant(), "KIND_CPU")
    assert to_text(config) == to_text(apply_variant(parse_text(DEFAULT_TEXT), variant(), "KIND_CPU"))


def test_what_else_is_optimized_stays_with_and_without_openvino() -> None:
    base = parse_text(DEFAULT_TEXT + OTHER)
    with_openvino = apply_variant(base, replace(variant(), execution_accelerator="openvino"), "KIND_CPU")
    for config in (with_openvino, apply_variant(with_openvino, variant(), "KIND_CPU")):
        assert config.optimization.graph.level == 1
        assert [one.name for one in config.optimization.execution_accelerators.gpu_execution_accelerator] == [
            "tensorrt"
        ]
    assert apply_variant(with_openvino, variant(), "KIND_CPU").optimization == base.optimization


def test_parameters_of_the_default_s_own_openvino_stay() -> None:
    own = DEFAULT_TEXT + OPENVINO.replace('"openvino"', '"openvino" parameters { key: "precision" value: "bf16" }')
    base = parse_text(own)
    kept = apply_variant(base, replace(variant(), execution_accelerator="openvino"), "KIND_CPU")
    assert kept.optimization == base.optimization


def test_empty_optimization_means_nothing() -> None:
    empty = parse_text(DEFAULT_TEXT + "optimization { execution_accelerators { } }")
    assert not apply_variant(empty, variant(), "KIND_CPU").HasField("optimization")
    assert to_text(without_empty_optimization(empty)) == to_text(parse_text(DEFAULT_TEXT))
