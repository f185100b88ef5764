"""Which places of artifacts are folders, and which of those this machine lacks; with servers in `integration`."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hcopt.services.mlflow_artifacts import is_elsewhere, local_folder

SERVER = "http://mlflow.example.com:5000"


@pytest.mark.parametrize(
    ("location", "folder"),
    [
        ("/srv/mlruns/1", "/srv/mlruns/1"),
        ("./mlruns/1", "mlruns/1"),
        ("file:///srv/ml%20runs", "/srv/ml runs"),
        ("file:/srv/mlruns", "/srv/mlruns"),
        ("C:/mlruns", "C:/mlruns"),
        ("s3://bucket/1", None),
        ("mlflow-artifacts:/1", None),
        ("models:/m-1", None),
        ("wasbs://box@account.blob.core.windows.net/1", None),
    ],
)
def test_location_is_a_folder_or_an_address(location: str, folder: str | None) -> None:
    assert local_folder(location) == (None if folder is None else Path(folder))


def test_folder_is_elsewhere_where_this_machine_does_not_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    for database in (f"sqlite:///{tmp_path}/mlflow.db", SERVER):
        assert not is_elsewhere(str(tmp_path / "mlruns"), database)
        assert is_elsewhere(str(tmp_path / "other"), database)
        assert not is_elsewhere("s3://bucket/1", database)
    assert not is_elsewhere("mlruns", f"sqlite:///{tmp_path}/mlflow.db")
    assert is_elsewhere("mlruns", SERVER), "a server means one beside itself"


def test_folder_that_this_user_may_not_look_into_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "stat", refused)
    assert is_elsewhere("/root/mlruns", SERVER)
