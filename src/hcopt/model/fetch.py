"""Fetches a model by its URI (MLflow registry, MLflow run, S3, local folder or file) into a local folder."""

from __future__ import annotations

import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import yaml

from hcopt.config.load import NOT_YAML
from hcopt.config.sections import Config
from hcopt.errors import ModelSourceError
from hcopt.model.download import (
    INPUT_EXAMPLES,
    NO_LINKS,
    Fetched,
    fetch_companions,
    fetch_config,
    fetch_examples,
    fetched_from,
    text_of,
    text_of_config,
    version_of,
)
from hcopt.model.from_mlflow import fetch_run_path, fetch_version
from hcopt.model.named_files import NAMED_FOLDER, folder_of, named_files
from hcopt.model.onnx_file import OnnxModel, inspect_onnx, resolve_inside, sha256_of
from hcopt.model.repository import check_model_name
from hcopt.model.triton_config import CONFIG_FILE
from hcopt.model.version_policy import is_version, served_version, version_of_a_single_model
from hcopt.records.json import JsonObject
from hcopt.records.model import ModelArtifact
from hcopt.services.mlflow import mlflow_session
from hcopt.services.s3 import Bucket, open_bucket
from hcopt.system.files import copy_whole
from hcopt.system.redaction import without_credentials

_KINDS = "models:/NAME@alias, models:/NAME/VERSION, runs:/ID/path, s3://bucket/key-or-prefix, or a local folder or file"
_MLMODEL_MAX_BYTES = 1 << 22


def fetch_model(config: Config, *, into: Path, tracking_uri: str) -> ModelArtifact:
    """Fetches the configured model; a local one is read where it is.

    Args:
        config: `model` says which, `s3` how to reach S3.
        into: The folder that a download goes to, in a folder of the model's name.
        tracking_uri: The MLflow that `models:/` and `runs:/` refer to.

    Raises:
        ModelSourceError: The model cannot be had, or is not ONNX; then nothing of it stays in `into`.
    """
    uri = config.model.uri
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", uri)
    if scheme is None:
        return _artifact(config, _local(Path(uri).expanduser()))
    if scheme.group() not in ("models:", "runs:", "s3:"):
        raise ModelSourceError(f"no model can be fetched from {without_credentials(uri)!r}", remedy=f"Give {_KINDS}.")
    with _temporary_folder_in(into) as root:
        fetched = _from_s3(uri, root, config) if scheme.group() == "s3:" else _from_mlflow(config, root, tracking_uri)
        return _artifact(config, fetched, into=into)


def _from_mlflow(config: Config, root: Path, tracking_uri: str) -> Fetched:
    with mlflow_session(tracking_uri, error=ModelSourceError, config=config) as client:
        if config.model.uri.startswith("runs:"):
            return fetch_run_path(config.model.uri, root, client)
        return fetch_version(config.model.uri, root, client, config)


