"""The native onnxruntime backend inside a real Triton gives what ONNX Runtime gives, over gRPC and HTTP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest
from onnx import helper, numpy_helper
from tritonclient import grpc
from tritonclient.utils import InferenceServerException, shared_memory

from hcopt.errors import RuntimeStartError
from hcopt.model.base_config import base_configuration
from hcopt.model.onnx_file import inspect_onnx
from hcopt.model.triton_config import to_text
from hcopt.triton.embedded.thread_choice import chosen_thread_count
from tests.support import onnx_models as models
from tests.support.native_backend import Client, connected, installed_onnxruntime, triton_with
from tests.support.pbtxt import artifact
from tests.support.tensors import NUMPY_TYPES, assert_same, expected, some
from tests.support.triton import Triton, input_and_output

SAMPLE = Path(__file__).parents[2] / "model_repository" / "HomeCreditDefaultModel"
# Long enough that requests sent together are in one batch on any machine; a full batch does not wait for it.
BATCHING = "dynamic_batching { max_queue_delay_microseconds: 20000000 }\n"
ONE_INSTANCE = "instance_group { count: 1 kind: KIND_CPU }\n"
VALUES = 'input { name: "values" data_type: TYPE_FP32 dims: [3] }\n'
IDS = 'input { name: "ids" data_type: TYPE_INT64 dims: [2] }\n'
SCALED = 'output { name: "scaled" data_type: TYPE_FP32 dims: [3] }\n'
NEXT_IDS = 'output { name: "next_ids" data_type: TYPE_INT64 dims: [2] }\n'
TWO_INPUTS = VALUES + IDS + SCALED + NEXT_IDS
EMBEDDING = """
input { name: "ids" data_type: TYPE_INT64 dims: [-1] }
output { name: "vectors" data_type: TYPE_FP32 dims: [-1, 2] }
"""
LINEAR = """
input { name: "input" data_type: TYPE_FP32 dims: [10] }
output { name: "output" data_type: TYPE_FP32 dims: [1] }
"""
WEIGHTED = """
input { name: "input" data_type: TYPE_FP32 dims: [1, 2] }
input { name: "weight" data_type: TYPE_FP32 dims: [2, 1] optional: true }
output { name: "output" data_type: TYPE_FP32 dims: [-1, 1] }
"""


@pytest.fixture
def triton(native_triton: Triton) -> Iterator[Triton]:
    """The server of this file; what a test has loaded is unloaded after it."""
    before = len(native_triton.names)
    yield native_triton
    for name in native_triton.names[before:]:
        native_triton.control.unload(name)


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, native_triton: Triton) -> Iterator[Client]:
    with connected(native_triton, request.param) as client:
        yield client


def test_log_says_which_backend_serves_over_which_onnxruntime(triton: Triton) -> None:
    name = triton.load(LINEAR, models.linear_model())
    log = triton.server.log.read_text()
    library = triton.repository.parent / "libonnxruntime.so"
    said = f"hcopt's native onnxruntime backend, over ONNX Runtime {onnxruntime.__version__} ({library})"
    assert log.count(said) == 1
    assert json.loads(triton.control.active_config(name)).get("runtime", "") == ""


def test_sample_model_is_served_as_it_is(triton: Triton, client: Client) -> None:
    name = triton.add("")
    folder = triton.repository / name
    config = (SAMPLE / "config.pbtxt").read_text().replace("HomeCreditDefaultModel", name)
    (folder / "config.pbtxt").write_text(config)
    (folder / "1").symlink_to(SAMPLE / "1")
    triton.control.load(name)
    proto = onnx.load(SAMPLE / "1" / "model.onnx")
    for rows in (1, 5, 16):
        array = some("FP32", (rows, 10), seed=rows)
        assert_same(client.infer(name, {"input": array}), expected(proto, {"input": array}))


@pytest.mark.parametrize("datatype", NUMPY_TYPES)
def test_numbers_come_back_unchanged_for_every_datatype(triton: Triton, datatype: str) -> None:
    proto = models.identity_model(datatype, (-1, 4))
    name = triton.load(input_and_output(datatype), proto)
    for protocol in ("grpc", "http"):
        with connected(triton, protocol) as client:
            for rows in (1, 8):
                array = some(datatype, (rows, 4), seed=rows)
                assert_same(client.infer(name, {"input": array}), expected(proto, {"input": array}))


def test_bfloat16_comes_back_unchanged(triton: Triton, client: Client) -> None:
    name = triton.load(input_and_output("BF16"), models.identity_model("BF16", (-1, 4)))
    array = np.array([[1.5, -2.0, np.inf, 0.0078125]] * 3, np.float32)
    assert_same(client.infer(name, {"input": array}, datatypes={"input": "BF16"}), {"output": array})


def test_extreme_floats_come_back_unchanged(triton: Triton, client: Client) -> None:
    name = triton.load(input_and_output("FP32"), models.identity_model("FP32", (-1, 4)))
    array = np.array([[np.nan, np.inf, -np.inf, 1e-45]], np.float32)
    assert_same(client.infer(name, {"input": array}), {"output": array})


def test_strings_come_back_unchanged_byte_for_byte(triton: Triton, client: Client) -> None:
    name = triton.load(input_and_output("BYTES"), models.identity_model("BYTES", (-1, 4)))
    texts = [b"plain", "한국어".encode(), b"", b"nul\0inside", b"\xff\xfe no UTF-8", b"\0", b"\n", b"x" * 70_000]
    array = np.array(texts, dtype=object).reshape(2, 4)
    assert_same(client.infer(name, {"input": array}), {"output": array})


def test_strings_of_several_requests_share_one_run(triton: Triton) -> None:
    name = triton.load(
        BATCHING + input_and_output("BYTES", "2"), models.identity_model("BYTES", (-1, 2)), max_batch_size=6
    )
    requests = [{"input": np.full((rows, 2), b"text" * rows, dtype=object)} for rows in (1, 2, 3)]
    for request, answer in zip(requests, triton.infer_at_once(name, requests), strict=True):
        assert_same(answer, {"output": request["input"]})
    assert triton.statistics(name, requests=3).execution_count == 1


def test_requests_of_different_sizes_share_one_run(triton: Triton) -> None:
    proto = models.linear_model()
    name = triton.load(BATCHING + LINEAR, proto, max_batch_size=16)
    requests = [{"input": some("FP32", (rows, 10), seed=rows)} for rows in (1, 5, 3, 7)]
    answers = triton.infer_at_once(name, requests)
    together = expected(proto, {"input": np.concatenate([request["input"] for request in requests])})["output"]
    for request, answer in zip(requests, answers, strict=True):
        assert_same(answer, expected(proto, request), exact=False)
        # The same bits as in a run of the whole batch, wherever the server has put the rows.
        assert all((row == together).all(axis=1).any() for row in answer["output"])
    counts = triton.statistics(name, requests=4)
    assert (counts.execution_count, counts.success_count, counts.inference_count) == (1, 4, 16)


def test_statistics_count_requests_batches_and_failures(triton: Triton) -> None:
    name = triton.load(BATCHING + ONE_INSTANCE + EMBEDDING, models.embedding_model(vocabulary=8), max_batch_size=6)
    good = [{"ids": np.full((rows, 2), 1, np.int64)} for rows in (1, 2, 3)]
    bad = [{"ids": np.full((rows, 2), 99, np.int64)} for rows in (2, 4)]
    triton.infer_at_once(name, good)
    triton.infer_at_once(name, bad)
    triton.statistics(name, requests=5)
    (model,) = triton.client.get_inference_statistics(name).model_stats
    stats = model.inference_stats
    assert (model.inference_count, model.execution_count) == (6, 1)
    assert (stats.success.count, stats.fail.count) == (3, 2)
    parts = (stats.queue, stats.compute_input, stats.compute_infer, stats.compute_output)
    assert [part.count for part in parts] == [3, 3, 3, 3]
    assert all(part.ns > 0 for part in parts)
    assert sum(part.ns for part in parts) <= stats.success.ns
    (batch,) = model.batch_stats
    assert (batch.batch_size, batch.compute_infer.count) == (6, 1)
    assert batch.compute_infer.ns * 3 == stats.compute_infer.ns


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 3, 1, 9)])
def test_dynamic_dimensions_take_any_size(triton: Triton, client: Client, shape: tuple[int, ...]) -> None:
    proto = models.image_model()
    config = """
    input { name: "image" data_type: TYPE_FP32 dims: [3, -1, -1] }
    output { name: "means" data_type: TYPE_FP32 dims: [3, 1, 1] }
    """
    name = triton.load(config, proto)
    inputs = {"image": some("FP32", shape)}
    assert_same(client.infer(name, inputs), expected(proto, inputs))


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
def test_tensor_without_elements_comes_back_as_such(triton: Triton, client: Client, datatype: str) -> None:
    name = triton.load(input_and_output(datatype, "-1"), models.identity_model(datatype, (-1, -1)))
    array = np.empty((2, 0), object if datatype == "BYTES" else np.float32)
    assert client.infer(name, {"input": array})["output"].shape == (2, 0)


def test_output_whose_shape_depends_on_the_data_comes_back(triton: Triton, client: Client) -> None:
    node = helper.make_node("NonZero", ["input"], ["output"])
    proto = models.model([node], [models.tensor("input", shape=(-1,))], [models.tensor("output", "INT64", (1, -1))])
    config = """
    input { name: "input" data_type: TYPE_FP32 dims: [-1] }
    output { name: "output" data_type: TYPE_INT64 dims: [1, -1] }
    """
    name = triton.load(config, proto, max_batch_size=0)
    for values in ([0, 1, 0, 2], [3]):
        inputs = {"input": np.array(values, np.float32)}
        assert_same(client.infer(name, inputs), expected(proto, inputs))


def test_bad_request_harms_none_of_its_batch(triton: Triton) -> None:
    proto = models.embedding_model(vocabulary=8)
    name = triton.load(BATCHING + EMBEDDING, proto, max_batch_size=4)
    requests = [{"ids": np.array([[first, 1]], np.int64)} for first in (0, 99, 7, 3)]
    answers = triton.infer_at_once(name, requests)
    for number in (0, 2, 3):
        assert_same(answers[number], expected(proto, requests[number]))
    assert isinstance(answers[1], InferenceServerException)
    assert "indices element out of data bounds, idx=99" in str(answers[1])
    counts = triton.statistics(name, requests=4)
    assert (counts.execution_count, counts.success_count, counts.fail_count) == (1, 3, 1)


def test_instance_goes_on_after_a_bad_request(triton: Triton, client: Client) -> None:
    proto = models.embedding_model(vocabulary=8)
    name = triton.load(EMBEDDING, proto)
    with pytest.raises(InferenceServerException, match=r"onnxruntime: .*idx=99"):
        client.infer(name, {"ids": np.array([[99]], np.int64)})
    good = {"ids": np.array([[1]], np.int64)}
    assert_same(client.infer(name, good), expected(proto, good))


def test_only_the_outputs_that_were_asked_for_come_back(triton: Triton, client: Client) -> None:
    proto = models.two_inputs_model()
    name = triton.load(TWO_INPUTS, proto)
    inputs = {"values": some("FP32", (2, 3)), "ids": np.zeros((2, 2), np.int64)}
    outputs = expected(proto, inputs)
    for asked in (["next_ids"], ["scaled"], ["scaled", "next_ids"]):
        assert_same(client.infer(name, inputs, asked), {output: outputs[output] for output in asked})


def test_requests_of_a_batch_may_ask_for_different_outputs(triton: Triton) -> None:
    proto = models.two_inputs_model()
    name = triton.load(BATCHING + TWO_INPUTS, proto, max_batch_size=3)
    inputs = [{"values": some("FP32", (1, 3), seed=n), "ids": np.full((1, 2), n, np.int64)} for n in range(3)]
    asked = (["scaled"], ["next_ids"], ["next_ids", "scaled"])
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda pair: triton.infer(name, *pair), zip(inputs, asked, strict=True)))
    for one, names, answer in zip(inputs, asked, answers, strict=True):
        outputs = expected(proto, one)
        assert_same(answer, {output: outputs[output] for output in names})
    assert triton.statistics(name, requests=3).execution_count == 1


def test_outputs_that_the_configuration_leaves_out_are_not_served(triton: Triton) -> None:
    name = triton.load(VALUES + IDS + NEXT_IDS, models.two_inputs_model())
    inputs = {"values": some("FP32", (1, 3)), "ids": np.zeros((1, 2), np.int64)}
    assert triton.infer(name, inputs).keys() == {"next_ids"}


def test_model_that_cannot_batch_gets_each_request_as_it_is(triton: Triton) -> None:
    proto = models.linear_model(fixed_batch=3)
    config = LINEAR.replace("[10]", "[3, 10]").replace("[1]", "[3, 1]")
    name = triton.load(config, proto, max_batch_size=0)
    requests = [{"input": some("FP32", (3, 10), seed=seed)} for seed in range(5)]
    for request, answer in zip(requests, triton.infer_at_once(name, requests), strict=True):
        assert_same(answer, expected(proto, request))
    counts = triton.statistics(name, requests=5)
    assert (counts.execution_count, counts.inference_count) == (5, 5)


def test_reshape_without_batches_is_kept(triton: Triton, client: Client) -> None:
    config = """
    input { name: "input" data_type: TYPE_FP32 dims: [8] reshape { shape: [2, 4] } }
    output { name: "output" data_type: TYPE_FP32 dims: [2, 2, 2] reshape { shape: [2, 4] } }
    """
    name = triton.load(config, models.identity_model("FP32", (2, 4)), max_batch_size=0)
    array = some("FP32", (8,))
    assert_same(client.infer(name, {"input": array}), {"output": array.reshape(2, 2, 2)})


@pytest.mark.parametrize("dims", ["1", "1, 1"])
def test_scalars_are_tensors_of_ones_to_triton(triton: Triton, client: Client, dims: str) -> None:
    name = triton.load(input_and_output(dims=dims), models.scalar_model(), max_batch_size=0)
    shape = [1] * len(dims.split(","))
    got = client.infer(name, {"input": np.full(shape, 2.5, np.float32)})
    assert_same(got, {"output": np.full(shape, 5, np.float32)})


def test_input_that_is_a_scalar_reaches_the_model_as_one(triton: Triton) -> None:
    nodes = [
        helper.make_node("Shape", ["input"], ["shape"]),
        helper.make_node("Concat", ["seven", "shape"], ["output"], axis=0),
    ]
    seven = numpy_helper.from_array(np.array([7], np.int64), "seven")
    proto = models.model(nodes, [models.tensor("input", shape=())], [models.tensor("output", "INT64", (1,))], [seven])
    config = input_and_output(dims="1").replace('"output" data_type: TYPE_FP32', '"output" data_type: TYPE_INT64')
    name = triton.load(config, proto, max_batch_size=0)
    # A shape of one dimension would follow the seven if it were a vector.
    assert_same(triton.infer(name, {"input": np.ones(1, np.float32)}), {"output": np.array([7])})


def test_optional_input_has_its_initial_value_where_a_request_lacks_it(triton: Triton, client: Client) -> None:
    proto = models.linear_model(features=2, initializer_is_input=True)
    name = triton.load(WEIGHTED, proto, max_batch_size=0)
    without = {"input": some("FP32", (1, 2))}
    given = {**without, "weight": np.ones((2, 1), np.float32)}
    for inputs in (without, given, without):
        assert_same(client.infer(name, inputs), expected(proto, inputs))


def compressing_model() -> onnx.ModelProto:
    """Keeps the first row alone, which shows only when it runs."""
    keep_first = numpy_helper.from_array(np.array([True]), "keep_first")
    node = helper.make_node("Compress", ["input", "keep_first"], ["output"], axis=0)
    return models.model([node], [models.tensor("input")], [models.tensor("output")], [keep_first])


@pytest.mark.parametrize("proto", [compressing_model(), models.doubling_model()])
def test_output_without_a_row_for_each_input_row_is_an_error(triton: Triton, proto: onnx.ModelProto) -> None:
    name = triton.load(input_and_output(), proto)
    with pytest.raises(InferenceServerException, match=r"the output output has the shape \(\d, 4\) for a batch of 3"):
        triton.infer(name, {"input": np.zeros((3, 4), np.float32)})


@pytest.mark.parametrize("folder, file", [("1", "network.onnx"), ("1/model.onnx", "model.onnx")])
def test_model_file_has_another_name_or_is_a_folder(triton: Triton, folder: str, file: str) -> None:
    proto = models.linear_model()
    head = 'default_model_filename: "network.onnx"\n' if file == "network.onnx" else ""
    name = triton.add(head + LINEAR)
    models.save(proto, triton.repository / name / folder, file)
    triton.control.load(name)
    inputs = {"input": some("FP32", (1, 10))}
    assert_same(triton.infer(name, inputs), expected(proto, inputs))


def test_output_that_is_no_tensor_may_stay_out_of_the_configuration(triton: Triton) -> None:
    proto = sequence_model()
    inputs = {"input": some("FP32", (1, 10))}
    name = triton.load(LINEAR, proto)
    assert_same(triton.infer(name, inputs), expected(models.linear_model(), inputs))


def sequence_model() -> onnx.ModelProto:
    """The linear model with a second output, which is a sequence."""
    proto = models.linear_model()
    sequence = helper.make_tensor_sequence_value_info("pieces", onnx.TensorProto.FLOAT, None)
    proto.graph.node.append(helper.make_node("SequenceConstruct", ["output"], ["pieces"]))
    proto.graph.output.append(sequence)
    return proto


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'


def assert_added_threads(triton: Triton, wanted: int, config: str, instances: int = 1) -> None:
    """Fails where loading a model does not bring so many threads; the server's own come and go in between."""
    counts = []
    while wanted not in counts:
        assert len(counts) < 10, counts
        counts.append(added_threads(triton, config, instances))


