"""Models that mean harm: each is refused with an error of hcopt's that says what to do, and nothing is left of it."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hcopt.config.sections import Config
from hcopt.errors import HcoptError, ModelSourceError
from hcopt.model.base_config import base_configuration
from hcopt.model.batch_check import check_servable
from hcopt.model.fetch import fetch_model
from hcopt.model.from_mlflow import _sizes
from hcopt.model.inputs.build import build_load
from hcopt.model.onnx_file import inspect_onnx
from hcopt.model.triton_config import parse_text
from hcopt.records.model import ModelArtifact, ModelSignature, TensorSpec
from hcopt.services.s3 import Bucket
from tests.support import onnx_models as models
from tests.support.records import config_pbtxt, default_variant, model_artifact

GIB = 2**30


def fetch(uri: Path | str, tmp_path: Path) -> ModelArtifact:
    config = Config.model_validate({"model": {"uri": str(uri), "name": "m"}})
    return fetch_model(config, into=tmp_path / "into", tracking_uri="http://127.0.0.1:1")


def refused(work: Callable[[], object], said: str, *, exit_code: int = 3) -> HcoptError:
    with pytest.raises(HcoptError, match=said) as caught:
        work()
    assert caught.value.exit_code == exit_code
    assert caught.value.remedy
    return caught.value


def sparse(file: Path, size_bytes: int) -> Path:
    """A file of this size that takes no room."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as content:
        content.truncate(size_bytes)
    return file


# --- S3 keys and members of archives ---------------------------------------------------------------------------------


class Listing:
    """A bucket with keys of somebody's choice."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def get_paginator(self, _name: str) -> Listing:
        return self

    def paginate(self, **_request: Any) -> list[dict[str, object]]:
        return [{"Contents": [{"Key": key, "Size": 1} for key in self.keys]}]


@pytest.mark.parametrize(
    "key", ["m/../../x", "m/..", "m//etc/passwd", "m/./x", "m/a\\..\\x", "m/a\0b", "other/x", "/etc/passwd"]
)
def test_keys_that_lead_out_of_their_prefix_are_refused_before_anything_is_fetched(key: str) -> None:
    bucket = Bucket(client=Listing("m/model.onnx", key), name="b", deadline=math.inf, timeout_s=1)
    refused(lambda: bucket.sizes("m"), "leads out of")


@dataclass(frozen=True)
class Entry:
    """What MLflow lists."""

    path: str
    is_dir: bool = False
    file_size: int = 1


@pytest.mark.parametrize("path", ["m/..", "../..", "..", "m/.", "m/", "m/a\\..\\x", "m/a\0b"])
def test_artifacts_that_lead_out_of_their_folder_are_refused_before_anything_is_fetched(path: str) -> None:
    refused(lambda: _sizes(lambda _folder: [Entry("m/model.onnx"), Entry(path)], ""), "leads out of its folder")


@pytest.mark.parametrize("uri", ["s3://bucket/..", "s3://bucket/a/..", "s3://bucket/a/."])
def test_uri_whose_last_part_is_no_name_is_refused(tmp_path: Path, uri: str) -> None:
    refused(lambda: fetch(uri, tmp_path), "names no object in a bucket")


@pytest.mark.parametrize("member", ["../../x.npy", "/etc/cron.d/x.npy"])
def test_member_of_an_archive_is_read_and_never_unpacked_to_its_name(tmp_path: Path, member: str) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros((2, 10), np.float32))
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr(member, content.getvalue())
    before = sorted(tmp_path.rglob("*"))
    refused(lambda: example(tmp_path / "x.npz"), "does not fit the input|the model has the inputs input")
    assert sorted(tmp_path.rglob("*")) == before


def test_archive_that_grows_a_thousandfold_is_refused_unread(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("input.npy", "w") as f:
        for _ in range(257):
            f.write(bytes(2**20))
    assert (tmp_path / "x.npz").stat().st_size < 2**20
    refused(lambda: example(tmp_path / "x.npz"), "at most 268435456 are read")


def test_example_of_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    refused(lambda: example(sparse(tmp_path / "x.json", 3 * GIB)), "at most 268435456 are read")


def test_array_that_says_it_is_huge_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 10)})
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("input.npy", header.getvalue())
    refused(lambda: example(tmp_path / "x.npz"), "is neither JSON nor .npz")


class Harm:
    """What a pickle would do on being read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("escaped",)


