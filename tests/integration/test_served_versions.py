"""By digest: no command measures or delivers another version than the one that the repository's own policy serves."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient

from hcopt.config.sections import Config
from hcopt.errors import ModelSourceError
from hcopt.model.base_config import base_configuration
from hcopt.model.fetch import fetch_model
from hcopt.model.onnx_file import sha256_of
from hcopt.model.repository import write_repository
from hcopt.model.triton_config import parse_text, with_warm_up
from hcopt.records.model import ModelArtifact
from hcopt.services.mlflow import mlflow_session
from hcopt.tracking.registry import ensure_experiment
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.runtime import EmbeddedRuntime
from tests.support.command import ADAPTIVE, TINY, Workplace, workplace
from tests.support.onnx_models import linear_model, save
from tests.support.services import S3Server
from tests.support.stores import with_store

POLICIES = {
    "": "2",
    "version_policy { specific { versions: [1] } }": "1",
    "version_policy { specific { versions: [2] } }": "2",
}
NONE_OR_SEVERAL = ["version_policy { specific { versions: [3] } }", "version_policy { all { } }"]


def model_of(folder: Path, policy: str, versions: tuple[str, ...] = ("1", "2")) -> dict[str, str]:
    """A model with several versions; gives their SHA-256."""
    for number, version in enumerate(versions):
        save(linear_model(outputs=number + 1), folder / version)
    text = f'platform: "onnxruntime_onnx"\nmax_batch_size: 16\ndynamic_batching {{}}\n{policy}\n'
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    return {version: digest(folder, version) for version in versions}


def digest(model: Path, version: str) -> str:
    return sha256_of(model / version, ("model.onnx",))


@pytest.fixture(autouse=True)
def s3_credentials(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**s3_server.environment, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)


def uris(folder: Path, s3_server: S3Server, tracking_uri: str) -> list[str]:
    """The model in a folder, under an S3 prefix, as a run's artifact and as a registered version."""
    with mlflow_session(tracking_uri, error=ModelSourceError, writes=True) as client:
        run = client.create_run(ensure_experiment(client, tracking_uri, "versions"))
        client.log_artifacts(run.info.run_id, str(folder), "repository")
        name = f"Versions-{run.info.run_id}"
        client.create_registered_model(name)
        source = f"{run.info.artifact_uri}/repository"
        version = client.create_model_version(name, source, run_id=run.info.run_id).version
    prefix = s3_server.upload(folder, f"versions/{run.info.run_id}/Scorer")
    return [str(folder), prefix, f"runs:/{run.info.run_id}/repository", f"models:/{name}/{version}"]


def fetched(uri: str, into: Path, tracking_uri: str) -> ModelArtifact:
    s3 = {"endpoint_url": os.environ["MLFLOW_S3_ENDPOINT_URL"]}
    config = Config.model_validate({"model": {"uri": uri, "name": "Scorer"}, "s3": s3})
    return fetch_model(config, into=into, tracking_uri=tracking_uri)


@pytest.mark.parametrize(("policy", "version"), POLICIES.items(), ids=["no policy", "specific 1", "specific 2"])
def test_every_source_gives_the_version_that_is_served(
    tmp_path: Path, s3_server: S3Server, mlflow_server: str, policy: str, version: str
) -> None:
    digests = model_of(tmp_path / "Scorer", policy)
    for uri in uris(tmp_path / "Scorer", s3_server, mlflow_server):
        artifact = fetched(uri, tmp_path / "into", mlflow_server)
        assert (artifact.sha256, artifact.version_folder) == (digests[version], version), uri


@pytest.mark.parametrize("policy", NONE_OR_SEVERAL)
def test_no_source_gives_a_version_where_none_or_several_are_served(
    tmp_path: Path, s3_server: S3Server, mlflow_server: str, policy: str
) -> None:
    model_of(tmp_path / "Scorer", policy)
    for uri in uris(tmp_path / "Scorer", s3_server, mlflow_server):
        with pytest.raises(ModelSourceError, match="version_policy"):
            fetched(uri, tmp_path / "into", mlflow_server)
        assert not (tmp_path / "into" / "Scorer").exists()


WARMED = """platform: "onnxruntime_onnx"
max_batch_size: 8
output { name: "output" data_type: TYPE_FP32 dims: [1] label_filename: "labels.txt" }
dynamic_batching {}
model_warmup {
  name: "w" batch_size: 8
  inputs { key: "input" value { data_type: TYPE_FP32 dims: [10] input_data_file: "x.bin" } }
}
"""