def added_threads(triton: Triton, config: str, instances: int) -> int:
    server = psutil.Process(triton.server.process.pid)
    before = server.num_threads()
    group = f"instance_group {{ count: {instances} kind: KIND_CPU }}\n"
    name = triton.load(group + config + LINEAR, models.linear_model())
    after = server.num_threads()
    triton.control.unload(name)
    triton.control.wait_for_unloads([name])
    return after - before


@pytest.mark.parametrize(("threads", "instances"), [(1, 1), (4, 1), (4, 3)])
def test_intra_op_thread_count_is_honoured_for_each_instance(triton: Triton, threads: int, instances: int) -> None:
    # The instance's own thread is one of those that compute.
    config = parameter("intra_op_thread_count", str(threads))
    assert_added_threads(triton, threads * instances, config, instances)


def test_threads_are_known_that_an_instance_gets_where_nobody_asks_for_any(triton: Triton, tmp_path: Path) -> None:
    chosen = chosen_thread_count(tmp_path)
    assert chosen is not None
    assert_added_threads(triton, chosen, "")


@pytest.mark.parametrize("threads", [2, 5])
def test_inter_op_thread_count_is_honoured_in_parallel_mode(triton: Triton, threads: int) -> None:
    parallel = parameter("execution_mode", "1") + parameter("intra_op_thread_count", "1")
    assert_added_threads(triton, threads, parallel + parameter("inter_op_thread_count", str(threads)))


