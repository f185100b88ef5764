"""Fixtures for all tests: the real servers are in `services`."""

import signal

import pytest

pytest_plugins = ["tests.support.services", "tests.support.docker_engine", "tests.support.tls"]

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that: programs under test that
# are to be interrupted would not notice.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that cannot run beside each other: they share one Docker Engine; two Ray clusters that start at once choose the
# same ports.
_GROUPS = {
    **dict.fromkeys(("test_docker.py", "test_doctor.py", "test_mlops_environment.py"), "docker"),
    **dict.fromkeys(("test_ray.py", "test_ray_network.py"), "ray"),
}
# Groups and files that take a minute or more, the longest first: so two processes end at about the same time.
_LONGEST = (
    "docker",
    "ray",
    "test_main_job.py",
    "test_pdf.py",
    "test_served_versions.py",
    "test_check.py",
    "test_foreign_database.py",
    "test_several_models.py",
    "test_foreign_models.py",
    "test_supervision.py",
    "test_resume.py",
    "test_full_disk.py",
)
_WITH_REAL_PROGRAMS = ("integration", "faults")
# What hangs has to fail, but a whole job may wait for eight other processes of the machine.
_LIMIT_S = 1800


@pytest.hookimpl(tryfirst=True)  # before xdist's own, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, those of a file stay together: they share their servers and their story."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
        if item.path.parent.name in _WITH_REAL_PROGRAMS and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LIMIT_S))
    items.sort(key=_turn)


def _group(item: pytest.Item) -> str:
    return _GROUPS.get(item.path.name, item.path.name)


def _turn(item: pytest.Item) -> int:
    group = _group(item)
    return _LONGEST.index(group) if group in _LONGEST else len(_LONGEST)
