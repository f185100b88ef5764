"""Signals that would end a run, while it does what must not be cut short."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """A signal that would end the run waits until the context ends: what is half done could not be undone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    # None is a handler that Python did not set, and could not set again.
    handlers = {number: signal.getsignal(number) for number in _ENDING}
    deferred = {n: handler for n, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}
    for number in deferred:
        signal.signal(number, lambda number, _frame: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in deferred.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])
