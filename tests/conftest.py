"""Fixtures for all tests: the real servers are in `services`."""

import signal

import pytest

pytest_plugins = ["tests.support.services", "tests.support.docker_engine", "tests.support.tls"]

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that: programs under test that
# are to be interrupted would not notice.
signal.signal(signal.SIGINT, signal.default_int_handler)

# They share one Docker Engine.
_WITH_DOCKER = ("test_docker.py", "test_doctor.py", "test_mlops_environment.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, those of a file stay together: they share their servers and their story."""
    for item in items:
        group = "docker" if item.path.name in _WITH_DOCKER else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
