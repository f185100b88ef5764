"""Fixtures for all tests: the real servers are in `services`."""

pytest_plugins = ["tests.services", "tests.docker_engine", "tests.tls"]