def test_pickle_in_an_archive_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", input=np.array([Harm()], dtype=object))
    refused(lambda: example(tmp_path / "x.npz"), "is neither JSON nor .npz")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def example(file: Path) -> object:
    artifact = model_artifact(config_pbtxt=None)
    base = base_configuration(artifact, batchable=True).config
    return build_load(artifact, base, input_shapes={}, input_example=str(file))


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with what nobody is to read through a model."""
    folder = tmp_path / "outside"
    models.save(models.linear_model(), folder)
    (folder / "config.pbtxt").write_text(config_pbtxt(default_variant()), encoding="utf-8")
    (folder / "input_example.json").write_text("[[1,2,3,4,5,6,7,8,9,10]]", encoding="utf-8")
    (folder / "weights.data").write_bytes(bytes(40))
    return folder


def test_model_that_is_a_link_out_of_its_folder_is_refused(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.onnx").symlink_to(outside / "model.onnx")
    refused(lambda: fetch(tmp_path / "m", tmp_path), "leads out of the model's folder")


def test_version_that_is_a_link_out_of_its_folder_is_refused(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "1").symlink_to(outside)
    refused(lambda: fetch(tmp_path / "m", tmp_path), "leads out of the model's folder")


def test_configuration_that_is_a_link_out_of_its_folder_is_refused(tmp_path: Path, outside: Path) -> None:
    models.save(models.linear_model(), tmp_path / "m")
    (tmp_path / "m" / "config.pbtxt").symlink_to(outside / "config.pbtxt")
    refused(lambda: fetch(tmp_path / "m", tmp_path), "config.pbtxt leads out of its folder")


@pytest.mark.parametrize("place", ["m/1", "m"])
def test_example_that_is_a_link_out_of_its_folder_is_passed_over(tmp_path: Path, outside: Path, place: str) -> None:
    models.save(models.linear_model(), tmp_path / "m" / "1")
    (tmp_path / place / "input_example.json").symlink_to(outside / "input_example.json")
    assert fetch(tmp_path / "m", tmp_path).input_example is None


def test_weights_that_are_a_link_out_of_the_folder_are_refused(tmp_path: Path, outside: Path) -> None:
    file = models.save_with_external_data(tmp_path / "m", write_data=False)
    (tmp_path / "m" / "weights.data").symlink_to(outside / "weights.data")
    refused(lambda: inspect_onnx(file), "not inside the model's folder")


def test_links_inside_of_the_folder_are_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap."""
    models.save(models.linear_model(), tmp_path / "m" / "..data", "real.onnx")
    (tmp_path / "m" / "model.onnx").symlink_to("..data/real.onnx")
    assert fetch(tmp_path / "m", tmp_path).onnx_file == "model.onnx"


# --- external data ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location", ["../weights.data", "/etc/passwd", "a/../../x", "", "a\0b", "line\nbreak", "line\u2028break"]
)
def test_weights_outside_of_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    file = models.save_with_external_data(tmp_path / "m", location, write_data=False)
    refused(lambda: inspect_onnx(file), "not inside the model's folder")


def test_second_location_of_a_tensor_is_looked_at_too(tmp_path: Path) -> None:
    """Of several ONNX Runtime takes the last."""
    file = models.save_with_external_data(tmp_path / "m")
    proto = onnx.load(file, load_external_data=False)
    proto.graph.initializer[0].external_data.add(key="location", value="../../etc/passwd")
    refused(lambda: inspect_onnx(models.save(proto, tmp_path / "m")), "'../../etc/passwd'.*not inside")


def test_weights_at_an_address_in_memory_are_refused_even_where_such_a_file_is(tmp_path: Path) -> None:
    file = models.save_with_external_data(tmp_path / "m", "*/_ORT_MEM_ADDR_/*")
    refused(lambda: inspect_onnx(file), "not inside the model's folder")