def test_every_source_brings_what_the_configuration_names_and_a_plain_triton_loads_it(
    tmp_path: Path, s3_server: S3Server, mlflow_server: str
) -> None:
    folder = tmp_path / "Scorer"
    save(linear_model(), folder / "1")
    (folder / "config.pbtxt").write_text(WARMED, encoding="utf-8")
    (folder / "labels.txt").write_text("default\n", encoding="utf-8")
    (folder / "warmup").mkdir()
    (folder / "warmup" / "x.bin").write_bytes(bytes(8 * 10 * 4))
    sources = uris(folder, s3_server, mlflow_server)
    # A version's folder, or its file, with the configuration one folder up.
    sources += [f"{uri}/1{file}" for uri in sources[:3] for file in ("", "/model.onnx")]
    for uri in sources:
        artifact = fetched(uri, tmp_path / "into", mlflow_server)
        golden = tmp_path / "golden"
        for most in (8, 4):
            config = base_configuration(artifact, batchable=True)
            config.config.max_batch_size = most
            write_repository(golden, artifact, with_warm_up(config.config, config.warm_up))
            found = sorted(path.relative_to(golden).as_posix() for path in golden.rglob("*") if path.is_file())
            wanted = ("1/model.onnx", "config.pbtxt", "labels.txt", "warmup/x.bin")
            assert found == [f"Scorer/{name}" for name in wanted], uri
    assert served_versions(golden, tmp_path / "served") == ["1"]


def served_versions(golden: Path, folder: Path) -> list[str]:
    """Of a server on the delivered repository as it is."""
    folder.mkdir()
    with EmbeddedRuntime().serve(golden, folder) as server, ModelControl(server.endpoint) as control:
        control.load("Scorer")
        with closing(InferenceServerClient(server.endpoint.grpc)) as client:
            return list(client.get_model_metadata("Scorer").versions)


@pytest.mark.parametrize(
    ("policy", "versions", "version"),
    [
        pytest.param("version_policy { specific { versions: [1] } }", ("1", "2"), "1", id="1 of 1 and 2"),
        pytest.param("version_policy { specific { versions: [3] } }", ("3",), "3", id="3 alone"),
    ],
)
def test_golden_repository_has_the_version_that_was_served_and_loads(
    tmp_path: Path, policy: str, versions: tuple[str, ...], version: str
) -> None:
    model = tmp_path / "Scorer"
    digests = model_of(model, policy, versions)
    place = with_store(workplace(tmp_path))
    answer = place.run("profile", f"--model={model}", *TINY, *ADAPTIVE, "--runtime=embedded")
    assert answer.returncode == 0, answer.stderr
    golden = place.results / "golden" / "Scorer"
    assert sorted(path.name for path in golden.iterdir()) == [version, "config.pbtxt"]
    assert digest(golden, version) == digests[version]
    config = parse_text((golden / "config.pbtxt").read_text(encoding="utf-8"))
    assert [str(number) for number in config.version_policy.specific.versions] == [version]
    assert served_versions(place.results / "golden", tmp_path / "served") == [version]
    assert delivered_by_fetch(place, model, version) == digests[version]
    checked = place.run(
        *("check", "--golden", str(golden), "--baseline", "results", "--blocks", "4", "--max-regression", "99"),
        *("--runtime=embedded", "--set=profiler.measurement_interval_ms=300"),
    )
    assert checked.returncode == 0, checked.stderr


def delivered_by_fetch(place: Workplace, model: Path, version: str) -> str:
    answer = place.run("fetch", f"--model={model}")
    assert answer.returncode == 0, answer.stderr
    return digest(Path(place.folder, answer.stdout.strip()), version)


@pytest.mark.parametrize("policy", NONE_OR_SEVERAL)
def test_commands_refuse_a_policy_of_none_or_several_with_3(tmp_path: Path, policy: str) -> None:
    model_of(tmp_path / "Scorer", policy)
    place = workplace(tmp_path)
    for command in (("profile", "--dry-run"), ("profile",), ("fetch",)):
        answer = place.run(*command, f"--model={tmp_path / 'Scorer'}")
        assert answer.returncode == 3, answer.stderr
        assert "version_policy" in answer.stderr
        assert "what to do: Name one version" in answer.stderr
    assert not (place.results / "golden").exists()
