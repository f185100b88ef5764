"""An MLflow database that a client would open directly: looked at before it does, and made or migrated only as allowed.

MLflow's client makes or migrates the tables of whatever database it opens, and older releases cannot read those any
more. So this reads which schema there is, without writing, and lets no client near another one than its own.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from hcopt.services.mlflow_moved import follow_artifacts
from hcopt.services.refused import RefusedError
from hcopt.system.files import copy_whole
from hcopt.system.process import removed_at_death
from hcopt.system.redaction import without_credentials

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory
    from sqlalchemy import Engine

Age = Literal["same", "older", "newer", "foreign", "empty", "absent"]
_SQL_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """What may be done to a database.

    Attributes:
        creates: One that is absent or empty is made.
        migrates: One of an older schema is migrated, after a copy where it is a file.
        follows: A file that was copied or moved, with the artifacts beside it, is told where they are now.
    """

    creates: bool = False
    migrates: bool = False
    follows: bool = False


def is_database(tracking_uri: str) -> bool:
    """Whether a client opens a database itself, and asks no server."""
    return re.split(r"[+:]", tracking_uri, maxsplit=1)[0] in _SQL_SCHEMES


def sqlite_file(tracking_uri: str) -> Path | None:
    """The database file of an SQLite tracking URI; None where it is something else."""
    import sqlalchemy

    if not is_database(tracking_uri):
        return None
    url = sqlalchemy.engine.make_url(tracking_uri)
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def open_databases(allowed: Mapping[str, Allowed], *, makes: bool = True) -> None:
    """Makes sure that a client which opens these finds the schema that it would else make; nothing for servers.

    All are looked at before one is changed.

    Args:
        allowed: What may be done to each.
        makes: Whether those that are absent are made now; else it is only said whether they may be.

    Raises:
        RefusedError: One has another schema, and nothing else was allowed.
        SQLAlchemyError: One cannot be reached or read. MLflow itself would try that for over a minute.
    """
    found = {uri: _checked(uri, what) for uri, what in allowed.items() if is_database(uri)}
    for uri, (age, revision) in found.items():
        if age == "older":
            _migrate(uri, revision or "")
        elif age != "same" and makes:
            _make(uri)
        if allowed[uri].follows and (file := sqlite_file(uri)) is not None and file.exists():
            follow_artifacts(file)


def _checked(uri: str, allowed: Allowed) -> tuple[Age, str | None]:
    """The age of a database's schema, and its revision, where the allowed is enough to work with it."""
    age, revision = _schema_age(uri)
    fine = age == "same" or (allowed.creates and age in ("absent", "empty")) or (allowed.migrates and age == "older")
    if not fine:
        raise _refusal(uri, age, revision)
    return age, revision


def _schema_age(uri: str) -> tuple[Age, str | None]:
    """The age of a database's schema beside this MLflow's, and its revision; writes nothing."""
    import sqlalchemy

    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return "absent", None
    engine = _read_only_engine(uri, file)
    try:
        with engine.connect() as connection:
            tables = set(sqlalchemy.inspect(connection).get_table_names())
            revision = None
            if "alembic_version" in tables:
                revision = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version")).scalar()
    finally:
        engine.dispose()
    if not tables - {"alembic_version"}:
        return "empty", revision
    if revision is None:
        return "foreign", None
    if revision == _scripts().get_current_head():
        return "same", revision
    return ("older" if _is_known(str(revision)) else "newer"), str(revision)


def _read_only_engine(uri: str, file: Path | None) -> Engine:
    import sqlalchemy

    # SQLite opens a file for writing, and settles a journal that lies beside it, unless it is told not to.
    read_only = uri if file is None else f"sqlite:///file:{quote(str(file.absolute()))}?mode=ro&uri=true"
    return sqlalchemy.create_engine(read_only, poolclass=sqlalchemy.NullPool)


@lru_cache(maxsize=1)
def _scripts() -> ScriptDirectory:
    """The migrations of the MLflow that is installed here."""
    import mlflow
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))


def _is_known(revision: str) -> bool:
    from alembic.util import CommandError

    try:
        return _scripts().get_revision(revision) is not None
    except CommandError:
        return False


def _make(uri: str) -> None:
    """A database with all of MLflow's tables; a file appears at once.

    MLflow makes them in over fifty steps, and takes no database in which one of those was cut off in the middle.
    """
    from mlflow import MlflowClient

    database = sqlite_file(uri)
    if database is None or database.exists():
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    draft = database.with_name(f".{database.name}.{secrets.token_hex(4)}")
    with removed_at_death(draft.with_name(f"{draft.name}*")):
        try:
            MlflowClient(tracking_uri=_with_file(uri, draft)).search_experiments(max_results=1)
            _take_its_place(draft, database)
        finally:
            for path in draft.parent.glob(f"{draft.name}*"):
                path.unlink(missing_ok=True)


def _take_its_place(draft: Path, database: Path) -> None:
    """Gives a whole database its name, where nobody else was quicker: theirs is as good, and may be in use."""
    try:
        database.hardlink_to(draft)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links, where nothing is renamed only if the name is free
        if not database.exists():
            draft.replace(database)


def _with_file(uri: str, file: Path) -> str:
    """The same way to SQLite, to another file."""
    import sqlalchemy

    return sqlalchemy.engine.make_url(uri).set(database=str(file)).render_as_string(hide_password=False)


def _migrate(uri: str, revision: str) -> None:
    """What `mlflow db upgrade` does; of a file, a copy stays beside it."""
    import sqlalchemy
    from mlflow.store.db import utils

    if (file := sqlite_file(uri)) is not None:
        copy_whole(file, file.with_name(f"{file.name}.{revision}"))
    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    try:
        utils._upgrade_db(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()


def _refusal(uri: str, age: Age, revision: str | None) -> RefusedError:
    where, here = without_credentials(uri), f"MLflow {version('mlflow')} that is installed here"
    if age in ("absent", "empty"):
        what = "there is no MLflow database" if age == "absent" else "there is nothing in MLflow's database"
        return RefusedError(
            f"{what} {where}", "Give the MLflow that has the model as mlflow.tracking_uri or MLFLOW_TRACKING_URI."
        )
    if age == "foreign":
        return RefusedError(
            f"the database {where} has tables, and none of them is MLflow's: it stays as it is",
            f"Correct mlflow.tracking_uri. Where MLflow is to share it: `mlflow db upgrade {where}` makes its tables.",
        )
    message = (
        f"MLflow's database {where} has the schema {revision} of an MLflow {age} than the {here}: it stays as it is"
    )
    server = (
        "Give the URL of a server that runs the MLflow which made it as mlflow.tracking_uri "
        f"(`mlflow server --backend-store-uri {where}`)"
    )
    if age == "newer":
        return RefusedError(message, f"{server}, or install that MLflow here.")
    return RefusedError(
        message,
        f"{server}, or a copy of it. Or have a run migrate it, after which that MLflow cannot open it any more: "
        "--set mlflow.migrate_database=true.",
    )
