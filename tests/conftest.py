"""Fixtures for all tests: the real servers are in `services`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

pytest_plugins = ["tests.support.services", "tests.support.docker_engine", "tests.support.tls"]

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that: programs under test that
# are to be interrupted would not notice.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that stay together. Some cannot run beside each other: they share one Docker Engine; two Ray clusters that start
# at once choose the same ports.
_GROUPS = {
    **dict.fromkeys(("test_docker.py", "test_doctor.py", "test_mlops_environment.py"), "docker"),
    **dict.fromkeys(("test_ray.py", "test_ray_network.py"), "ray"),
    # These could, and each process would start an MLflow server for its part of them, which costs as much as a test.
    **dict.fromkeys(
        (
            "test_check_registered.py",
            "test_finished_runs.py",
            "test_mlflow_versions.py",
            "test_model_source.py",
            "test_secured_services.py",
            "test_served_versions.py",
            "test_tracking.py",
        ),
        "mlflow",
    ),
}
# Groups and files that take half a minute or more, the longest first, so that all processes end at about the same time.
_LONGEST = (
    "docker",
    "ray",
    "test_main_job.py",
    "mlflow",
    "test_wheel.py",
    "test_pdf.py",
    "test_check.py",
    "test_foreign_database.py",
    "test_bad_input.py",
    "test_several_models.py",
    "test_foreign_models.py",
    "test_full_disk.py",
    "test_resume.py",
    "test_remote.py",
    "test_supervision.py",
)
_WITH_REAL_PROGRAMS = ("integration", "faults")
# What hangs has to fail, but a whole job may wait for eight other processes of the machine.
_LIMIT_S = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, and time enough for each test with real programs."""
    for item in items:
        if item.path.parent.name in _WITH_REAL_PROGRAMS and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LIMIT_S))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    group = _group(item.path.name)
    return _LONGEST.index(group) if group in _LONGEST else len(_LONGEST)


def _group(file_name: str) -> str:
    return _GROUPS.get(file_name, file_name)


class _Groups(LoadFileScheduling):
    """`--dist loadfile`: tests of a file stay together, since they share their servers and their story; groups too.

    The marks of `--dist loadgroup` do nothing in pytest 9.2: xdist 3.8 adds them to an attribute that is gone.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _group(Path(super()._split_scope(nodeid)).name)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """See `_Groups`; other ways to distribute tests are xdist's own."""
    return _Groups(config, log) if config.getvalue("dist") == "loadfile" else None
