from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
import yaml

from hcopt.config.sections import Config
from hcopt.errors import ConfigError, ModelSourceError
from hcopt.model.download import name_of
from hcopt.model.fetch import fetch_model
from hcopt.model.onnx_file import sha256_of
from hcopt.records.model import ModelArtifact
from hcopt.services.s3 import Bucket
from tests.support.onnx_models import linear_model, save, save_with_external_data

NO_MLFLOW = "http://127.0.0.1:1"


def fetch(uri: Path | str, tmp_path: Path, name: str | None = None) -> ModelArtifact:
    config = Config.model_validate({"model": {"uri": str(uri), "name": name}})
    return fetch_model(config, into=tmp_path / "into", tracking_uri=NO_MLFLOW)


def mlmodel(folder: Path, **content: object) -> None:
    (folder / "MLmodel").write_text(yaml.safe_dump(content), encoding="utf-8")


def test_local_file_is_read_where_it_is(tmp_path: Path) -> None:
    file = save(linear_model(), tmp_path / "credit")
    artifact = fetch(file, tmp_path)
    assert (artifact.folder, artifact.onnx_file, artifact.files) == (file.parent, "model.onnx", ("model.onnx",))
    assert artifact.name == "credit"
    assert artifact.sha256 == sha256_of(file.parent, ["model.onnx"])
    assert artifact.signature.inputs[0].shape == (-1, 10)
    assert artifact.config_pbtxt is None
    assert artifact.input_example is None
    assert not (tmp_path / "into").exists()


def test_local_relative_path_is_that_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(linear_model(), tmp_path / "credit")
    monkeypatch.chdir(tmp_path / "credit")
    assert fetch("model.onnx", tmp_path).name == "credit"
    assert fetch(".", tmp_path).name == "credit"


def test_triton_layout_gives_highest_version_with_config_and_example_beside_it(tmp_path: Path) -> None:
    model = tmp_path / "credit"
    for version in ("2", "9", "10"):
        save(linear_model(features=int(version)), model / version)
    (model / "11").mkdir()
    (model / "config.pbtxt").write_text("max_batch_size: 16\n", encoding="utf-8")
    (model / "input_example.json").write_text("[]", encoding="utf-8")
    artifact = fetch(model, tmp_path)
    assert artifact.folder == model / "10"
    assert artifact.signature.inputs[0].shape == (-1, 10)
    assert artifact.config_pbtxt == "max_batch_size: 16\n"
    assert artifact.input_example == model / "input_example.json"
    assert artifact.name == "credit"


def test_triton_version_folder_takes_name_and_version_from_its_place(tmp_path: Path) -> None:
    file = save(linear_model(), tmp_path / "credit" / "3")
    (tmp_path / "credit" / "config.pbtxt").write_text("# beside", encoding="utf-8")
    example = tmp_path / "credit" / "input_example.json"
    example.write_text("[]", encoding="utf-8")
    for uri in (file, file.parent):
        artifact = fetch(uri, tmp_path)
        assert (artifact.name, artifact.version, artifact.config_pbtxt) == ("credit", "3", "# beside")
        assert artifact.input_example == example


def test_external_data_comes_along(tmp_path: Path) -> None:
    file = save_with_external_data(tmp_path / "credit")
    artifact = fetch(file, tmp_path)
    assert artifact.files == ("model.onnx", "weights.data")
    assert artifact.sha256 == sha256_of(file.parent, ["model.onnx", "weights.data"])


