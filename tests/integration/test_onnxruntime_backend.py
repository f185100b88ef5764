"""Both onnxruntime backends of hcopt's, inside a real Triton, give what onnxruntime gives."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tritonclient.utils import InferenceServerException

from hcopt.errors import RuntimeStartError
from hcopt.triton.embedded.runtime import EmbeddedRuntime
from tests.support import onnx_models as models
from tests.support.tensors import NUMPY_TYPES, assert_same, expected, some
from tests.support.triton import PYTHON_BASED, Arrays, Triton, input_and_output, running_triton

# Long enough that requests sent together are in one batch on any machine; a full batch does not wait for it.
BATCHING = "dynamic_batching { max_queue_delay_microseconds: 20000000 }\n"
# Without it Triton takes two on a CPU.
ONE_INSTANCE = "instance_group { count: 1 kind: KIND_CPU }\n"
TWO_INPUTS = """
input { name: "values" data_type: TYPE_FP32 dims: [3] }
input { name: "ids" data_type: TYPE_INT64 dims: [2] }
output { name: "scaled" data_type: TYPE_FP32 dims: [3] }
output { name: "next_ids" data_type: TYPE_INT64 dims: [2] }
"""
EMBEDDING = """
input { name: "ids" data_type: TYPE_INT64 dims: [-1] }
output { name: "vectors" data_type: TYPE_FP32 dims: [-1, 2] }
"""
OUTPUT_OF_ONE = '"output" data_type: TYPE_FP32 dims: [1]'
LINEAR = """
input { name: "input" data_type: TYPE_FP32 dims: [10] }
output { name: "output" data_type: TYPE_FP32 dims: [1] }
"""


@pytest.fixture(scope="module", params=[EmbeddedRuntime(), PYTHON_BASED], ids=["native", "python"])
def embedded_triton(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """One server for all tests of a backend."""
    with running_triton(tmp_path_factory.mktemp("triton"), request.param) as running:
        yield running


# What only the Python-based one does, or does in another way than NVIDIA's.
PYTHON_ALONE = pytest.mark.parametrize("embedded_triton", [PYTHON_BASED], ids=["python"], indirect=True)


@pytest.mark.parametrize("datatype", NUMPY_TYPES)
def test_numbers_come_back_unchanged_for_every_datatype(triton: Triton, datatype: str) -> None:
    proto = models.identity_model(datatype, (-1, 4))
    name = triton.load(input_and_output(datatype), proto)
    for rows in (1, 8):
        array = some(datatype, (rows, 4), seed=rows)
        assert_same(triton.infer(name, {"input": array}), expected(proto, {"input": array}))


def test_extreme_floats_come_back_unchanged(triton: Triton) -> None:
    name = triton.load(input_and_output("FP32"), models.identity_model("FP32", (-1, 4)))
    array = np.array([[np.nan, np.inf, -np.inf, 1e-45]], np.float32)
    assert_same(triton.infer(name, {"input": array}), {"output": array})


def test_strings_come_back_unchanged(triton: Triton) -> None:
    name = triton.load(input_and_output("BYTES"), models.identity_model("BYTES", (-1, 4)))
    texts = np.array([["plain", "한국어", "", "nul\0inside"], ["b'quoted'", " ", "\n", "é" * 300]], dtype=object)
    got = triton.infer(name, {"input": texts})["output"]
    assert [text.decode() for text in got.ravel()] == list(texts.ravel())
    assert got.shape == (2, 4)


@PYTHON_ALONE
def test_strings_that_are_no_utf8_are_an_error_of_their_request(triton: Triton) -> None:
    name = triton.load(
        BATCHING + input_and_output("BYTES", "1"), models.identity_model("BYTES", (-1, 1)), max_batch_size=3
    )
    texts = [np.array([[text]], dtype=object) for text in (b"good", b"\xff\xfe", b"fine")]
    good, bad, fine = triton.infer_at_once(name, [{"input": text} for text in texts])
    assert_same(good, {"output": texts[0]})
    assert_same(fine, {"output": texts[2]})
    assert isinstance(bad, InferenceServerException)
    assert "utf-8" in str(bad)


@PYTHON_ALONE
def test_bfloat16_is_a_load_error_that_names_it(triton: Triton) -> None:
    with pytest.raises(RuntimeStartError, match=r"input input: .* cannot serve tensor\(bfloat16\)"):
        triton.load(input_and_output("BF16"), models.identity_model("BF16", (-1, 4)))


def test_requests_of_different_sizes_share_one_run(triton: Triton) -> None:
    proto = models.linear_model()
    name = triton.load(BATCHING + LINEAR, proto, max_batch_size=16)
    requests = [{"input": some("FP32", (rows, 10), seed=rows)} for rows in (1, 5, 3, 7)]
    answers = triton.infer_at_once(name, requests)
    for request, answer in zip(requests, answers, strict=True):
        assert_same(answer, expected(proto, request), exact=False)
    counts = triton.statistics(name, requests=4)
    assert (counts.execution_count, counts.success_count, counts.inference_count) == (1, 4, 16)


def test_several_inputs_and_outputs_share_one_run(triton: Triton) -> None:
    proto = models.two_inputs_model()
    name = triton.load(BATCHING + TWO_INPUTS, proto, max_batch_size=6)
    # The order in which a client names its inputs is its own.
    requests: list[Arrays] = [
        {"values": some("FP32", (1, 3)), "ids": some("INT32", (1, 2)).astype(np.int64)},
        {"ids": some("INT32", (2, 2), seed=1).astype(np.int64), "values": some("FP32", (2, 3), seed=1)},
        {"values": some("FP32", (3, 3), seed=2), "ids": some("INT32", (3, 2), seed=2).astype(np.int64)},
    ]
    for request, answer in zip(requests, triton.infer_at_once(name, requests), strict=True):
        assert_same(answer, expected(proto, request))
    assert triton.statistics(name, requests=3).execution_count == 1


def test_many_clients_get_their_own_rows_back(triton: Triton) -> None:
    proto = models.identity_model("FP32", (-1, 4))
    batching = "dynamic_batching { max_queue_delay_microseconds: 20000 }\ninstance_group { count: 2 kind: KIND_CPU }\n"
    name = triton.load(batching + input_and_output(), proto)
    requests = [{"input": np.full((1 + number % 3, 4), number, np.float32)} for number in range(200)]
    for request, answer in zip(requests, triton.infer_at_once(name, requests), strict=True):
        assert_same(answer, {"output": request["input"]})
    counts = triton.statistics(name, requests=200)
    assert counts.success_count == 200
    assert counts.execution_count < 200


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 3, 1, 9)])
def test_dynamic_dimensions_take_any_size(triton: Triton, shape: tuple[int, ...]) -> None:
    proto = models.image_model()
    config = """
    input { name: "image" data_type: TYPE_FP32 dims: [3, -1, -1] }
    output { name: "means" data_type: TYPE_FP32 dims: [3, 1, 1] }
    """
    name = triton.load(config, proto)
    inputs = {"image": some("FP32", shape)}
    assert_same(triton.infer(name, inputs), expected(proto, inputs))


@PYTHON_ALONE
def test_requests_of_different_shapes_are_answered_in_one_batch(triton: Triton) -> None:
    proto = models.embedding_model()
    ragged = EMBEDDING.replace("dims: [-1] ", "dims: [-1] allow_ragged_batch: true ")
    name = triton.load(BATCHING + ragged, proto, max_batch_size=3)
    requests = [{"ids": np.arange(tokens, dtype=np.int64).reshape(1, -1)} for tokens in (2, 5, 2)]
    for request, answer in zip(requests, triton.infer_at_once(name, requests), strict=True):
        assert_same(answer, expected(proto, request))
    assert triton.statistics(name, requests=3).execution_count == 1


def test_bad_request_harms_none_of_its_batch(triton: Triton) -> None:
    proto = models.embedding_model(vocabulary=8)
    name = triton.load(BATCHING + EMBEDDING, proto, max_batch_size=4)
    requests = [{"ids": np.array([[first, 1]], np.int64)} for first in (0, 99, 7, 3)]
    answers = triton.infer_at_once(name, requests)
    for number in (0, 2, 3):
        assert_same(answers[number], expected(proto, requests[number]))
    assert isinstance(answers[1], InferenceServerException)
    assert "indices element out of data bounds, idx=99" in str(answers[1])
    assert triton.statistics(name, requests=4).execution_count == 1


def test_instance_goes_on_after_a_bad_request(triton: Triton) -> None:
    proto = models.embedding_model(vocabulary=8)
    name = triton.load(EMBEDDING, proto)
    with pytest.raises(InferenceServerException, match=r"idx=99"):
        triton.infer(name, {"ids": np.array([[99]], np.int64)})
    good = {"ids": np.array([[1]], np.int64)}
    assert_same(triton.infer(name, good), expected(proto, good))


def test_only_the_outputs_that_were_asked_for_come_back(triton: Triton) -> None:
    proto = models.two_inputs_model()
    name = triton.load(TWO_INPUTS, proto)
    inputs = {"values": some("FP32", (2, 3)), "ids": np.zeros((2, 2), np.int64)}
    wanted = {"next_ids": expected(proto, inputs)["next_ids"]}
    assert_same(triton.infer(name, inputs, ["next_ids"]), wanted)


def test_outputs_that_the_configuration_leaves_out_are_not_served(triton: Triton) -> None:
    proto = models.two_inputs_model()
    name = triton.load(TWO_INPUTS.replace('output { name: "scaled" data_type: TYPE_FP32 dims: [3] }', ""), proto)
    inputs = {"values": some("FP32", (1, 3)), "ids": np.zeros((1, 2), np.int64)}
    assert triton.infer(name, inputs).keys() == {"next_ids"}


def test_model_that_cannot_batch_gets_each_request_as_it_is(triton: Triton) -> None:
    proto = models.linear_model(fixed_batch=3)
    config = LINEAR.replace("[10]", "[3, 10]").replace("[1]", "[3, 1]")
    name = triton.load(config, proto, max_batch_size=0)
    requests = [{"input": some("FP32", (3, 10), seed=seed)} for seed in range(5)]
    for request, answer in zip(requests, triton.infer_at_once(name, requests), strict=True):
        assert_same(answer, expected(proto, request))
    assert triton.statistics(name, requests=5).execution_count == 5


def test_reshape_of_the_configuration_is_kept(triton: Triton) -> None:
    proto = models.per_row_scalar_model()
    config = """
    input { name: "input" data_type: TYPE_FP32 dims: [1] reshape { shape: [] } }
    output { name: "output" data_type: TYPE_FP32 dims: [1] reshape { shape: [] } }
    """
    name = triton.load(BATCHING + config, proto, max_batch_size=4)
    requests = [{"input": some("FP32", (rows, 1), seed=rows)} for rows in (1, 3)]
    for request, answer in zip(requests, triton.infer_at_once(name, requests), strict=True):
        assert_same(answer, {"output": request["input"] * 2})


def test_scalars_are_vectors_of_one_to_triton(triton: Triton) -> None:
    name = triton.load(input_and_output(dims="1"), models.scalar_model(), max_batch_size=0)
    assert_same(triton.infer(name, {"input": np.array([2.5], np.float32)}), {"output": np.array([5], np.float32)})


def test_output_that_is_a_scalar_is_a_vector_of_one(triton: Triton) -> None:
    total = helper.make_node("ReduceSum", ["input"], ["output"], keepdims=0)
    proto = models.model([total], [models.tensor("input", shape=(2, 3))], [models.tensor("output", shape=())])
    config = input_and_output(dims="2, 3").replace('"output" data_type: TYPE_FP32 dims: [2, 3]', OUTPUT_OF_ONE)
    name = triton.load(config, proto, max_batch_size=0)
    assert_same(triton.infer(name, {"input": np.ones((2, 3), np.float32)}), {"output": np.array([6], np.float32)})


@PYTHON_ALONE
def test_optional_input_has_its_initial_value_where_a_request_lacks_it(triton: Triton) -> None:
    proto = models.linear_model(features=2, initializer_is_input=True)
    config = """
    input { name: "input" data_type: TYPE_FP32 dims: [1, 2] }
    input { name: "weight" data_type: TYPE_FP32 dims: [2, 1] optional: true }
    output { name: "output" data_type: TYPE_FP32 dims: [1, 1] }
    """
    name = triton.load(config, proto, max_batch_size=0)
    without = {"input": some("FP32", (1, 2))}
    given = {**without, "weight": np.ones((2, 1), np.float32)}
    assert_same(triton.infer(name, without), expected(proto, without), exact=False)
    assert_same(triton.infer(name, given), expected(proto, given), exact=False)


@PYTHON_ALONE
def test_required_input_that_is_missing_is_an_error_of_its_request(triton: Triton) -> None:
    proto = models.two_inputs_model()
    optional = TWO_INPUTS.replace("TYPE_INT64 dims: [2] }\noutput", "TYPE_INT64 dims: [2] optional: true }\noutput")
    name = triton.load(optional, proto)
    whole = {"values": some("FP32", (1, 3)), "ids": np.zeros((1, 2), np.int64)}
    with pytest.raises(InferenceServerException, match=r"onnxruntime: .*ids"):
        triton.infer(name, {"values": whole["values"]})
    assert_same(triton.infer(name, whole), expected(proto, whole))


def test_output_without_a_row_for_each_input_row_is_an_error(triton: Triton) -> None:
    keep_first = numpy_helper.from_array(np.array([True]), "keep_first")
    node = helper.make_node("Compress", ["input", "keep_first"], ["output"], axis=0)
    proto = models.model([node], [models.tensor("input")], [models.tensor("output")], [keep_first])
    name = triton.load(input_and_output(), proto)
    with pytest.raises(InferenceServerException, match=r"the output output has the shape \(1, 4\) for a batch of 2"):
        triton.infer(name, {"input": np.zeros((2, 4), np.float32)})


def test_weights_in_a_file_of_their_own_are_read(triton: Triton) -> None:
    name = triton.add(LINEAR)
    models.save_with_external_data(triton.repository / name / "1")
    triton.control.load(name)
    inputs = {"input": some("FP32", (2, 10))}
    assert_same(triton.infer(name, inputs), expected(models.linear_model(), inputs))


def test_model_file_has_the_name_that_the_configuration_gives(triton: Triton) -> None:
    proto = models.linear_model()
    name = triton.add('default_model_filename: "network.onnx"\n' + LINEAR)
    models.save(proto, triton.repository / name / "1", "network.onnx")
    triton.control.load(name)
    inputs = {"input": some("FP32", (1, 10))}
    assert_same(triton.infer(name, inputs), expected(proto, inputs))


def test_model_file_may_be_a_folder(triton: Triton) -> None:
    proto = models.linear_model()
    name = triton.add(LINEAR)
    models.save(proto, triton.repository / name / "1" / "model.onnx")
    triton.control.load(name)
    inputs = {"input": some("FP32", (1, 10))}
    assert_same(triton.infer(name, inputs), expected(proto, inputs))


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'


def thread_count(triton: Triton, config: str) -> int:
    name = triton.load(ONE_INSTANCE + config + LINEAR, models.linear_model())
    (stub,) = triton.stubs(name)
    return stub.num_threads()


@PYTHON_ALONE
def test_intra_op_thread_count_is_honoured(triton: Triton) -> None:
    one, four = (thread_count(triton, parameter("intra_op_thread_count", count)) for count in ("1", "4"))
    assert four - one == 3


@PYTHON_ALONE
def test_inter_op_thread_count_is_honoured_in_parallel_mode(triton: Triton) -> None:
    parallel = parameter("execution_mode", "1") + parameter("intra_op_thread_count", "1")
    two, five = (thread_count(triton, parallel + parameter("inter_op_thread_count", count)) for count in ("2", "5"))
    assert five - two == 3


@PYTHON_ALONE
def test_each_instance_is_a_process(triton: Triton) -> None:
    name = triton.load("instance_group { count: 2 kind: KIND_CPU }\n" + LINEAR, models.linear_model())
    assert len(triton.stubs(name)) == 2


@pytest.mark.parametrize(
    "settings",
    [
        parameter("enable_mem_arena", "0") + parameter("enable_mem_pattern", "false"),
        parameter("memory.enable_memory_arena_shrinkage", "cpu:0"),
        "optimization { graph { level: -1 } }\n",
        "optimization { graph { level: 2 } }\n",
    ],
)
def test_settings_of_the_native_backend_are_taken(triton: Triton, settings: str) -> None:
    proto = models.linear_model()
    name = triton.load(settings + LINEAR, proto)
    inputs = {"input": some("FP32", (2, 10))}
    assert_same(triton.infer(name, inputs), expected(proto, inputs), exact=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (parameter("intra_op_thread_count", "two"), "intra_op_thread_count is 'two'"),
        (parameter("inter_op_thread_count", "-1"), "inter_op_thread_count is '-1'"),
        (parameter("execution_mode", "2"), "execution_mode is '2'; expected one of 0, 1"),
        (parameter("enable_mem_arena", "maybe"), "enable_mem_arena is 'maybe'"),
        ("optimization { graph { level: 7 } }\n", "level is '7'"),
        ("model_transaction_policy { decoupled: true }\n", "decoupled"),
        ("sequence_batching { }\n", "sequence_batching"),
        (
            'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }\n',
            "openvino|cpu_execution_accelerator",
        ),
    ],
)
def test_setting_that_cannot_be_honoured_is_a_load_error(triton: Triton, settings: str, message: str) -> None:
    with pytest.raises(RuntimeStartError, match=message):
        triton.load(settings + LINEAR, models.linear_model())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LINEAR.replace("TYPE_FP32 dims: [10]", "TYPE_FP64 dims: [10]"), "TYPE_FP32 in the model, TYPE_FP64 here"),
        (LINEAR.replace("[10]", "[11]"), r"\[-1, 10\] in the model, \[-1, 11\] here"),
        (LINEAR.replace("[10]", "[10, 1]"), r"\[-1, 10\] in the model, \[-1, 10, 1\] here"),
        (LINEAR.replace('"input"', '"inputs"'), "lacks the model's inputs? input"),
        (LINEAR.replace('"output"', '"outputs"'), "no output outputs, but output"),
    ],
)
def test_configuration_that_does_not_fit_the_model_is_a_load_error(triton: Triton, config: str, message: str) -> None:
    with pytest.raises(RuntimeStartError, match=message):
        triton.load(config, models.linear_model())


def test_model_with_a_fixed_batch_cannot_be_batched(triton: Triton) -> None:
    with pytest.raises(RuntimeStartError, match="max_batch_size has to be 0"):
        triton.load(LINEAR, models.linear_model(fixed_batch=1))


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (models.unregistered_operator_model(), "Frobnicate"),
        (models.future_opset_model(), "opset"),
    ],
)
def test_model_that_onnxruntime_cannot_load_is_a_load_error(
    triton: Triton, proto: onnx.ModelProto, message: str
) -> None:
    with pytest.raises(RuntimeStartError, match=rf"onnxruntime cannot load .*{message}"):
        triton.load(input_and_output(), proto)


def test_model_that_is_no_onnx_file_is_a_load_error(triton: Triton) -> None:
    name = triton.add(LINEAR)
    file = triton.repository / name / "1" / "model.onnx"
    file.parent.mkdir()
    file.write_text("not a model")
    with pytest.raises(RuntimeStartError, match="onnxruntime cannot load"):
        triton.control.load(name)


def test_output_that_is_no_tensor_may_stay_out_of_the_configuration(triton: Triton) -> None:
    proto = models.linear_model()
    sequence = helper.make_tensor_sequence_value_info("pieces", onnx.TensorProto.FLOAT, None)
    proto.graph.node.append(helper.make_node("SequenceConstruct", ["output"], ["pieces"]))
    proto.graph.output.append(sequence)
    inputs = {"input": some("FP32", (1, 10))}
    name = triton.load(LINEAR, proto)
    assert_same(triton.infer(name, inputs), expected(models.linear_model(), inputs))


def test_weights_are_those_of_the_file_and_not_of_an_earlier_load(triton: Triton) -> None:
    proto = models.linear_model()
    name = triton.load(LINEAR, proto)
    inputs = {"input": some("FP32", (1, 10))}
    before = triton.infer(name, inputs)
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array([1000], np.float32), "bias"))
    models.save(proto, triton.repository / name / "1")
    triton.control.load(name)
    assert_same(triton.infer(name, inputs), expected(proto, inputs))
    assert before["output"] < 900
