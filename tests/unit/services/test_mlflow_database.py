"""Databases that are not hcopt's own: which schema they have, and that they keep it."""

from __future__ import annotations

import errno
import os
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from hcopt.config.sections import Config
from hcopt.errors import OutputError
from hcopt.services.mlflow import mlflow_session, ready_database
from hcopt.services.mlflow_database import Allowed, is_database, open_databases, sqlite_file
from hcopt.services.refused import RefusedError
from hcopt.tracking.registry import looking_only
from tests.support.mlflow2 import Mlflow2, mlflow2

EVERYTHING = Allowed(creates=True, migrates=True)


@pytest.fixture
def older(tmp_path: Path) -> Mlflow2:
    return mlflow2(tmp_path)


def execute(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)


def refusal(uri: str, allowed: Allowed) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        open_databases({uri: allowed})
    return caught.value


@pytest.mark.parametrize("allowed", [Allowed(), Allowed(creates=True)])
def test_database_of_an_older_mlflow_is_refused_and_stays_as_it_is(older: Mlflow2, allowed: Allowed) -> None:
    before = older.digest
    refused = refusal(older.tracking_uri, allowed)
    assert "of an MLflow older than the MLflow 3" in refused.message
    assert "mlflow server --backend-store-uri" in refused.remedy
    assert "--set mlflow.migrate_database=true" in refused.remedy
    assert (older.digest, older.tables()) == (before, 19)


def test_database_of_an_older_mlflow_is_migrated_where_that_was_agreed_and_a_copy_stays(older: Mlflow2) -> None:
    before = older.digest
    open_databases({older.tracking_uri: EVERYTHING})
    assert older.tables() > 19
    assert Mlflow2(file=older.file.with_name("mlflow2.db.0584bdc529eb")).digest == before
    open_databases({older.tracking_uri: Allowed()})  # no other schema any more


def test_database_of_a_newer_mlflow_is_refused_whatever_was_agreed(older: Mlflow2) -> None:
    execute(older.file, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = older.digest
    refused = refusal(older.tracking_uri, EVERYTHING)
    assert "newer than the MLflow 3" in refused.message
    assert "migrate_database" not in refused.remedy
    assert older.digest == before


def test_database_of_something_else_is_refused_whatever_was_agreed(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    execute(file, "CREATE TABLE orders (id INTEGER)")
    before = file.read_bytes()
    assert "none of them is MLflow's" in refusal(f"sqlite:///{file}", EVERYTHING).message
    assert file.read_bytes() == before


@pytest.mark.parametrize("empty", [True, False])
def test_absent_or_empty_database_is_made_by_who_writes_only(tmp_path: Path, *, empty: bool) -> None:
    file = tmp_path / "deep" / "mlflow.db"
    if empty:
        file.parent.mkdir()
        file.touch()
    assert "there is no" in refusal(f"sqlite:///{file}", Allowed()).message
    assert file.exists() == empty
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SQLAlchemy, about MLflow's code; a session keeps them quiet
        open_databases({f"sqlite:///{file}": Allowed(creates=True)})
    open_databases({f"sqlite:///{file}": Allowed()})
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]


def test_servers_and_folders_are_no_databases() -> None:
    assert [is_database(uri) for uri in ("http://h:5000", "https://h", "./mlruns", "file:///x")] == [False] * 4
    assert is_database("postgresql+psycopg2://u:p@h/d")
    open_databases({"http://127.0.0.1:1": Allowed()})


def test_registry_of_its_own_is_looked_at_too(older: Mlflow2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = older.digest
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", older.tracking_uri)
    new = f"sqlite:///{tmp_path / 'new.db'}"
    with pytest.raises(OutputError, match="older than"), mlflow_session(new, error=OutputError, writes=True):
        pass
    assert older.digest == before
    assert not (tmp_path / "new.db").exists()


def test_only_what_nobody_configured_is_hcopt_s_own(older: Mlflow2) -> None:
    before = older.digest
    configured = Config.model_validate({"mlflow": {"tracking_uri": older.tracking_uri}})
    with pytest.raises(OutputError, match="older than"):
        ready_database(older.tracking_uri, config=configured)
    assert older.digest == before
    ready_database(older.tracking_uri, config=Config())
    assert older.tables() > 19


def test_somebody_s_registry_beside_hcopt_s_own_database_is_not_hcopt_s_own(
    older: Mlflow2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = older.digest
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", older.tracking_uri)
    own = f"sqlite:///{tmp_path / 'own.db'}"
    with pytest.raises(OutputError, match="older than"):
        ready_database(own, config=Config())
    with (
        pytest.raises(OutputError, match="older than"),
        mlflow_session(own, error=OutputError, writes=True, config=Config()),
    ):
        pass
    assert older.digest == before
    absent = tmp_path / "absent.db"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{absent}")
    with (
        pytest.raises(OutputError, match="there is no"),
        mlflow_session(own, error=OutputError, writes=True, config=Config()),
    ):
        pass
    assert not absent.exists()


def test_who_looks_only_migrates_nothing_not_even_hcopt_s_own(older: Mlflow2) -> None:
    before = older.digest
    config = looking_only(Config.model_validate({"mlflow": {"migrate_database": True}}), older.tracking_uri)
    with (
        pytest.raises(OutputError, match="older than"),
        mlflow_session(older.tracking_uri, error=OutputError, config=config),
    ):
        pass
    assert older.digest == before


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////deep/mlflow.db", "/deep/mlflow.db"),
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite+pysqlite:////deep/mlflow.db?timeout=5", "/deep/mlflow.db"),
        ("postgresql://u:p@h/d", None),
        ("http://h:5000", None),
        ("./mlruns", None),
    ],
)
def test_file_of_an_sqlite_database(uri: str, file: str | None) -> None:
    assert sqlite_file(uri) == (None if file is None else Path(file))


@pytest.mark.parametrize("there", [True, False])
def test_database_is_made_where_the_file_system_has_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    file = tmp_path / "mlflow.db"

    def refused(*_: object, **__: object) -> None:
        # What Linux answers there; another process may have made the database meanwhile.
        if there:
            file.write_bytes(b"of somebody else")
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    open_databases({f"sqlite:///{file}": EVERYTHING})
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    if there:
        assert file.read_bytes() == b"of somebody else"
    else:
        open_databases({f"sqlite:///{file}": Allowed()})