def test_number_of_instances_is_tritons_own_where_the_configuration_leaves_it_out(triton: Triton) -> None:
    name = triton.load(LINEAR, models.linear_model())
    (group,) = json.loads(triton.control.active_config(name))["instance_group"]
    assert (group["kind"], group["count"]) == ("KIND_CPU", 2)


@pytest.mark.parametrize(
    "settings",
    [
        parameter("enable_mem_arena", "0") + parameter("enable_mem_pattern", "False"),
        parameter("enable_mem_arena", "1") + parameter("enable_mem_pattern", "TRUE"),
        parameter("memory.enable_memory_arena_shrinkage", "cpu:0"),
        parameter("session.intra_op.allow_spinning", "0"),
        parameter("session.use_device_allocator_for_initializers", "1"),
        parameter("cudnn_conv_algo_search", "1") + parameter("gpu_mem_limit", "1000"),
        parameter("somebody_elses_key", "any value"),
        *(f"optimization {{ graph {{ level: {level} }} }}\n" for level in (-1, 0, 1, 2)),
        'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }\n',
    ],
)
def test_settings_of_tritons_own_backend_are_taken(triton: Triton, settings: str) -> None:
    proto = models.linear_model()
    name = triton.load(settings + LINEAR, proto)
    inputs = {"input": some("FP32", (2, 10))}
    assert_same(triton.infer(name, inputs), expected(proto, inputs), exact=False)


