"""Every parser of hcopt that reads what others may have written, as one function of bytes: for properties and fuzzing.

Each writes the bytes where its parser looks for them, and does with the result what hcopt does first. What it raises
beside `HcoptError` is a fault of hcopt's. Model Analyzer's table and Triton's metrics have no parser here: hcopt reads
the reports of perf_analyzer that stand behind the table, and of the metrics only whether there are any.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random

from hcopt.config import dotenv, load
from hcopt.deploy import load_trace, scaling
from hcopt.errors import HcoptError
from hcopt.measure.model_analyzer import report
from hcopt.model import fetch
from hcopt.model.base_config import base_configuration
from hcopt.model.inputs import build
from hcopt.model.onnx_file import inspect_onnx
from hcopt.model.triton_config import parse_text, to_json, to_text, variant_of
from hcopt.records.measurement import LoadPoint
from hcopt.store import measurements, run_folder
from hcopt.store.decisions import DECISIONS_NAME, read_decisions
from tests.support.fakes import export_text, steady
from tests.support.onnx_models import linear_model, save_with_external_data
from tests.support.planned_run import planned_record
from tests.support.records import config_pbtxt, default_variant, model_artifact
from tests.support.search_records import searched_record

DATA = Path(__file__).parents[1] / "data"
REPOSITORY = Path(__file__).parents[2]
Parser = Callable[[bytes, Path], None]


def _config_yaml(content: bytes, folder: Path) -> None:
    file = folder / "config.yaml"
    file.write_bytes(content)
    loaded = load.load_config(file, environment={})
    json.dumps(loaded.model_dump(mode="json"), allow_nan=False)


def _set(content: bytes, _folder: Path) -> None:
    load.load_config(recorded={}, overrides=[content.decode(errors="surrogateescape")], environment={})


def _dotenv(content: bytes, folder: Path) -> None:
    file = folder / ".env"
    file.write_bytes(content)
    dotenv.read_dotenv(file)


def _config_pbtxt(content: bytes, folder: Path) -> None:
    with suppress(UnicodeDecodeError):
        text = content.decode()
        to_text(parse_text(text))
        found = base_configuration(model_artifact(config_pbtxt=text), batchable=True).config
        variant_of(found, "m_config_default")
        to_json(found)
        build.build_load(model_artifact(), found, input_shapes={})


def _export(content: bytes, folder: Path) -> None:
    file = folder / "export.json"
    file.write_bytes(content)
    samples = measurements.read_export(file, warm_up_ratio=0.1)
    found = measurements.figures(samples, client_batch_size=1, latency_limit_ms=1.0)
    assert math.isfinite(found.throughput_infer_per_s)
    assert math.isfinite(found.latency.p99_ms)


def _report(content: bytes, folder: Path) -> None:
    file = folder / "report.csv"
    file.write_bytes(content)
    row = report.read_report(file)
    if row is not None:
        report.measured_point(default_variant(), LoadPoint(concurrency=2), "2026-11-24T00:00:00Z", row, None)


def _measurements(content: bytes, folder: Path) -> None:
    (folder / measurements.FILE_NAME).write_bytes(content)
    measurements.cut_torn_line(folder)
    for found in measurements.read_measurements(folder):
        # What was read can be written.
        measurements.append_measurement(folder, found)


def _decisions(content: bytes, folder: Path) -> None:
    (folder / DECISIONS_NAME).write_bytes(content)
    read_decisions(folder)


def _run_json(content: bytes, folder: Path) -> None:
    run = run_folder.RunFolder(results=folder, run_id="run")
    run.path.mkdir(parents=True, exist_ok=True)
    (run.path / "run.json").write_bytes(content)
    (run.path / measurements.FILE_NAME).write_bytes(b"")
    record = run_folder.read_record(run)
    json.dumps(run_folder.record_json(record), allow_nan=False)


def _trace(content: bytes, folder: Path) -> None:
    file = folder / "trace.csv"
    file.write_bytes(content)
    found = load_trace.read_trace(file)
    assert math.isfinite(found.rate_at(found.duration_s / 2))


def _scaling(content: bytes, folder: Path) -> None:
    (folder / scaling.FILE_NAME).write_bytes(content)
    scaling.read_scaling(folder)


def _mlmodel(content: bytes, folder: Path) -> None:
    (folder / "MLmodel").write_bytes(content)
    (folder / "model.onnx").touch()
    fetch._find_input_example(folder / "model.onnx")
    fetch._find_by_mlmodel(folder, "models:/m@prod")


def _example(name: str) -> Parser:
    def parse(content: bytes, folder: Path) -> None:
        file = folder / name
        file.write_bytes(content)
        artifact = model_artifact()
        base = base_configuration(artifact, batchable=True).config
        build.build_load(artifact, base, input_shapes={}, input_example=str(file))

    return parse


def _onnx(content: bytes, folder: Path) -> None:
    file = folder / "model.onnx"
    file.write_bytes(content)
    inspect_onnx(file)


def _valid_run() -> list[bytes]:
    records = (planned_record(), searched_record())
    states = ({"run_id": "run", "state": "finished", "record": run_folder.record_json(one)} for one in records)
    return [json.dumps(state).encode() for state in states]


def _lines_of(write: Callable[[Path], None], name: str, scratch: Path) -> bytes:
    scratch.mkdir()
    write(scratch)
    return (scratch / name).read_bytes()


def _valid_measurements(scratch: Path) -> bytes:
    def write(folder: Path) -> None:
        for one in planned_record().measurements[:8]:
            measurements.append_measurement(folder, one)

    return _lines_of(write, measurements.FILE_NAME, scratch / "measurements")


def _valid_decisions(scratch: Path) -> bytes:
    from hcopt.store.decisions import append_decision

    def write(folder: Path) -> None:
        for one in searched_record().decisions[:8]:
            append_decision(folder, one)

    return _lines_of(write, DECISIONS_NAME, scratch / "decisions")


def _valid_npz(scratch: Path) -> bytes:
    import numpy as np

    def write(folder: Path) -> None:
        np.savez_compressed(folder / "x.npz", input=np.zeros((2, 10), np.float32))

    return _lines_of(write, "x.npz", scratch / "npz")


PARSERS: Mapping[str, Parser] = {
    "config.yaml": _config_yaml,
    "set": _set,
    "dotenv": _dotenv,
    "config.pbtxt": _config_pbtxt,
    "export": _export,
    "report": _report,
    "measurements": _measurements,
    "decisions": _decisions,
    "run.json": _run_json,
    "trace": _trace,
    "scaling": _scaling,
    "mlmodel": _mlmodel,
    "example.json": _example("example.json"),
    "example.npz": _example("example.npz"),
    "onnx": _onnx,
}


def valid_files(scratch: Path) -> dict[str, list[bytes]]:
    """For each parser what it takes, to begin from; `scratch` is an empty folder."""
    external = save_with_external_data(scratch / "onnx")
    scaled = {"servers": 2, "cpus_per_server": 1, "block_count": 3, "ratio": 0.98, "ci_low": 0.9, "ci_high": 1.05}
    example = {"columns": [f"c{i}" for i in range(10)], "data": [[i / 7 for i in range(10)]] * 2}
    return {
        "config.yaml": [(REPOSITORY / "config.yaml").read_bytes(), b"a: &a [1]\nsweep: {concurrency: *a}\n"],
        "set": [b"sweep.concurrency=[8,16]", b"report.language=en"],
        "dotenv": [(REPOSITORY / ".env.example").read_bytes(), b"AWS_PROFILE='a b'\nMLFLOW_TRACKING_URI=http://x\n"],
        "config.pbtxt": [
            config_pbtxt(default_variant()).encode(),
            b'max_batch_size: 0 input { name: "input" data_type: TYPE_FP32 dims: [-1, 10] } parameters: '
            b'{ key: "k" value: { string_value: "v" } } model_warmup { batch_size: 1 }',
        ],
        "export": [export_text(steady(40), unanswered=[3]).encode()],
        "report": [file.read_bytes() for file in sorted((DATA / "model_analyzer_1.58.0" / "captures").glob("*.csv"))],
        "measurements": [_valid_measurements(scratch)],
        "decisions": [_valid_decisions(scratch)],
        "run.json": _valid_run(),
        "trace": [b"t_s,infer_per_s\n0,10\n60,20.5\n"],
        "scaling": [json.dumps(scaled).encode()],
        "mlmodel": [(DATA / "mlflow_2.22.1" / "model" / "MLmodel").read_bytes()],
        "example.json": [
            json.dumps(example).encode(),
            b'{"inputs": {"input": [[0,1,2,3,4,5,6,7,8,9]]}}',
            b'{"inputs": [{"name": "input", "shape": [1, 10], "datatype": "FP32", "data": [0,1,2,3,4,5,6,7,8,9]}]}',
            b'{"data": [{"input": {"content": [0,1,2,3,4,5,6,7,8,9], "shape": [10]}}, '
            b'{"input": {"b64": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="}}]}',
        ],
        "example.npz": [_valid_npz(scratch)],
        "onnx": [linear_model().SerializeToString(), external.read_bytes()],
    }


def parse(name: str, content: bytes, folder: Path) -> None:
    """Parses; the project's own errors, which name what is wrong, are an answer too."""
    with suppress(HcoptError):
        PARSERS[name](content, folder)


# What breaks numbers, texts and structures.
SPLICES = (
    *(b"NaN", b"Infinity", b"-1", b"1e999", b"1e-999", b"99999999999999999999999", b"0", b"null", b"true", b"\x00"),
    *(b"{}", b"[]", b"[" * 300, b'{"a":' * 300, b"'", b'"', b"\n", b"\r", b"\xff", b"\xed\xa0\x80", b"%s{0}", b"../"),
    *(b"&a ", b"*a", b"!!int ''", b"!!timestamp x", b"0x", b"1:60", b"\xe2\x80\xa8", b"\xc2\xb2", b",", b": "),
)


def altered(content: bytes, random: Random) -> bytes:
    """The content with a few places cut out, doubled, or overwritten."""
    for _ in range(random.randint(1, 4)):
        start = random.randint(0, len(content))
        end = min(len(content), start + random.choice((0, 0, 1, 1, 2, 5, 20, 200)))
        noise = bytes(random.randint(0, 255) for _ in range(random.randint(0, 4)))
        new = random.choice((random.choice(SPLICES), noise, content[start:end] * 2))
        content = content[:start] + new + content[end:]
    return content
