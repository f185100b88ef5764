"""Bad input through the installed command: one message that names the thing and what to do, the right exit code, and
nothing half-written. What is no bad input, odd but fine paths, is here too.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import onnx_models as models
from tests.support.command import REPOSITORY, SAMPLE_FOLDER, TINY, Answer, Workplace, workplace
from tests.support.disks import mounted
from tests.support.services import S3Server, free_ports

SECRET = "not-the-right-one"
SAMPLE = f"--model={SAMPLE_FOLDER}"


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def named(name: str) -> Callable[[Path], object]:
    return lambda folder: models.save(models.linear_model(), folder, name)


def escaping(folder: Path) -> None:
    (folder / "secret").write_bytes(bytes(40))
    models.save_with_external_data(folder / "model", "../secret", write_data=False)


def sparse(name: str, size_bytes: int) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        models.save(models.linear_model(), folder / "model")
        with (folder / "model" / name).open("wb") as file:
            file.truncate(size_bytes)

    return write


def beside_model(name: str, content: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        models.save(models.linear_model(), folder / "model")
        (folder / "model" / name).write_text(content, encoding="utf-8")

    return write


def linked_out(folder: Path) -> None:
    models.save(models.linear_model(), folder / "elsewhere")
    (folder / "model").mkdir()
    (folder / "model" / "model.onnx").symlink_to(folder / "elsewhere" / "model.onnx")


def huge_row(folder: Path) -> None:
    models.save(models.identity_model(shape=(-1, 2**40)), folder / "model")


def bad_row(folder: Path) -> None:
    """Of 600 rows one asks for an entry that the table of eight does not have."""
    models.save(models.embedding_model(), folder)
    rows = [[row % 8, 0, 7] for row in range(600)]
    rows[500] = [1, 8, 2]
    (folder / "rows.json").write_text(json.dumps({"ids": rows}), encoding="utf-8")


LAUGHS = "a0: &a0 [x,x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1},*a{n - 1}]\n" for n in range(1, 60))


def unknown_operator(folder: Path) -> None:
    models.save(models.unregistered_operator_model(), folder)


def nothing(folder: Path) -> None:
    """There is nothing but the folder."""


@dataclass(frozen=True)
class Case:
    """Arguments of `hcopt profile`; `CLOSED`, `S3` and `BUCKET` in them stand for what this session has."""

    arguments: tuple[str, ...]
    exit_code: int
    said: tuple[str, ...]
    files: Callable[[Path], object] = nothing


CASES = {
    "configuration: no such file": Case(("--config=nope.yaml",), 2, ("nope.yaml", "No such file", "Give --config")),
    "configuration: not YAML": Case(
        ("--config=c.yaml",), 2, ("c.yaml is not YAML", "line 2"), text("c.yaml", "sweep: [1\n")
    ),
    "configuration: unknown key": Case(
        ("-c", "c.yaml"),
        2,
        ("c.yaml, line 3: sweep.concurency: unknown key", "comments every key"),
        text("c.yaml", "\nsweep:\n  concurency: [8]\n"),
    ),
    "configuration: unknown key in the usual file": Case(
        (), 2, ("config.yaml, line 1: sweeep: unknown key",), text("config.yaml", "sweeep: 1\n")
    ),
    "configuration: wrong type": Case(
        ("--config=c.yaml",),
        2,
        ("c.yaml, line 2: sweep.concurrency: expected a list, such as [1, 2]",),
        text("c.yaml", "sweep:\n  concurrency: 8\n"),
    ),
    "configuration: wrong type in --set": Case(
        ("--set=sweep.concurrency=[many]",), 2, ("--set: sweep.concurrency.0: ", "valid integer")
    ),
    "configuration: no key in --set": Case(
        ("--set=concurrency",), 2, ("--set concurrency: expected section.key=value, e.g.",)
    ),
    "configuration: unknown runtime": Case(("--runtime=podman",), 2, ("runtime.kind", "'embedded'")),
    "configuration: unknown profiler": Case(("--profiler=genai",), 2, ("profiler.kind", "'model-analyzer'")),
    "configuration: budget for a whole grid": Case(
        (SAMPLE, "--max-minutes=1"), 2, ("profiler.max_minutes is a budget for", "--profiler adaptive")
    ),
    "configuration: memory of a server that is not this machine's": Case(
        (SAMPLE, "--endpoint=grpc://127.0.0.1:9", "--set=constraints.memory_mb=300"),
        2,
        ("constraints.memory_mb cannot be checked on a remote server", "--runtime embedded or docker"),
    ),
    "configuration: no points": Case(
        (SAMPLE, "--set=sweep.concurrency=[]"),
        2,
        ("sweep.concurrency is empty: the sweep has no points", "at least one"),
    ),
    "configuration: no points by a parameter": Case(
        (SAMPLE, "--set=sweep.parameters={intra_op_thread_count: []}"),
        2,
        ("intra_op_thread_count is empty", "no points"),
    ),
    "name: Model Analyzer cannot parse it": Case(
        ("--model=a_config_b.onnx",), 2, ("'a_config_b'", "as model.name"), named("a_config_b.onnx")
    ),
    "name: with a space": Case(("--model=a model.onnx",), 2, ("'a model'", "as model.name"), named("a model.onnx")),
    "name: leaves the folder": Case((SAMPLE, "--set=model.name=../x"), 2, ("'../x'", "as model.name")),
    "name: the parent": Case((SAMPLE, "--set=model.name='..'"), 2, ("'..'", "as model.name")),
    "model: none of that name": Case(
        ("--model=models:/Nope@prod",), 3, ("there is no MLflow database", "mlflow.tracking_uri")
    ),
    "model: none of that alias": Case(
        ("--model=models:/HomeCreditDefaultModel@nope",), 3, ("has no alias 'nope'; it has: prod", "Set the alias")
    ),
    "model: no such file": Case(("--model=nope.onnx",), 3, ("there is no model nope.onnx", "a local folder or file")),
    "model: no such scheme": Case(("--model=ftp://x/model.onnx",), 3, ("'ftp://x/model.onnx'", "s3://bucket")),
    "model: unreachable MLflow": Case(
        ("--set=mlflow.tracking_uri=http://127.0.0.1:CLOSED",),
        3,
        ("cannot reach MLflow at http://127.0.0.1:CLOSED", "MLFLOW_TRACKING_URI"),
    ),
    "model: unreachable S3": Case(
        ("--model=s3://BUCKET/model", "--set=s3.endpoint_url=http://127.0.0.1:CLOSED"),
        3,
        ("s3://BUCKET", "http://127.0.0.1:CLOSED", "correct s3.endpoint_url"),
    ),
    "model: wrong S3 credentials": Case(
        ("--model=s3://BUCKET/model", "--set=s3.endpoint_url=S3"),
        3,
        ("s3://BUCKET", "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
    ),
    "model: not ONNX": Case(
        ("--model=text.onnx",), 3, ("text.onnx is not an ONNX model", "export"), text("text.onnx", "hello\n")
    ),
    "model: an operator that the runtime lacks": Case(("--model=model.onnx",), 3, ("Frobnicate",), unknown_operator),
    "configuration: aliases that explode": Case(
        ("--config=c.yaml",), 2, ("c.yaml has", "aliases", "comments every key"), text("c.yaml", LAUGHS)
    ),
    "configuration: of megabytes": Case(
        ("--config=c.yaml",), 2, ("more than 262144 bytes", "comments every key"), text("c.yaml", "#" * 2**21)
    ),
    "configuration: a secret": Case(
        ("--config=c.yaml",),
        2,
        ("c.yaml, line 1: s3.secret_key: unknown key", "comments every key"),
        text("c.yaml", f"s3: {{secret_key: {SECRET}}}"),
    ),
    "name: with markup": Case(
        (SAMPLE, "--set=model.name='$(touch x)<script>{0}%s'"), 2, ("'$(touch x)<script>{0}%s'", "as model.name")
    ),
    "model: a link out of its folder": Case(
        ("--model=model",), 3, ("link model.onnx leads out of the model's folder", "cp -L"), linked_out
    ),
    "model: more than 2 GiB": Case(
        ("--model=model",), 3, ("less than 2 GiB", "as external data"), sparse("model.onnx", 2**31)
    ),
    "model: a row of terabytes": Case(("--model=model",), 3, ("one row of the inputs has", "smaller"), huge_row),
    "model: a config.pbtxt of 100 MB": Case(
        ("--model=model",), 3, ("config.pbtxt has 104857600 bytes", "right file"), sparse("config.pbtxt", 100 * 2**20)
    ),
    "model: a config.pbtxt that brings code": Case(
        ("--model=model",),
        3,
        ("EXECUTION_ENV_PATH", "makes Triton use other files", "Give a config.pbtxt"),
        beside_model("config.pbtxt", 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/x.tar.gz" } }'),
    ),
    "model: an MLmodel of aliases that explode": Case(
        ("--model=model",),
        3,
        ("names the ONNX file by a list", "Log the model again"),
        beside_model("MLmodel", f"{LAUGHS}flavors: {{onnx: {{data: *a59}}}}\n"),
    ),
    "rows: one that the model does not take": Case(
        ("--model=model.onnx", "--set=model.input_example=rows.json"),
        3,
        ("row 500 (counted from 0) of its 600 input rows", "idx=8 must be within", "leave it out"),
        bad_row,
    ),
    "rows: one of another length": Case(
        (SAMPLE, "--set=model.input_example=rows.json"),
        3,
        ("rows.json does not fit the input", "found [2], in row 1 (counted from 0)", "`none`"),
        text("rows.json", json.dumps([[0.5] * 10, [0.5] * 2])),
    ),
    "model: weights from outside its folder": Case(("--model=model",), 3, ("../secret",), escaping),
}


@pytest.fixture(scope="module")
def answers(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Case, Answer, Workplace]]:
    """All of them, two at a time."""
    values = {"CLOSED": str(free_ports(1)[0]), "S3": s3_server.endpoint_url, "BUCKET": s3_server.bucket}

    def filled(template: str) -> str:
        for name, value in values.items():
            template = template.replace(name, value)
        return template

    def answered(case: Case) -> tuple[Case, Answer, Workplace]:
        place = workplace(
            tmp_path_factory.mktemp("bad"), AWS_ACCESS_KEY_ID=s3_server.access_key, AWS_SECRET_ACCESS_KEY=SECRET
        )
        case.files(place.folder)
        before = outside(place)
        there = Case(tuple(map(filled, case.arguments)), case.exit_code, tuple(map(filled, case.said)))
        answer = place.answer("profile", *there.arguments)
        assert outside(place) == before
        return there, answer, place

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(CASES, pool.map(answered, CASES.values()), strict=True))


def outside(place: Workplace) -> dict[Path, int]:
    """What there is beside the results, with its size."""
    files = [path for path in place.folder.rglob("*") if not path.is_relative_to(place.results)]
    return {path: path.lstat().st_size for path in files}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_told_plainly_and_leaves_nothing(
    answers: dict[str, tuple[Case, Answer, Workplace]], name: str
) -> None:
    case, answer, place = answers[name]
    assert answer.returncode == case.exit_code, answer.stderr
    assert_plain(answer, *case.said)
    assert place.runs == []
    assert {path.name for path in place.results.glob("*")} <= {"mlflow", "runs"}
    assert answer.left == ()


def assert_plain(answer: Answer, *said: str) -> None:
    """One error, no traceback, no secret."""
    assert "Traceback" not in answer.stderr
    assert answer.stderr.count("error: ") == 1
    for part in said:
        assert part in answer.stderr
    assert SECRET not in answer.stderr
    assert answer.stdout == ""


def test_traceback_keeps_secrets_too(tmp_path: Path) -> None:
    place = workplace(tmp_path, MLFLOW_TRACKING_TOKEN="planted-token")
    address = f"http://me:planted-password@127.0.0.1:{free_ports(1)[0]}"
    answer = place.answer("profile", "--debug", f"--set=mlflow.tracking_uri={address}", "--set=model.uri=models:/M@a")
    assert answer.returncode == 3, answer.stderr
    assert "Traceback" in answer.stderr
    assert "planted" not in answer.stderr


def test_unknown_option_is_refused_with_what_there_is(tmp_path: Path) -> None:
    answer = workplace(tmp_path).run("profile", "--modle=x")
    assert answer.returncode == 2
    assert "--modle" in answer.stderr
    assert "--model" in answer.stderr.replace("--modle", "")


# --- the output folder -----------------------------------------------------------------------------------------------


def test_output_below_a_regular_file_is_refused(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    (place.folder / "file").touch()
    answer = place.answer("profile", SAMPLE, "--output=file/results")
    assert answer.returncode == 7
    assert_plain(answer, "cannot write to file/results", "--output")
    assert answer.left == ()


def test_read_only_output_is_refused(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    with mounted(place.results, "ro,size=64k"):
        answer = place.answer("profile", SAMPLE)
        assert list(place.results.iterdir()) == []
    assert answer.returncode == 7
    assert_plain(answer, "cannot write to results: Read-only file system", "--output")


def test_full_output_is_refused(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    with mounted(place.results, "size=64k"):
        answer = place.answer("profile", SAMPLE)
        assert list(place.results.iterdir()) == []
    assert answer.returncode == 7
    assert_plain(answer, "cannot write to results: No space left on device", "--output")


def test_output_that_fills_up_is_an_error_of_the_output(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    # The first check passes, what follows does not fit: a model of 3 MB beside what the check took.
    models.save(models.linear_model(features=1000, outputs=800), place.folder)
    with mounted(place.results, "size=2500k"):
        answer = place.run("profile", *TINY, "--model=model.onnx")
        assert place.runs == []
    assert answer.returncode == 7, answer.stderr
    assert_plain(answer, "No space left on device", "--output")
    assert answer.left == ()


# --- odd, but fine ---------------------------------------------------------------------------------------------------


def test_config_of_the_repository_can_be_given_from_anywhere(tmp_path: Path) -> None:
    answer = workplace(tmp_path).answer("profile", f"--config={REPOSITORY / 'config.yaml'}", SAMPLE, "--dry-run")
    assert answer.returncode == 0, answer.stderr
