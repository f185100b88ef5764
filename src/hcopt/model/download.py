"""What the sources of models share: a fetched model's name and version, and the files that belong to its ONNX file."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from hcopt.errors import ModelSourceError
from hcopt.model.onnx_file import locations_of, parse_onnx, resolve_inside
from hcopt.model.triton_config import CONFIG_FILE
from hcopt.model.version_policy import is_version
from hcopt.records.model import RegisteredVersion

INPUT_EXAMPLES = ("input_example.json", "serving_input_example.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A model that is on this machine, not yet looked at.

    Attributes:
        root: The folder that the URI named, or that of the file that it named.
        name: What the source calls the model.
        onnx_name: The ONNX file, where the URI named a file.
        version: The source's own version, where it has one.
        registered_version: The registry's entry, where it came from one.
        version_folder: The version folder of a Triton repository that the URI named, or in which its file lay.
    """

    root: Path
    name: str
    onnx_name: str | None = None
    version: str | None = None
    registered_version: RegisteredVersion | None = None
    version_folder: str | None = None


def fetched_from(place: PurePath, root: Path, *, is_file: bool, version: str | None = None) -> Fetched:
    """A model folder, or one ONNX file.

    Args:
        place: Its path at the source.
        root: Where it is on this machine: the folder, or that of the file.
        is_file: Whether the path is that of the ONNX file.
        version: The source's own version; None: the version folder.
    """
    folder = version_of(place.parent if is_file else place)
    return Fetched(
        root=root,
        name=name_of(place),
        onnx_name=place.name if is_file else None,
        version=version or folder,
        version_folder=folder,
    )


def name_of(path: PurePath) -> str:
    """A model's name from where it lies: version folders and `model.onnx` say nothing."""
    if path.suffix == ".onnx" and path.stem != "model":
        return path.stem
    folder = path.parent if path.suffix == ".onnx" else path
    return folder.parent.name if version_of(folder) else folder.name


def version_of(folder: PurePath) -> str | None:
    """The version that a folder's name is, in a Triton model repository."""
    return folder.name if is_version(folder.name) else None


def fetch_companions(file_path: str, root: Path, fetch_if_there: Callable[[str, Path], bool]) -> None:
    """Fetches what belongs to an ONNX file that came alone: its weights, and what may lie beside it.

    Args:
        file_path: The ONNX file's path at the source.
        root: The folder that it has arrived in; a config.pbtxt that lay one folder up goes into its parent.
        fetch_if_there: Gets one file by its path at the source; False where there is none.
    """
    onnx_file = root / posixpath.basename(file_path)
    folder = posixpath.dirname(file_path)
    for location in _external_locations(onnx_file):
        if target := resolve_inside(onnx_file.parent, location):
            fetch_if_there(posixpath.join(folder, location), target)
    if not fetch_if_there(posixpath.join(folder, CONFIG_FILE), root / CONFIG_FILE) and folder:
        fetch_if_there(posixpath.join(posixpath.dirname(folder), CONFIG_FILE), root.parent / CONFIG_FILE)
    for name in INPUT_EXAMPLES:
        fetch_if_there(posixpath.join(folder, name), root / name)


def _external_locations(onnx_file: Path) -> tuple[str, ...]:
    """The files that the weights refer to; none where it is not ONNX, which `inspect_onnx` says better."""
    try:
        graph = parse_onnx(onnx_file).graph
    except ModelSourceError:
        return ()
    return tuple(dict.fromkeys(location for tensor in graph.initializer for location in locations_of(tensor)))