def test_session_parameter_reaches_onnxruntime_and_is_said_to_be_ours_alone(triton: Triton) -> None:
    as_ort = parameter("session.load_model_format", "ORT")
    with pytest.raises(RuntimeStartError, match="onnxruntime cannot load"):
        triton.load(as_ort + LINEAR, models.linear_model())
    triton.load(parameter("session.use_device_allocator_for_initializers", "1") + LINEAR, models.linear_model())
    ignored = re.findall(r"the parameter (\S+); Triton's own backend would ignore it", triton.server.log.read_text())
    assert "session.load_model_format" in ignored
    assert "session.use_device_allocator_for_initializers" not in ignored


def openvino(parameters: str = "", name: str = "openvino") -> str:
    accelerator = f'cpu_execution_accelerator {{ name: "{name}" {parameters} }}'
    return f"optimization {{ execution_accelerators {{ {accelerator} }} }}\n"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (parameter("intra_op_thread_count", "two"), "intra_op_thread_count is 'two'; expected a whole number"),
        (parameter("inter_op_thread_count", "-1"), "inter_op_thread_count is '-1'"),
        (parameter("intra_op_thread_count", "99999999999"), "intra_op_thread_count is '99999999999'"),
        (parameter("execution_mode", "2"), "execution_mode is '2'; expected one of 0, 1"),
        (parameter("enable_mem_arena", "maybe"), "enable_mem_arena is 'maybe'"),
        ("optimization { graph { level: 7 } }\n", "level is '7'; expected one of -1, 0, 1, 2"),
        ("model_transaction_policy { decoupled: true }\n", "does not support a decoupled"),
        ("sequence_batching { }\n", "does not support sequence_batching"),
        (openvino(name="tensorrt"), "unknown cpu_execution_accelerator 'tensorrt'"),
        (openvino('parameters { key: "device" value: "GPU" }'), "openvino has no parameter device"),
        (openvino('parameters { key: "precision" value: "int8" }'), "precision is 'int8'; expected one of f32, bf16"),
        (openvino(), "openvino needs the package onnxruntime-ep-openvino"),
        ('model_operations { op_library_filename: "/no/such/library.so" }\n', "/no/such/library.so"),
    ],
)
def test_setting_that_cannot_be_honoured_is_a_load_error(triton: Triton, settings: str, message: str) -> None:
    with pytest.raises(RuntimeStartError, match=message):
        triton.load(settings + LINEAR, models.linear_model())


