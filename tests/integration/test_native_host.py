"""The native backend with a stand-in for Triton, which lets each call fail and gives it what no client can send.

The stand-in and the backend are one program, compiled with sanitizers: whatever they find ends a scene with an error.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnx
import pytest

from scripts import build_backend
from tests.support import onnx_models as models
from tests.support.native_backend import installed_onnxruntime

HOST = Path(__file__).parents[1] / "support" / "native_host"
SANITIZERS = {"memory": ("-fsanitize=address,undefined",), "threads": ("-fsanitize=thread",)}
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1",
    # ONNX Runtime is not compiled for it: what its own threads do looks like a race.
    "TSAN_OPTIONS": "halt_on_error=1:ignore_noninstrumented_modules=1",
}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The program, once for each kind of sanitizer; all sources at the same time."""
    folder = tmp_path_factory.mktemp("hosts")
    sources = [HOST / "host.cc", HOST / "server.cc", *build_backend.SOURCES]
    with ThreadPoolExecutor() as pool:
        built = {kind: [pool.submit(compiled, folder, kind, source) for source in sources] for kind in SANITIZERS}
    hosts = {}
    for kind, objects in built.items():
        hosts[kind] = folder / f"host_{kind}"
        files = [made.result() for made in objects]
        run("g++", *SANITIZERS[kind], *files, "-o", hosts[kind], "-ldl", "-lpthread")
    return hosts


def compiled(folder: Path, kind: str, source: Path) -> Path:
    made = folder / f"{source.stem}_{kind}.o"
    # Optimized code is no quicker here: it takes longer to compile than to run.
    flags = ("-g1", "-O0", "-fno-sanitize-recover=all", *SANITIZERS[kind], f"-I{build_backend.FOLDER}")
    run("g++", *build_backend.STANDARD, *flags, "-c", source, "-o", made)
    return made


def run(*command: str | Path) -> str:
    finished = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, **ENVIRONMENT},
    )
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-6000:]
    return finished.stdout


def tensor(name: str, datatype: str, *dims: int, **more: Any) -> dict[str, Any]:
    """As Triton writes it: whole numbers of 64 bits may be strings."""
    return {"name": name, "data_type": f"TYPE_{datatype}", "dims": [str(dim) for dim in dims], **more}


def settings() -> dict[str, Any]:
    """Every setting that the backend gives to ONNX Runtime."""
    parameters = {
        "intra_op_thread_count": "2",
        "inter_op_thread_count": "2",
        "execution_mode": "1",
        "enable_mem_arena": "0",
        "enable_mem_pattern": "0",
        "memory.enable_memory_arena_shrinkage": "cpu:0",
        "session.intra_op.allow_spinning": "0",
    }
    return {"parameters": {key: {"string_value": value} for key, value in parameters.items()}}


def threads(count: int) -> dict[str, Any]:
    return {"parameters": {"intra_op_thread_count": {"string_value": str(count)}}}


