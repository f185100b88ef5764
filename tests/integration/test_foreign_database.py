"""Every command of hcopt beside a database of MLflow 2: bit for bit the same after it, and a clear answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from hcopt.config.sections import Config
from tests.support.command import SAMPLE_FOLDER, TINY, Workplace, workplace
from tests.support.finished_run import write_finished_run
from tests.support.mlflow2 import MODEL_URI, Mlflow2, mlflow2

REFUSED = "older than the MLflow 3"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Mlflow2:
    return mlflow2(tmp_path_factory.mktemp("mlflow2"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, database: Mlflow2) -> Workplace:
    there = workplace(tmp_path_factory.mktemp("place"), MLFLOW_TRACKING_URI=database.tracking_uri)
    write_finished_run(there.results, Config.model_validate({"mlflow": {"tracking_uri": database.tracking_uri}}))
    return there


CHECK = ("check", "--golden", str(SAMPLE_FOLDER), "--baseline", MODEL_URI)


@pytest.mark.parametrize(
    ("arguments", "code", "refused"),
    [
        pytest.param(("profile", "--dry-run"), 3, True, id="profile --dry-run"),
        pytest.param(("profile", f"--model={MODEL_URI}", "--dry-run"), 3, True, id="dry run of its own model"),
        pytest.param(
            ("profile", f"--model={MODEL_URI}", "--dry-run", "--set=mlflow.migrate_database=true"),
            3,
            True,
            id="dry run with the consent to migrate",
        ),
        pytest.param(("profile", *TINY), 7, True, id="profile"),
        pytest.param(("profile", f"--model={MODEL_URI}", *TINY), 7, True, id="profile of its own model"),
        pytest.param(("profile", f"--model={SAMPLE_FOLDER}", *TINY), 7, True, id="profile of a folder"),
        pytest.param(("profile", "--resume", *TINY), 7, True, id="profile --resume"),
        pytest.param(("fetch", f"--model={MODEL_URI}"), 3, True, id="fetch"),
        pytest.param(("fetch", f"--model={SAMPLE_FOLDER}"), 0, False, id="fetch of a folder"),
        pytest.param(("seed",), 7, True, id="seed"),
        pytest.param(("log", "results"), 7, True, id="log"),
        pytest.param(("report", "results"), 0, False, id="report"),
        pytest.param(("compare", "results", "results"), 2, False, id="compare of one run"),
        pytest.param(("capacity", "results"), 0, False, id="capacity"),
        pytest.param(
            ("kubernetes", "results", "--base=1000", "--peak=9000", "--out=manifests"), 0, False, id="kubernetes"
        ),
        pytest.param(CHECK, 3, True, id="check"),
        pytest.param(("doctor",), 1, True, id="doctor"),
    ],
)
def test_database_of_mlflow_2_is_the_same_after_a_command(
    place: Workplace, database: Mlflow2, arguments: tuple[str, ...], code: int, *, refused: bool
) -> None:
    before, beside = database.digest, sorted(database.file.parent.iterdir())
    answer = place.answer(*arguments)
    assert database.digest == before
    assert sorted(database.file.parent.iterdir()) == beside
    said = answer.stdout + answer.stderr
    assert answer.returncode == code, said
    assert (REFUSED in said) == refused
    assert ("mlflow server --backend-store-uri" in said) == refused
    assert answer.left == ()


def test_installed_program_that_imports_everything_itself_leaves_it_the_same(
    place: Workplace, database: Mlflow2
) -> None:
    before, beside = database.digest, sorted(database.file.parent.iterdir())
    answer = place.run("seed")
    assert (answer.returncode, REFUSED in answer.stderr, answer.left) == (7, True, ())
    assert (database.digest, sorted(database.file.parent.iterdir())) == (before, beside)


@pytest.mark.parametrize("model", [MODEL_URI, str(SAMPLE_FOLDER), "models:/HomeCreditDefaultModel@prod"])
def test_dry_run_leaves_nothing_where_no_mlflow_is_configured(tmp_path: Path, model: str) -> None:
    place = workplace(tmp_path)
    answer = place.answer("profile", f"--model={model}", "--dry-run")
    assert list(place.folder.rglob("*")) == []
    assert answer.returncode == (3 if model == MODEL_URI else 0)
    assert ("there is no MLflow database" in answer.stderr) == (model == MODEL_URI)
    assert answer.left == ()
