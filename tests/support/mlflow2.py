"""A database as MLflow 2.22.1 leaves it, with a registered model whose files lie beside it."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parents[1] / "data" / "mlflow_2.22.1"
MODEL_URI = "models:/Scorer@prod"
_ARTIFACTS = "artifacts/602adb2bcba64a76bb65f86cf61ecc45/artifacts/model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlflow2:
    """Its file, and what tells whether that is still the same."""

    file: Path

    @property
    def tracking_uri(self) -> str:
        """As MLflow takes it."""
        return f"sqlite:///{self.file}"

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def tables(self) -> int:
        """How many it has."""
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0])


def mlflow2(folder: Path) -> Mlflow2:
    """Makes one in a folder."""
    file = folder / "mlflow2.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((DATA / "mlflow.sql").read_text(encoding="utf-8").replace("{folder}", str(folder)))
    shutil.copytree(DATA / "model", folder / _ARTIFACTS)
    return Mlflow2(file=file)
