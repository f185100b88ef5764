"""What config.pbtxt names beside the version's folder goes wherever the model goes, and leads nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hcopt.config.sections import Config
from hcopt.errors import ModelSourceError
from hcopt.model.fetch import fetch_model
from hcopt.model.named_files import named_files
from hcopt.model.prepare import config_json, delivered_config, prepare
from hcopt.model.repository import write_repository
from hcopt.records.model import ModelArtifact
from tests.support.onnx_models import linear_model, save

CONFIG = """platform: "onnxruntime_onnx"
max_batch_size: 8
input {{ name: "input" data_type: TYPE_FP32 dims: [4] }}
output {{ name: "output" data_type: TYPE_FP32 dims: [1] label_filename: "{labels}" }}
dynamic_batching {{}}
model_warmup {{
  name: "w" batch_size: 8
  inputs {{ key: "input" value {{ data_type: TYPE_FP32 dims: [4] {data} }} }}
}}
"""
UNBATCHED = """platform: "onnxruntime_onnx"
input { name: "input" data_type: TYPE_FP32 dims: [-1, 4] }
output { name: "output" data_type: TYPE_FP32 dims: [-1, 1] }
model_warmup {
  name: "w" batch_size: 1
  inputs { key: "input" value { data_type: TYPE_FP32 dims: [6, 4] zero_data: true } }
}
"""
NAMED = CONFIG.format(labels="labels.txt", data='input_data_file: "rows/x.bin"')


def model(folder: Path, text: str = NAMED) -> Path:
    save(linear_model(4), folder / "1")
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    (folder / "labels.txt").write_text("default\n", encoding="utf-8")
    (folder / "warmup" / "rows").mkdir(parents=True)
    (folder / "warmup" / "rows" / "x.bin").write_bytes(bytes(8 * 4 * 4))
    return folder


def config(uri: Path) -> Config:
    return Config.model_validate({"model": {"uri": str(uri), "name": "M"}})


def fetched(uri: Path, into: Path) -> ModelArtifact:
    return fetch_model(config(uri), into=into, tracking_uri="")


@pytest.mark.parametrize("named", ["", "1", "1/model.onnx"], ids=["folder", "version", "file"])
def test_repository_has_what_the_configuration_names(tmp_path: Path, named: str) -> None:
    artifact = fetched(model(tmp_path / "M") / named, tmp_path / "into")
    assert artifact.named_files == ("labels.txt", "warmup/rows/x.bin")
    prepared = prepare(config(tmp_path / "M" / named), into=tmp_path / "into", tracking_uri="")
    written = write_repository(tmp_path / "to", artifact, delivered_config(prepared, prepared.plan.default))
    assert (written / "labels.txt").read_text(encoding="utf-8") == "default\n"
    assert (written / "warmup" / "rows" / "x.bin").stat().st_size == 128
    # It is found again as it was delivered.
    assert fetched(written, tmp_path / "again").named_files == artifact.named_files


@pytest.mark.parametrize("missing", ["labels.txt", "warmup/rows/x.bin"])
def test_file_that_is_missing_is_named_before_anything_is_measured(tmp_path: Path, missing: str) -> None:
    (model(tmp_path / "M") / missing).unlink()
    with pytest.raises(ModelSourceError, match=f"names the file '{missing}', which is not beside it"):
        fetched(tmp_path / "M", tmp_path / "into")


@pytest.mark.parametrize(
    "name", ["../labels.txt", "/etc/passwd", "a/../../x", "config.pbtxt", "libtriton_onnxruntime.so", "1/model.py"]
)
def test_name_that_is_no_data_of_the_model_is_refused(name: str) -> None:
    with pytest.raises(ModelSourceError, match="no data in the model's folder"):
        named_files(CONFIG.format(labels=name, data="zero_data: true"))


def test_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = model(tmp_path / "M")
    (folder / "labels.txt").unlink()
    (folder / "labels.txt").symlink_to("/etc/hostname")
    with pytest.raises(ModelSourceError, match="not beside it"):
        fetched(folder, tmp_path / "into")


def test_name_of_the_model_file_itself_never_replaces_it(tmp_path: Path) -> None:
    """Where the folder that is named first has another file of that name."""
    folder = tmp_path / "M" / "1"
    save(linear_model(4), folder)
    save(linear_model(4, outputs=3), folder / "1")
    text = CONFIG.format(labels="1/model.onnx", data="zero_data: true")
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    prepared = prepare(config(folder / "model.onnx"), into=tmp_path / "into", tracking_uri="")
    written = write_repository(tmp_path / "to", prepared.artifact, prepared.base.config)
    assert (written / "1" / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()


# Warm-up


def prepared_with(tmp_path: Path, text: str) -> tuple[object, list[tuple[int, int]]]:
    """What is measured of a model's warm-up, and batch size and requests of it in each variant's golden file."""
    uri = model(tmp_path / "M", text)
    chosen = config(uri).model_copy(update={"sweep": config(uri).sweep.model_copy(update={"max_batch_size": (4, 8)})})
    prepared = prepare(chosen, into=tmp_path / "into", tracking_uri="")
    delivered = [delivered_config(prepared, variant) for variant in prepared.plan.all_variants]
    warmed = [(one.max_batch_size, sum(sample.batch_size for sample in one.model_warmup)) for one in delivered]
    assert "warm_up_left_out" in [note.code for note in prepared.notes]
    return list(prepared.base.config.model_warmup), sorted(set(warmed))


def test_warm_up_is_left_out_for_measuring_and_cut_to_what_the_golden_configuration_allows(tmp_path: Path) -> None:
    measured, delivered = prepared_with(tmp_path, CONFIG.format(labels="labels.txt", data="random_data: true"))
    assert measured == []
    assert delivered == [(4, 4), (8, 8)]


def test_warm_up_follows_a_model_that_is_made_to_batch(tmp_path: Path) -> None:
    measured, delivered = prepared_with(tmp_path, UNBATCHED)
    assert measured == []
    assert delivered == [(4, 4), (8, 6), (16, 6)]


# Response cache


@pytest.mark.parametrize(("cache", "delivered"), [("{ enable: true }", True), ("{ enable: false }", False)])
def test_response_cache_is_off_for_measuring_and_stays_in_every_golden_file(
    tmp_path: Path, cache: str, delivered: bool
) -> None:
    text = CONFIG.format(labels="labels.txt", data="random_data: true") + f"response_cache {cache}\n"
    prepared = prepare(config(model(tmp_path / "M", text)), into=tmp_path / "into", tracking_uri="")
    variants = prepared.plan.all_variants
    assert not [one for one in variants if "response_cache" in json.loads(config_json(prepared, one))]
    assert {delivered_config(prepared, one).response_cache.enable for one in variants} == {delivered}
    assert ("response_cache_left_out" in [note.code for note in prepared.notes]) == delivered
