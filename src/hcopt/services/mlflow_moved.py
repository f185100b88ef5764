"""hcopt's own MLflow after its folder was copied or moved.

MLflow writes the absolute paths of its artifacts into the database, so that a copy would read and write those of the
place that it was copied from.
"""

from __future__ import annotations

from pathlib import Path

# Where MLflow keeps them: table and column.
_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def artifacts_beside(database: Path) -> Path:
    """The folder for the artifacts of an SQLite database."""
    return database.absolute().parent / "artifacts"


def follow_artifacts(database: Path) -> None:
    """Lets the database name the artifacts beside it, where it names those beside itself at another place.

    Raises:
        SQLAlchemyError: It cannot be read, or has to be written and cannot be.
    """
    import sqlalchemy

    here = artifacts_beside(database)
    if not here.is_dir():
        return
    engine = sqlalchemy.create_engine(f"sqlite:///{database.absolute()}", poolclass=sqlalchemy.NullPool)
    try:
        with engine.begin() as connection:
            told = connection.execute(sqlalchemy.text("SELECT DISTINCT artifact_location FROM experiments")).scalars()
            for old in [path for path in told if path and _is_elsewhere(Path(path), here)]:
                values = {"here": str(here), "old": old, "under": f"{old}/", "rest": len(old) + 1}
                for table, column in _PATHS:
                    connection.execute(
                        sqlalchemy.text(
                            f"UPDATE {table} SET {column} = :here || substr({column}, :rest) "
                            f"WHERE {column} = :old OR substr({column}, 1, :rest) = :under"
                        ),
                        values,
                    )
    finally:
        engine.dispose()


def _is_elsewhere(told: Path, here: Path) -> bool:
    """Whether it is what `here` was called before a copy or a move, and not another name of the same folder."""
    try:
        same = told.samefile(here)
    except OSError:
        same = False  # it is gone, or somebody else's
    return told.parts[-2:] == here.parts[-2:] and not same
