"""The environment of this process: nothing else reads it or changes it.

Some clients look for their settings there and nowhere else. What is set for them lasts as long as a service is talked
to; nothing is measured meanwhile, so no program that hcopt starts inherits it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from pydantic import SecretStr


@contextmanager
def temporary_environ(
    variables: Mapping[str, str | SecretStr], *, defaults: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Sets variables, `defaults` only where there is none yet, and afterwards puts back what was there."""
    missing = {name: value for name, value in (defaults or {}).items() if name not in os.environ}
    changes = {**missing, **variables}
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update({name: _text(value) for name, value in changes.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def environment_variable(name: str) -> str | None:
    """What a client would find; None where it is unset or empty."""
    return os.environ.get(name) or None


def environment_variables() -> dict[str, str]:
    """All of them, as they are now."""
    return dict(os.environ)


def remove_variables(names: Iterable[str]) -> None:
    """Takes variables away for good, from this process and from the programs that it starts."""
    for name in names:
        os.environ.pop(name, None)


def _text(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