RAGGED = LINEAR.replace("dims: [10]", "dims: [10] allow_ragged_batch: true")
BATCH_INPUT = 'batch_input { kind: BATCH_ELEMENT_COUNT target_name: "n" data_type: TYPE_FP32 source_input: "input" }\n'


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LINEAR.replace("TYPE_FP32 dims: [10]", "TYPE_FP64 dims: [10]"), "TYPE_FP32 in the model, TYPE_FP64 here"),
        (LINEAR.replace("TYPE_FP32 dims: [1]", "TYPE_INT32 dims: [1]"), "TYPE_FP32 in the model, TYPE_INT32 here"),
        (LINEAR.replace("[10]", "[11]"), r"\[-1, 10\] in the model, \[-1, 11\] here"),
        (LINEAR.replace("[10]", "[-1]"), r"\[-1, 10\] in the model, \[-1, -1\] here"),
        (LINEAR.replace("[10]", "[10, 1]"), r"\[-1, 10\] in the model, \[-1, 10, 1\] here"),
        (LINEAR.replace("[1]", "[2]"), r"\[-1, 1\] in the model, \[-1, 2\] here"),
        (LINEAR.replace("[1]", "[-1]"), r"\[-1, 1\] in the model, \[-1, -1\] here"),
        (LINEAR.replace('"input"', '"inputs"'), "lacks the model's input input"),
        (LINEAR.replace('"output"', '"outputs"'), "no output outputs, but output"),
        (LINEAR + 'input { name: "more" data_type: TYPE_FP32 dims: [1] }\n', "no input more, but input"),
        (LINEAR.replace("dims: [10]", "dims: [10] optional: true"), "the model needs it, so it cannot be optional"),
        (RAGGED, "does not support allow_ragged_batch"),
        (BATCH_INPUT + LINEAR, "does not support batch_input"),
    ],
)
def test_configuration_that_does_not_fit_the_model_is_a_load_error(triton: Triton, config: str, message: str) -> None:
    with pytest.raises(RuntimeStartError, match=message):
        triton.load(config, models.linear_model())