@contextmanager
def _temporary_folder_in(into: Path) -> Iterator[Path]:
    """An empty folder for a download, with a parent of its own: a rename is all that is left to do."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into, prefix=".fetch-") as folder:
            root = Path(folder) / "model"
            root.mkdir()
            yield root
    except OSError as error:
        raise ModelSourceError(
            f"cannot write the model to {into}: {error}", remedy="Check that the folder can be written and has room."
        ) from error


def _artifact(config: Config, fetched: Fetched, *, into: Path | None = None) -> ModelArtifact:
    """Looks at what has arrived, and moves it to its place in `into` once it is known to be good."""
    uri, name = config.model.uri, config.model.name or fetched.name
    check_model_name(name)
    onnx_file = _find_onnx_file(fetched, uri)
    if resolve_inside(fetched.root, str(onnx_file.relative_to(fetched.root))) is None:
        raise ModelSourceError(f"{uri}: the link {onnx_file.name} leads out of the model's folder", remedy=NO_LINKS)
    inspected = inspect_onnx(onnx_file) if into is None else _inspect(onnx_file, fetched.root, uri)
    # MLflow puts what `extra_files` names into a folder of that name; the parent is a Triton model's folder, or the top
    # of MLflow's run.
    folders = (onnx_file.parent, onnx_file.parent / "extra_files", onnx_file.parent.parent)
    config_pbtxt = text_of_config(*folders)
    beside = named_files(config_pbtxt)
    beside_folder = folder_of(beside, folders)
    if into is not None and beside_folder is not None and not beside_folder.is_relative_to(fetched.root):
        # What a download has put beside the model's folder does not stay there.
        beside_folder = _copied(beside, beside_folder, fetched.root / NAMED_FOLDER)
    example = _find_input_example(onnx_file)
    # The version folder that the file lay in at its source; what a registry calls a version is something else.
    named = version_of(onnx_file.parent) or fetched.version_folder
    version_folder = version_of_a_single_model(config_pbtxt, named, uri=uri)
    place = fetched.root if into is None else _moved(fetched.root, into / name)
    folder = place / onnx_file.parent.relative_to(fetched.root)
    files = (onnx_file.name, *inspected.external_files)
    return ModelArtifact(
        name=name,
        source_uri=uri,
        version=fetched.version,
        sha256=sha256_of(folder, files),
        folder=folder,
        onnx_file=onnx_file.name,
        files=files,
        signature=inspected.signature,
        config_pbtxt=config_pbtxt,
        input_example=None if example is None else _at(place, example, fetched.root),
        registered_version=fetched.registered_version,
        notes=fetched.notes,
        version_folder=version_folder,
        named_files=beside,
        named_folder=None if beside_folder is None else _at(place, beside_folder, fetched.root),
    )


def _at(place: Path, path: Path, root: Path) -> Path:
    """A file or folder of a download at the download's place; what lies beside a local model stays where it is."""
    return place / path.relative_to(root) if path.is_relative_to(root) else path


def _copied(names: tuple[str, ...], source: Path, target: Path) -> Path:
    for name in names:
        copy_whole(source / name, target / name)
    return target


def _inspect(onnx_file: Path, root: Path, uri: str) -> OnnxModel:
    try:
        return inspect_onnx(onnx_file)
    except ModelSourceError as error:
        # A download's place is temporary, so the user is told the URI.
        message, remedy = (text and text.replace(str(root), uri) for text in (error.message, error.remedy))
        raise ModelSourceError(message or uri, remedy=remedy) from error


def _moved(folder: Path, place: Path) -> Path:
    """Puts a whole folder at its place; one from an earlier fetch makes room."""
    if place.exists():
        shutil.rmtree(place)
    return folder.rename(place)


def _find_onnx_file(fetched: Fetched, uri: str) -> Path:
    """The ONNX file that the URI or MLmodel names, else the only one; of version folders the one that is served."""
    root = fetched.root
    if fetched.onnx_name is not None:
        return root / fetched.onnx_name
    if (root / "MLmodel").is_file():
        return _find_by_mlmodel(root, uri)
    versions = [path.name for path in root.iterdir() if version_of(path) and any(path.glob("*.onnx"))]
    folder = root
    if versions:
        folder = root / served_version(text_of_config(root), versions, uri=uri)
    found = sorted(path.name for path in folder.glob("*.onnx"))
    if len(found) > 1:
        raise ModelSourceError(
            f"{uri} has several ONNX files: {', '.join(found)}", remedy="Name one of them in model.uri."
        )
    if not found:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        raise ModelSourceError(f"{uri} has no ONNX file; there is: {there}", remedy="Name the ONNX file in model.uri.")
    return folder / found[0]


def _find_by_mlmodel(root: Path, uri: str) -> Path:
    flavors = _read_mlmodel(root).get("flavors")
    onnx = flavors.get("onnx") if isinstance(flavors, dict) else None
    if not isinstance(onnx, dict):
        kinds = ", ".join(map(str, flavors)) if isinstance(flavors, dict) else "none"
        raise ModelSourceError(
            f"{uri} is an MLflow model without the flavour onnx; it has: {kinds}",
            remedy="Convert it (skl2onnx, torch.onnx.export, tf2onnx …) and log that with mlflow.onnx.log_model.",
        )
    name = onnx.get("data", "model.onnx")
    file = resolve_inside(root, name) if isinstance(name, str) else None
    if file is None or not file.is_file():
        named = repr(name)[:200] if isinstance(name, str) else f"by a {type(name).__name__}"
        raise ModelSourceError(
            f"{uri}: MLmodel names the ONNX file {named}, which is not in the model's folder",
            remedy="Log the model again with mlflow.onnx.log_model.",
        )
    return root / str(name)


