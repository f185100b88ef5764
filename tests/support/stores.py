"""The MLflow database beside a folder's results, made beforehand."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hcopt.errors import OutputError
from hcopt.services.mlflow import mlflow_session
from hcopt.tracking.registry import default_tracking_uri
from tests.support.command import Workplace


def with_store(place: Workplace) -> Workplace:
    """The place with the empty database that its first run would make, which takes some seconds. For one thread."""
    file = _file(place.results)
    file.parent.mkdir(parents=True)
    file.write_bytes(_empty_database())
    return place


@cache
def _empty_database() -> bytes:
    """As the command makes it; once in this process."""
    with TemporaryDirectory() as folder:
        results = Path(folder)
        _file(results).parent.mkdir()
        with mlflow_session(default_tracking_uri(results), error=OutputError, writes=True):
            pass
        return _file(results).read_bytes()


def _file(results: Path) -> Path:
    return Path(default_tracking_uri(results).removeprefix("sqlite:///"))