def openvino(**parameters: str) -> dict[str, Any]:
    accelerator = {"name": "openvino", "parameters": parameters}
    return {"optimization": {"execution_accelerators": {"cpu_execution_accelerator": [accelerator]}}}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of the scenes, each with its configuration as Triton tells it."""
    folder = tmp_path_factory.mktemp("models")
    two_inputs = {
        "input": [tensor("values", "FP32", 3), tensor("ids", "INT64", 2)],
        "output": [tensor("scaled", "FP32", 3), tensor("next_ids", "INT64", 2)],
    }
    identity = {"input": [tensor("input", "FP32", 4)], "output": [tensor("output", "FP32", 4)]}
    weighted = [tensor("input", "FP32", 1, 2), tensor("weight", "FP32", 2, 1, optional=True)]
    known: dict[str, tuple[onnx.ModelProto, dict[str, Any]]] = {
        "two_inputs": (models.two_inputs_model(), two_inputs),
        "identity": (models.identity_model(), identity),
        "settings": (models.identity_model(), {**identity, **settings()}),
        "openvino": (models.identity_model(), {**identity, **openvino()}),
        "openvino_bf16": (models.identity_model(), {**identity, **threads(3), **openvino(precision="BF16")}),
        "strings": (
            models.identity_model("BYTES", (-1, -1)),
            {"input": [tensor("input", "STRING", -1)], "output": [tensor("output", "STRING", -1)]},
        ),
        "embedding": (
            models.embedding_model(),
            {"input": [tensor("ids", "INT64", -1)], "output": [tensor("vectors", "FP32", -1, 2)]},
        ),
        "optional": (
            models.linear_model(features=2, initializer_is_input=True),
            {"input": weighted, "output": [tensor("output", "FP32", -1, 1)], "max_batch_size": 0},
        ),
    }
    for name, (proto, config) in known.items():
        models.save(proto, folder / name / "1")
        (folder / name / "config.json").write_text(json.dumps({"name": name, "max_batch_size": 8, **config}))
    return folder


@pytest.mark.parametrize(
    "scene",
    [
        "each_call_fails",
        "inputs_lie_anywhere",
        "memory_of_gpus_is_refused",
        "bad_requests_are_answered_by_themselves",
        "bad_strings_are_answered_by_themselves",
        "different_shapes_share_a_batch",
        "optional_inputs_may_be_missing",
        "server_that_does_not_fit_is_refused",
        "openvino_is_told_its_precision_and_threads",
        "models_come_and_go",
        "models_outlive_the_backend",
    ],
)
def test_scene_of_the_stand_in(hosts: dict[str, Path], model_folder: Path, scene: str) -> None:
    run(hosts["memory"], scene, installed_onnxruntime(), model_folder)


def test_models_come_and_go_without_a_race(hosts: dict[str, Path], model_folder: Path) -> None:
    run(hosts["threads"], "models_come_and_go", installed_onnxruntime(), model_folder)


def test_each_function_of_onnxruntime_may_fail(hosts: dict[str, Path], model_folder: Path) -> None:
    header = (build_backend.FOLDER / "onnxruntime_interface.h").read_text()
    # What frees a name is called with the name in hand; plugins are for those who have one.
    places = [place for place in re.findall(r"Checked<(\d+),", header) if place != "76" and int(place) < 300]
    assert len(places) > 30
    run(hosts["memory"], "each_function_of_onnxruntime_fails", installed_onnxruntime(), model_folder, *places)


def test_onnxruntime_that_is_too_old_is_refused(hosts: dict[str, Path], model_folder: Path, tmp_path: Path) -> None:
    library = tmp_path / "libonnxruntime.so.1.19.2"
    run("g++", "-std=c++17", "-fPIC", "-shared", HOST / "old_onnxruntime.cc", "-o", library)
    said = "ONNX Runtime 1.19.2 is too old: at least 1.20 is needed"
    run(hosts["memory"], "library_is_refused", library, model_folder, said)


TEXTS = [
    "null",
    " [ ] ",
    '{"a":{"b":[1,-2.5e+3,0,true,false,null,"x"]},"a b":""}',
    '"\\u00e9\\ud55c\\ud83d\\ude00 \\"\\\\\\/\\b\\f\\n\\r\\t é한😀"',
    "123456789012345678901234567890",
    "-0.0E-0",
    "[" * 60 + "]" * 60,
]
NOT_JSON = [
    "",
    " ",
    "nul",
    "truefalse",
    "01",
    "-",
    "1.",
    ".5",
    "+1",
    "1e",
    "[1,]",
    "[1 2]",
    "{,}",
    '{"a"}',
    '{"a":}',
    "{a:1}",
    "[",
    '{"a":1',
    '"open',
    '"\\x"',
    '"\\u12"',
    '"\\u12g4"',
    '"\\ud83d"',
    '"\\ud83dx"',
    '"\\ud83d\\u0041"',
    '"\\ude00"',
    '"line\nbreak"',
    '"\\',
    "[1]]",
    "\0",
    "[1,\0]",
    "[" * 100 + "]" * 100,
]


def test_json_is_read_as_python_reads_it(hosts: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "texts"
    file.write_text("".join(text.encode().hex() + "\n" for text in [*TEXTS, *NOT_JSON]))
    lines = run(hosts["memory"], "json_is_read", "", "", file).splitlines()
    for text, line in zip(TEXTS, lines, strict=False):
        assert json.loads(line.replace("\\x", "\\u00")) == reencoded(json.loads(text)), text
    for text, line in zip(NOT_JSON, lines[len(TEXTS) :], strict=True):
        assert line.startswith("refused: no JSON at byte "), text


def reencoded(value: Any) -> Any:
    """With each string's bytes as characters."""
    if isinstance(value, str):
        return value.encode().decode("latin-1")
    if isinstance(value, list):
        return [reencoded(one) for one in value]
    if isinstance(value, dict):
        return {reencoded(key): reencoded(one) for key, one in value.items()}
    return value


@pytest.mark.parametrize("seed", [1, 2])
def test_json_reader_survives_mutations(hosts: dict[str, Path], model_folder: Path, seed: int) -> None:
    config = model_folder / "two_inputs" / "config.json"
    run(hosts["memory"], "json_is_fuzzed", "", "", config, str(seed), "50000")