def test_dynamic_output_may_not_be_declared_as_fixed(triton: Triton) -> None:
    """So does Triton's own backend; an input may be narrowed down."""
    narrow = EMBEDDING.replace('ids" data_type: TYPE_INT64 dims: [-1]', 'ids" data_type: TYPE_INT64 dims: [2]')
    triton.load(narrow, models.embedding_model())
    with pytest.raises(RuntimeStartError, match=r"output vectors: \[-1, -1, 2\] in the model, \[-1, 2, 2\] here"):
        triton.load(narrow.replace("[-1, 2]", "[2, 2]"), models.embedding_model())


@pytest.mark.parametrize(
    ("text", "proto", "max_batch_size"),
    [
        (EMBEDDING.replace("[-1, 2]", "[4, 2]"), models.embedding_model(), 8),
        (WEIGHTED.replace("[1, 2]", "[-1, 2]"), models.linear_model(features=2, initializer_is_input=True), 0),
    ],
    ids=["output corrected", "optional input"],
)
def test_configuration_that_hcopt_takes_is_loaded(
    triton: Triton, tmp_path: Path, text: str, proto: onnx.ModelProto, max_batch_size: int
) -> None:
    of = inspect_onnx(models.save(proto, tmp_path)).signature
    config = base_configuration(artifact(f"max_batch_size: {max_batch_size}\n{text}", of), batchable=True).config
    assert config.max_batch_size == max_batch_size
    for field in ("name", "platform", "max_batch_size"):  # `load` writes them
        config.ClearField(field)
    triton.load(to_text(config), proto, max_batch_size=max_batch_size)


