"""Fixtures for all tests: the real servers are in `services`."""

import signal

pytest_plugins = ["tests.services", "tests.docker_engine", "tests.tls"]

# A shell starts what runs in the background with Ctrl-C ignored, and children inherit that: programs under test that
# are to be interrupted would not notice.
signal.signal(signal.SIGINT, signal.default_int_handler)