@pytest.mark.parametrize(
    ("offset", "length"), [("36", "40"), ("9223372036854775807", "40"), ("0", "9223372036854775807"), ("-1", "40")]
)
def test_weights_beyond_their_file_are_refused(tmp_path: Path, offset: str, length: str) -> None:
    file = models.save_with_external_data(tmp_path / "m")
    proto = onnx.load(file, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        entry.value = {"offset": offset, "length": length}.get(entry.key, entry.value)
    models.save(proto, tmp_path / "m")
    rows = {"input": np.zeros((1, 10), np.float32)}
    refused(lambda: check_servable(file, inspect_onnx(file).signature, rows), "cannot open")


# --- bombs -----------------------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    """A model whose graph holds a node with a graph, and so on; built from the inside, since protobuf would refuse."""

    def field(number: int, content: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(content)) + content

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))  # graph.node.attribute.g
    return varint(1 << 3) + varint(8) + field(7, graph)


def varint(value: int) -> bytes:
    pieces = bytearray()
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*pieces, value])


@pytest.mark.parametrize("depth", [40, 10_000])
def test_graphs_in_graphs_in_graphs_are_refused(tmp_path: Path, depth: int) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(nested(depth))
    refused(lambda: inspect_onnx(file), "is not an ONNX model")


def test_field_that_says_it_is_longer_than_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(varint(7 << 3 | 2) + varint(2**31 - 1) + b"x")
    refused(lambda: inspect_onnx(file), "is not an ONNX model")


def test_file_of_more_than_two_gib_is_refused_unread(tmp_path: Path) -> None:
    file = sparse(tmp_path / "m" / "model.onnx", 2 * GIB)
    error = refused(lambda: fetch(file, tmp_path), "has 2147483648 bytes, and an ONNX file has less than 2 GiB")
    assert "save_as_external_data" in str(error.remedy)


def test_pipe_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.onnx")
    refused(lambda: fetch(tmp_path / "model.onnx", tmp_path), "is a device or a pipe")


@pytest.mark.parametrize("dims", [(-1, 2**40), (-1, 2**62, 2**62), (2**31, 2**31)])
def test_row_that_no_request_could_hold_is_refused(dims: tuple[int, ...]) -> None:
    spec = TensorSpec(name="input", datatype="FP32", shape=dims)
    artifact = model_artifact(config_pbtxt=None, signature=ModelSignature(inputs=(spec,), outputs=(spec,)))
    base = base_configuration(artifact, batchable=dims[0] == -1).config
    refused(lambda: build_load(artifact, base, input_shapes={}), "one row of the inputs has")


def test_weights_that_say_they_are_huge_are_refused(tmp_path: Path) -> None:
    proto = models.linear_model()
    proto.graph.initializer[0].dims[:] = [2**31, 2**31]
    file = models.save(proto, tmp_path)
    rows = {"input": np.zeros((1, 10), np.float32)}
    refused(lambda: check_servable(file, inspect_onnx(file).signature, rows), "cannot open")


def test_constant_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [2**30, 2**30])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["input", "sum"], ["output"]),
    ]
    file = models.save(models.model(nodes, [models.tensor("input")], [models.tensor("output")], [shape]), tmp_path)
    rows = {"input": np.zeros((1, 4), np.float32)}
    refused(lambda: check_servable(file, inspect_onnx(file).signature, rows), "cannot")


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """Found by the fuzzer: protobuf gives them as bytes."""
    content = models.linear_model().SerializeToString()
    assert content.count(b"\x05input") == 2
    (tmp_path / "model.onnx").write_bytes(content.replace(b"\x05input", b"\x05inp\xfft"))
    refused(lambda: inspect_onnx(tmp_path / "model.onnx"), "is no text")
    file = models.save_with_external_data(tmp_path / "m")
    file.write_bytes(file.read_bytes().replace(b"weights.data", b"weights\xffdata"))
    refused(lambda: inspect_onnx(file), "with the weights of 'weight' is missing")


def test_type_that_onnx_does_not_know_is_refused(tmp_path: Path) -> None:
    proto = models.linear_model()
    proto.graph.input[0].type.tensor_type.elem_type = 99
    refused(lambda: inspect_onnx(models.save(proto, tmp_path)), "of type number 99")


# --- config.pbtxt ----------------------------------------------------------------------------------------------------


