"""`hcopt check` on a Triton that somebody else runs and that has neither of the two models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hcopt.triton.base import Endpoint
from hcopt.triton.control import ModelControl
from hcopt.triton.embedded.runtime import EmbeddedRuntime
from tests.integration.test_check import FEW_BLOCKS, SURE, candidate, finished_run
from tests.integration.test_remote import ports_in_a_row
from tests.support.command import SAMPLE_FOLDER, SAMPLE_MODEL, Workplace, workplace

THEIRS = "somebody_s_model"


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return workplace(tmp_path)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """Their server, with a loaded model of theirs."""
    root = tmp_path_factory.mktemp("elsewhere")
    repository = root / "models"
    shutil.copytree(SAMPLE_FOLDER, repository / THEIRS)
    config = repository / THEIRS / "config.pbtxt"
    config.write_text(config.read_text(encoding="utf-8").replace(SAMPLE_MODEL, THEIRS), encoding="utf-8")
    runtime = EmbeddedRuntime(choose_ports=ports_in_a_row)
    with runtime.serve(repository, root) as server, ModelControl(server.endpoint) as control:
        control.load(THEIRS)
        yield server.endpoint


def models(endpoint: Endpoint) -> tuple[tuple[str, ...], bool]:
    with ModelControl(endpoint) as control:
        return control.repository_models(), control.is_ready(THEIRS)


def test_both_models_travel_to_the_server_and_are_gone_afterwards(place: Workplace, elsewhere: Endpoint) -> None:
    run, before = finished_run(place), models(elsewhere)
    answer = place.run(
        *("check", "--baseline", run.run_id, "--golden", str(candidate(place)), f"--endpoint=grpc://{elsewhere.grpc}"),
        *(*SURE[2:], *FEW_BLOCKS),
    )
    assert answer.returncode == 0, answer.stderr
    assert f"Triton 2.51.0 at grpc://{elsewhere.grpc}, onnxruntime (native)" in answer.stdout
    assert f"The models are sent to the server at '{elsewhere.grpc}'" in answer.stderr
    assert answer.left == ()
    assert models(elsewhere) == before == ((THEIRS,), True)


def test_model_that_cannot_be_loaded_there_is_said_and_nothing_stays(place: Workplace, elsewhere: Endpoint) -> None:
    run, golden = finished_run(place), candidate(place)
    config = golden / "config.pbtxt"
    with config.open("a", encoding="utf-8") as file:
        file.write('parameters { key: "intra_op_thread_count" value { string_value: "x" } }')
    answer = place.run(
        *("check", "--baseline", run.run_id, "--golden", str(golden), f"--endpoint={elsewhere.grpc}", *SURE[2:])
    )
    assert answer.returncode == 8, "that it cannot be loaded is the candidate's own fault"
    assert "hcopt check: regression" in answer.stdout
    assert "intra_op_thread_count is 'x'" in answer.stdout
    assert models(elsewhere) == ((THEIRS,), True)