def test_replaceable_input_has_to_be_optional_and_without_batches(triton: Triton) -> None:
    proto = models.linear_model(features=2, initializer_is_input=True)
    with pytest.raises(RuntimeStartError, match="the model has a value of it, so it is optional"):
        triton.load(WEIGHTED.replace("optional: true", ""), proto, max_batch_size=0)
    with pytest.raises(RuntimeStartError, match="optional only where max_batch_size is 0"):
        triton.load(WEIGHTED.replace("[1, 2]", "[2]").replace("[-1, 1]", "[1]"), proto)


def test_scalar_of_another_shape_is_a_load_error(triton: Triton) -> None:
    with pytest.raises(
        RuntimeStartError, match=r"input: a scalar or of unknown shape in the model, \[2\] here; expected \[1\]"
    ):
        triton.load(input_and_output(dims="2"), models.scalar_model(), max_batch_size=0)


def test_output_that_is_no_tensor_is_a_load_error_where_it_is_configured(triton: Triton) -> None:
    config = LINEAR + 'output { name: "pieces" data_type: TYPE_FP32 dims: [1] }\n'
    with pytest.raises(RuntimeStartError, match="output pieces: something that Triton has no type for"):
        triton.load(config, sequence_model())


def test_model_that_is_no_onnx_file_or_none_at_all_is_a_load_error(triton: Triton) -> None:
    name = triton.add(LINEAR)
    file = triton.repository / name / "1" / "model.onnx"
    file.parent.mkdir()
    with pytest.raises(RuntimeStartError, match=rf"there is no file .*{name}/1/model\.onnx"):
        triton.control.load(name)
    file.write_text("not a model")
    with pytest.raises(RuntimeStartError, match="onnxruntime cannot load"):
        triton.control.load(name)


class Load:
    """Clients that ask without a pause, and what they got."""

    def __init__(self, triton: Triton, name: str, clients: int = 4) -> None:
        self._triton, self._name = triton, name
        self._stop = threading.Event()
        self.answered = 0
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, answers: int) -> None:
        """Until so many more have been answered."""
        wanted, deadline = self.answered + answers, time.monotonic() + 120
        while self.answered < wanted:
            assert time.monotonic() < deadline, self.errors[:3]
            time.sleep(0.001)

    def _ask(self, seed: int) -> None:
        array = np.full((1, 4), seed, np.float32)
        while not self._stop.is_set():
            self._ask_once(array)

    def _ask_once(self, array: np.ndarray) -> None:
        try:
            assert_same(self._triton.infer(self._name, {"input": array}), {"output": array})
            self.answered += 1
        except (InferenceServerException, AssertionError) as error:
            self.errors.append(str(error))


def config_with(instances: int, parameters: dict[str, str]) -> str:
    """A configuration to load the identity model with, in the place of its own."""
    tensor = {"data_type": "TYPE_FP32", "dims": [4]}
    return json.dumps(
        {
            "platform": "onnxruntime_onnx",
            "max_batch_size": 8,
            "input": [{"name": "input", **tensor}],
            "output": [{"name": "output", **tensor}],
            "dynamic_batching": {},
            "instance_group": [{"kind": "KIND_CPU", "count": instances}],
            "parameters": {key: {"string_value": value} for key, value in parameters.items()},
        }
    )


def test_reloads_and_other_numbers_of_instances_cost_no_request(triton: Triton) -> None:
    name = triton.load(input_and_output(), models.identity_model())
    variants = [(1, "1"), (4, "1"), (2, "2"), (1, "2"), (3, "1"), (3, "2")] * 2
    with Load(triton, name) as load:
        for instances, threads in variants:
            load.wait_for(20)
            config = config_with(instances, {"intra_op_thread_count": threads})
            # Not ModelControl.load, which unloads first.
            triton.client.load_model(name, config=config)
        load.wait_for(20)
    assert load.errors == []


def test_model_is_warmed_up_before_it_is_ready(triton: Triton) -> None:
    inputs = 'inputs { key: "input" value: { data_type: TYPE_FP32 dims: [10] zero_data: true } }'
    warmup = f'model_warmup {{ name: "zeros" batch_size: 2 count: 3 {inputs} }}\n'
    name = triton.load(warmup + LINEAR, models.linear_model())
    array = {"input": some("FP32", (2, 10))}
    assert_same(triton.infer(name, array), expected(models.linear_model(), array))