def test_mlmodel_names_the_onnx_file_and_the_example(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    save(linear_model(), folder, "network.onnx")
    save(linear_model(), folder, "other.onnx")
    (folder / "rows.json").write_text("[]", encoding="utf-8")
    (folder / "input_example.json").write_text("[]", encoding="utf-8")
    mlmodel(folder, flavors={"onnx": {"data": "network.onnx"}}, saved_input_example_info={"artifact_path": "rows.json"})
    artifact = fetch(folder, tmp_path)
    assert artifact.onnx_file == "network.onnx"
    assert artifact.input_example == folder / "rows.json"


def test_example_path_of_mlmodel_that_leaves_the_folder_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    save(linear_model(), folder)
    (tmp_path / "secret.json").write_text("[]", encoding="utf-8")
    mlmodel(
        folder, flavors={"onnx": {"data": "model.onnx"}}, saved_input_example_info={"artifact_path": "../secret.json"}
    )
    assert fetch(folder, tmp_path).input_example is None


def test_mlflow_model_without_onnx_flavour_is_refused_with_its_flavours(tmp_path: Path) -> None:
    mlmodel(tmp_path, flavors={"python_function": {}, "sklearn": {}})
    with pytest.raises(ModelSourceError, match="without the flavour onnx; it has: python_function, sklearn") as caught:
        fetch(tmp_path, tmp_path)
    assert caught.value.exit_code == 3
    assert "mlflow.onnx.log_model" in str(caught.value.remedy)


@pytest.mark.parametrize("data", ["../model.onnx", "/etc/passwd", "missing.onnx"])
def test_mlmodel_whose_onnx_file_is_not_in_its_folder_is_refused(tmp_path: Path, data: str) -> None:
    save(linear_model(), tmp_path)
    (tmp_path / "saved").mkdir()
    mlmodel(tmp_path / "saved", flavors={"onnx": {"data": data}})
    with pytest.raises(ModelSourceError, match="not in the model's folder"):
        fetch(tmp_path / "saved", tmp_path)


def test_several_onnx_files_are_refused_with_their_names(tmp_path: Path) -> None:
    save(linear_model(), tmp_path, "a.onnx")
    save(linear_model(), tmp_path, "b.onnx")
    with pytest.raises(ModelSourceError, match=r"several ONNX files: a\.onnx, b\.onnx"):
        fetch(tmp_path, tmp_path)


def test_folder_without_onnx_file_is_refused_with_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    with pytest.raises(ModelSourceError, match=r"has no ONNX file; there is: weights\.pt"):
        fetch(tmp_path, tmp_path)


def test_file_that_is_not_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("<html>", encoding="utf-8")
    with pytest.raises(ModelSourceError, match="not an ONNX model"):
        fetch(tmp_path / "model.onnx", tmp_path)


def test_config_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = save(linear_model(), tmp_path / "credit")
    (file.parent / "config.pbtxt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelSourceError, match=r"cannot read the model's config\.pbtxt"):
        fetch(file, tmp_path)


def test_local_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="there is no model"):
        fetch(tmp_path / "missing.onnx", tmp_path)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("gs://bucket/model.onnx", "no model can be fetched from"),
        ("http://user:hunter2@host/model.onnx", "no model can be fetched from 'http://host/model.onnx'"),
        ("s3://bucket", "names no object in a bucket"),
        ("s3:bucket/key", "names no object in a bucket"),
    ],
)
def test_uri_that_names_no_model_is_refused(tmp_path: Path, uri: str, said: str) -> None:
    with pytest.raises(ModelSourceError, match=said) as caught:
        fetch(uri, tmp_path)
    assert "hunter2" not in caught.value.message


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "into").write_text("a file", encoding="utf-8")
    with pytest.raises(ModelSourceError, match="cannot write the model to"):
        fetch("s3://bucket/key", tmp_path)


def test_configured_name_wins_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    file = save(linear_model(), tmp_path / "credit")
    assert fetch(file, tmp_path, "scoring").name == "scoring"
    with pytest.raises(ConfigError, match="cannot be served under the name"):
        fetch(file, tmp_path, "../scoring")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("bucket/credit/1/model.onnx", "credit"),
        ("bucket/credit/1", "credit"),
        ("bucket/credit/model.onnx", "credit"),
        ("bucket/credit", "credit"),
        ("bucket/credit/scorer.onnx", "scorer"),
        ("bucket/1", "bucket"),
    ],
)
def test_name_comes_from_the_folder_that_says_something(path: str, name: str) -> None:
    assert name_of(PurePosixPath(path)) == name


class FakeS3:
    """The listing and the objects of one bucket."""

    def __init__(self, objects: dict[str, bytes], *, told_size: int | None = None) -> None:
        self.objects = objects
        self.told_size = told_size

    def get_paginator(self, name: str) -> FakeS3:
        assert name == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[dict[str, object]]:  # noqa: N803
        entries = [
            {"Key": key, "Size": len(body) if self.told_size is None else self.told_size}
            for key, body in self.objects.items()
            if key.startswith(Prefix)
        ]
        return [{"Contents": entries[:1]}, {"Contents": entries[1:]}] if entries else [{}]

    def head_object(self, *, Bucket: str, Key: str, ChecksumMode: str) -> dict[str, object]:  # noqa: N803
        assert ChecksumMode == "ENABLED"
        size = len(self.objects[Key]) if self.told_size is None else self.told_size
        return {"ContentLength": size, "ETag": '"of-several-parts-2"'}

    def download_file(self, _bucket: str, key: str, target: str, **_options: object) -> None:
        Path(target).write_bytes(self.objects[key])


def opened(fake: FakeS3) -> Bucket:
    return Bucket(client=fake, name="b", deadline=math.inf, timeout_s=60)


@pytest.mark.parametrize("key", ["models/../../etc/cron", "models//absolute", "models/./a", "models/a\\..\\b"])
def test_s3_key_that_leaves_the_prefix_is_refused(key: str) -> None:
    bucket = opened(FakeS3({key: b""}))
    with pytest.raises(ModelSourceError, match="leads out of"):
        bucket.sizes("models")


def test_s3_listing_joins_its_pages_and_passes_over_folder_markers() -> None:
    fake = FakeS3({"models/": b"", "models/1/": b"", "models/1/model.onnx": b"12", "models/config.pbtxt": b"3"})
    assert opened(fake).sizes("/models/") == {"1/model.onnx": 2, "config.pbtxt": 1}


def test_s3_object_that_comes_short_is_refused(tmp_path: Path) -> None:
    bucket = opened(FakeS3({"key": b"123"}, told_size=5))
    with pytest.raises(ModelSourceError, match="3 of 5 bytes came"):
        bucket.fetch("key", tmp_path / "deep" / "file")


def test_importing_the_source_loads_none_of_the_heavy_libraries() -> None:
    code = (
        "import json, sys, hcopt.model.fetch, hcopt.tracking.log, hcopt.tracking.registry; "
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    assert not {"mlflow", "boto3", "onnx", "sqlalchemy", "numpy"} & set(loaded)
