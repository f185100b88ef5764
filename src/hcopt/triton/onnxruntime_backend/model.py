"""Triton's backend `onnxruntime`, in Python: serves model.onnx on the CPU, configured like the native backend.

Triton loads this file by itself into a process of each instance; it imports nothing of hcopt. Keys and their meanings
are those of the native backend (github.com/triton-inference-server/onnxruntime_backend, release 24.10).
"""

import gc
import json
import os
from itertools import accumulate
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb
from onnxruntime.capi import onnxruntime_pybind11_state

# onnxruntime's own exceptions have no base class in common.
ORT_ERRORS = tuple(
    kind for kind in vars(onnxruntime_pybind11_state).values() if isinstance(kind, type) and issubclass(kind, Exception)
)
# What a request can make go wrong: the run, text that is no UTF-8, inputs that are missing or do not fit together.
RUN_ERRORS = (*ORT_ERRORS, RuntimeError, ValueError, LookupError, MemoryError)

TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}
GRAPH_LEVELS = {
    "-1": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "0": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "1": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "2": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
EXECUTION_MODES = {
    "0": onnxruntime.ExecutionMode.ORT_SEQUENTIAL,
    "1": onnxruntime.ExecutionMode.ORT_PARALLEL,
}
SWITCHES = {"0": False, "false": False, "1": True, "true": True}
# The server's cores where it is bound to some, as AFFINITIES takes them: hcopt/triton/embedded/launch.py.
CORES = os.environ.get("HCOPT_SERVER_CORES", "")  # noqa: TID251 - this file has nothing of hcopt
AFFINITIES = "session.intra_op_thread_affinities"
ARENA_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
PARAMETERS = (
    "intra_op_thread_count",
    "inter_op_thread_count",
    "execution_mode",
    "enable_mem_arena",
    "enable_mem_pattern",
    ARENA_SHRINKAGE,
)


class TritonPythonModel:
    """One instance of a model, as Triton's Python backend calls it."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        _refuse_unsupported(config, args["model_instance_kind"])
        session = _open_session(_model_file(args, config), _session_options(config))
        _check_tensors(config, session)
        # The inner one leaves out checks of the inputs that Triton has made, a third of a small model's run.
        self.session = getattr(session, "_sess", session)
        self.run_options = _run_options(config)
        self.batches = config["max_batch_size"] > 0
        self.input_names = [tensor["name"] for tensor in config["input"]]
        self.output_names = [tensor["name"] for tensor in config["output"]]
        self.text_inputs = [tensor["name"] for tensor in config["input"] if tensor["data_type"] == "TYPE_STRING"]
        # What was imported stays; collections need not look at it while requests wait.
        gc.freeze()

    def execute(self, requests):
        if self.batches and len(requests) > 1:
            try:
                return self.answer_together(requests)
            except RUN_ERRORS:
                # One of them is bad, or they do not fit together: that must not harm the others.
                pass
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """The response to one request, an error of its own where it cannot be run."""
        feed = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        try:
            outputs = self.run(feed, _row_count(feed))
        except RUN_ERRORS as error:
            return pb.InferenceResponse(error=pb.TritonError(f"onnxruntime: {error}"))
        return pb.InferenceResponse([pb.Tensor(*named) for named in zip(self.output_names, outputs, strict=True)])

    def answer_together(self, requests):
        """The responses to several requests out of one run.

        By columns and not by requests: that takes a quarter off the time between two runs.
        """
        columns = self.columns(requests)
        ends = list(accumulate(map(len, columns[self.input_names[0]])))
        outputs = self.run({name: np.concatenate(arrays) for name, arrays in columns.items()}, ends[-1])
        spans = list(zip([0, *ends], ends, strict=False))
        tensors = [
            [pb.Tensor(name, output[start:end]) for start, end in spans]
            for name, output in zip(self.output_names, outputs, strict=True)
        ]
        return [pb.InferenceResponse(list(row)) for row in zip(*tensors, strict=True)]

    def columns(self, requests):
        """For each input, its arrays in the order of the requests."""
        if len(self.input_names) == 1:
            return {self.input_names[0]: [request.inputs()[0].as_numpy() for request in requests]}
        columns = {name: [] for name in self.input_names}
        for request in requests:
            for tensor in request.inputs():
                columns[tensor.name()].append(tensor.as_numpy())
        if any(len(arrays) != len(requests) for arrays in columns.values()):
            raise ValueError("an optional input that not all of the requests have")
        return columns

    def run(self, feed, rows):
        """The outputs for one set of inputs."""
        for name in self.text_inputs:
            if name in feed:
                feed[name] = _decoded(feed[name])
        outputs = self.session.run(self.output_names, feed, self.run_options)
        if not self.batches:
            # Triton has no scalars; a configuration gives them the shape [1].
            return [np.atleast_1d(output) for output in outputs]
        for name, output in zip(self.output_names, outputs, strict=True):
            if output.shape[:1] != (rows,):
                raise ValueError(f"the output {name} has the shape {output.shape} for a batch of {rows}")
        return outputs


def _row_count(feed):
    return next((array.shape[0] for array in feed.values() if array.ndim), 0)


def _decoded(texts):
    """Triton's strings are bytes; onnxruntime takes only str, and would write b'…' for bytes."""
    return np.array([text.decode() for text in texts.ravel()], dtype=object).reshape(texts.shape)


def _model_file(args, config):
    file = Path(args["model_repository"], args["model_version"], config.get("default_model_filename") or "model.onnx")
    return file / "model.onnx" if file.is_dir() else file


def _open_session(file, options):
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except (*ORT_ERRORS, RuntimeError, ValueError) as error:
        raise pb.TritonModelException(f"onnxruntime cannot load {file}: {error}") from error


def _refuse_unsupported(config, instance_kind):
    """Raises for what this backend would otherwise do wrongly or not at all."""
    accelerators = config.get("optimization", {}).get("execution_accelerators", {})
    unsupported = {
        "sequence_batching": "sequence_batching" in config,
        "a decoupled transaction policy": config.get("model_transaction_policy", {}).get("decoupled"),
        "batch_input and batch_output": config.get("batch_input") or config.get("batch_output"),
        "a cpu_execution_accelerator": accelerators.get("cpu_execution_accelerator"),
        f"an instance of KIND_{instance_kind}": instance_kind != "CPU",
    }
    for what, present in unsupported.items():
        if present:
            raise pb.TritonModelException(f"the Python-based onnxruntime backend does not support {what}")


def _session_options(config):
    parameters = _string_parameters(config)
    for key in parameters.keys() - set(PARAMETERS):
        pb.Logger.log_warn(f"{config['name']}: the parameter {key} has no effect on the onnxruntime backend")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _thread_count(parameters, "intra_op_thread_count")
    options.inter_op_num_threads = _thread_count(parameters, "inter_op_thread_count")
    options.execution_mode = _choice(parameters, "execution_mode", EXECUTION_MODES, "0")
    _go_by_cores(options)
    options.enable_cpu_mem_arena = _choice(parameters, "enable_mem_arena", SWITCHES, "1")
    options.enable_mem_pattern = _choice(parameters, "enable_mem_pattern", SWITCHES, "1")
    graph = {key: str(value) for key, value in config.get("optimization", {}).get("graph", {}).items()}
    options.graph_optimization_level = _choice(graph, "level", GRAPH_LEVELS, "0")
    return options


def _go_by_cores(options):
    """Threads as onnxruntime would choose them on a machine that has the server's cores alone."""
    _, *others = cores = CORES.split(";")
    if not CORES:
        return
    if options.intra_op_num_threads == 0:
        options.intra_op_num_threads = len(cores)
        if others and options.execution_mode == EXECUTION_MODES["0"]:
            options.add_session_config_entry(AFFINITIES, ";".join(others))
    options.inter_op_num_threads = options.inter_op_num_threads or len(cores)


def _run_options(config):
    options = onnxruntime.RunOptions()
    arenas = _string_parameters(config).get(ARENA_SHRINKAGE)
    if arenas is not None:
        options.add_run_config_entry(ARENA_SHRINKAGE, arenas)
    return options


def _string_parameters(config):
    return {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}


def _thread_count(parameters, key):
    """0 leaves the number to onnxruntime."""
    text = parameters.get(key, "0")
    if not text.isdecimal():
        raise pb.TritonModelException(f"{key} is {text!r}; expected a whole number, 0 or more")
    return int(text)


def _choice(parameters, key, choices, default):
    text = parameters.get(key, default)
    if text.lower() not in choices:
        raise pb.TritonModelException(f"{key} is {text!r}; expected one of {', '.join(choices)}")
    return choices[text.lower()]


def _check_tensors(config, session):
    """Raises where config.pbtxt and the model do not agree, as the native backend does."""
    required = session.get_inputs()
    inputs = {tensor.name: tensor for tensor in (*required, *session.get_overridable_initializers())}
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    configured = {tensor["name"] for tensor in config["input"]}
    missing = [tensor.name for tensor in required if tensor.name not in configured]
    if missing:
        raise pb.TritonModelException(f"config.pbtxt lacks the model's inputs {', '.join(missing)}")
    for kind, known in (("input", inputs), ("output", outputs)):
        for tensor in config[kind]:
            if tensor["name"] not in known:
                raise pb.TritonModelException(f"the model has no {kind} {tensor['name']}, but {', '.join(known)}")
            _check_tensor(kind, tensor, known[tensor["name"]], batches=config["max_batch_size"] > 0)


def _check_tensor(kind, tensor, found, *, batches):
    name = f"{kind} {tensor['name']}"
    if found.type not in TRITON_TYPES:
        raise pb.TritonModelException(f"{name}: the Python-based onnxruntime backend cannot serve {found.type}")
    if TRITON_TYPES[found.type] != tensor["data_type"]:
        raise pb.TritonModelException(f"{name}: {TRITON_TYPES[found.type]} in the model, {tensor['data_type']} here")
    # onnxruntime shows neither a scalar's shape nor an unknown one; only the run can tell.
    if not found.shape:
        return
    shape = [dim if isinstance(dim, int) else -1 for dim in found.shape]
    if batches and shape[0] != -1:
        raise pb.TritonModelException(f"{name}: max_batch_size has to be 0, the model's batch size is fixed: {shape}")
    dims = [int(dim) for dim in tensor.get("reshape", tensor).get("shape", tensor["dims"])]
    wanted = [-1, *dims] if batches else dims
    if len(shape) != len(wanted) or any(own not in (-1, dim) for own, dim in zip(shape, wanted, strict=True)):
        raise pb.TritonModelException(f"{name}: {shape} in the model, {wanted} here")
