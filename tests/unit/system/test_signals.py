"""Signals that wait."""

from __future__ import annotations

import os
import signal

import pytest

from hcopt.system.signals import deferred_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_waits_for_the_end(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arrived: list[int] = []
    before = signal.signal(number, lambda number, _frame: arrived.append(number))
    try:
        with deferred_signals():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            assert arrived == []
        assert arrived == [number]
        os.kill(os.getpid(), number)
        assert arrived == [number, number]
    finally:
        signal.signal(number, before)


def test_interruption_comes_after_the_work_that_it_met() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), deferred_signals():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"]


def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with deferred_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