def _read_mlmodel(folder: Path) -> JsonObject:
    """The content of a folder's MLmodel; empty where there is none."""
    try:
        content = yaml.safe_load(text_of(folder / "MLmodel", at_most_bytes=_MLMODEL_MAX_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, *NOT_YAML) as error:
        raise ModelSourceError(
            f"cannot read the model's MLmodel: {error}", remedy="Log the model again with mlflow.onnx.log_model."
        ) from error
    return content if isinstance(content, dict) else {}


def _find_input_example(onnx_file: Path) -> Path | None:
    """A JSON file of example rows: the one that MLmodel names, else one of the usual name, here or beside `1/`."""
    folder = onnx_file.parent
    info = _read_mlmodel(folder).get("saved_input_example_info")
    named = info.get("artifact_path") if isinstance(info, dict) else None
    names = (named, *INPUT_EXAMPLES) if isinstance(named, str) else INPUT_EXAMPLES
    paths = [folder / name for name in names if resolve_inside(folder, name)]
    if version_of(folder):
        paths += [folder.parent / name for name in INPUT_EXAMPLES if resolve_inside(folder.parent, name)]
    return next((path for path in paths if path.suffix == ".json" and path.is_file()), None)


def _local(path: Path) -> Fetched:
    place = path.absolute()
    if place.is_dir():
        place = place.resolve()  # `.` and `..` have no name
        return fetched_from(place, place, is_file=False)
    if not place.exists():
        raise ModelSourceError(f"there is no model {path}", remedy=f"Give {_KINDS}.")
    return fetched_from(place, place.parent, is_file=True)


def _from_s3(uri: str, root: Path, config: Config) -> Fetched:
    bucket_name, _, key = uri.removeprefix("s3://").strip("/").partition("/")
    if not uri.startswith("s3://") or not key or posixpath.basename(key) in (".", ".."):
        raise ModelSourceError(f"{uri!r} names no object in a bucket", remedy="Give s3://bucket/key-or-prefix.")
    path = PurePosixPath(bucket_name, key)
    with open_bucket(bucket_name, config) as bucket:
        # An ONNX file is asked for first, so that the right to read is enough and nobody needs that to list.
        if not key.endswith(".onnx") and _fetch_prefix(bucket, key, root, uri):
            return fetched_from(path, root, is_file=False)
        if not bucket.has(key):
            raise ModelSourceError(
                f"there is no object {uri}, and nothing under {uri}/", remedy="Check the bucket and the key."
            )
        bucket.fetch(key, root / path.name)
        fetch_companions(key, root, bucket.fetch_if_there)
    return fetched_from(path, root, is_file=True)


def _fetch_prefix(bucket: Bucket, prefix: str, root: Path, uri: str) -> bool:
    """Fetches what is under a prefix, versions that are not served left out; False where there is nothing."""
    sizes = bucket.sizes(prefix)
    versions = {folder for folder, _, file in (name.partition("/") for name in sizes) if _is_model(folder, file)}
    if CONFIG_FILE in sizes:
        # First, since it says which version is served.
        bucket.fetch(f"{prefix}/{CONFIG_FILE}", root / CONFIG_FILE)
    others = versions - {served_version(text_of_config(root), versions, uri=uri)} if versions else set()
    for name in sizes:
        if name != CONFIG_FILE and name.partition("/")[0] not in others:
            bucket.fetch(f"{prefix}/{name}", root / name)
    if sizes and CONFIG_FILE not in sizes:
        fetch_config(posixpath.dirname(prefix), root.parent, bucket.fetch_if_there)
    if sizes:
        fetch_examples(prefix, root, bucket.fetch_if_there)
    return bool(sizes)


def _is_model(folder: str, file: str) -> bool:
    return is_version(folder) and file.endswith(".onnx") and "/" not in file