def test_configuration_of_100_mb_is_refused_unread(tmp_path: Path) -> None:
    models.save(models.linear_model(), tmp_path / "m")
    sparse(tmp_path / "m" / "config.pbtxt", 100 * 2**20)
    refused(lambda: fetch(tmp_path / "m", tmp_path), "config.pbtxt has 104857600 bytes")


def test_configuration_of_megabytes_that_comes_as_a_text_is_refused_unparsed() -> None:
    refused(lambda: parse_text("#" * (2**20 + 1)), "config.pbtxt has 1048577 characters")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/e.tar.gz" } }',
            "EXEC",
        ),
        (
            'parameters { key: "TRITON_BATCH_STRATEGY_PATH" value { string_value: "repository/m/1/weights" } }',
            "TRITON_BATCH_STRATEGY_PATH",
        ),
        (
            'parameters { key: "session.collect_node_memory_stats_to_file" value { string_value: "/etc/victim" } }',
            "makes Triton use other files",
        ),
        ('model_operations { op_library_filename: "evil.so" }', "model_operations"),
        ('model_repository_agents { agents { name: "../evil" } }', "model_repository_agents"),
        ('runtime: "../../evil.so"', "runtime"),
        ('cc_model_filenames { key: "9.0" value: "../evil.onnx" }', "cc_model_filenames"),
        ('default_model_filename: "../evil.onnx"', None),
        ("max_batch_size: -1", "negative max_batch_size"),
        ("instance_group { count: -3 }", "negative .*instance count"),
        ("instance_group { kind: 99 }", "kind has no value 99"),
        ('input { name: "input" data_type: 99 dims: 10 }', "data_type has no value 99"),
        ('input { name: "input" data_type: TYPE_FP32 dims: -7 }', "-7"),
        ('input { name: "input" data_type: TYPE_FP32 dims: 0 }', r"\[-1, 0\]"),
        ("input {" * 5000, "cannot be parsed"),
        ("max_batch_size: 99999999999999999999", "cannot be parsed"),
    ],
)
def test_configuration_that_brings_code_or_nonsense_is_refused(tmp_path: Path, text: str, said: str | None) -> None:
    batch = "" if "max_batch_size" in text else "max_batch_size: 4 "
    artifact = model_artifact(config_pbtxt=batch + text)
    if said is None:  # looked at where the files are copied
        said, work = "default_model_filename", lambda: _written(tmp_path, artifact)
    else:
        work = lambda: base_configuration(artifact, batchable=True)  # noqa: E731
    refused(work, said)
    assert list(tmp_path.iterdir()) == []


def _written(tmp_path: Path, artifact: ModelArtifact) -> object:
    from hcopt.model.repository import write_repository

    return write_repository(tmp_path / "r", artifact, base_configuration(artifact, batchable=True).config)


# --- MLmodel ---------------------------------------------------------------------------------------------------------

LAUGHS = "\n".join(
    ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]", *(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))]
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{LAUGHS}\nflavors: {{onnx: {{data: *a29}}}}", "names the ONNX file by a list"),
        ("flavors: {onnx: {data: ../x.onnx}}", r"'\.\./x\.onnx'"),
        ("flavors: {onnx: {data: {a: b}}}", "by a dict"),
        ("flavors: 2024-13-45", "cannot read the model's MLmodel"),
        ("flavors: !!int ''", "cannot read the model's MLmodel"),
        ("flavors: !!python/object/apply:os.system [true]", "cannot read the model's MLmodel"),
        ("&a [*a]", "without the flavour onnx"),
        ("[" * 5000, "cannot read the model's MLmodel"),
        ("#" * (2**22 + 1), "MLmodel has 4194305 bytes"),
    ],
)
def test_mlmodel_that_means_harm_is_refused(tmp_path: Path, text: str, said: str) -> None:
    models.save(models.linear_model(), tmp_path / "m")
    (tmp_path / "m" / "MLmodel").write_text(text, encoding="utf-8")
    refused(lambda: fetch(tmp_path / "m", tmp_path), said)


def test_folder_whose_name_only_looks_like_a_number_is_no_version(tmp_path: Path) -> None:
    models.save(models.linear_model(), tmp_path / "m" / "²")
    with pytest.raises(ModelSourceError, match="has no ONNX file"):
        fetch(tmp_path / "m", tmp_path)
