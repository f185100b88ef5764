"""Models that travel inside of their load requests, to a server that does not have them in its own repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hcopt.errors import ConfigError
from hcopt.model.triton_config import CONFIG_FILE, parse_text, to_json

# gRPC's longest message is 2 GiB - 1; the configuration and the names are in it too.
_MAX_BYTES = 2**31 - 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedModel:
    """One model.

    Attributes:
        config_json: Its configuration, for a load that brings none of its own.
        files: Its files by their paths in the model's folder, such as `1/model.onnx`.
    """

    config_json: str
    files: Mapping[str, bytes]


def read_carried(repository: Path) -> dict[str, CarriedModel]:
    """Every model of a local repository, by its name.

    Raises:
        ConfigError: One is too large for a request.
    """
    return {folder.name: _read(folder) for folder in sorted(repository.iterdir())}


def _read(folder: Path) -> CarriedModel:
    config = folder / CONFIG_FILE
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path != config]
    size_bytes = sum(path.stat().st_size for path in files)
    if size_bytes > _MAX_BYTES:
        raise ConfigError(
            f"the model has {size_bytes / 2**30:.1f} GiB, and a request to a remote Triton carries less than 2",
            remedy="Use --runtime embedded or docker.",
        )
    return CarriedModel(
        config_json=to_json(parse_text(config.read_text(encoding="utf-8"))),
        files={path.relative_to(folder).as_posix(): path.read_bytes() for path in files},
    )
