"""The model repository on disk, and the names that are possible in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hcopt.errors import ConfigError, ModelSourceError, OutputError
from hcopt.model.onnx_file import inspect_onnx, sha256_of
from hcopt.model.repository import check_model_name, write_repository
from hcopt.model.triton_config import parse_text
from hcopt.records.model import ModelArtifact
from tests.support import onnx_models as models
from tests.support.pbtxt import (
    CONFIG_12_TEXT,
    DEFAULT_TEXT,
    artifact,
)


def saved(folder: Path, file: Path) -> ModelArtifact:
    found = inspect_onnx(file)
    files = (file.name, *found.external_files)
    return replace(
        artifact(of=found.signature, folder=folder, files=files),
        sha256=sha256_of(folder, files),
        signature=found.signature,
    )


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_repository_holds_configuration_and_model(tmp_path: Path) -> None:
    file = models.save(models.linear_model(), tmp_path / "model", "network.onnx")
    folder = write_repository(tmp_path / "repository", saved(file.parent, file), parse_text(DEFAULT_TEXT))
    assert folder == tmp_path / "repository" / "HomeCreditDefaultModel"
    assert tree(tmp_path / "repository") == {
        "HomeCreditDefaultModel/config.pbtxt": DEFAULT_TEXT.encode(),
        "HomeCreditDefaultModel/1/model.onnx": file.read_bytes(),
    }


def test_repository_names_the_model_as_the_configuration_does(tmp_path: Path) -> None:
    file = models.save(models.linear_model(), tmp_path / "model")
    config = parse_text(DEFAULT_TEXT + 'default_model_filename: "net.onnx"')
    folder = write_repository(tmp_path / "repository", saved(file.parent, file), config)
    assert sorted(path.name for path in (folder / "1").iterdir()) == ["net.onnx"]


def test_repository_holds_external_data_under_its_own_name(tmp_path: Path) -> None:
    file = models.save_with_external_data(tmp_path / "model", "deep/weights.data")
    folder = write_repository(tmp_path / "repository", saved(file.parent, file), parse_text(DEFAULT_TEXT))
    assert inspect_onnx(folder / "1" / "model.onnx").external_files == ("deep/weights.data",)
    assert (folder / "1/deep/weights.data").read_bytes() == (tmp_path / "model/deep/weights.data").read_bytes()


def test_repository_keeps_external_data_relative_to_a_model_in_a_subfolder(tmp_path: Path) -> None:
    models.save_with_external_data(tmp_path / "model" / "data", "weights.data")
    one = artifact(folder=tmp_path / "model", files=("data/model.onnx", "data/weights.data"))
    folder = write_repository(tmp_path / "repository", one, parse_text(DEFAULT_TEXT))
    assert inspect_onnx(folder / "1" / "model.onnx").external_files == ("weights.data",)


def test_repository_replaces_an_older_one_whole(tmp_path: Path) -> None:
    one = saved(tmp_path / "one", models.save_with_external_data(tmp_path / "one"))
    other = saved(tmp_path / "other", models.save(models.linear_model(), tmp_path / "other"))
    write_repository(tmp_path / "repository", one, parse_text(DEFAULT_TEXT))
    write_repository(tmp_path / "repository", other, parse_text(CONFIG_12_TEXT))
    assert sorted(tree(tmp_path / "repository")) == [
        "HomeCreditDefaultModel/1/model.onnx",
        "HomeCreditDefaultModel/config.pbtxt",
    ]
    assert (tmp_path / "repository/HomeCreditDefaultModel/config.pbtxt").read_text() == CONFIG_12_TEXT


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "link", "data/../../secret"])
def test_repository_takes_nothing_from_outside_the_models_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("secret")
    file = models.save(models.linear_model(), tmp_path / "model")
    (file.parent / "link").symlink_to(tmp_path / "secret")
    one = replace(saved(file.parent, file), files=("model.onnx", name))
    with pytest.raises(ModelSourceError, match="outside"):
        write_repository(tmp_path / "repository", one, parse_text(DEFAULT_TEXT))
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("filename", ["../model.onnx", "/tmp/model.onnx", "..", "a/b.onnx"])
def test_repository_refuses_a_model_filename_that_is_a_path(tmp_path: Path, filename: str) -> None:
    file = models.save(models.linear_model(), tmp_path / "model")
    config = parse_text(DEFAULT_TEXT + f'default_model_filename: "{filename}"')
    with pytest.raises(ModelSourceError, match="default_model_filename"):
        write_repository(tmp_path / "repository", saved(file.parent, file), config)


def test_repository_refuses_external_data_with_the_models_own_name(tmp_path: Path) -> None:
    file = models.save_with_external_data(tmp_path / "model", "model.onnx.data").rename(tmp_path / "model/net.onnx")
    config = parse_text(DEFAULT_TEXT + 'default_model_filename: "model.onnx.data"')
    with pytest.raises(ModelSourceError, match=r"model\.onnx\.data"):
        write_repository(tmp_path / "repository", saved(file.parent, file), config)


@pytest.mark.parametrize("name", ["libtriton_onnxruntime.so", "batchstrategy.so", "model.py"])
def test_repository_refuses_external_data_that_triton_would_run(tmp_path: Path, name: str) -> None:
    file = models.save_with_external_data(tmp_path / "model", name)
    with pytest.raises(ModelSourceError, match=f"'{re.escape(name)}', by which Triton would run it"):
        write_repository(tmp_path / "repository", saved(file.parent, file), parse_text(DEFAULT_TEXT))
    assert not (tmp_path / "repository").exists()


def test_repository_leaves_nothing_behind_when_it_cannot_be_written(tmp_path: Path) -> None:
    file = models.save(models.linear_model(), tmp_path / "model")
    one = saved(file.parent, file)
    write_repository(tmp_path / "repository", one, parse_text(DEFAULT_TEXT))
    before = tree(tmp_path / "repository")
    (tmp_path / "model" / "model.onnx").unlink()
    with pytest.raises(OutputError, match="cannot write the model repository"):
        write_repository(tmp_path / "repository", one, parse_text(CONFIG_12_TEXT))
    assert tree(tmp_path / "repository") == before
    assert [path.name for path in (tmp_path / "repository").iterdir()] == ["HomeCreditDefaultModel"]


# Names


@pytest.mark.parametrize("name", ["HomeCreditDefaultModel", "a", "model-2.1_b", "_x", "config", "1model", "a" * 128])
def test_name_of_letters_digits_and_marks_is_accepted(name: str) -> None:
    check_model_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "/a", "-a", ".a", "a b", "a=b", "a\n", "a\0", "모델", "a" * 129, "m_config_default"],
)
def test_name_that_is_no_folder_or_breaks_model_analyzer_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_model_name(name)
    assert "model.name" in str(caught.value.remedy)
    with pytest.raises(ConfigError):
        write_repository(tmp_path, artifact(name=name), parse_text(DEFAULT_TEXT))
