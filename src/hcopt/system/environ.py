"""Variables of this process that last as long as a service is talked to: some clients look there and nowhere else.

Nothing is measured meanwhile, so no program that hcopt starts inherits them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pydantic import SecretStr


@contextmanager
def lent(variables: Mapping[str, str | SecretStr], *, defaults: Mapping[str, str] | None = None) -> Iterator[None]:
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


def _text(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
