"""A Triton model repository on disk, and the names that are possible in it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hcopt.errors import ConfigError, ModelSourceError, OutputError
from hcopt.model import untrusted
from hcopt.model.onnx_file import resolve_inside
from hcopt.model.triton_config import CONFIG_FILE, CORRECT, to_text
from hcopt.records.model import MODEL_FILE, ModelArtifact
from hcopt.system.files import copy_whole, write_whole

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def check_model_name(name: str) -> None:
    """Accepts a name that is one folder on disk and that Model Analyzer can parse.

    Raises:
        ConfigError: It is neither.
    """
    problem = None
    if not _MODEL_NAME.fullmatch(name):
        problem = "it has to be 1 to 128 letters, digits or any of _ . - and to begin with a letter, a digit or _"
    elif "_config_" in name:
        problem = "Model Analyzer takes what stands before `_config_` for the name of the model"
    if problem:
        raise ConfigError(
            f"the model cannot be served under the name {name!r}: {problem}", remedy="Give another one as model.name."
        )


def write_repository(root: Path, artifact: ModelArtifact, config: ModelConfig) -> Path:
    """Writes `<root>/<name>/` with config.pbtxt, what that names, and the version's folder: ONNX files, external data.

    The folder appears whole or not at all; one that is there already is replaced.

    Returns:
        The model's folder, `<root>/<name>`.

    Raises:
        ConfigError: The name cannot be a folder's name.
        ModelSourceError: A file lies outside of the artifact's folder, or would in the repository.
        OutputError: The repository cannot be written.
    """
    check_model_name(artifact.name)
    target = root / artifact.name
    copies = [*_copies(artifact, config), *_copies_of_variants(artifact, config)]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{artifact.name}.") as temporary:
            new, old = Path(temporary, "new"), Path(temporary, "old")
            for source, name in copies:
                copy_whole(source, new / artifact.version_folder / name)
            # The model's own files are never written over.
            for name in (one for one in artifact.named_files if not (new / one).exists()):
                copy_whole(_named_file(artifact, name), new / name)
            write_whole(new / CONFIG_FILE, to_text(config))
            if target.exists():
                target.rename(old)
            new.rename(target)
    except OSError as error:
        raise OutputError(
            f"cannot write the model repository {root}: {error.strerror}",
            remedy="Give a folder with room and write permission as --output.",
        ) from error
    return target


def _named_file(artifact: ModelArtifact, name: str) -> Path:
    source = None if artifact.named_folder is None else resolve_inside(artifact.named_folder, name)
    if source is None:
        raise ModelSourceError(f"{CONFIG_FILE} names the file {name!r}, which leads out of its folder", remedy=CORRECT)
    return source


def add_name(root: Path, name: str, other: str) -> None:
    """Lets a model of a repository be loaded by another name too, with a configuration that the load brings along.

    Raises:
        OutputError: The repository cannot be written.
    """
    try:
        with suppress(FileExistsError):
            (root / other).symlink_to(name)
    except OSError as error:
        raise OutputError(f"cannot write the model repository {root}: {error.strerror}") from error


def model_file_name(config: ModelConfig) -> str:
    """The name of the ONNX file in the version's folder."""
    return config.default_model_filename or MODEL_FILE


def names_in_version_folder(artifact: ModelArtifact, config: ModelConfig) -> tuple[str, ...]:
    """The names of the model's files in the version's folder, in the order in which the SHA-256 takes them."""
    # The ONNX file names its external data relative to itself.
    folder = PurePosixPath(artifact.onnx_file).parent
    return tuple(
        model_file_name(config) if name == artifact.onnx_file else str(PurePosixPath(name).relative_to(folder))
        for name in artifact.files
    )


def _copies_of_variants(artifact: ModelArtifact, config: ModelConfig) -> Iterator[tuple[Path, str]]:
    """The files of the variants, which a configuration chooses by its `default_model_filename`."""
    for variant in artifact.measured_variants:
        own = deepcopy(config)
        own.default_model_filename = variant.model_file
        yield from _copies(artifact.served_from(variant.model_file), own)


def _copies(artifact: ModelArtifact, config: ModelConfig) -> list[tuple[Path, str]]:
    """Each file of the model with its name in the version's folder."""
    model_file = model_file_name(config)
    if PurePosixPath(model_file).name != model_file or model_file == "..":
        raise ModelSourceError(
            f"{CONFIG_FILE}: default_model_filename {model_file!r} is not the name of a file", remedy=CORRECT
        )
    folder = PurePosixPath(artifact.onnx_file).parent
    sources: list[Path] = []
    for name in artifact.files:
        source = resolve_inside(artifact.folder, name)
        if source is None or not PurePosixPath(name).is_relative_to(folder):
            raise ModelSourceError(
                f"{name!r} lies outside of the model's folder {artifact.folder / folder}",
                remedy="Save the model again with its external data beside it.",
            )
        sources.append(source)
    names = names_in_version_folder(artifact, config)
    if len(set(names)) < len(names):
        raise ModelSourceError(
            f"a file of the model's external data has the name {model_file!r} of the model itself",
            remedy="Leave out default_model_filename in config.pbtxt, or give the file another name.",
        )
    if code := next(filter(untrusted.CODE_FILE.fullmatch, names), None):
        raise ModelSourceError(
            f"a file of the model has the name {code!r}, by which Triton would run it as a program",
            remedy="Save the model again, with its external data in a file of another name.",
        )
    return list(zip(sources, names, strict=True))
