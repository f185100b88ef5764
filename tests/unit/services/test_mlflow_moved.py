"""Which paths of hcopt's own MLflow follow it to where it was copied; with MLflow itself in `test_tracking`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hcopt.services.mlflow_moved import artifacts_beside, follow_artifacts

TABLES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def database(folder: Path, *paths: str) -> Path:
    """One with these paths in every place that MLflow has for paths."""
    file = folder / "mlflow" / "mlflow.db"
    (file.parent / "artifacts").mkdir(parents=True)
    with closing(sqlite3.connect(file)) as connection, connection:
        for table, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            for path in paths:
                marks = ", ".join("?" * len(columns))
                connection.execute(f"INSERT INTO {table} VALUES ({marks})", [path] * len(columns))
    return file


def told(file: Path) -> set[tuple[str, ...]]:
    """What each place has, in the order of the rows."""
    with closing(sqlite3.connect(file)) as connection:
        return {
            tuple(path for (path,) in connection.execute(f"SELECT {column} FROM {table}"))
            for table, columns in TABLES.items()
            for column in columns
        }


def test_paths_under_the_old_place_follow_and_no_others(tmp_path: Path) -> None:
    others = ("models:/m-1", "/old/results/mlflow/artifacts2/5", "/old/mlruns/0", "/old/results/%/artifacts/1")
    old = "/old/results/mlflow/artifacts"
    file = database(tmp_path / "a 'new' place", old, f"{old}/5/artifacts", f"{old}/ö/model", *others)
    follow_artifacts(file)
    here = artifacts_beside(file)
    assert told(file) == {(str(here), f"{here}/5/artifacts", f"{here}/ö/model", *others)}
    before = file.read_bytes()
    follow_artifacts(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["same", "alias", "without"])
def test_database_that_was_not_moved_stays_as_it_is(tmp_path: Path, name: str) -> None:
    """Nor one that is reached by another name, or whose artifacts stayed behind."""
    (tmp_path / "alias").symlink_to("same")
    place = {"same": "same", "alias": "alias", "without": "elsewhere"}[name]
    file = database(tmp_path / "same", str(tmp_path / place / "mlflow" / "artifacts"))
    if name == "without":
        (file.parent / "artifacts").rmdir()
    before = file.read_bytes()
    follow_artifacts(file)
    assert file.read_bytes() == before
