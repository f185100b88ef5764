"""What the sources of models share: a fetched model's name and version, and the files that belong to its ONNX file."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

from hcopt.errors import ModelSourceError
from hcopt.model.named_files import named_files
from hcopt.model.onnx_file import locations_of, parse_onnx, resolve_inside
from hcopt.model.triton_config import CONFIG_FILE
from hcopt.model.version_policy import is_version
from hcopt.records.model import RegisteredVersion
from hcopt.records.note import Note

NO_LINKS = "Put the file itself there (`cp -L`), or give the path that the link leads to."
_CONFIG_MAX_BYTES = 1 << 20
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
        notes: What the user has to know of the way it came.
    """

    root: Path
    name: str
    onnx_name: str | None = None
    version: str | None = None
    registered_version: RegisteredVersion | None = None
    version_folder: str | None = None
    notes: tuple[Note, ...] = ()


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
    if not fetch_config(folder, root, fetch_if_there) and folder:
        fetch_config(posixpath.dirname(folder), root.parent, fetch_if_there)
    fetch_examples(folder, root, fetch_if_there)


def fetch_examples(folder: str, root: Path, fetch_if_there: Callable[[str, Path], bool]) -> None:
    """Fetches the example rows that lie in a model's folder, or beside it where it is that of a version.

    Args:
        folder: Its path at the source.
        root: Where they go; nothing is fetched where some have come with the folder.
        fetch_if_there: Gets one file by its path at the source; False where there is none.
    """
    if any((root / name).exists() for name in INPUT_EXAMPLES):
        return
    folders = (folder, posixpath.dirname(folder)) if version_of(PurePosixPath(folder)) else (folder,)
    for name in INPUT_EXAMPLES:
        any(fetch_if_there(posixpath.join(place, name), root / name) for place in folders)


def fetch_config(folder: str, into: Path, fetch_if_there: Callable[[str, Path], bool]) -> bool:
    """Fetches a folder's config.pbtxt, and the files that it names; whether there is one.

    Args:
        folder: Its path at the source.
        into: Where it goes.
        fetch_if_there: Gets one file by its path at the source; False where there is none.

    Raises:
        ModelSourceError: It cannot be parsed, or names files elsewhere.
    """
    if not fetch_if_there(posixpath.join(folder, CONFIG_FILE), into / CONFIG_FILE):
        return False
    for name in named_files(text_of_config(into)):
        fetch_if_there(posixpath.join(folder, name), into / name)
    return True


def _external_locations(onnx_file: Path) -> tuple[str, ...]:
    """The files that the weights refer to; none where it is not ONNX, which `inspect_onnx` says better."""
    try:
        graph = parse_onnx(onnx_file).graph
    except ModelSourceError:
        return ()
    return tuple(dict.fromkeys(location for tensor in graph.initializer for location in locations_of(tensor)))


def text_of_config(*folders: Path) -> str | None:
    """The first config.pbtxt that lies in one of some folders."""
    file = next((folder / CONFIG_FILE for folder in folders if (folder / CONFIG_FILE).is_file()), None)
    if file is None:
        return None
    if resolve_inside(file.parent, CONFIG_FILE) is None:
        raise ModelSourceError(f"the link {file} leads out of its folder", remedy=NO_LINKS)
    try:
        return text_of(file, at_most_bytes=_CONFIG_MAX_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelSourceError(
            f"cannot read the model's {CONFIG_FILE}: {error}", remedy="It has to be UTF-8."
        ) from error


def text_of(file: Path, *, at_most_bytes: int) -> str:
    """A text file that came with the model; one that is too long for what it is to be is refused unread."""
    size_bytes = file.stat().st_size
    if size_bytes > at_most_bytes:
        raise ModelSourceError(
            f"{file} has {size_bytes} bytes, and no {file.name} has more than {at_most_bytes}",
            remedy="Check what was saved under this name, and put the right file there.",
        )
    return file.read_text(encoding="utf-8")
