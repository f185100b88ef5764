"""The files that a config.pbtxt names beside the version's folder: labels, and the data of warm-up requests.

Triton does not load a model that lacks one of them, so that they go wherever the model goes. Source: `label_filename`
and `input_data_file` in model_config.proto of triton-inference-server/common, read in core/src/backend_model.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from hcopt.errors import ModelSourceError
from hcopt.model import untrusted
from hcopt.model.onnx_file import resolve_inside
from hcopt.model.triton_config import CONFIG_FILE, CORRECT, parse_text

_WARM_UP_FOLDER = "warmup"
# Where they lie apart from the model's folder.
NAMED_FOLDER = "named_by_config"


def named_files(config_text: str | None) -> tuple[str, ...]:
    """Their paths in the model's folder, each once.

    Raises:
        ModelSourceError: One leads out of the model's folder, or would be run as a program; or the text is no
            configuration.
    """
    if config_text is None:
        return ()
    config = parse_text(config_text)
    labels = [output.label_filename for output in config.output if output.label_filename]
    warm_up = [
        f"{_WARM_UP_FOLDER}/{given.input_data_file}"
        for sample in config.model_warmup
        for given in sample.inputs.values()
        if given.WhichOneof("input_data_type") == "input_data_file"
    ]
    names = tuple(dict.fromkeys((*labels, *warm_up)))
    for name in names:
        is_code = untrusted.CODE_FILE.fullmatch(PurePosixPath(name).name)
        if resolve_inside(Path("/nowhere"), name) is None or name == CONFIG_FILE or is_code:
            raise ModelSourceError(
                f"{CONFIG_FILE} names the file {name!r}, which is no data in the model's folder", remedy=CORRECT
            )
    return names


def folder_of(names: Sequence[str], folders: Sequence[Path]) -> Path | None:
    """The first of some folders in which all these files lie; None where there are no names.

    Raises:
        ModelSourceError: None has all.
    """
    if not names:
        return None
    for folder in folders:
        if not (missing := [name for name in names if not _has(folder, name)]):
            return folder
    raise ModelSourceError(
        f"{CONFIG_FILE} names the file {missing[0]!r}, which is not beside it",
        remedy=f"Put it there, or take it out of {CONFIG_FILE}: Triton would not load the model either.",
    )


def _has(folder: Path, name: str) -> bool:
    file = resolve_inside(folder, name)
    return file is not None and file.is_file()