def unregistered(triton: Triton, region: str) -> bool:
    try:
        triton.client.unregister_system_shared_memory(region)
    except InferenceServerException as error:
        if "in use" not in str(error):
            raise
        return False
    return True


def test_inputs_and_outputs_may_be_in_shared_memory(triton: Triton) -> None:
    name = triton.load(input_and_output(), models.identity_model())
    array = some("FP32", (2, 4))
    region = shared_memory.create_shared_memory_region("region", f"/{name}_{os.getpid()}", 2 * array.nbytes)
    try:
        shared_memory.set_shared_memory_region(region, [array])
        triton.client.register_system_shared_memory("region", f"/{name}_{os.getpid()}", 2 * array.nbytes)
        tensor, asked = grpc.InferInput("input", [2, 4], "FP32"), grpc.InferRequestedOutput("output")
        tensor.set_shared_memory("region", array.nbytes)
        asked.set_shared_memory("region", array.nbytes, array.nbytes)
        triton.client.infer(name, [tensor], outputs=[asked])
        got = shared_memory.get_contents_as_numpy(region, np.float32, [2, 4], array.nbytes)
        np.testing.assert_array_equal(got, array)
        # The answer has no room.
        asked.set_shared_memory("region", array.nbytes - 4, array.nbytes)
        with pytest.raises(InferenceServerException, match=r"onnxruntime: .*shared memory"):
            triton.client.infer(name, [tensor], outputs=[asked])
    finally:
        # A request that has been answered is released a moment later.
        deadline = time.monotonic() + 60
        while not unregistered(triton, "region"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        shared_memory.destroy_shared_memory_region(region)


def test_failed_reload_leaves_what_was_served(triton: Triton) -> None:
    name = triton.load(input_and_output(), models.identity_model())
    with Load(triton, name) as load:
        with pytest.raises(InferenceServerException, match="execution_mode is 'both'"):
            triton.client.load_model(name, config=config_with(1, {"execution_mode": "both"}))
        load.wait_for(20)
    assert load.errors == []


def test_server_ends_by_itself_under_load(native_library: Path, tmp_path: Path) -> None:
    with triton_with(tmp_path, native_library) as triton:
        name = triton.load(input_and_output(), models.identity_model())
        with Load(triton, name) as load:
            load.wait_for(50)
            triton.server.process.terminate()
            assert triton.server.process.wait(60) == 0


def test_oldest_supported_onnxruntime_serves_all_types(native_library: Path, tmp_path: Path) -> None:
    uv, folder = Path(sys.executable).parent / "uv", tmp_path / "packages"
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", folder]
    subprocess.run([*install, "onnxruntime==1.20.1"], check=True, timeout=600)
    library = installed_onnxruntime(folder / "onnxruntime")
    options = [f"library={library}", "openvino_library=/some/plugin.so"]
    with triton_with(tmp_path, native_library, options=options) as triton:
        for datatype in NUMPY_TYPES:
            name = triton.load(input_and_output(datatype), models.identity_model(datatype))
            array = some(datatype, (3, 4))
            assert_same(triton.infer(name, {"input": array}), {"output": array})
        name = triton.load(input_and_output("BYTES"), models.identity_model("BYTES"))
        texts = np.array([[b"", b"nul\0inside", b"\xff", b"text"]], dtype=object)
        assert_same(triton.infer(name, {"input": texts}), {"output": texts})
        assert "over ONNX Runtime 1.20.1 " in triton.server.log.read_text()
        with pytest.raises(RuntimeStartError, match=r"openvino needs ONNX Runtime 1.22 or later; this is 1\.20\.1"):
            triton.load(openvino() + LINEAR, models.linear_model())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("nothing=1", "needs --backend-config=onnxruntime,library=PATH"),
        ("library=/no/such/library.so", "no ONNX Runtime: /no/such/library.so"),
        ("library=/lib/x86_64-linux-gnu/libm.so.6", "is no library of ONNX Runtime"),
    ],
)
def test_server_without_an_onnxruntime_says_so(native_library: Path, tmp_path: Path, option: str, message: str) -> None:
    with (
        triton_with(tmp_path, native_library, options=[option]) as triton,
        pytest.raises(RuntimeStartError, match=re.escape(message)),
    ):
        triton.load(LINEAR, models.linear_model())
