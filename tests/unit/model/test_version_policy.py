"""Which version is measured: the one that the repository's own policy serves, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcopt.config.sections import Config
from hcopt.errors import ModelSourceError
from hcopt.model.fetch import fetch_model
from hcopt.model.onnx_file import sha256_of
from hcopt.model.repository import write_repository
from hcopt.model.triton_config import parse_text
from hcopt.model.version_policy import is_version, served_version, version_of_a_single_model
from hcopt.records.model import ModelArtifact
from tests.support.onnx_models import linear_model, save

ONE = "version_policy { specific { versions: [1] } }"


@pytest.mark.parametrize(
    ("policy", "folders", "served"),
    [
        (None, ["1", "2"], "2"),
        ("", ["1", "2"], "2"),
        ("", ["9", "10"], "10"),
        ("version_policy { latest { } }", ["1", "2"], "2"),
        ("version_policy { latest { num_versions: 2 } }", ["3"], "3"),
        ("version_policy { all { } }", ["7"], "7"),
        (ONE, ["1", "2"], "1"),
        ("version_policy { specific { versions: [1, 5] } }", ["1", "2"], "1"),
        ("version_policy { specific { versions: [3] } }", ["3"], "3"),
    ],
)
def test_policy_serves_one_version(policy: str | None, folders: list[str], served: str) -> None:
    assert served_version(policy, folders, uri="m") == served


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("version_policy { specific { versions: [3] } }", "names no version of 1, 2"),
        ("version_policy { specific { } }", "names no version of 1, 2"),
        ("version_policy { all { } }", "names 1, 2, and one is measured"),
        ("version_policy { latest { num_versions: 2 } }", "names 1, 2, and one is measured"),
        ("version_policy { specific { versions: [1, 2] } }", "names 1, 2, and one is measured"),
    ],
)
def test_policy_of_none_or_several_versions_is_an_error_with_a_remedy(policy: str, said: str) -> None:
    with pytest.raises(ModelSourceError, match=said) as caught:
        served_version(policy, ["1", "2"], uri="m")
    assert caught.value.exit_code == 3
    assert caught.value.remedy is not None and "specific" in caught.value.remedy


def test_model_without_versions_beside_it_lies_where_its_policy_looks() -> None:
    assert version_of_a_single_model(None, None, uri="m") == "1"
    assert version_of_a_single_model(None, "4", uri="m") == "4"
    assert version_of_a_single_model("version_policy { specific { versions: [3] } }", None, uri="m") == "3"
    assert version_of_a_single_model("version_policy { specific { versions: [3, 3] } }", None, uri="m") == "3"
    with pytest.raises(ModelSourceError, match="names 1, 2"):
        version_of_a_single_model("version_policy { specific { versions: [1, 2] } }", None, uri="m")
    with pytest.raises(ModelSourceError, match=r"is version 2, and the version_policy of config\.pbtxt serves 1"):
        version_of_a_single_model(ONE, "2", uri="m")


@pytest.mark.parametrize(("name", "known"), [("1", True), ("10", True), ("0", True), ("01", False), ("²", False)])
def test_version_folders_are_named_as_triton_takes_them(name: str, *, known: bool) -> None:
    assert is_version(name) == known


def model_with_versions(folder: Path, policy: str) -> dict[str, str]:
    """Versions 1, 2 and 10 with weights of their own; gives their SHA-256."""
    digests = {}
    for number, version in enumerate(("1", "2", "10")):
        save(linear_model(outputs=number + 2), folder / version)
        digests[version] = sha256_of(folder / version, ("model.onnx",))
    text = f'platform: "onnxruntime_onnx"\nmax_batch_size: 8\ndynamic_batching {{}}\n{policy}\n'
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    return digests


def fetched(uri: Path, into: Path) -> ModelArtifact:
    return fetch_model(Config.model_validate({"model": {"uri": str(uri)}}), into=into, tracking_uri="")


@pytest.mark.parametrize(("policy", "version"), [("", "10"), (ONE, "1")])
def test_folder_gives_the_version_of_its_policy_and_the_repository_says_the_same(
    tmp_path: Path, policy: str, version: str
) -> None:
    model = tmp_path / "Scorer"
    digests = model_with_versions(model, policy)
    artifact = fetched(model, tmp_path / "into")
    assert (artifact.sha256, artifact.version_folder) == (digests[version], version)
    assert artifact.config_pbtxt is not None
    written = write_repository(tmp_path / "golden", artifact, parse_text(artifact.config_pbtxt))
    assert [path.name for path in sorted(written.iterdir())] == [version, "config.pbtxt"]
    assert sha256_of(written / version, ("model.onnx",)) == digests[version]
    # It is found again as it was delivered.
    assert fetched(written, tmp_path / "again").sha256 == digests[version]


def test_version_that_is_named_is_that_one_or_an_error(tmp_path: Path) -> None:
    digests = model_with_versions(tmp_path / "latest", "")
    for uri in (tmp_path / "latest" / "2", tmp_path / "latest" / "2" / "model.onnx"):
        artifact = fetched(uri, tmp_path / "into")
        assert (artifact.sha256, artifact.version_folder) == (digests["2"], "2")
    model_with_versions(tmp_path / "pinned", ONE)
    for uri in (tmp_path / "pinned" / "2", tmp_path / "pinned" / "2" / "model.onnx"):
        with pytest.raises(ModelSourceError, match="is version 2"):
            fetched(uri, tmp_path / "into")
    assert fetched(tmp_path / "pinned" / "1", tmp_path / "into").version_folder == "1"
